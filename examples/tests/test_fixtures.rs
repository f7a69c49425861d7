//! Tests with the fixtures of `test_fixtures`, tests that fail, panic or are given up while they
//! use the fixtures, and a test of the program itself.

#![forbid(unsafe_code)]

#[path = "../test_fixtures/fixture.rs"]
mod fixture;
mod servers;
#[path = "../test_fixtures/shop.rs"]
mod shop;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use async_context_manager::detached;
use async_context_manager::prelude::*;
use futures::FutureExt as _;
use sqlx::{AnyConnection, Connection as _};

use fixture::{AnyError, file_database, server_database};
use servers::url_of;
use shop::{buy, shop};

#[within(shop() => shop)]
#[tokio::test]
async fn an_item_is_sold_once() -> Result<(), AnyError> {
    assert!(buy(shop, "lamp").await?);
    assert!(!buy(shop, "lamp").await?);
    Ok(())
}

/// This test has a shop of its own: the lamp exists, whatever other tests have bought.
#[within(shop() => shop)]
#[tokio::test]
async fn only_what_is_there_is_sold() -> Result<(), AnyError> {
    assert!(!buy(shop, "chair").await?);
    assert!(buy(shop, "lamp").await?);
    Ok(())
}

#[tokio::test]
async fn shops_do_not_share_their_lamps() -> Result<(), AnyError> {
    async_with!(one = shop(), other = shop() => {
        assert!(buy(one, "lamp").await? && buy(other, "lamp").await?);
        Ok(())
    })
}

/// Uses the fixture in a test that passes, a test that fails, a test that panics, and a test that
/// is given up. Returns the four URLs that the fixture lent.
async fn used_in_every_way<C>(fixture: impl Fn() -> C) -> Result<Vec<String>, AnyError>
where
    C: AsyncContext<Value = String, Error = AnyError, Verdict = ()> + 'static,
{
    let urls = Mutex::new(Vec::new());
    let uses = async |url: &String| {
        urls.lock()
            .expect("nobody panics with it")
            .push(url.clone());
        let mut connection = AnyConnection::connect(url).await?;
        let write = "CREATE TABLE notes (id BIGINT); INSERT INTO notes VALUES (1)";
        sqlx::raw_sql(write).execute(&mut connection).await?;
        // Stays open until the test has ended.
        Ok::<_, AnyError>(connection)
    };

    let passes = fixture().with(async |url| Ok(uses(url).await?.close().await?));
    passes.await?;

    let fails = fixture().with(async |url| {
        let _connection = uses(url).await?;
        Err::<(), AnyError>("as it has to".into())
    });
    assert_eq!(
        fails.await.err().map(|error| error.to_string()).as_deref(),
        Some("as it has to")
    );

    let panics = fixture().with(async |url| -> Result<(), AnyError> {
        let _connection = uses(url).await?;
        std::panic::panic_any("as it has to")
    });
    assert!(
        std::panic::AssertUnwindSafe(panics)
            .catch_unwind()
            .await
            .is_err()
    );

    let (sender, in_the_middle) = tokio::sync::oneshot::channel::<()>();
    let is_given_up = fixture().with(async |url| -> Result<(), AnyError> {
        let _connection = uses(url).await?;
        drop(sender);
        std::future::pending().await
    });
    tokio::select! {
        ended = is_given_up => panic!("it can't end, but did with {ended:?}"),
        _ = in_the_middle => {}
    }
    detached::drain().await;
    Ok(urls.into_inner()?)
}

#[tokio::test]
async fn a_database_in_a_file_is_dropped_however_its_test_ends() -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let urls = used_in_every_way(file_database).await?;
    assert_eq!(urls.len(), 4);
    for url in urls {
        let file = url
            .strip_prefix("sqlite://")
            .and_then(|url| url.strip_suffix("?mode=rwc"));
        let directory = file.map(Path::new).and_then(Path::parent);
        assert!(
            directory.is_some_and(|directory| !directory.exists()),
            "{url}"
        );
    }
    Ok(())
}

async fn is_dropped_on_server(variable: &str) -> Result<(), AnyError> {
    sqlx::any::install_default_drivers();
    let server = url_of(variable);
    let urls = used_in_every_way(|| server_database(server.clone())).await?;
    assert_eq!(urls.len(), 4);
    let mut connection = AnyConnection::connect(&server).await?;
    let question = match connection.backend_name() {
        "PostgreSQL" => "SELECT count(*) FROM pg_database WHERE datname = $1",
        _ => "SELECT count(*) FROM information_schema.schemata WHERE schema_name = ?",
    };
    for url in urls {
        let name = url.rsplit('/').next().unwrap_or_default();
        let left: i64 = sqlx::query_scalar(question)
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        assert_eq!(left, 0, "{url}");
    }
    Ok(connection.close().await?)
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_database_on_postgresql_is_dropped_however_its_test_ends() -> Result<(), AnyError> {
    is_dropped_on_server("DATABASE_URL").await
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_database_on_mariadb_is_dropped_however_its_test_ends() -> Result<(), AnyError> {
    is_dropped_on_server("MYSQL_URL").await
}

#[test]
fn the_program_prints_what_its_documentation_says() -> Result<(), AnyError> {
    let mut path = std::env::current_exe()?;
    path.pop();
    path.set_file_name("examples");
    path.push(format!("test_fixtures{}", std::env::consts::EXE_SUFFIX));
    let advice = "run `cargo build --example test_fixtures` first";
    assert!(path.exists(), "no {}: {advice}", path.display());

    let output = Command::new(&path).output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{printed}");
    let source = include_str!("../test_fixtures/main.rs");
    for line in printed.lines() {
        assert!(source.contains(&format!("\n//! {line}\n")), "{line}");
    }
    assert_eq!(printed.lines().count(), 3, "{printed}");

    let help = Command::new(&path).arg("--help").output()?;
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout)?.contains("what is left"));
    Ok(())
}
