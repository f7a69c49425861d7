//! Tests the program `database_pool`, run as a user runs it, and its contexts on servers.

#![forbid(unsafe_code)]

#[path = "../test_fixtures/fixture.rs"]
mod fixture;
mod polls;
#[path = "../database_pool/pool.rs"]
mod pool;
mod relay;
mod servers;

use std::process::{Command, Output};

use async_context_manager::detached;
use async_context_manager::prelude::*;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _};

use fixture::{AnyError, file_database, server_database};
use polls::poll_at_most;
use pool::{Lent, connection, pool};
use relay::relayed;
use servers::url_of;

/// The built program. `cargo test` and `cargo nextest run` build a package's examples before they
/// run its tests; with `--test` alone they do not.
fn program(arguments: &[&str]) -> Output {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("database_pool{}", std::env::consts::EXE_SUFFIX));
    let advice = "run `cargo build --example database_pool` first";
    let output = Command::new(&path).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{}: {error}: {advice}", path.display()))
}

/// It prints what its documentation says.
#[track_caller]
fn keeps_the_right_connections(arguments: &[&str]) {
    let output = program(arguments);
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    assert_eq!(errors, "");
    let source = include_str!("../database_pool/main.rs");
    for line in printed.lines() {
        assert!(source.contains(&format!("\n//! {line}\n")), "{line}");
    }
    assert_eq!(printed.lines().count(), 6, "{printed}");
}

#[test]
fn the_program_keeps_the_right_connections() {
    keeps_the_right_connections(&[]);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn the_program_keeps_the_right_connections_to_postgresql() {
    keeps_the_right_connections(&["--database-url", &url_of("DATABASE_URL")]);
}

#[test]
#[ignore = "needs MariaDB"]
fn the_program_keeps_the_right_connections_to_mariadb() {
    keeps_the_right_connections(&["--database-url", &url_of("MYSQL_URL")]);
}

#[test]
fn help_tells_of_every_option_and_a_wrong_one_is_refused() {
    let help = program(&["--help"]);
    let printed = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success());
    assert!(
        printed.contains("--database-url") && printed.contains("--connections"),
        "{printed}"
    );
    assert_eq!(program(&["--connections", "0"]).status.code(), Some(2));
    assert_eq!(
        program(&["--database-url", "oracle://localhost"])
            .status
            .code(),
        Some(1)
    );
}

/// Asks for three numbers that nobody has asked for before, by statements with values, and gets
/// these numbers.
async fn asks(lent: &mut Lent, first: usize) -> Result<(), sqlx::Error> {
    for number in first..first + 3 {
        let number = i64::try_from(number).expect("it is small");
        // Each question is new, so it must be prepared.
        let question = match lent.connection().backend_name() {
            // PostgreSQL numbers its placeholders, and does not know the type of these.
            "PostgreSQL" => {
                format!("SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT) + 1 -- {number}")
            }
            _ => format!("SELECT ?, ? + 1 -- {number}"),
        };
        let question = sqlx::query_as(AssertSqlSafe(question))
            .bind(number)
            .bind(number);
        let answer: Vec<(i64, i64)> = lent.ask(question).await?;
        assert_eq!(answer, [(number, number + 1)]);
    }
    Ok(())
}

/// Gives up after 0, 1, 2, … polls, and returns how many there were. Each time, the next user must
/// get the answers to its own questions.
async fn nobody_gets_the_answers_of_another(url: &str) -> Result<usize, AnyError> {
    let one = pool(url.into(), 1).err_into::<AnyError>();
    one.with(async |pool| {
        for polls in 0.. {
            // First the whole use of the connection, then only a statement, in a body that goes on.
            let first = 10 * polls;
            let uses = connection(pool.clone()).with(async |lent| asks(lent, first).await);
            let ended = poll_at_most(polls, uses).await;
            detached::drain().await;
            let next = connection(pool.clone()).with(async |lent| {
                asks(lent, first + 3).await?;
                drop(poll_at_most(polls, asks(lent, first)).await);
                Ok(())
            });
            next.await?;
            let next = connection(pool.clone()).with(async |lent| asks(lent, first + 6).await);
            next.await?;
            assert_eq!(pool.size(), 1);
            if let Some(ended) = ended {
                ended?;
                return Ok(polls);
            }
        }
        unreachable!("it comes to its end")
    })
    .await
}

