//! Macros that leave, as far as they may.
#![deny(warnings)]
#![allow(clippy::try_err, clippy::needless_return, reason = "what people write")]

use async_context_manager::prelude::*;
use std::io;

macro_rules! refuse {
    (if $condition:expr) => {
        if $condition {
            return Err(io::ErrorKind::Other.into());
        }
    };
    (unless $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => Err(io::Error::other(error))?,
        }
    };
}

macro_rules! finish {
    () => {
        return Ok(())
    };
}

macro_rules! local {
    ($name:ident = $value:expr) => {
        let $name = $value;
    };
}

/// A macro before the yield, none after it.
#[async_context]
async fn before(number: u32) -> io::Result<u32> {
    refuse!(if number > 3);
    local!(text = number.to_string());
    let number = refuse!(unless text.parse::<u32>());
    println!("opened {number}");
    let (number, outcome) = yield_!(number);
    if outcome.is_failed() {
        return Err(io::ErrorKind::Other.into());
    }
    if number > 3 {
        return std::fs::remove_file("none");
    }
    text.parse::<u32>().map_err(io::Error::other)?;
    println!("closed {number}");
    Ok(())
}

/// A macro on either side.
#[async_context]
async fn around(number: u32) -> io::Result<u32> {
    refuse!(if number > 3);
    let (number, _) = yield_!(number);
    refuse!(if number > 3);
    if number < 3 {
        finish!();
    }
    Ok(())
}

/// A macro after the yield.
#[async_context]
async fn after(number: u32) -> io::Result<u32> {
    let (number, _) = yield_!(number);
    if number > 3 {
        finish!();
    }
    Ok(())
}

/// A macro before the yield, and a value that only a coercion makes.
#[async_context]
async fn coerced(number: u32) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    refuse_boxed!(number);
    if number == 7 {
        return Err(Box::new(io::Error::other("seven")));
    }
    let (number, _) = yield_!(number);
    if number > 3 {
        return Err("too large".into());
    }
    if number > 2 {
        return Err(Box::new(io::Error::other("two")));
    }
    Ok(())
}

#[macro_export]
macro_rules! refuse_boxed {
    ($number:expr) => {
        if $number == 9 {
            return Err("nine".into());
        }
    };
}

/// Errors that are not returned by the word.
#[async_context]
async fn untold(number: u32) -> io::Result<u32> {
    match number {
        0 => Err(io::ErrorKind::Other.into()),
        1 => Err(io::Error::other("one"))?,
        2 => {
            Err(io::Error::other("two"))?;
            unreachable!()
        }
        3 => {
            Err(io::Error::other("three"))?;
            Ok(())
        }
        number => {
            if number == 4 {
                Err(io::Error::other("four"))?;
            }
            let (_, _) = yield_!(number);
            Ok(())
        }
    }
}

/// Loops, labels and blocks.
#[async_context]
async fn loops(numbers: Vec<u32>) -> io::Result<u32> {
    let mut sum = 0;
    let found = 'search: loop {
        for number in &numbers {
            refuse!(if *number > 9);
            if *number == 3 {
                break 'search *number;
            }
            sum += number;
        }
        if sum > 9 {
            return Err(io::ErrorKind::Other.into());
        }
        sum += 1;
    };
    let closed = async |number: u32| {
        if number == 3 {
            return Ok::<(), io::Error>(());
        }
        Ok(())
    };
    let (found, _) = yield_!(found);
    loop {
        if found < 9 {
            return closed(found).await;
        }
        if found > 9 {
            break;
        }
    }
    let count = || {
        return numbers.len();
    };
    if count() == 0 { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
}

/// Under conditions.
#[async_context]
async fn conditions(number: u32) -> io::Result<u32> {
    #[cfg(any())]
    refuse!(if number > 3);
    #[cfg(any())]
    return Err(io::ErrorKind::Other.into());
    let (_, _) = yield_!(number);
    #[cfg(not(any()))]
    return Ok(());
    #[cfg(any())]
    Err(io::ErrorKind::Other.into())
}

/// Not `Sync`, and borrowed.
#[async_context(struct = Cells)]
async fn cells<'a>(cell: std::cell::Cell<u32>, text: &'a str) -> io::Result<&'a str> {
    refuse!(if cell.get() > 3);
    cell.set(4);
    let (text, outcome) = yield_!(text);
    cell.set(u32::from(outcome.is_failed()));
    if text.is_empty() {
        return Err(io::ErrorKind::Other.into());
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    assert_eq!(before(3).with(async |n| Ok(*n)).await.unwrap(), 3);
    assert!(before(4).with(async |n| Ok(*n)).await.is_err());
    assert_eq!(around(3).with(async |n| Ok(*n)).await.unwrap(), 3);
    assert_eq!(after(4).with(async |n| Ok(*n)).await.unwrap(), 4);
    assert_eq!(coerced(1).with(async |n| Ok(*n)).await.unwrap(), 1);
    assert!(coerced(9).with(async |n| Ok(*n)).await.is_err());
    for number in 0..5 {
        assert!(untold(number).with(async |n| Ok(*n)).await.is_err());
    }
    assert_eq!(untold(5).with(async |n| Ok(*n)).await.unwrap(), 5);
    assert_eq!(loops(vec![1, 3]).with(async |n| Ok(*n)).await.unwrap(), 3);
    assert_eq!(conditions(1).with(async |n| Ok(*n)).await.unwrap(), 1);
    let text = cells(std::cell::Cell::new(1), "t").with(async |text| Ok(text.len()));
    assert_eq!(tokio::spawn(text).await.unwrap().unwrap(), 1);
}
