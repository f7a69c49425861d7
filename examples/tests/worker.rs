//! Tests the program `worker`, run as a user runs it: stopped and started all the time, and with a
//! NATS that is stopped and started.
//!
//! `JOBS=10000 STARTS=1000 RESTARTS=50` makes the tests longer.

#![cfg(unix)]
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "its docs do not show all that it prints")]
mod example;
mod nats_server;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::process::{Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::stream::{Config, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use futures::future::try_join_all;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use nats_server::{Relay, Server};

type AnyError = Box<dyn Error + Send + Sync>;
type Tested = Result<(), AnyError>;

/// Far longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_mins(2);

fn number(variable: &str, default: u64) -> Result<u64, AnyError> {
    match std::env::var(variable) {
        Ok(number) => Ok(number.parse()?),
        Err(_) => Ok(default),
    }
}

/// The URL of the existing NATS.
fn nats_url() -> String {
    let url = std::env::var("NATS_URL");
    url.unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned())
}

fn signal(name: &str, process: u32) -> Tested {
    let kill = Program::new("kill")
        .args(["-s", name, &process.to_string()])
        .status()?;
    assert!(kill.success());
    Ok(())
}

/// A queue, and the output of all its workers, in one file and in the order of printing.
struct Scene {
    directory: TempDir,
    nats_url: String,
    queue: String,
    jobs: u64,
    options: Vec<String>,
    workers: AtomicU64,
}

impl Scene {
    fn new(nats_url: &str, jobs: u64, options: &[&str]) -> Result<Self, AnyError> {
        Ok(Self {
            directory: TempDir::new()?,
            nats_url: nats_url.to_owned(),
            queue: format!("test-{:016x}", rand::random::<u64>()),
            jobs,
            options: options.iter().copied().map(str::to_owned).collect(),
            workers: AtomicU64::new(0),
        })
    }

    async fn jetstream(&self) -> Result<Context, AnyError> {
        Ok(jetstream::new(async_nats::connect(&self.nats_url).await?))
    }

    /// Adds jobs of all lengths. Some of them fail at first, and some take longer than NATS waits.
    async fn add_jobs(&self) -> Result<Stream, AnyError> {
        let jetstream = self.jetstream().await?;
        let config = Config {
            name: self.queue.clone(),
            retention: RetentionPolicy::WorkQueue,
            ..Config::default()
        };
        let stream = jetstream.create_stream(config).await?;
        let mut random = SmallRng::seed_from_u64(1);
        for number in 1..=self.jobs {
            let time = match number {
                1 => 8000,
                _ if number % 50 == 0 => 3500,
                _ => random.random_range(10..300),
            };
            let failures = u64::from(random.random_ratio(1, 20));
            let text = format!("{number} {time} {failures}");
            let added = jetstream.publish(self.queue.clone(), text.into()).await?;
            added.await?;
        }
        Ok(stream)
    }

    fn file(&self, name: &str) -> io::Result<File> {
        let path = self.directory.path().join(name);
        File::options().append(true).create(true).open(path)
    }

    fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.directory.path().join(name))
    }

    fn start(&self, grace: Duration) -> Result<Worker<'_>, AnyError> {
        self.start_at(&self.nats_url, grace)
    }

    fn start_at(&self, nats_url: &str, grace: Duration) -> Result<Worker<'_>, AnyError> {
        let name = format!("w{}", self.workers.fetch_add(1, Ordering::Relaxed));
        let mut program = Command::from(example::program("worker"));
        let process = program
            .args(["--nats-url", nats_url, "--queue", &self.queue])
            .args(["--name", &name, "--grace", &grace.as_millis().to_string()])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(self.file("log")?)
            .stderr(self.file("errors")?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Worker {
            scene: self,
            process,
            name,
        })
    }

    async fn all_done(&self) -> Tested {
        let jetstream = self.jetstream().await?;
        let begun = Instant::now();
        loop {
            let mut stream = jetstream.get_stream(&self.queue).await?;
            let left = stream.info().await?.state.messages;
            if left == 0 {
                jetstream.delete_stream(&self.queue).await?;
                return Ok(());
            }
            assert!(begun.elapsed() < PATIENCE, "{left} jobs are left");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Worker<'a> {
    scene: &'a Scene,
    process: Child,
    name: String,
}

impl Worker<'_> {
    fn signal(&self, name: &str) -> Tested {
        signal(name, self.process.id().ok_or("it was not waited for")?)
    }

    /// Waits for the worker to end, and returns its exit code.
    async fn ended(mut self) -> Result<Option<i32>, AnyError> {
        let status = timeout(PATIENCE, self.process.wait()).await??;
        // From now on, nobody has the jobs of this worker.
        // In one piece: another process may write between two pieces.
        let line = format!("{}: gone\n", self.name);
        self.scene.file("log")?.write_all(line.as_bytes())?;
        Ok(status.code())
    }
}

