//! The table body × exit, every cell of it, for each form of a context.

use std::fmt::Debug;
use std::future::pending;

use async_context_manager::{Verdict, detached, prelude::*};
use futures::FutureExt;
use tests::{
    ByHand, End, Fault, Ledger, Script, Stage, everywhere, generated, generated_suppressing, pause,
    poll_times,
};

const EXITS: [(&str, End); 4] = [
    ("Ok(())", End::Ok),
    ("Suppress", End::Suppress),
    ("Err(e)", End::Fail("e")),
    ("panics with q", End::Panic("q")),
];

/// What comes out, and what is reported on the way. `r` is the body's value.
const TABLE: [(Body, [&str; 4]); 4] = [
    (Body::Ends(End::Ok), ["Ok(r)", "Ok(r)", "Err(e)", "panic q"]),
    (
        Body::Ends(End::Fail("b")),
        [
            "Err(b)",
            "Ok(None)",
            "Err(b), ExitFailed e",
            "panic q, BodyFailed b",
        ],
    ),
    (
        Body::Ends(End::Panic("p")),
        [
            "panic p",
            "panic p",
            "panic p, ExitFailed e",
            "panic p, Panicked q",
        ],
    ),
    (
        Body::Dropped,
        [
            "dropped",
            "dropped",
            "dropped, ExitFailed e",
            "dropped, Panicked q",
        ],
    ),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    Ends(End),
    Dropped,
}

impl Body {
    async fn run(self) -> Result<u8, Fault> {
        pause(1).await;
        match self {
            Self::Ends(end) => end.come().map(|_| 1),
            Self::Dropped => pending().await,
        }
    }

    /// What exit is told.
    fn outcome(self) -> &'static str {
        match self {
            Self::Ends(End::Fail(_)) => "failed(Fault(\"b\"))",
            Self::Ends(End::Panic(_)) => "panicked(p)",
            Self::Ends(_) => "completed",
            Self::Dropped => "cancelled",
        }
    }
}

/// Runs `with`, `try_with` or a guard to its end, or drops it in the body.
async fn outcome_of<T: Debug>(future: impl Future<Output = Result<T, Fault>>) -> String {
    let future = std::panic::AssertUnwindSafe(future).catch_unwind();
    match poll_times(future, 20).await {
        None => "dropped".to_owned(),
        Some(Ok(Ok(value))) => format!("Ok({value:?})"),
        Some(Ok(Err(Fault(error)))) => format!("Err({error})"),
        Some(Err(payload)) => match payload.downcast_ref::<&str>() {
            Some(message) => format!("panic {message}"),
            None => "panic of another payload".to_owned(),
        },
    }
}

async fn with<C>(context: C, body: Body) -> String
where
    C: AsyncContext<Value = &'static str, Error = Fault> + 'static,
    <C::Verdict as Verdict>::Output<u8>: Debug,
{
    outcome_of(context.with(async |_| body.run().await)).await
}

async fn try_with<C>(context: C, body: Body) -> String
where
    C: AsyncContext<Value = &'static str, Error = Fault> + 'static,
    <C::Verdict as Verdict>::Output<u8>: Debug,
{
    outcome_of(async {
        let result = context.try_with(async |_| body.run().await).await;
        // The second error is returned here, not reported: show it as the table does.
        result.map_err(|failure| match failure {
            Failure::BodyAndExit { body, exit } => {
                assert_eq!((body, exit), (Fault("b"), Fault("e")));
                Fault("b), ExitFailed e (returned")
            }
            other => other.into_primary(),
        })
    })
    .await
}

async fn guard<C>(context: C, body: Body) -> String
where
    C: AsyncContext<Value = &'static str, Error = Fault> + 'static,
    <C::Verdict as Verdict>::Output<u8>: Debug,
{
    outcome_of(async {
        let guard = context.guard().await?;
        let result = body.run().await;
        Guard::exit(guard, result).await
    })
    .await
}

/// Whether the exit can see a panic of the body. A guard can't.
#[derive(Clone, Copy, PartialEq)]
enum Sees {
    All,
    NoPanic,
}

