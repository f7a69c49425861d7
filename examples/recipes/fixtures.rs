//! Contexts as fixtures: of rstest, where a fixture is a context that the test uses, and of
//! test-context, where the struct holds a guard.

use std::io;

use async_context_manager::prelude::*;
use rstest::{fixture, rstest};
use tempfile::TempDir;
use test_context::{AsyncTestContext, test_context};
use tokio::fs;

#[async_context(struct = Directory)]
async fn directory(prefix: &'static str) -> io::Result<TempDir> {
    let directory = TempDir::with_prefix(prefix)?;
    let (directory, _outcome) = yield_!(directory);
    directory.close()
}

#[fixture]
fn scratch() -> Directory {
    directory("rstest-")
}

#[rstest]
#[case("a", 1)]
#[case("hello", 5)]
#[tokio::test]
async fn a_fixture_of_rstest(
    scratch: Directory,
    #[case] text: &str,
    #[case] length: usize,
) -> io::Result<()> {
    scratch
        .with(async |directory| {
            let path = directory.path().join("text");
            fs::write(&path, text).await?;
            assert_eq!(fs::read(&path).await?.len(), length);
            Ok(())
        })
        .await
}

struct Scratch(Guard<Directory>);

impl AsyncTestContext for Scratch {
    async fn setup() -> Self {
        let guard = directory("test-context-").guard().await;
        Self(guard.expect("there is a place for temporary files"))
    }

    async fn teardown(self) {
        Guard::close(self.0)
            .await
            .expect("the directory can be removed");
    }
}

#[test_context(Scratch)]
#[tokio::test]
async fn a_fixture_of_test_context(scratch: &mut Scratch) {
    let path = scratch.0.path().join("text");
    fs::write(&path, "hello").await.unwrap();
    assert_eq!(fs::read(&path).await.unwrap().len(), 5);
}
