//! Arguments and locals drop when, and in the order in which, those of an `async fn` do.

use std::sync::Mutex;

use async_context_manager::prelude::*;

static LOG: Mutex<Vec<&str>> = Mutex::new(Vec::new());

struct Noisy(&'static str);

impl Drop for Noisy {
    fn drop(&mut self) {
        LOG.lock().unwrap().push(self.0);
    }
}

#[async_context]
async fn context(
    _first: Noisy,
    _: Noisy,
    (a, _): (Noisy, Noisy),
    used: Noisy,
) -> Result<(), String> {
    let _local = Noisy("local");
    let _inner = (&a.0, used.0);
    let _last = Noisy("last local");
    yield_!();
    LOG.lock().unwrap().push("exit");
    Ok(())
}

async fn function(
    _first: Noisy,
    _: Noisy,
    (a, _): (Noisy, Noisy),
    used: Noisy,
) -> Result<(), String> {
    let _local = Noisy("local");
    let _inner = (&a.0, used.0);
    let _last = Noisy("last local");
    LOG.lock().unwrap().push("body");
    LOG.lock().unwrap().push("exit");
    Ok(())
}

struct Owner(#[expect(dead_code, reason = "is only dropped")] Noisy);

impl Owner {
    #[async_context]
    async fn unused_self(self, _argument: Noisy) -> Result<(), String> {
        yield_!();
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let pair = || (Noisy("third"), Noisy("fourth"));
    let plain = function(Noisy("first"), Noisy("second"), pair(), Noisy("fifth"));
    plain.await?;
    let expected = std::mem::take(&mut *LOG.lock().unwrap());
    let entered = context(Noisy("first"), Noisy("second"), pair(), Noisy("fifth"));
    entered
        .with(async |()| {
            LOG.lock().unwrap().push("body");
            Ok(())
        })
        .await?;
    assert_eq!(std::mem::take(&mut *LOG.lock().unwrap()), expected);

    let unused = Owner(Noisy("self")).unused_self(Noisy("argument"));
    unused
        .with(async |()| {
            assert!(LOG.lock().unwrap().is_empty());
            Ok(())
        })
        .await?;
    assert_eq!(*LOG.lock().unwrap(), ["argument", "self"]);
    Ok(())
}
