//! The items of a stream: one stream, and an item for each use.

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::pin;

use async_context_manager::prelude::*;
use futures_core::Stream;

use crate::ways::counter;
use crate::work::{Running, Way, close, open, work};

/// A stream of a macro of async-stream, which closes only at its end.
pub const ASYNC_STREAM: Way = Way {
    name: "an item of async-stream",
    key: "async-stream",
    work: |uses| {
        consume(async_stream::try_stream! {
            let mut value = open(0);
            for _ in 0..uses {
                yield work(&mut value);
            }
            close(value);
        })
    },
};

/// A stream with a context.
pub const STREAM: Way = Way {
    name: "an item of a context's stream",
    key: "stream",
    work: |uses| {
        consume(counter(0).stream(async move |value, items| {
            for _ in 0..uses {
                items.send(work(value)).await;
            }
            Ok(())
        }))
    },
};

/// Both kinds of stream.
pub const ALL: [Way; 2] = [ASYNC_STREAM, STREAM];

fn consume(stream: impl Stream<Item = Result<u64, Infallible>> + 'static) -> Running {
    Box::pin(async move {
        let mut stream = pin!(stream);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let Ok(item) = item;
            black_box(item);
        }
    })
}