async fn check_table(
    stage: &Stage,
    suppressing: bool,
    sees: Sees,
    run: impl AsyncFn(Script, Body) -> String,
) {
    for (body, row) in TABLE {
        for ((exit_name, exit), expected) in EXITS.into_iter().zip(row) {
            if exit == End::Suppress && !suppressing {
                continue;
            }
            stage.context(format!("{body:?} × {exit_name}"));
            let ledger = Ledger::default();
            let mut came_out = run(Script::new("c", &ledger).exit(exit), body).await;
            detached::drain().await;
            for (kind, about) in stage.reports() {
                let about = about.replace("Fault(\"", "").replace("\")", "");
                came_out = format!("{came_out}, {kind:?} {about}");
            }

            let value = if suppressing { "Ok(Some(1))" } else { "Ok(1)" };
            let expected = expected.replace("Ok(r)", value);
            let came_out = came_out.replace(" (returned)", "");
            assert_eq!(came_out, expected, "{body:?} × {exit_name}");

            let told = match (body, sees) {
                (Body::Ends(End::Panic(_)), Sees::NoPanic) => "cancelled",
                _ => body.outcome(),
            };
            assert!(ledger.has(&format!("exit c: {told}")), "{}", ledger.text());
            ledger.check_nesting();
        }
    }
}

#[test]
fn every_cell_of_body_and_exit_for_a_generator() {
    everywhere(async |stage| {
        check_table(stage, false, Sees::All, async |script, body| {
            with(generated(script), body).await
        })
        .await;
        check_table(stage, true, Sees::All, async |script, body| {
            with(generated_suppressing(script), body).await
        })
        .await;
    });
}

#[test]
fn every_cell_of_body_and_exit_for_a_hand_written_context() {
    everywhere(async |stage| {
        check_table(stage, false, Sees::All, async |script, body| {
            with(ByHand::<()>::new(script), body).await
        })
        .await;
        check_table(stage, true, Sees::All, async |script, body| {
            with(ByHand::<Suppression>::new(script), body).await
        })
        .await;
    });
}

#[test]
fn every_cell_of_body_and_exit_for_a_boxed_context() {
    everywhere(async |stage| {
        check_table(stage, false, Sees::All, async |script, body| {
            with(generated(script).boxed(), body).await
        })
        .await;
        check_table(stage, true, Sees::All, async |script, body| {
            with(ByHand::<Suppression>::new(script).boxed(), body).await
        })
        .await;
    });
}

#[test]
fn every_cell_of_body_and_exit_for_a_guard() {
    everywhere(async |stage| {
        check_table(stage, false, Sees::NoPanic, async |script, body| {
            guard(generated(script), body).await
        })
        .await;
        check_table(stage, true, Sees::NoPanic, async |script, body| {
            guard(ByHand::<Suppression>::new(script), body).await
        })
        .await;
    });
}

#[test]
fn every_cell_of_body_and_exit_for_try_with() {
    everywhere(async |stage| {
        check_table(stage, false, Sees::All, async |script, body| {
            try_with(generated(script), body).await
        })
        .await;
        check_table(stage, true, Sees::All, async |script, body| {
            try_with(ByHand::<Suppression>::new(script), body).await
        })
        .await;
    });
}

#[test]
fn every_cell_of_body_and_exit_for_a_context_that_borrows() {
    everywhere(async |stage| {
        for (body, row) in TABLE {
            for ((_, exit), expected) in EXITS.into_iter().zip(row) {
                let ledger = Ledger::default();
                let script = Script::new("c", &ledger).exit(exit);
                let context = ByHand::<Suppression>::new(script);
                let future = context.with_scoped(async |_| body.run().await);
                let mut seen = outcome_of(future).await;
                for (kind, about) in stage.reports() {
                    let about = about.replace("Fault(\"", "").replace("\")", "");
                    seen += format!(", {kind:?} {about}").trim_end();
                }
                if body == Body::Dropped {
                    assert_eq!(seen, "dropped, NotRun");
                    assert_eq!(ledger.text(), "enter c, entered c");
                } else {
                    assert_eq!(seen, expected.replace("Ok(r)", "Ok(Some(1))"));
                    ledger.check_nesting();
                }
            }
        }
    });
}
