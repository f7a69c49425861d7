//! A crate that offers the macros under its own name.

mod framework {
    pub mod deep {
        pub use async_context_manager::*;
    }
}

use framework::deep::{AsyncContextExt, async_context, contexts, within, yield_};

#[async_context(crate = crate::framework::deep)]
async fn context() -> Result<u32, String> {
    yield_!(1);
    Ok(())
}

#[async_context(suppress, crate = framework::deep)]
async fn suppressing() -> std::io::Result<u32> {
    yield_!(1);
    Ok(framework::deep::Suppression::Suppress)
}

contexts! {
    #[async_context(crate = crate::framework::deep)]
    async fn keyword() -> Result<u32, String> {
        yield 1;
        Ok(())
    }
}

#[within(context() => one, crate = framework::deep)]
#[within(keyword() => two, local, crate = framework::deep)]
async fn user() -> Result<u32, String> {
    Ok(*one + *two)
}

fn main() {
    let _ = user();
    let _ = context().with(async |value| Ok(*value));
    let _ = suppressing().with(async |value| Ok(*value));
}
