//! What is in a stack.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use crate::context::Verdict;
use crate::coroutine::Code;
use crate::exchange::End;
use crate::outcome::{BodyError, Outcome};
use crate::panic::Payload;
use crate::report::Kind;
use crate::scope::Live;

use super::AcceptedBy;

/// An entered context, without the types that the stack does not know.
pub(super) trait Entry<E, D>: Send {
    fn name(&self) -> &'static str;

    /// How the body was ended from beside this one, if it was.
    fn take_end(&mut self) -> Option<EntryEnd>;

    /// The body has ended, with the call. `None` if the value has not come back.
    fn exit(self: Box<Self>, outcome: Outcome) -> Option<Exit<D, E>>;
}

/// What an exit says, or the payload of its panic; and as what its error is reported.
pub(super) type Exit<D, E> =
    Pin<Box<dyn Future<Output = (Result<Result<D, E>, Payload>, Kind)> + Send>>;

/// How a body was ended from beside an entry. The conversion of the error is the user's code.
pub(super) struct EntryEnd {
    end: End<BodyError>,
    convert: fn(BodyError) -> BodyError,
}

impl EntryEnd {
    /// With the error of the stack.
    pub(super) fn convert(self) -> End<BodyError> {
        match self.end {
            End::Failed(error) => {
                let convert = || (self.convert)(error);
                catch_unwind(AssertUnwindSafe(convert)).map_or_else(End::Panicked, End::Failed)
            }
            End::Panicked(payload) => End::Panicked(payload),
        }
    }
}

/// By their numbers, which count up.
pub(super) type Numbered<E, D> = BTreeMap<u64, Box<dyn Entry<E, D>>>;

pub(super) fn next_number<E, D>(entries: &Numbered<E, D>) -> u64 {
    entries.last_key_value().map_or(0, |(number, _)| number + 1)
}

impl<V, C, CE, E, D> Entry<E, D> for Live<V, Code<C, CE>>
where
    V: Send + 'static,
    C: AcceptedBy<D>,
    CE: Into<E> + fmt::Debug + Send + Sync + 'static,
    E: fmt::Debug + Send + Sync + 'static,
    D: Verdict,
{
    fn name(&self) -> &'static str {
        Live::name(self)
    }

    fn take_end(&mut self) -> Option<EntryEnd> {
        Some(EntryEnd {
            end: Live::take_end(self)?,
            convert: |error| BodyError::new(Arc::new(error.into_error::<CE>().into())),
        })
    }

    fn exit(mut self: Box<Self>, outcome: Outcome) -> Option<Exit<D, E>> {
        if !self.has_value() {
            return None;
        }
        self.end_body(outcome);
        Some(Box::pin(async move {
            let ended = Live::exit(&mut self).await;
            // The conversion is the user's: a panic of it is one of this exit.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                Ok(ended?.map(AcceptedBy::accepted).map_err(Into::into))
            }));
            (ended.unwrap_or_else(Err), self.failing().kind)
        }))
    }
}