#[tokio::test]
async fn nobody_gets_the_answers_of_another_in_sqlite() -> Result<(), AnyError> {
    let file = file_database();
    file.with(async |url| nobody_gets_the_answers_of_another(url).await)
        .await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn nobody_gets_the_answers_of_another_in_postgresql() -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let url = relayed(&url_of("DATABASE_URL")).await?;
    let polls = nobody_gets_the_answers_of_another(&url).await?;
    assert!(polls > 3, "it has more awaits than {polls}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn nobody_gets_the_answers_of_another_in_mariadb() -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let url = relayed(&url_of("MYSQL_URL")).await?;
    let polls = nobody_gets_the_answers_of_another(&url).await?;
    assert!(polls > 3, "it has more awaits than {polls}");
    Ok(())
}

/// What differs between the two servers.
struct Server {
    url: String,
    own_id: &'static str,
    lock: &'static str,
    /// Waits for what another session has locked by `lock`.
    wait_for_lock: &'static str,
    unlock: &'static str,
    /// Counts the sessions that wait.
    waiting: &'static str,
    kill: fn(i64) -> String,
}

fn postgresql() -> Server {
    Server {
        url: url_of("DATABASE_URL"),
        own_id: "SELECT pg_backend_pid()",
        lock: "SELECT pg_advisory_lock(1)",
        wait_for_lock: "SELECT count(*) FROM (SELECT pg_advisory_lock(1)) one",
        unlock: "SELECT pg_advisory_unlock_all()",
        waiting: "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'",
        kill: |id| format!("SELECT pg_terminate_backend({id}, 10000)"),
    }
}

fn mariadb() -> Server {
    Server {
        url: url_of("MYSQL_URL"),
        own_id: "SELECT connection_id()",
        lock: "CREATE TABLE gate (id BIGINT); LOCK TABLE gate WRITE",
        wait_for_lock: "SELECT count(*) FROM gate",
        unlock: "UNLOCK TABLES",
        waiting: "SELECT count(*) FROM information_schema.processlist
            WHERE db = database() AND state = 'Waiting for table metadata lock'",
        kill: |id| format!("KILL {id}"),
    }
}

async fn number(lent: &mut Lent, question: &'static str) -> Result<i64, sqlx::Error> {
    let answer: Vec<(i64,)> = lent.ask(sqlx::query_as(question)).await?;
    answer
        .first()
        .map(|(number,)| *number)
        .ok_or(sqlx::Error::RowNotFound)
}

async fn id_of_next(pool: &AnyPool, server: &Server) -> Result<i64, sqlx::Error> {
    let next = connection(pool.clone()).with(async |lent| number(lent, server.own_id).await);
    next.await
}

/// A pool with one connection to an empty database, and a connection of the test's own.
async fn on(
    server: &Server,
    body: impl AsyncFnOnce(&AnyPool, &mut AnyConnection) -> Result<(), AnyError>,
) -> Result<(), AnyError> {
    let fresh = server_database(server.url.clone());
    fresh
        .with_local(async |url| {
            let mut own = AnyConnection::connect(url).await?;
            let one = pool(url.clone(), 1).err_into::<AnyError>();
            one.with_local(async |pool| body(pool, &mut own).await)
                .await?;
            own.close().await?;
            Ok(())
        })
        .await
}

/// A connection that is given up while the server works on its statement is not lent again.
async fn is_closed_in_the_middle_of_a_statement(server: Server) -> Result<(), AnyError> {
    on(&server, async |pool, own| {
        let first = id_of_next(pool, &server).await?;
        sqlx::raw_sql(server.lock).execute(&mut *own).await?;
        let waits = connection(pool.clone()).with(async |lent| {
            assert_eq!(
                number(lent, server.own_id).await?,
                first,
                "a healthy one is lent again"
            );
            number(lent, server.wait_for_lock).await
        });
        let is_waiting = async {
            while sqlx::query_scalar::<_, i64>(server.waiting)
                .fetch_one(&mut *own)
                .await?
                == 0
            {
                tokio::task::yield_now().await;
            }
            Ok::<_, sqlx::Error>(())
        };
        tokio::select! {
            ended = waits => panic!("the lock is taken, but it ended with {ended:?}"),
            is_waiting = is_waiting => is_waiting?,
        }
        detached::drain().await;
        let size = pool.size();
        sqlx::raw_sql(server.unlock).execute(own).await?;
        assert_eq!(size, 0);
        assert_ne!(id_of_next(pool, &server).await?, first);
        Ok(())
    })
    .await
}

/// A connection that the server kills fails its current user, and no later one.
async fn is_not_lent_again_when_it_is_dead(server: Server) -> Result<(), AnyError> {
    on(&server, async |pool, own| {
        let mut kill = async |id| {
            let kill = AssertSqlSafe((server.kill)(id));
            sqlx::raw_sql(kill).execute(&mut *own).await
        };
        let mut killed = 0;
        let failed = connection(pool.clone()).with(async |lent| {
            killed = number(lent, server.own_id).await?;
            kill(killed).await?;
            number(lent, server.own_id).await
        });
        assert!(failed.await.is_err());
        let next = id_of_next(pool, &server).await?;
        assert_ne!(next, killed);

        // The connection is in the pool, where nobody uses it.
        kill(next).await?;
        assert_ne!(id_of_next(pool, &server).await?, next);
        assert_eq!(pool.size(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_connection_to_postgresql_is_closed_in_the_middle_of_a_statement() -> Result<(), AnyError>
{
    is_closed_in_the_middle_of_a_statement(postgresql()).await
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_connection_to_mariadb_is_closed_in_the_middle_of_a_statement() -> Result<(), AnyError> {
    is_closed_in_the_middle_of_a_statement(mariadb()).await
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_connection_to_postgresql_is_not_lent_again_when_it_is_dead() -> Result<(), AnyError> {
    is_not_lent_again_when_it_is_dead(postgresql()).await
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_connection_to_mariadb_is_not_lent_again_when_it_is_dead() -> Result<(), AnyError> {
    is_not_lent_again_when_it_is_dead(mariadb()).await
}
