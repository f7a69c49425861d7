//! Members that are entered and exited at the same time.

use crate::combine::members::{Members, enter_together, exit_together};
use crate::context::AsyncContext;
use crate::exchange::Mark;
use crate::lender::Lender;
use crate::outcome::Outcome;

/// What [`join`](crate::join) and [`join_all`](crate::join_all) give.
pub(crate) struct Joined<M> {
    pub(crate) name: &'static str,
    pub(crate) members: M,
    /// How many are entered, or exited, at the same time.
    pub(crate) limit: usize,
}

impl<M: Members> AsyncContext for Joined<M> {
    type Value = M::Value;
    type Error = M::Error;
    type Verdict = ();

    async fn enter(&mut self) -> Result<M::Value, M::Error> {
        let by_hand = None::<Mark<M::Value>>;
        enter_together(&mut self.members, self.limit, by_hand).await?;
        Ok(self.members.lend())
    }

    async fn exit(mut self, values: M::Value, outcome: &Outcome) -> Result<(), M::Error> {
        self.members.put_back(values);
        let exits = exit_together(&mut self.members, self.limit, outcome.share());
        exits.await.settle()
    }

    fn __name(&self) -> &'static str {
        self.name
    }

    async fn __coroutine(mut self, lender: Lender<M::Value>) -> Result<(), M::Error> {
        let mark = Some(lender.mark());
        enter_together(&mut self.members, self.limit, mark).await?;
        let (values, outcome) = lender.yield_(self.members.lend()).await;
        self.members.put_back(values);
        let exits = exit_together(&mut self.members, self.limit, outcome.share()).await;
        lender.fail_as(exits.kind());
        exits.settle()
    }
}
