//! A child process that does not outlive its body.
//!
//! Use it for a program that works for one block of code: a converter, a worker, a server of a
//! test. If the body completes, the end of its input tells the process to end, and a bad exit
//! status is the error of the use. If the body fails, panics or is given up, the process is killed.
//! A process that ignores the end of its input is killed when its time is over.

use std::io;
use std::time::Duration;

use async_context_manager::prelude::*;
use tokio::process::{Child, Command};
use tokio::time::timeout;

#[async_context]
async fn child(mut command: Command, grace: Duration) -> io::Result<Child> {
    // `kill_on_drop` is for an exit that cannot run, or that a time limit cuts off.
    let child = command.kill_on_drop(true).spawn()?;
    let (mut child, outcome) = yield_!(child);
    drop(child.stdin.take());
    if outcome.is_completed() {
        if let Ok(status) = timeout(grace, child.wait()).await {
            let status = status?;
            if status.success() {
                return Ok(());
            }
            return Err(io::Error::other(format!("the process failed: {status}")));
        }
    } else if child.id().is_none() {
        return Ok(()); // the body has seen the end of the process
    }
    child.kill().await?; // waits for the end as well, so that no zombie is left
    if outcome.is_completed() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::process::Stdio;

    use async_context_manager::detached;
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const GRACE: Duration = Duration::from_mins(1);

    fn program(name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(name);
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    #[tokio::test]
    async fn a_process_ends_with_its_input_and_its_status_counts() -> io::Result<()> {
        let echo = child(program("cat", &[]), GRACE).with(async |child| {
            let stdin = child.stdin.as_mut().expect("it is piped");
            stdin.write_all(b"hello").await?;
            Ok(child.stdout.take().expect("it is piped"))
        });
        let mut text = String::new();
        echo.await?.read_to_string(&mut text).await?;
        assert_eq!(text, "hello");

        let failing = child(program("sh", &["-c", "exit 3"]), GRACE).with(async |_| Ok(()));
        assert!(failing.await.unwrap_err().to_string().contains('3'));
        let deaf = child(program("sleep", &["60"]), Duration::ZERO).with(async |_| Ok(()));
        assert_eq!(deaf.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Ok(())
    }

    #[tokio::test]
    async fn a_process_whose_body_is_given_up_is_killed() -> io::Result<()> {
        let mut stdout = None;
        let work = child(program("sleep", &["60"]), GRACE).with(async |child| {
            stdout = child.stdout.take();
            pending::<io::Result<()>>().await
        });
        assert!(work.now_or_never().is_none());
        detached::drain().await;
        // The output of a process ends when no process is left that could write to it.
        let mut stdout = stdout.expect("the body ran");
        assert_eq!(stdout.read_to_end(&mut Vec::new()).await?, 0);
        Ok(())
    }
}
