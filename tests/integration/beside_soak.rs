//! Random programs of contexts whose beside fails at random: nothing is left open, and no error is
//! lost or told twice.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_context_manager::{detached, join_all, prelude::*};
use tests::{Stage, everywhere, pause, poll_times};

/// An error, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Raised(u32);

type Running<'p> = Pin<Box<dyn Future<Output = Result<(), Raised>> + Send + 'p>>;

/// The dice, and what has happened.
#[derive(Clone)]
struct Story(Arc<Mutex<Facts>>);

struct Facts {
    seed: u64,
    raised: u32,
    swallowed: Vec<Raised>,
    entered: u32,
    exited: u32,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Facts {
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            raised: 0,
            swallowed: Vec::new(),
            entered: 0,
            exited: 0,
        })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        look(&mut self.0.lock().expect("nobody panics here"))
    }

    fn dice(&self, sides: u64) -> u64 {
        self.with(|facts| {
            facts.seed ^= facts.seed << 13;
            facts.seed ^= facts.seed >> 7;
            facts.seed ^= facts.seed << 17;
            (facts.seed >> 11) % sides
        })
    }

    fn turns(&self) -> usize {
        usize::try_from(self.dice(4)).expect("it is small")
    }

    fn raise(&self) -> Raised {
        self.with(|facts| {
            facts.raised += 1;
            Raised(facts.raised)
        })
    }

    fn swallow(&self, result: Result<(), Raised>) {
        if let Err(error) = result {
            self.with(|facts| facts.swallowed.push(error));
        }
    }
}

/// A context whose beside waits, ends well, or fails; and whose exit may fail as well.
#[async_context]
async fn leased(story: Story) -> Result<(), Raised> {
    pause(story.turns()).await;
    story.with(|facts| facts.entered += 1);
    let beside = async {
        pause(story.turns() * 2).await;
        match story.dice(3) {
            0 => Err(story.raise()),
            1 => Ok(()),
            _ => std::future::pending().await,
        }
    };
    let ((), _) = yield_!((), beside);
    pause(story.turns()).await;
    story.with(|facts| facts.exited += 1);
    if story.dice(8) == 0 {
        return Err(story.raise());
    }
    Ok(())
}

/// The same, by hand. Its exit does not fail.
struct LeasedByHand(Story);

impl AsyncContext for LeasedByHand {
    type Value = ();
    type Error = Raised;
    type Verdict = ();

    async fn enter(&mut self) -> Result<(), Raised> {
        pause(self.0.turns()).await;
        self.0.with(|facts| facts.entered += 1);
        Ok(())
    }

    async fn beside(&mut self) -> Result<(), Raised> {
        pause(self.0.turns() * 2).await;
        match self.0.dice(2) {
            0 => Err(self.0.raise()),
            _ => std::future::pending().await,
        }
    }

    async fn exit(self, (): (), _: &Outcome) -> Result<(), Raised> {
        pause(self.0.turns()).await;
        self.0.with(|facts| facts.exited += 1);
        Ok(())
    }
}

/// One of these contexts, in one of several forms.
fn any(story: &Story) -> BoxContext<(), Raised> {
    let story = story.clone();
    match story.dice(5) {
        0 => LeasedByHand(story).boxed(),
        1 => LeasedByHand(story).map_err(|error| error).boxed(),
        2 => leased(story).map_err(|error| error).boxed(),
        _ => leased(story).boxed(),
    }
}

/// Does something with a stack, whose entries may move to other stacks.
async fn stacked(story: &Story, depth: u32, stack: &mut ExitStack<Raised>) -> Result<(), Raised> {
    let mut other = ExitStack::new();
    for _ in 0..story.dice(5) {
        match story.dice(9) {
            0..=2 => drop(stack.enter(any(story)).await?),
            3 => other.extend(stack.take()),
            4 => other.extend(mem::take(stack)),
            5 => mem::swap(stack, &mut other),
            6 => stack.extend(mem::take(&mut other)),
            7 => stack.enter(any(story)).await?.release().await?,
            _ => step(story, depth - 1).await?,
        }
    }
    match story.dice(3) {
        0 => stack.extend(other),
        1 => drop(other),
        _ => other.exit(Ok(())).await?,
    }
    Ok(())
}

