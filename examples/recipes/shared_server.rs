//! A server process that many users share: started by the first user, stopped by the last one.
//!
//! Use it for a container or a server that is costly to start, and that tests or jobs use at the
//! same time. Users that arrive while it starts wait. If it does not start, all of these users get
//! the error, and the next user tries again. A user that fails or goes away does not disturb the
//! others, and the last user gets the error of the stop. For a server that all tests of a program
//! use, see `shared_fixture.rs`.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_context_manager::{Shared, prelude::*, shared};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// A server that has said nothing by then is taken for one that has not started.
const START: Duration = Duration::from_secs(30);

async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<()> {
    while let Some(line) = lines.next_line().await? {
        // "Ready to …", or "The server is now ready to …"
        if line.contains("eady to accept connections") {
            return Ok(());
        }
    }
    Err(io::Error::other("redis-server has ended"))
}

/// A Redis on a socket file, which is its value. A server in a container is started likewise, by
/// `docker run`.
#[async_context]
async fn server() -> io::Result<PathBuf> {
    let directory = TempDir::new()?;
    let mut process = Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""])
        .current_dir(&directory)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = process.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    // A caller that leaves here drops the process, which kills it.
    cancellable!(timeout(START, ready(&mut lines))).await??;
    // Beside the body, because a process hangs when nobody reads what it prints.
    let read = async move {
        while lines.next_line().await?.is_some() {}
        Ok(())
    };
    let (_socket, _outcome) = yield_!(directory.path().join("redis.sock"), read);
    process.kill().await?; // waits for its end as well
    directory.close()
}

fn shared_server() -> Shared<PathBuf, io::Error> {
    shared(server)
}

#[tokio::test]
#[ignore = "needs redis-server, which it starts"]
async fn the_users_of_a_time_have_one_server_and_the_last_one_stops_it() -> io::Result<()> {
    use futures::future::try_join_all;

    let server = shared_server();
    let add = async || {
        let adding = server.clone().with(async |socket| {
            let url = format!("redis+unix://{}", socket.display());
            let client = redis::Client::open(url).map_err(io::Error::other)?;
            let redis = client.get_multiplexed_async_connection().await;
            let mut redis = redis.map_err(io::Error::other)?;
            let mut add = redis::cmd("INCR");
            let sum = add.arg("sum").query_async::<u32>(&mut redis).await;
            Ok((sum.map_err(io::Error::other)?, socket.to_path_buf()))
        });
        adding.await.map_err(io::Error::other)
    };
    // While this user has the server, the others share it.
    let first = server.clone().guard().await.map_err(io::Error::other)?;
    let mut users = try_join_all((0..5).map(|_| add())).await?;
    users.sort();
    let (sums, sockets): (Vec<_>, Vec<_>) = users.into_iter().unzip();
    assert_eq!(sums, [1, 2, 3, 4, 5]);
    assert!(sockets[0].exists());
    Guard::close(first).await.map_err(io::Error::other)?;
    assert!(!sockets[0].exists());

    // The next user has a new server.
    assert_eq!(add().await?.0, 1);
    Ok(())
}
