//! The expansion of `#[async_context]`: the user's body, inside one call.
//!
//! `written` is the input. `expanded` is the output as the macro writes it, formatted, without the
//! import that it marks as used. Both compile, and this program shows that both do the same.
//!
//! ```text
//! $ cargo run --example transaction-expanded
//! written:  begin, transfer, commit; begin, transfer, rollback
//! expanded: begin, transfer, commit; begin, transfer, rollback
//! ```

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;

use async_context_manager::prelude::*;

/// A log that takes the place of a connection.
#[derive(Debug, Clone, Copy)]
struct Log;

thread_local! {
    static LINES: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Why a transfer fails.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

#[expect(clippy::unused_async, reason = "they stand for statements to a server")]
impl Log {
    async fn run(self, statement: &'static str) -> Result<(), Refused> {
        LINES.with_borrow_mut(|lines| lines.push(statement));
        Ok(())
    }
}

// Input:
mod written {
    use super::{Log, Refused, async_context, yield_};

    #[async_context]
    pub(crate) async fn transaction(log: Log) -> Result<Log, Refused> {
        log.run("begin").await?;
        let (log, outcome) = yield_!(log);
        if outcome.is_completed() {
            log.run("commit").await
        } else {
            log.run("rollback").await
        }
    }
}

// Output:
mod expanded {
    use super::{Log, Refused};

    pub(crate) fn transaction(
        log: Log,
    ) -> impl ::async_context_manager::AsyncContext<Value = Log, Error = Refused, Verdict = ()>
    {
        ::async_context_manager::generator::generator::<Log, Refused, _, _>(
            ::core::concat!(::core::module_path!(), "::", "transaction"),
            async move |lender| -> ::core::result::Result<(), Refused> {
                #[allow(clippy::shadow_same, reason = "moves the argument inside")]
                let log = log;
                let __context_yielded: ();
                let __context_exit: ::core::result::Result<(), Refused> = {
                    log.run("begin").await?;
                    let (log, outcome) = {
                        __context_yielded = ();
                        let end = lender.yield_(log);
                        end.await
                    };
                    if outcome.is_completed() {
                        log.run("commit").await
                    } else {
                        log.run("rollback").await
                    }
                };
                ::async_context_manager::generator::has_yielded(__context_yielded);
                __context_exit
            },
        )
    }
}

async fn lines_of<C>(transaction: impl Fn(Log) -> C) -> String
where
    C: AsyncContext<Value = Log, Error = Refused, Verdict = ()> + 'static,
{
    let mut uses = Vec::new();
    for is_refused in [false, true] {
        let result = transaction(Log)
            .with(async |log| {
                log.run("transfer").await?;
                if is_refused { Err(Refused) } else { Ok(()) }
            })
            .await;
        assert_eq!(result.is_err(), is_refused);
        uses.push(LINES.take().join(", "));
    }
    uses.join("; ")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let written = lines_of(written::transaction).await;
    let expanded = lines_of(expanded::transaction).await;
    println!("written:  {written}");
    println!("expanded: {expanded}");
    assert_eq!(written, expanded);
}