/// One step of a program, with others inside of it.
fn step(story: &Story, depth: u32) -> Running<'_> {
    Box::pin(async move {
        pause(story.turns()).await;
        if depth == 0 || story.dice(10) == 0 {
            return if story.dice(4) == 0 {
                Err(story.raise())
            } else {
                Ok(())
            };
        }
        let result = match story.dice(7) {
            0 | 1 => {
                let inside = story.clone();
                let body = async move |()| step(&inside, depth - 1).await;
                any(story)
                    .with(async move |(): &mut ()| body(()).await)
                    .await
            }
            2 => guarded(story, depth).await,
            3 => {
                let all: Vec<_> = (0..story.dice(4)).map(|_| any(story)).collect();
                let inside = story.clone();
                all.with(async move |_| step(&inside, depth - 1).await)
                    .await
            }
            4 => {
                let all: Vec<_> = (0..story.dice(4)).map(|_| any(story)).collect();
                let inside = story.clone();
                join_all(all)
                    .with(async move |_| step(&inside, depth - 1).await)
                    .await
            }
            5 => {
                let inside = story.clone();
                ExitStack::scope(async move |stack: &mut ExitStack<Raised>| {
                    stacked(&inside, depth, stack).await
                })
                .await
            }
            _ => {
                let mut stack = ExitStack::new();
                let result = stacked(story, depth, &mut stack).await;
                stack.exit(result).await
            }
        };
        if story.dice(3) == 0 {
            story.swallow(result);
            return step(story, depth - 1).await;
        }
        result
    })
}

/// A guard that ends in one of five ways.
async fn guarded(story: &Story, depth: u32) -> Result<(), Raised> {
    let mut guard = any(story).guard().await?;
    match story.dice(5) {
        0 => {
            let result = step(story, depth - 1).await;
            drop(guard);
            result
        }
        1 => {
            let inside = story.clone();
            let part = async move |(): &mut ()| step(&inside, depth - 1).await;
            let result = Guard::run(&mut guard, part).await;
            Guard::exit(guard, result).await
        }
        2 => {
            let error = story.raise();
            Err(Guard::fail(guard, error).await)
        }
        3 => {
            story.swallow(step(story, depth - 1).await);
            Guard::close(guard).await
        }
        _ => {
            let result = step(story, depth - 1).await;
            Guard::exit(guard, result).await
        }
    }
}

/// Runs the program, drops it after so many polls, and checks the laws.
async fn play(stage: &Stage, seed: u64) {
    let story = Story::new(seed);
    let polls = if story.dice(2) == 0 {
        usize::MAX
    } else {
        usize::try_from(story.dice(60)).expect("it is small")
    };
    let ended = poll_times(step(&story, 4), polls).await;
    detached::drain().await;
    let mut told: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
    for (kind, about) in stage.reports() {
        let number = about
            .strip_prefix("Raised(")
            .and_then(|it| it.strip_suffix(')'));
        let number = number.and_then(|it| it.parse().ok());
        let number = number.unwrap_or_else(|| panic!("seed {seed}: {kind:?} {about}"));
        told.push(Raised(number));
    }
    story.with(|facts| {
        told.append(&mut facts.swallowed);
        told.sort_unstable();
        assert_eq!(
            facts.entered, facts.exited,
            "seed {seed}: what was opened is closed"
        );
        let all: Vec<_> = (1..=facts.raised).map(Raised).collect();
        assert_eq!(told, all, "seed {seed}: each error is told once");
    });
}

#[test]
fn whatever_fails_beside_a_body_nothing_is_left_open_and_each_error_is_told_once() {
    let seeds = std::env::var("SOAK")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    everywhere(async |stage| {
        for seed in 0..seeds.unwrap_or(500) {
            play(stage, seed).await;
        }
    });
}
