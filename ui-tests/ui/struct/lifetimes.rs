use async_context_manager::prelude::*;
use std::borrow::Cow;
use std::io;

#[async_context(struct = Elided)]
async fn elided(name: &str, other: Cow<'_, str>) -> io::Result<usize> {
    let (_length, _) = yield_!(name.len() + other.len());
    Ok(())
}

#[async_context(struct = Lent)]
async fn lent(name: &str) -> io::Result<&str> {
    let (_name, _) = yield_!(name);
    Ok(())
}

#[async_context(struct = Several)]
async fn several<'a, 'b>(name: &'a str, other: &'b str) -> io::Result<usize> {
    let (_length, _) = yield_!(name.len() + other.len());
    Ok(())
}

// These are not of the struct.
#[async_context(struct = Functions)]
async fn functions<F: Fn(&str) -> usize + Send + Sync>(
    first: F,
    second: fn(&str) -> &str,
    third: Box<dyn Fn(&str) -> usize + Send + Sync>,
) -> io::Result<usize> {
    let (_length, _) = yield_!(first(second("text")) + third("text"));
    Ok(())
}

fn main() {
    let _ = elided("a", Cow::Borrowed("b")).with_scoped(async |length| Ok(*length));
    let _ = several("a", "b").with_scoped(async |length| Ok(*length));
    let _ = functions(str::len, str::trim, Box::new(str::len)).with(async |length| Ok(*length));
}
