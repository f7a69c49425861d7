//! What counts as passing the yield once.
#![deny(warnings, clippy::all)]

use async_context_manager::prelude::*;

#[async_context]
async fn question_mark(text: &str) -> Result<u32, std::num::ParseIntError> {
    let number = text.parse()?;
    let (number, _) = yield_!(number);
    number.to_string().parse::<u32>()?;
    Ok(())
}

#[async_context]
async fn arms(id: Option<u32>) -> Result<u32, String> {
    let (id, outcome) = match id {
        Some(0) => return Err("zero".to_owned()),
        Some(1) => Err("one".to_owned())?,
        Some(2) => unreachable!("two"),
        Some(3) => std::process::exit(3),
        Some(id) => yield_!(id),
        None => return Err("none".to_owned()).map_err(|error: String| error + "!"),
    };
    if outcome.is_completed() && id > 4 {
        Ok(())
    } else {
        Err("small".to_owned())
    }
}

#[async_context]
async fn last_expression(id: Result<u32, String>) -> Result<u32, String> {
    match id {
        Ok(id) if id > 3 => {
            yield_!(id);
            Ok(())
        }
        Ok(_) => Err("small".to_owned()),
        Err(error) => Err(error),
    }
}

#[async_context]
async fn nested_blocks(id: u32) -> Result<u32, String> {
    if id == 0 {
        return Err("zero".to_owned());
    }
    let sum = {
        let sum = (0..id).fold(0, |sum, id| sum + id);
        #[allow(unused_unsafe, reason = "a block like any other")]
        let ((sum, _), ()) = unsafe { (yield_!(sum), ()) };
        sum
    };
    for _ in 0..sum {
        if sum > 3 {
            return Ok(());
        }
    }
    Ok(())
}

#[async_context]
async fn retry(attempts: u32) -> Result<u32, String> {
    let mut attempt = 0;
    let value = loop {
        attempt += 1;
        let tried: Result<u32, String> = async { Err("not yet".to_owned()) }.await;
        match tried {
            Ok(value) => break value,
            Err(_) if attempt < attempts => continue,
            Err(error) => return Err(error),
        }
    };
    yield_!(value);
    Ok(())
}

#[async_context]
async fn conditional_value(id: Option<u32>) -> Result<u32, String> {
    let id = if let Some(id) = id
        && id > 0
    {
        id
    } else if id.is_none() {
        1
    } else {
        return Err("zero".to_owned());
    };
    let Some(half) = id.checked_div(2) else {
        return Err("odd".to_owned());
    };
    yield_!(half);
    Ok(())
}

#[async_context]
async fn not_written_yet(_id: u32) -> Result<u32, String> {
    todo!()
}

#[async_context]
async fn returns_early_after_the_yield(id: u32) -> Result<u32, String> {
    let (id, outcome) = yield_!(id);
    if outcome.is_completed() {
        return Ok(());
    }
    if id == 0 {
        return Err("zero".to_owned());
    }
    Ok(())
}

fn main() {
    let _ = question_mark("1");
    let _ = arms(None);
    let _ = last_expression(Ok(1));
    let _ = nested_blocks(1);
    let _ = retry(1);
    let _ = conditional_value(None);
    let _ = not_written_yet(1);
    let _ = returns_early_after_the_yield(1);
}
