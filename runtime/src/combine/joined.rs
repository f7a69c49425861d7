//! Members that are entered and exited at the same time.

use std::future::poll_fn;
use std::task::Context;

use crate::combine::members::{Members, enter_together, exit_together, poll_beside};
use crate::context::AsyncContext;
use crate::driven::Drivers;
use crate::exchange::Mark;
use crate::lender::Lender;
use crate::outcome::Outcome;

pub(crate) struct Joined<M> {
    pub(crate) name: &'static str,
    pub(crate) members: M,
    /// How many members are entered, or exited, at the same time.
    pub(crate) limit: usize,
    pub(crate) drivers: Drivers,
}

impl<M: Members> AsyncContext for Joined<M> {
    type Value = M::Value;
    type Error = M::Error;
    type Verdict = ();
    const __LENDS: bool = true;

    async fn enter(&mut self) -> Result<M::Value, M::Error> {
        let by_hand = None::<Mark<'_, M::Value>>;
        enter_together(&mut self.members, self.limit, &self.drivers, by_hand).await?;
        Ok(self.members.lend())
    }

    async fn beside(&mut self) -> Result<(), M::Error> {
        let mut ended_by = None;
        poll_fn(|cx| poll_beside(&mut self.members, &self.drivers, &mut ended_by, cx)).await
    }

    async fn exit(mut self, values: M::Value, outcome: &Outcome) -> Result<(), M::Error> {
        self.members.put_back(values);
        let outcome = outcome.share();
        let exits = exit_together(&mut self.members, self.limit, &self.drivers, outcome);
        exits.await.settle()
    }

    fn __name(&self) -> &'static str {
        self.name
    }

    async fn __coroutine(mut self, lender: Lender<M::Value, M::Error>) -> Result<(), M::Error> {
        let mark = Some(lender.mark());
        enter_together(&mut self.members, self.limit, &self.drivers, mark).await?;
        let (values, mut ended_by) = (self.members.lend(), None);
        let beside =
            |cx: &mut Context<'_>| poll_beside(&mut self.members, &self.drivers, &mut ended_by, cx);
        let (values, outcome) = lender.yield_beside_all(values, beside).await;
        self.members.put_back(values);
        let outcome = outcome.share();
        let exits = exit_together(&mut self.members, self.limit, &self.drivers, outcome).await;
        lender.fail_as(exits.kind());
        exits.settle()
    }
}
