//! What a use adds to the future around it: linear in the nesting, and the body once.

use async_context_manager::prelude::*;
use tests::{Fault, pause};

#[async_context]
async fn plain() -> Result<(), Fault> {
    let ((), _) = yield_!(());
    Ok(())
}

/// Nests as many uses as there are words.
macro_rules! nested {
    () => { Ok(pause(1).await) };
    ($_word:ident $($rest:ident)*) => {
        plain().with(async |()| nested!($($rest)*)).await
    };
}

#[test]
fn the_future_of_nested_uses_grows_by_the_same_for_each() {
    let sizes = [
        size_of_val(&async { nested!(a) }),
        size_of_val(&async { nested!(a b) }),
        size_of_val(&async { nested!(a b c) }),
        size_of_val(&async { nested!(a b c d) }),
        size_of_val(&async { nested!(a b c d e) }),
    ];
    let steps: Vec<_> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step == steps[0]), "{sizes:?}");
    assert!(sizes[0] < 1024, "{sizes:?}");
}

#[test]
fn eight_nested_uses_compile_and_run() {
    tests::everywhere(async |_| {
        let result: Result<(), Fault> = async { nested!(a b c d e f g h) }.await;
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn what_a_body_captures_by_value_is_in_the_future_twice() {
    let captured = [1_u8; 4096];
    let future = plain().with(async move |()| {
        pause(1).await;
        Ok(captured)
    });
    let size = size_of_val(&future);
    // The closure, its running future, and the value that it returns.
    assert!(size < 4 * 4096 + 1024, "{size}");
}
