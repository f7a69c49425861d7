//! Members that are entered and exited at the same time.

use std::task::Context;

use crate::combine::members::{Members, enter_together, exit_together, poll_beside};
use crate::driven::Drivers;
use crate::lender::Lender;

pub(crate) struct Joined<M> {
    pub(crate) members: M,
    /// How many members are entered, or exited, at the same time.
    pub(crate) limit: usize,
}

pub(crate) async fn run<M: Members>(
    joined: Joined<M>,
    lender: Lender<M::Value, M::Error>,
) -> Result<(), M::Error> {
    let drivers = Drivers::polled();
    let Joined { mut members, limit } = joined;
    enter_together(&mut members, limit, &drivers, lender.mark()).await?;
    let values = members.lend();
    let beside = |cx: &mut Context<'_>| {
        if !lender.exchange().has_a_body() {
            for member in members.each() {
                member.end_around(cx);
            }
        }
        poll_beside(&mut members, &drivers, drop, cx)
    };
    let (values, outcome) = lender.yield_beside_all(values, beside).await;
    members.put_back(values);
    let exits = exit_together(&mut members, limit, &drivers, outcome.share()).await;
    lender.fail_as(exits.kind());
    exits.settle()
}
