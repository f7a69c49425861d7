//! A server of a test's own, which the test may kill.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_context_leases::PostgresStore;
use async_nats::jetstream::{self, kv, stream};
use sqlx::{Connection as _, PgConnection, PgPool};
use tempfile::TempDir;

use crate::{NAME, TTL, until};

/// How long a server takes at most until it answers.
const START: Duration = Duration::from_secs(60);

const BUCKET: &str = "leases";

/// What keeps the leases of a test, and so which server there has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Postgres,
    Advisory,
    Nats,
}

const KINDS: [Kind; 4] = [Kind::Redis, Kind::Postgres, Kind::Advisory, Kind::Nats];

impl Kind {
    /// The kind that is shown as this.
    pub(crate) fn parse(text: &str) -> Self {
        let kind = KINDS.iter().find(|kind| format!("{kind:?}") == text);
        *kind.unwrap_or_else(|| panic!("no kind is {text}"))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Postgres | Self::Advisory => "postgres",
            Self::Nats => "nats-server",
        }
    }
}

/// Where that program is. Debian has those of PostgreSQL in a folder for each version.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let debian = versions.into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain(debian.map(|version| version.path().join("bin")))
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.exists())
}

pub(crate) struct OwnServer {
    kind: Kind,
    folder: TempDir,
    program: PathBuf,
    port: u16,
    process: Child,
}

impl OwnServer {
    /// A server that answers; nothing, with a message, where the program is not installed. In CI
    /// the program has to be there.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        let Some(program) = find(kind.program()) else {
            let is_ci = std::env::var_os("CI").is_some();
            assert!(!is_ci, "there is no {}", kind.program());
            println!("SKIPPED: there is no {} on this machine", kind.program());
            return None;
        };
        let folder = TempDir::new().unwrap();
        let unused = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = unused.local_addr().unwrap().port();
        drop(unused);
        if matches!(kind, Kind::Postgres | Kind::Advisory) {
            initialize(&program, folder.path());
        }
        let process = launch(kind, &program, folder.path(), port);
        let server = Self {
            kind,
            folder,
            program,
            port,
            process,
        };
        until("the server", START, || server.is_up());
        block_on(server.prepare());
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        let folder = self.folder.path().display();
        match self.kind {
            Kind::Redis => format!("redis+unix://{folder}/redis.sock"),
            Kind::Postgres | Kind::Advisory => {
                format!("postgres://postgres@localhost/postgres?host={folder}")
            }
            Kind::Nats => format!("nats://127.0.0.1:{}", self.port),
        }
    }

    /// Kills the server, with all that it has not written, and starts another one on what is left.
    pub(crate) fn restart(&mut self) {
        stop(self.kind, &mut self.process);
        until("the end of the server", START, || !self.is_up());
        self.process = launch(self.kind, &self.program, self.folder.path(), self.port);
        until("the server", START, || self.is_up());
    }

    fn is_up(&self) -> bool {
        block_on(async {
            match self.kind {
                Kind::Redis => redis::Client::open(self.url())
                    .unwrap()
                    .get_multiplexed_async_connection()
                    .await
                    .is_ok(),
                Kind::Postgres | Kind::Advisory => PgConnection::connect(&self.url()).await.is_ok(),
                Kind::Nats => match async_nats::connect(self.url()).await {
                    Ok(client) => {
                        let ask = client.request("$JS.API.INFO", "".into()).await;
                        ask.is_ok()
                    }
                    Err(_) => false,
                },
            }
        })
    }

    /// What the leases need before there is one.
    async fn prepare(&self) {
        match self.kind {
            Kind::Redis => {}
            Kind::Postgres | Kind::Advisory => {
                let pool = PgPool::connect(&self.url()).await.unwrap();
                let store = PostgresStore::new(pool);
                store.create_tables().await.unwrap();
            }
            Kind::Nats => {
                let client = async_nats::connect(self.url()).await.unwrap();
                let stream = stream::Config {
                    name: format!("KV_{BUCKET}"),
                    subjects: vec![format!("$KV.{BUCKET}.>")],
                    max_messages_per_subject: 1,
                    max_age: TTL,
                    allow_rollup: true,
                    ..stream::Config::default()
                };
                let created = jetstream::new(client).create_stream(stream).await;
                created.unwrap();
            }
        }
    }

    /// What is on the server beside the tokens: keys, rows, locks and sessions.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        block_on(async {
            match self.kind {
                Kind::Redis => {
                    let client = redis::Client::open(self.url()).unwrap();
                    let connection = client.get_multiplexed_async_connection().await;
                    let keys = redis::cmd("KEYS").arg("*").to_owned();
                    let mut connection = connection.unwrap();
                    let mut keys: Vec<String> = keys.query_async(&mut connection).await.unwrap();
                    let token = format!("{{{NAME}}}:token");
                    assert!(keys.contains(&token), "{keys:?}");
                    keys.retain(|key| *key != token);
                    keys
                }
                Kind::Postgres | Kind::Advisory => {
                    let mut connection = PgConnection::connect(&self.url()).await.unwrap();
                    let left = "
                        SELECT 'row ' || name FROM async_context_leases
                            WHERE holder IS NOT NULL AND until > clock_timestamp()
                        UNION ALL SELECT 'lock of ' || pid FROM pg_locks
                            WHERE locktype = 'advisory'
                        UNION ALL SELECT 'session ' || pid FROM pg_stat_activity
                            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                    let left = sqlx::query_scalar(left).fetch_all(&mut connection).await;
                    left.unwrap()
                }
                Kind::Nats => {
                    let mut bucket = bucket(&self.url()).await.unwrap();
                    let state = &bucket.stream.info().await.unwrap().state;
                    let mut left = vec![format!("{} consumers", state.consumer_count)];
                    left.extend((0..state.messages).map(|_| "a key".to_owned()));
                    left.retain(|left| left != "0 consumers");
                    left
                }
            }
        })
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        stop(self.kind, &mut self.process);
    }
}