/// What the workers have done, according to their output.
#[derive(Debug, Default)]
struct Done {
    begun: u64,
    failed: u64,
    given_back: u64,
    lost: u64,
    /// The number of jobs that ended with their worker.
    gone: u64,
    completed: BTreeMap<u64, u64>,
}

impl Done {
    /// Checks that no job was ever with two workers at the same time.
    fn by(log: &str) -> Result<Self, AnyError> {
        let mut done = Self::default();
        let mut running = HashMap::new();
        for line in log.lines() {
            let (worker, what) = line.split_once(": ").ok_or(line)?;
            if what == "gone" {
                let before = running.len();
                running.retain(|_, of| *of != worker);
                done.gone += u64::try_from(before - running.len())?;
                continue;
            }
            let (job, what) = what
                .strip_prefix("job ")
                .and_then(|what| what.split_once(' '))
                .ok_or(line)?;
            let job: u64 = job.parse()?;
            if what == "begins" {
                let other = running.insert(job, worker);
                assert_eq!(other, None, "job {job} is also with {worker}:\n{}", {
                    let word = format!("job {job} ");
                    let is_of_it = |line: &&str| line.contains(&word) || line.ends_with("gone");
                    log.lines().filter(is_of_it).collect::<Vec<_>>().join("\n")
                });
                done.begun += 1;
                continue;
            }
            assert_eq!(running.remove(&job), Some(worker), "{line}");
            match what.strip_prefix("ends: ").ok_or(line)? {
                "Completed" => *done.completed.entry(job).or_default() += 1,
                "Cancelled" => done.given_back += 1,
                "Failed(Failed)" => done.failed += 1,
                "Failed(Lost)" => done.lost += 1,
                _ => return Err(line.into()),
            }
        }
        assert!(running.is_empty(), "{running:?}");
        Ok(done)
    }

    /// Checks that no job was lost.
    fn of(scene: &Scene) -> Result<Self, AnyError> {
        let done = Self::by(&scene.read("log")?)?;
        let jobs: Vec<_> = done.completed.keys().copied().collect();
        assert_eq!(jobs, (1..=scene.jobs).collect::<Vec<_>>());
        Ok(done)
    }

    fn repeated(&self) -> u64 {
        self.completed.values().map(|times| times - 1).sum()
    }
}

#[derive(Debug, Default)]
struct Ends {
    in_order: AtomicU64,
    dropped: AtomicU64,
    at_once: AtomicU64,
}

