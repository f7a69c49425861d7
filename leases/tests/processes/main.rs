#![forbid(unsafe_code)]
//! Leases of eight processes, on servers that these tests start for themselves.
//!
//! The processes add to one counter, in the program of the test, whenever they have the lease. A
//! third of their turns is given up at a random moment. Two processes are killed while they have
//! the lease. Two are stopped for longer than the ttl, and go on. The server is killed and started
//! again. `LEASES=5000` sets how far they count: 200, unless the variable says otherwise.
//!
//! | file | what |
//! | --- | --- |
//! | `place.rs` | the counter, which knows who is at it |
//! | `worker.rs` | one of the processes |
//! | `own_server.rs` | a server of the test's own |

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod own_server;
mod place;
mod worker;

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use own_server::{Kind, OwnServer};
use place::{Orders, Place, Trapped};

/// That of all leases here, and how long before their end the holder gives up.
const TTL: Duration = Duration::from_millis(1500);
const MARGIN: Duration = Duration::from_millis(300);

const PROCESSES: usize = 8;

/// The name of the lease.
const NAME: &str = "counter";

/// One test at a time: the processes of two would stand in each other's way.
static ALONE: Mutex<()> = Mutex::new(());

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(kind: Kind, server: &OwnServer, place: &Place, number: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let process = Command::new(program)
            .args(["--exact", "one_of_the_processes", "--nocapture"])
            .env(
                worker::VARIABLE,
                format!("{kind:?} {} {number} {}", place.address(), server.url()),
            )
            .stdout(Stdio::null())
            .spawn();
        Self(process.unwrap())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(name: &str, process: u32) {
    let kill = format!("kill -s {name} {process}");
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.unwrap().success());
}

/// As Linux tells, after the name in parentheses.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().starts_with(" T")
}

/// Waits for something that has to come.
#[track_caller]
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{what}: that did not come");
        sleep(Duration::from_millis(5));
    }
}

fn contend(kind: Kind) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut server) = OwnServer::start(kind) else {
        return;
    };
    let leases = std::env::var("LEASES").map_or(200, |count| count.parse().unwrap());
    let begun = Instant::now();
    let place = Place::open(leases);
    let mut processes: Vec<_> = (0..PROCESSES)
        .map(|number| Process::start(kind, &server, &place, number))
        .collect();
    // A turn takes some milliseconds; one in a hundred takes longer than the ttl.
    let patience = Duration::from_secs(60) + Duration::from_millis(100) * leases;

    let at = |sixth: u32| {
        until("the counter", patience, || {
            place.value() >= u64::from(leases) * u64::from(sixth) / 6
        });
    };
    for sixth in [1, 2] {
        at(sixth);
        let Trapped { process, free, .. } = place.trap(Orders::GoOn);
        signal("KILL", process);
        free();
    }
    for (sixth, orders) in [(3, Orders::WriteAtOnce), (4, Orders::AwaitFirst)] {
        at(sixth);
        let trapped = place.trap(orders);
        signal("STOP", trapped.process);
        // A signal that was sent has not yet arrived.
        until("a process that is stopped", patience, || {
            is_stopped(trapped.process)
        });
        (trapped.free)();
        // For longer than the ttl, and until somebody else was at the counter.
        sleep(TTL + TTL / 10);
        until("the next holder", patience, || {
            place.highest() > trapped.token
        });
        signal("CONT", trapped.process);
        until("the end of the stopped body", patience, || {
            !place.is_inside(trapped.token)
        });
    }
    at(5);
    server.restart();
    at(6);
    let mut killed = 0;
    for process in &mut processes {
        until("the end of a process", patience, || {
            process.ended().is_some()
        });
        let status = process.ended().unwrap();
        assert!(status.success() || status.code().is_none(), "{status}");
        killed += u32::from(status.code().is_none());
    }
    let took = begun.elapsed();
    let seen = place.close();
    println!("{kind:?}: {seen:?} in {took:.1?}");
    assert_eq!(killed, 2);
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(seen.value, u64::from(leases));
    assert_eq!(seen.writes, seen.value, "nobody has overwritten another's");
    assert!(seen.given_up_waiting > 0 && seen.given_up_inside > 0);
    // Of the two that were stopped, one wrote at once. The other one awaited something, and did not
    // come to write.
    assert_eq!(seen.refused_after_a_stop, 1);
    until("the end of the last lease", TTL * 4, || {
        server.leftovers().is_empty()
    });
}

/// Not a test: the program that the tests below start.
#[test]
fn one_of_the_processes() {
    if let Ok(orders) = std::env::var(worker::VARIABLE) {
        worker::run(&orders);
    }
}

#[test]
#[ignore = "needs redis-server, which it starts"]
fn eight_processes_take_turns_by_leases_on_redis() {
    contend(Kind::Redis);
}

#[test]
#[ignore = "needs PostgreSQL's programs, which it starts"]
fn eight_processes_take_turns_by_leases_on_postgresql() {
    contend(Kind::Postgres);
}

#[test]
#[ignore = "needs PostgreSQL's programs, which it starts"]
fn eight_processes_take_turns_by_advisory_locks_on_postgresql() {
    contend(Kind::Advisory);
}

#[test]
#[ignore = "needs nats-server, which it starts"]
fn eight_processes_take_turns_by_leases_on_nats() {
    contend(Kind::Nats);
}