pub(crate) async fn bucket(url: &str) -> Result<kv::Store, async_nats::Error> {
    let client = async_nats::ConnectOptions::new()
        .request_timeout(Some(TTL))
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(url)
        .await?;
    let jetstream = jetstream::new(client);
    Ok(jetstream.get_key_value(BUCKET).await?)
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    let id = Command::new("id").arg("--user").output().unwrap();
    if id.stdout.trim_ascii() == b"0" {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn initialize(postgres: &Path, folder: &Path) {
    let id = Command::new("id").arg("--user").output().unwrap();
    if id.stdout.trim_ascii() == b"0" {
        let chown = Command::new("chown").arg("postgres").arg(folder).status();
        assert!(chown.unwrap().success());
    }
    let initdb = as_postgres(&postgres.with_file_name("initdb"))
        .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
        .arg(folder.join("data"))
        .current_dir(folder)
        .stdout(Stdio::null())
        .status();
    assert!(initdb.unwrap().success());
}

/// What a server has answered is on its disk, or at least with its system: so the server still
/// knows it when it is started again.
fn launch(kind: Kind, program: &Path, folder: &Path, port: u16) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut command = match kind {
        Kind::Redis => {
            let mut command = Command::new(program);
            command
                .args(["--port", "0", "--unixsocket", &path("redis.sock")])
                .args(["--save", "", "--appendonly", "yes"])
                .args(["--appendfsync", "always"]);
            command
        }
        Kind::Postgres | Kind::Advisory => {
            let mut command = as_postgres(program);
            command.args(["-D", &path("data"), "-k", &path("")]).args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
            ]);
            command
        }
        Kind::Nats => {
            let mut command = Command::new(program);
            command
                .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
                .args(["--jetstream", "--store_dir", &path("jetstream")]);
            command
        }
    };
    command
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// PostgreSQL has a process for each session, which have to end before the next start: at a `QUIT`
/// the server ends them, and itself, without writing anything.
fn stop(kind: Kind, server: &mut Child) {
    match kind {
        Kind::Redis | Kind::Nats => {
            let _ = server.kill();
        }
        Kind::Postgres | Kind::Advisory => {
            let quit = format!("kill -s QUIT {}", server.id());
            let _ = Command::new("sh").args(["-c", &quit]).status();
        }
    }
    let _ = server.wait();
}
