//! Programs with many contexts at a time, each of a different shape.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_context_manager::{BoxContext, detached, prelude::*};
use benches::work::{Running, poll_and_drop};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

/// A program for any number of contexts.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    /// Returns the program. Its set-up is done before, and is neither timed nor counted.
    pub(crate) make: fn(usize) -> Running,
    /// `true` if the program uses its memory at random. Then its growth is compared with that of
    /// tokio's tasks that are woken at random.
    pub(crate) is_random: bool,
    /// `true` if a context is known to get dearer the more contexts there are. `--check` lets such
    /// a program pass.
    pub(crate) is_known_to_grow: bool,
    /// The size in bytes of the stack of the thread that polls the program.
    pub(crate) stack: usize,
}

/// An exit that drops others by recursion needs a larger stack, so that it ends the process.
pub(crate) const SMALL_STACK: usize = 256 << 10;

/// Nested futures are polled, and dropped, one inside the other. Their own code takes half a
/// kilobyte of stack for each level. In the column of two workers, the exits that they leave behind
/// run on a small stack.
const LARGE_STACK: usize = 1 << 30;

/// The cost of tokio alone, in order and at random.
pub(crate) const TOKIO_ALONE: [Row; 2] = [
    row("spawned", "tokio alone: a spawned task each", |n| {
        spawned(n)
    }),
    at_random("woken", "tokio alone: tasks, woken at random", |n| {
        woken(shuffled(n))
    }),
];

pub(crate) const ALL: &[Row] = &[
    TOKIO_ALONE[0],
    TOKIO_ALONE[1],
    row("opening", "guards, dropped in the order of opening", |n| {
        side_by_side((0..n).collect())
    }),
    row("reverse", "guards, dropped in reverse", |n| {
        side_by_side((0..n).rev().collect())
    }),
    at_random("random", "guards, dropped at random", |n| {
        side_by_side(shuffled(n))
    }),
    row("blocks", "guards, the younger half dropped first", |n| {
        side_by_side((n / 2..n).chain(0..n / 2).collect())
    }),
    row("closed", "guards closed in an exit, others run", |n| {
        closed_beside_those_of_the_task(n)
    }),
    row(
        "closed-beside",
        "guards closed in an exit, its own run",
        |n| closed_beside_those_of_the_exit(n),
    ),
    row("left", "given up by one exit, inside of a context", |n| {
        left(n)
    }),
    row("aborted", "guards in tasks that are aborted", |n| {
        aborted(n)
    }),
    row("leases", "leases, released first to last", |n| {
        leases((0..n).collect())
    }),
    row("leases-reverse", "leases, released last to first", |n| {
        leases((0..n).rev().collect())
    }),
    at_random("leases-random", "leases, released at random", |n| {
        leases(shuffled(n))
    }),
    row("stack", "entries of a stack that is dropped", |n| stack(n)),
    deep("levels", "levels, dropped", |n| levels(n)),
    deep("levels-exit", "levels, dropped in an exit", |n| {
        levels_in_an_exit(n)
    }),
    deep("levels-beside", "levels, and then an older guard", |n| {
        levels_beside_an_older_guard(n)
    }),
    row("pages", "each entered inside of the one before", |n| {
        pages(n)
    }),
    at_random("pool", "guards inside of one, dropped at random", |n| {
        inside_of_one(shuffled(n))
    }),
    // A guard that was put inside another one by `inside` looks at each younger guard that its task
    // has given up, to find those that are inside the same one.
    Row {
        is_known_to_grow: true,
        ..at_random("pairs", "pairs of guards, dropped at random", |n| {
            pairs(shuffled(n / 2 * 2))
        })
    },
    row("chain", "each left by the exit of the one before", |n| {
        chain(n)
    }),
    row("chain-held", "the same, and all exits last", |n| {
        chain_that_lasts(n)
    }),
];

const fn row(key: &'static str, name: &'static str, make: fn(usize) -> Running) -> Row {
    Row {
        key,
        name,
        make,
        is_random: false,
        is_known_to_grow: false,
        stack: SMALL_STACK,
    }
}

const fn at_random(key: &'static str, name: &'static str, make: fn(usize) -> Running) -> Row {
    Row {
        is_random: true,
        is_known_to_grow: false,
        ..row(key, name, make)
    }
}

const fn deep(key: &'static str, name: &'static str, make: fn(usize) -> Running) -> Row {
    Row {
        key,
        name,
        make,
        is_random: false,
        is_known_to_grow: false,
        stack: LARGE_STACK,
    }
}

/// Returns the indices in a random order, which is always the same.
fn shuffled(n: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..n).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(1));
    order
}

#[async_context]
async fn part() -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    yield_now().await;
    Ok(())
}

