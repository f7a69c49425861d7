//! `cancellable!` in the macros of others, and contexts that come out of macros.

#![deny(warnings)]

use async_context_manager::prelude::*;
use std::time::Duration;

#[async_context]
async fn context() -> Result<(u32, u32), String> {
    let (a, b) = tokio::join!(cancellable!(std::future::ready(1)), async {
        cancellable!(std::future::ready(2)).await
    },);
    let c = tokio::select! {
        c = cancellable!(std::future::ready(3)) => c,
        () = cancellable!(tokio::time::sleep(Duration::from_secs(60))) => {
            return Err(format!("too slow: {}", cancellable!(std::future::ready(1)).await));
        }
    };
    let add = async move |d: u32| cancellable!(std::future::ready(d + 1)).await;
    assert_eq!((add(1).await, add(2).await), (2, 3));
    yield_!((a + b, c));
    Ok(())
}

macro_rules! numbered {
    ($(#[$attribute:meta])* $name:ident, $value:ty, $body:block) => {
        $(#[$attribute])*
        #[async_context]
        async fn $name(id: $value) -> Result<$value, String> {
            let (id, _outcome) = yield_!(id);
            drop(id.to_string());
            $body
        }
    };
}

numbered!(from_macro, u32, {
    let done = ();
    Ok(done)
});
numbered!(from_macro_failing, u8, {
    let error = String::from("as expected");
    Err(error)
});

#[async_context]
async fn around_a_stream() -> Result<Vec<u32>, String> {
    macro_rules! words {
        ($(yield $value:expr;)*) => { vec![$($value),*] };
    }
    let (values, _) = yield_!(words! { yield 1; yield 2; });
    drop(values);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    assert_eq!(context().with(async |value| Ok(*value)).await, Ok((3, 3)));
    assert_eq!(from_macro(3).with(async |id| Ok(*id)).await, Ok(3));
    let failed = from_macro_failing(3).with(async |id| Ok(*id)).await;
    assert_eq!(failed, Err(String::from("as expected")));
    let values = around_a_stream()
        .with(async |values| Ok(values.len()))
        .await;
    assert_eq!(values, Ok(2));
}

#[derive(Debug)]
struct Pair {
    a: u32,
    b: u32,
}

#[async_context]
async fn in_a_struct() -> Result<Pair, String> {
    let pair = dbg!(Pair {
        a: cancellable!(std::future::ready(1)).await,
        b: async_context_manager::cancellable!(std::future::ready(2)).await,
    });
    let more = vec![
        ::async_context_manager::cancellable!(std::future::ready(pair.b)).await,
        std::convert::identity(cancellable!(std::future::ready(pair.a)).await),
    ];
    #[allow(unused_must_use, reason = "an attribute on the yield")]
    yield_!(Pair {
        a: pair.a,
        b: pair.b + more[1]
    });
    Ok(())
}

#[expect(dead_code, reason = "it compiles")]
fn nothing() {
    drop(in_a_struct());
}
