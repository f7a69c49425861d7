#![deny(warnings, clippy::all, clippy::pedantic)]

use async_context_manager::contexts;
use async_context_manager::prelude::*;

contexts! {
    /// With an outcome.
    pub async fn first(text: &str) -> Result<String, std::num::ParseIntError> {
        let (text, outcome) = yield text.to_owned();
        if outcome.is_completed() {
            text.parse::<u32>()?;
        }
        Ok(())
    }

    #[async_context(suppress)]
    async fn second() -> Result<(), String> {
        yield;
        Ok(Suppression::Suppress)
    }

    async fn third(id: Option<u32>) -> Result<u32, String> {
        match id {
            Some(id) => {
                let id = cancellable!(std::future::ready(id)).await;
                yield id
            }
            None => return Err("no id".to_owned()),
        };
        Ok(())
    }

    async fn fourth() -> Result<u32, String> {
        yield_!(4);
        Ok(())
    }
}

struct Db(u32);

impl Db {
    contexts! {
        async fn id(&self) -> Result<&u32, String> {
            yield &self.0;
            Ok(())
        }
    }
}

trait Open {
    contexts! {
        async fn open(&self) -> Result<u32, String>;
    }
}

impl Open for Db {
    contexts! {
        async fn open(&self) -> Result<u32, String> {
            yield self.0;
            Ok(())
        }
    }
}

fn main() {
    let _ = first("1").with_scoped(async |text| Ok(text.len()));
    let _ = second().with(async |()| Ok(()));
    let _ = third(None).with(async |id| Ok(*id));
    let _ = fourth().with(async |id| Ok(*id));
    let _ = Db(1).id().with_scoped(async |id| Ok(**id));
    let _ = Db(1).open().with_scoped(async |id| Ok(*id));
}