/// A context whose exit goes on until the gate is closed, which wakes all that wait there.
#[async_context]
async fn lasting(gate: Arc<Semaphore>) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    drop(gate.acquire().await);
    Ok(())
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// Returns the program of tokio alone: a task and its memory, for each context.
fn spawned(n: usize) -> Running {
    Box::pin(async move {
        let mut tasks = Vec::with_capacity(n);
        for _ in 0..n {
            tasks.push(tokio::spawn(async {
                yield_now().await;
                yield_now().await;
            }));
        }
        for task in tasks {
            drop(task.await);
        }
    })
}

/// Returns such a program in which the memory of each task is far from that of the task before.
fn woken(order: Vec<usize>) -> Running {
    Box::pin(async move {
        let mut tasks = Vec::with_capacity(order.len());
        for _ in &order {
            let bell = Arc::new(Notify::new());
            let rung = Arc::clone(&bell);
            let task = tokio::spawn(async move {
                rung.notified().await;
                yield_now().await;
            });
            tasks.push(Some((bell, task)));
        }
        yield_now().await;
        let mut woken = Vec::with_capacity(order.len());
        for index in order {
            if let Some((bell, task)) = tasks[index].take() {
                bell.notify_one();
                woken.push(task);
            }
        }
        for task in woken {
            drop(task.await);
        }
    })
}

fn side_by_side(order: Vec<usize>) -> Running {
    Box::pin(async move {
        let mut guards = Vec::with_capacity(order.len());
        for _ in &order {
            let Ok(guard) = part().guard().await;
            guards.push(Some(guard));
        }
        for index in order {
            drop(guards[index].take());
        }
        detached::drain().await;
    })
}

#[async_context]
async fn closing<C: AsyncContext<Error = Infallible> + 'static>(
    guards: Vec<Guard<C>>,
) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    for guard in guards.into_iter().rev() {
        Guard::close(guard).await?;
    }
    Ok(())
}

fn closed_beside_those_of_the_task(n: usize) -> Running {
    Box::pin(async move {
        let gate = gate();
        let mut guards = Vec::with_capacity(n);
        let mut others = Vec::with_capacity(n);
        for _ in 0..n {
            let Ok(other) = lasting(Arc::clone(&gate)).guard().await;
            others.push(other);
        }
        for _ in 0..n {
            let Ok(guard) = part().guard().await;
            guards.push(guard);
        }
        drop(others);
        let Ok(owner) = closing(guards).guard().await;
        let Ok(()) = Guard::close(owner).await;
        gate.close();
        detached::drain().await;
    })
}

#[async_context]
async fn closing_beside_its_own(n: usize, gate: Arc<Semaphore>) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    let mut others = Vec::with_capacity(n);
    for _ in 0..n {
        others.push(lasting(Arc::clone(&gate)).guard().await?);
    }
    drop(others);
    let mut guards = Vec::with_capacity(n);
    for _ in 0..n {
        guards.push(part().guard().await?);
    }
    for guard in guards.into_iter().rev() {
        Guard::close(guard).await?;
    }
    Ok(())
}

fn closed_beside_those_of_the_exit(n: usize) -> Running {
    Box::pin(async move {
        let gate = gate();
        let Ok(owner) = closing_beside_its_own(n, Arc::clone(&gate)).guard().await;
        let Ok(()) = Guard::close(owner).await;
        gate.close();
        detached::drain().await;
    })
}

#[async_context]
async fn leaving(n: usize) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    let mut guards = Vec::with_capacity(n);
    for _ in 0..n {
        guards.push(part().guard().await?);
    }
    Ok(())
}

fn left(n: usize) -> Running {
    Box::pin(async move {
        let Ok(()) = part()
            .with(async |()| leaving(n).with(async |()| Ok(())).await)
            .await;
        detached::drain().await;
    })
}

fn aborted(n: usize) -> Running {
    Box::pin(async move {
        let opened = gate();
        let mut tasks = Vec::with_capacity(n);
        for _ in 0..n {
            let opened = Arc::clone(&opened);
            tasks.push(tokio::spawn(async move {
                let Ok(_guard) = part().guard().await;
                opened.add_permits(1);
                pending::<()>().await;
            }));
        }
        let all = u32::try_from(n).unwrap_or(u32::MAX);
        drop(opened.acquire_many(all).await);
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            drop(task.await);
        }
        detached::drain().await;
    })
}