/// Starts workers, three at a time, and stops each of them soon; some of them by two signals.
async fn storm(scene: &Arc<Scene>, starts: u64, twice: bool) -> Result<Ends, AnyError> {
    let ends = Arc::new(Ends::default());
    let mut slots = JoinSet::new();
    for slot in 0..3 {
        let (scene, ends) = (Arc::clone(scene), Arc::clone(&ends));
        slots.spawn(async move {
            let mut random = SmallRng::seed_from_u64(slot);
            for _ in 0..starts / 3 {
                let grace = random.random_range(0..600);
                let worker = scene.start(Duration::from_millis(grace))?;
                // At any moment of its life.
                sleep(Duration::from_millis(random.random_range(0..600))).await;
                worker.signal(if random.random() { "TERM" } else { "INT" })?;
                if twice && random.random_ratio(1, 2) {
                    sleep(Duration::from_millis(random.random_range(0..100))).await;
                    worker.signal("TERM")?;
                }
                let count = match worker.ended().await? {
                    Some(0) => &ends.in_order,
                    Some(124) => &ends.dropped,
                    // By the second signal, or by the first one before the worker listened.
                    Some(143) | None => &ends.at_once,
                    other => return Err(format!("it ended with {other:?}").into()),
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, AnyError>(())
        });
    }
    while let Some(ended) = slots.join_next().await {
        ended??;
    }
    Arc::try_unwrap(ends).map_err(|_| "a slot is left".into())
}

/// Starts workers that nobody stops, to do what is left.
async fn finish(scene: &Scene) -> Tested {
    let workers = [
        scene.start(PATIENCE)?,
        scene.start(PATIENCE)?,
        scene.start(PATIENCE)?,
    ];
    scene.all_done().await?;
    for worker in workers {
        worker.signal("TERM")?;
        assert_eq!(worker.ended().await?, Some(0));
    }
    Ok(())
}

/// Here NATS would give a job to another worker only after an hour: so each job that was not done
/// was given back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS"]
async fn workers_that_are_told_to_end_all_the_time_give_back_what_they_have_not_done() -> Tested {
    let options = ["--ack-wait", "3600000", "--retry-after", "50"];
    let jobs = number("JOBS", 1200)?;
    let scene = Arc::new(Scene::new(&nats_url(), jobs, &options)?);
    scene.add_jobs().await?;
    let begun = Instant::now();
    let ends = storm(&scene, number("STARTS", 45)?, false).await?;
    finish(&scene).await?;

    let done = Done::of(&scene)?;
    println!(
        "{jobs} jobs, begun {} times: {} failed, {} given back, {} completed twice; \
         workers: {} ended in order, {} dropped jobs, {} before they listened; {:?}",
        done.begun,
        done.failed,
        done.given_back,
        done.repeated(),
        ends.in_order.into_inner(),
        ends.dropped.into_inner(),
        ends.at_once.into_inner(),
        begun.elapsed(),
    );
    assert_eq!((done.lost, done.gone, done.repeated()), (0, 0, 0));
    assert!(done.given_back > 50 && done.failed > 0);
    let errors = scene.read("errors")?;
    assert!(!errors.contains("NATS"), "{errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS"]
async fn workers_that_are_ended_at_once_lose_no_job_and_none_is_done_twice_at_a_time() -> Tested {
    let options = ["--ack-wait", "3000", "--retry-after", "50"];
    let jobs = number("JOBS", 1200)?;
    let scene = Arc::new(Scene::new(&nats_url(), jobs, &options)?);
    scene.add_jobs().await?;
    let begun = Instant::now();
    let ends = storm(&scene, number("STARTS", 45)?, true).await?;
    finish(&scene).await?;

    let done = Done::of(&scene)?;
    let at_once = ends.at_once.into_inner();
    println!(
        "{jobs} jobs, begun {} times: {} failed, {} given back, {} gone with their worker, \
         {} lost by it, {} completed twice; \
         workers: {} ended in order, {} dropped jobs, {at_once} ended at once; {:?}",
        done.begun,
        done.failed,
        done.given_back,
        done.gone,
        done.lost,
        done.repeated(),
        ends.in_order.into_inner(),
        ends.dropped.into_inner(),
        begun.elapsed(),
    );
    assert!(done.gone > 0 && at_once > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS"]
async fn workers_go_on_when_their_nats_was_restarted() -> Tested {
    let mut nats = Server::start()?;
    let jobs = number("JOBS", 1200)?;
    let options = ["--ack-wait", "3000", "--retry-after", "50"];
    let scene = Scene::new(&nats.url(), jobs, &options)?;
    scene.add_jobs().await?;
    let workers = [scene.start(PATIENCE)?, scene.start(PATIENCE)?];
    let begun = Instant::now();
    let restarts = number("RESTARTS", 4)?;
    for restart in 1..=restarts {
        sleep(Duration::from_millis(700)).await;
        nats.stop()?;
        // Now and then for longer than NATS leaves a job with its worker.
        let down = if restart % 2 == 0 { 2500 } else { 100 };
        sleep(Duration::from_millis(down)).await;
        nats.start_again()?;
    }
    scene.all_done().await?;
    for worker in workers {
        worker.signal("TERM")?;
        assert_eq!(worker.ended().await?, Some(0));
    }

    let done = Done::of(&scene)?;
    println!(
        "{jobs} jobs, begun {} times: {} failed, {} lost by their worker, {} completed twice; \
         {restarts} restarts; {:?}",
        done.begun,
        done.failed,
        done.lost,
        done.repeated(),
        begun.elapsed(),
    );
    assert_eq!((done.given_back, done.gone), (0, 0));
    // The first job, at the latest in the second restart.
    assert!(done.lost > 0);
    Ok(())
}

/// A worker that hears nothing from a NATS that was restarted.
async fn cut_off() -> Tested {
    let mut nats = Server::start()?;
    let relay = Relay::before(&nats).await?;
    let options = ["--ack-wait", "2000", "--retry-after", "50"];
    let scene = Scene::new(&nats.url(), 1, &options)?;
    scene.add_jobs().await?;

    let cut_off = scene.start_at(&relay.url(), PATIENCE)?;
    while !scene.read("log")?.contains("begins") {
        sleep(Duration::from_millis(10)).await;
    }
    // Late in a second: NATS will only remember the beginning of that second.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let part = Duration::from_nanos(now.subsec_nanos().into());
    sleep(Duration::from_millis(1950).saturating_sub(part)).await;
    relay.be_silent();
    nats.stop()?;
    nats.start_again()?;
    let other = scene.start(PATIENCE)?;
    scene.all_done().await?;

    for worker in [&cut_off, &other] {
        worker.signal("TERM")?;
    }
    assert_eq!(other.ended().await?, Some(0));
    // The worker could not tell NATS that it ended.
    cut_off.ended().await?;
    let done = Done::of(&scene)?;
    assert_eq!((done.begun, done.lost, done.repeated()), (2, 1, 0));
    Ok(())
}

/// After a restart, NATS looks for such jobs at a moment of its own choice. So there are several
/// jobs, to detect a worker that keeps its job for too long.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs NATS"]
async fn a_worker_that_nats_does_not_answer_lets_its_job_go_before_another_worker_has_it() -> Tested
{
    try_join_all((0..4).map(|_| cut_off())).await?;
    Ok(())
}

#[test]
fn help_tells_of_every_option() {
    let options = ["--nats-url", "--queue", "--name", "--add", "--time"];
    let times = ["--grace", "--ack-wait", "--retry-after"];
    example::has_help("worker", &[&options[..], &times[..]].concat());
}
