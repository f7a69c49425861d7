#![no_implicit_prelude]
#![deny(warnings)]

use ::async_context_manager::{AsyncContextExt, async_context, cancellable, yield_};

#[async_context]
async fn context(id: u32) -> ::core::result::Result<u32, ::std::string::String> {
    let id = cancellable!(::core::future::ready(id)).await;
    let (id, outcome) = yield_!(id);
    if outcome.is_completed() && id > 0 {
        ::core::result::Result::Ok(())
    } else {
        ::core::result::Result::Err(::std::string::String::new())
    }
}

fn main() {
    let _ = context(1).with(async |id| ::core::result::Result::Ok(*id));
}