fn leases(order: Vec<usize>) -> Running {
    Box::pin(async move {
        let stack = ExitStack::<Infallible>::new();
        let mut leases = Vec::with_capacity(order.len());
        for _ in &order {
            let Ok(lease) = stack.enter(part()).await;
            leases.push(Some(lease));
        }
        for index in order {
            if let Some(lease) = leases[index].take() {
                let Ok(()) = lease.release().await;
            }
        }
        drop(leases);
        let Ok(()) = stack.exit(Ok(())).await;
    })
}

fn stack(n: usize) -> Running {
    Box::pin(async move {
        let stack = ExitStack::<Infallible>::new();
        for _ in 0..n {
            let Ok(_lease) = stack.enter(part()).await;
        }
        drop(stack);
        detached::drain().await;
    })
}

type Level = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

fn level(left: usize) -> Level {
    Box::pin(part().with(async move |()| match left {
        0 => pending().await,
        _ => level(left - 1).await,
    }))
}

fn levels(n: usize) -> Running {
    Box::pin(async move {
        poll_and_drop(level(n));
        detached::drain().await;
    })
}

#[async_context]
async fn giving_levels_up(n: usize) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    poll_and_drop(level(n));
    Ok(())
}

fn levels_in_an_exit(n: usize) -> Running {
    Box::pin(async move {
        let Ok(()) = giving_levels_up(n).with(async |()| Ok(())).await;
        detached::drain().await;
    })
}

fn levels_beside_an_older_guard(n: usize) -> Running {
    Box::pin(async move {
        let Ok(guard) = part().guard().await;
        poll_and_drop(level(n));
        drop(guard);
        detached::drain().await;
    })
}

#[async_context]
async fn session() -> Result<(), Infallible> {
    yield_now().await;
    let ((), _) = yield_!(());
    yield_now().await;
    Ok(())
}

type Next = Pin<Box<dyn Future<Output = Result<Page, Infallible>> + Send>>;

struct Page {
    next: Option<Next>,
}

fn page(left: usize) -> Next {
    Box::pin(session().with(async move |()| {
        if left == 0 {
            return Ok(Page { next: None });
        }
        let mut next = page(left - 1);
        let polled = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "its enter waits");
        Ok(Page { next: Some(next) })
    }))
}

fn pages(n: usize) -> Running {
    Box::pin(async move {
        let mut next = Some(page(n));
        while let Some(page) = next {
            let Ok(page) = page.await;
            next = page.next;
        }
        detached::drain().await;
    })
}

fn inside_of_one(order: Vec<usize>) -> Running {
    Box::pin(async move {
        let Ok(pool) = part().guard().await;
        let mut guards = Vec::with_capacity(order.len());
        for _ in &order {
            let Ok(guard) = part().inside(&pool).guard().await;
            guards.push(Some(guard));
        }
        drop(pool);
        for index in order {
            drop(guards[index].take());
        }
        detached::drain().await;
    })
}

/// Drops connections and their transactions. A connection has an even index, and its transaction
/// has the next.
fn pairs(order: Vec<usize>) -> Running {
    Box::pin(async move {
        let n = order.len() / 2;
        let mut connections = Vec::with_capacity(n);
        let mut transactions = Vec::with_capacity(n);
        for _ in 0..n {
            let Ok(connection) = part().guard().await;
            let Ok(transaction) = part().inside(&connection).guard().await;
            connections.push(Some(connection));
            transactions.push(Some(transaction));
        }
        for index in order {
            match index % 2 {
                0 => drop(connections[index / 2].take()),
                _ => drop(transactions[index / 2].take()),
            }
        }
        detached::drain().await;
    })
}

type Link = BoxContext<(), Infallible>;

#[async_context]
async fn link(left: usize) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    yield_now().await;
    if left > 0 {
        drop(next_link(left - 1).guard().await?);
    }
    Ok(())
}

/// Returns the next link, boxed so that its type is `Send` by declaration.
fn next_link(left: usize) -> Link {
    link(left).boxed()
}

fn chain(n: usize) -> Running {
    Box::pin(async move {
        let Ok(first) = next_link(n).guard().await;
        drop(first);
        detached::drain().await;
    })
}

#[async_context]
async fn lasting_link(left: usize, gate: Arc<Semaphore>) -> Result<(), Infallible> {
    let ((), _) = yield_!(());
    if left == 0 {
        gate.close();
        return Ok(());
    }
    drop(
        next_lasting_link(left - 1, Arc::clone(&gate))
            .guard()
            .await?,
    );
    drop(gate.acquire().await);
    Ok(())
}

fn next_lasting_link(left: usize, gate: Arc<Semaphore>) -> Link {
    lasting_link(left, gate).boxed()
}

fn chain_that_lasts(n: usize) -> Running {
    Box::pin(async move {
        let Ok(first) = next_lasting_link(n, gate()).guard().await;
        drop(first);
        detached::drain().await;
    })
}
