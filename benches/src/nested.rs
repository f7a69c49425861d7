//! The work inside the work: contexts in contexts, and many contexts in one stack. A use is one
//! level.

use std::convert::Infallible;
use std::pin::Pin;

use async_context_manager::prelude::*;

use crate::ways::counter;
use crate::work::{Running, Way, close, open, repeat, work};

/// Nesting without contexts, because each level of recursion costs a box anyway.
pub const BOXES: [Way; 3] = [
    Way {
        name: "Box::pin, nested 1 deep",
        key: "boxed-1",
        work: |uses| levels::<1>(uses, boxed),
    },
    Way {
        name: "Box::pin, nested 10 deep",
        key: "boxed-10",
        work: |uses| levels::<10>(uses, boxed),
    },
    Way {
        name: "Box::pin, nested 100 deep",
        key: "boxed-100",
        work: |uses| levels::<100>(uses, boxed),
    },
];

/// Nesting with a context on each level.
pub const GENERATORS: [Way; 3] = [
    Way {
        name: "generator, nested 1 deep",
        key: "generator-1",
        work: |uses| levels::<1>(uses, generator),
    },
    Way {
        name: "generator, nested 10 deep",
        key: "generator-10",
        work: |uses| levels::<10>(uses, generator),
    },
    Way {
        name: "generator, nested 100 deep",
        key: "generator-100",
        work: |uses| levels::<100>(uses, generator),
    },
];

/// Many contexts in a stack.
pub const STACKS: [Way; 2] = [
    Way {
        name: "stack entry, 10 in a stack",
        key: "stack-10",
        work: |uses| levels::<10>(uses, stack),
    },
    Way {
        name: "stack entry, 100 in a stack",
        key: "stack-100",
        work: |uses| levels::<100>(uses, stack),
    },
];

type Nested = Pin<Box<dyn Future<Output = u64> + Send>>;

fn levels<const DEPTH: u32>(uses: u32, nest: fn(u32) -> Nested) -> Running {
    repeat(uses.div_ceil(DEPTH), move |_| nest(DEPTH))
}

fn boxed(depth: u32) -> Nested {
    Box::pin(async move {
        let mut value = open(u64::from(depth));
        let mut result = work(&mut value);
        if depth > 1 {
            result += boxed(depth - 1).await;
        }
        close(value);
        result
    })
}

fn generator(depth: u32) -> Nested {
    Box::pin(async move {
        let Ok(result) = counter(u64::from(depth))
            .with(async |value| {
                let mut result = work(value);
                if depth > 1 {
                    result += generator(depth - 1).await;
                }
                Ok(result)
            })
            .await;
        result
    })
}

fn stack(depth: u32) -> Nested {
    Box::pin(async move {
        let Ok(result) = ExitStack::scope(async |stack: &mut ExitStack<Infallible>| {
            let mut result = 0;
            for start in 0..depth {
                let mut value = stack.enter(counter(u64::from(start))).await?;
                result += work(&mut value);
            }
            Ok(result)
        })
        .await;
        result
    })
}
