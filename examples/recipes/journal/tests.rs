//! Kills a process at each of its steps: before each of its requests arrives, and after that.
//!
//! Everything that the process sends goes through the program of the test, which relays the
//! requests for PostgreSQL, and plays the other service. `KILLS=200` sets how often a process is
//! killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;

/// The environment variable that makes this program one of the processes. It contains the relay's
/// port, the service's address, and the schema.
const VARIABLE: &str = "JOURNAL_PROCESS";

fn database() -> PgConnectOptions {
    let url = std::env::var("DATABASE_URL")
        .expect("DATABASE_URL has to be set, as in postgres://user@localhost/database");
    url.parse().expect("it is a URL of PostgreSQL")
}

/// Not a test, but the program that the test starts.
#[tokio::test]
async fn one_of_the_processes() {
    let Ok(orders) = std::env::var(VARIABLE) else {
        return;
    };
    let orders: Vec<_> = orders.split(' ').collect();
    let [port, address, schema] = orders[..] else {
        panic!("{orders:?}");
    };
    let database = database()
        .host("127.0.0.1")
        .port(port.parse().unwrap())
        .options([("search_path", schema)])
        .application_name(schema);
    let pool = PgPoolOptions::new().max_connections(3);
    let pool = pool.connect_with(database).await.unwrap();
    let address = address.parse().unwrap();
    journal(pool, Machines { address })
        .with(async |journal| {
            ExitStack::scope(async |stack| {
                for _ in 0..3 {
                    stack.enter(rented(journal.clone())).await?;
                }
                Ok(())
            })
            .await
        })
        .await
        .unwrap();
}

/// When the process must be killed, and what the service knows.
#[derive(Default)]
struct World {
    /// The process to kill, and after how many more steps.
    doomed: Option<(Child, u32)>,
    steps: u32,
    rented: BTreeSet<i64>,
    given_back: BTreeSet<i64>,
    /// The number of requests to give back what was given back before.
    repeats: u32,
}

impl World {
    /// Called when a request is about to arrive, or has just arrived.
    fn step(&mut self) {
        self.steps += 1;
        if let Some((process, left)) = &mut self.doomed {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }

    fn is_doom_over(&self) -> bool {
        matches!(self.doomed, Some((_, 0)))
    }

    /// Checks that everything was given back. Returns how often something was given back twice
    /// since the last call.
    fn all_is_given_back(&mut self) -> u32 {
        assert!(self.rented.is_empty(), "{:?}", self.rented);
        std::mem::take(&mut self.repeats)
    }

    /// Returns whether the process was killed, once it has ended.
    fn has_ended(&mut self) -> Option<bool> {
        let (process, left) = self.doomed.as_mut()?;
        let status = process.try_wait().unwrap()?;
        assert!(*left == 0 || status.success(), "{status}");
        Some(*left == 0)
    }

    fn serve(&mut self, request: &str) -> &'static str {
        let (verb, number) = request.trim().split_once(' ').unwrap();
        let number = number.parse().unwrap();
        if verb == "rent" {
            assert!(!self.given_back.contains(&number));
            assert!(self.rented.insert(number));
        } else if !self.given_back.insert(number) {
            self.repeats += 1;
        } else {
            // The request to rent it may never have arrived.
            self.rented.remove(&number);
        }
        "yes\n"
    }
}

type Shared = Arc<Mutex<World>>;

/// Takes a step before the request, and one after it. Returns `None` if the process that sent it is
/// dead by then, and so hears no answer.
fn arrive<R>(world: &Shared, act: impl FnOnce(&mut World) -> R) -> Option<R> {
    let mut world = world.lock().unwrap();
    if world.is_doom_over() {
        return None;
    }
    world.step();
    if world.is_doom_over() {
        return None;
    }
    let answer = act(&mut world);
    world.step();
    (!world.is_doom_over()).then_some(answer)
}

fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn relay(world: Shared) -> SocketAddr {
    let database = database();
    let server = (database.get_host().to_owned(), database.get_port());
    listen(move |mut client| {
        let mut server = TcpStream::connect(&server).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let answering = thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let mut request = [0; 8192];
        while let Ok(length @ 1..) = client.read(&mut request) {
            let sent = arrive(&world, |_| server.write_all(&request[..length]));
            if !matches!(sent, Some(Ok(()))) {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = answering.join();
    })
}

fn service(world: Shared) -> SocketAddr {
    listen(move |mut stream| {
        let mut request = String::new();
        let reader = BufReader::new(stream.try_clone().unwrap()).read_line(&mut request);
        if matches!(reader, Ok(1..))
            && let Some(answer) = arrive(&world, |world| world.serve(&request))
        {
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

struct Test {
    world: Shared,
    orders: String,
    schema: String,
    pool: PgPool,
}

impl Test {
    fn process(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::one_of_the_processes"])
            .env(VARIABLE, &self.orders)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs a process, and kills it after this number of steps. Returns `false` if it ended before.
    async fn killed_after(&self, steps: u32) -> bool {
        {
            let mut world = self.world.lock().unwrap();
            let process = self.process();
            world.doomed = Some((process, steps));
        }
        let was_killed = loop {
            if let Some(was_killed) = self.world.lock().unwrap().has_ended() {
                break was_killed;
            }
            sleep(Duration::from_millis(2)).await;
        };
        // The server must notice that the connections are gone.
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        loop {
            let sessions = sqlx::query_scalar(sessions).bind(&self.schema);
            let sessions: i64 = sessions.fetch_one(&self.pool).await.unwrap();
            if sessions == 0 {
                break;
            }
            sleep(Duration::from_millis(2)).await;
        }
        self.world.lock().unwrap().doomed = None;
        was_killed
    }

    /// Starts two processes at once, which end by themselves.
    async fn two_start(&self) {
        let mut both = [self.process(), self.process()];
        for process in &mut both {
            let status = loop {
                if let Some(status) = process.try_wait().unwrap() {
                    break status;
                }
                sleep(Duration::from_millis(2)).await;
            };
            assert!(status.success(), "{status}");
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn what_a_process_leaves_that_is_killed_at_any_step_is_undone_by_the_next() {
    let kills = std::env::var("KILLS").map_or(24, |kills| kills.parse().unwrap());
    let schema = format!("journal_{:016x}", rand::random::<u64>());
    let options = database().options([("search_path", &schema)]);
    let pool = PgPool::connect_with(options).await.unwrap();
    let create = format!("CREATE SCHEMA {schema}; {TABLES}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&pool)
        .await
        .unwrap();
    let world = Shared::default();
    let (relay, service) = (relay(Arc::clone(&world)), service(Arc::clone(&world)));
    let orders = format!("{} {service} {schema}", relay.port());
    let test = Test {
        world,
        orders,
        schema,
        pool,
    };

    assert!(!test.killed_after(u32::MAX).await);
    let steps = std::mem::take(&mut test.world.lock().unwrap().steps);
    let mut left = [0, 0];
    let mut killed = 0;
    let mut round = 0;
    while killed < kills {
        // All steps in turn or, if there are fewer kills than steps, some steps of each part.
        let step = if kills < steps {
            1 + round * steps / kills
        } else {
            1 + round % steps
        };
        let mut deaths = u32::from(test.killed_after(step.min(steps)).await);
        let is_left = !test.world.lock().unwrap().rented.is_empty();
        left[usize::from(is_left)] += 1;
        if round % 2 == 1 {
            // The process that undoes the deeds is killed, too.
            deaths += u32::from(test.killed_after(1 + round * 7 % steps).await);
        }
        test.two_start().await;
        let repeats = test.world.lock().unwrap().all_is_given_back();
        // Only a process that died can have sent a request without noting it.
        assert!(repeats <= deaths, "{step}: {repeats} were undone twice");
        let rows = "SELECT (SELECT count(*) FROM journal_deeds)
            + (SELECT count(*) FROM journal_processes)";
        let rows: i64 = sqlx::query_scalar(rows)
            .fetch_one(&test.pool)
            .await
            .unwrap();
        assert_eq!(rows, 0, "{step}");
        killed += deaths;
        round += 1;
    }
    println!(
        "{killed} killed, at {steps} steps; {} left something",
        left[1]
    );
    assert!(left[0] > 0 && left[1] > 0, "{left:?}");
    let drop = format!("DROP SCHEMA {} CASCADE", test.schema);
    let drop = sqlx::raw_sql(sqlx::AssertSqlSafe(drop));
    drop.execute(&test.pool).await.unwrap();
}
