//! The macros of `async-context-manager`, which re-exports them: depend on that crate, not on this.
//!
//! A function goes through three passes: `input` (what was written), `analyze` (what is wrong with
//! it), `expand` (what it becomes). After `analyze` nothing can fail. A function with errors takes
//! the way of `fallback`: it comes out with its signature, so that nothing else in the crate
//! breaks.

#![forbid(unsafe_code)]

mod analyze;
mod args;
mod contexts;
mod endings;
mod errors;
mod expand;
mod fallback;
#[cfg(test)]
mod fuzz;
mod input;
mod judge;
#[cfg(test)]
mod messages;
mod nameable;
mod named;
mod paths;
#[cfg(test)]
mod snapshots;
mod within;
mod yields;

use proc_macro2::TokenStream;
use syn::spanned::Spanned;

use crate::args::Args;
use crate::errors::Errors;
use crate::input::Input;

/// Makes an async context out of an `async fn` that yields once.
///
/// The code up to `yield_!` enters: it opens what is to be lent. `yield_!(value)`
/// lends the value to the caller's block, and evaluates to `(value, &Outcome)` when that has ended,
/// whether it completed, failed, panicked or was cancelled. The rest exits.
///
/// ```ignore
/// use async_context_manager::prelude::*;
///
/// #[async_context]
/// async fn transaction(pool: SqlitePool) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
///     let mut db = cancellable!(pool.acquire()).await?;
///     db.execute("BEGIN").await?;
///     let (mut db, outcome) = yield_!(db);
///     let end = if outcome.is_completed() { "COMMIT" } else { "ROLLBACK" };
///     if let Err(error) = db.execute(end).await {
///         db.close_on_drop();
///         return Err(error);
///     }
///     Ok(())
/// }
///
/// transaction(pool)
///     .with(async |db| {
///         debit(db, from, amount).await?;
///         credit(db, to, amount).await
///     })
///     .await?;
/// ```
///
/// The return type is that of the *yielded* value, as in `Result<Value, Error>`, or any alias of it
/// such as `io::Result<Value>`; the function itself ends with `Result<(), Error>`. Called, it
/// returns an `impl AsyncContext<Value = Value, Error = Error, Verdict = ()>`, and nothing has run.
/// The arguments are kept, used or not, until the exit has ended, and drop as those of an `async
/// fn`.
///
/// It takes owned arguments (`String`, `Arc<…>`) where it can: a context that borrows from its
/// caller is for `with_scoped` alone, which can't exit it when it is dropped.
///
/// It may be a function, a method with any receiver, or a method of a trait with or without a body
/// (a trait whose methods take `&self` needs the supertrait `Sync`).
///
/// # Where the yield stands
///
/// Every path through the function either passes the one yield, or ends with an error: by `?`, by
/// `return Err(…)` or a last `Err(…)`, or by a macro such as `panic!` or `bail!`. The yield stands
/// in the function's own code: in blocks, and in a branch whose siblings end with an error, but in
/// no loop, closure, `async` block, nested function, `else` of a `let`, or other macro. Anything
/// else is a compile error.
///
/// A macro of yours before the yield may leave by an error. A `return Ok(())` in it does not
/// compile, with "expected `AfterYield<()>`, found `()`" (unless another such macro follows after
/// the yield: there, both may return whatever they want, and to leave before the yield is a panic).
///
/// # After the yield
///
/// A `?` after the yield skips the steps of the exit that follow it. Where all of them matter, run
/// each before looking at what it returned:
///
/// ```ignore
/// let ((file, lock), _) = yield_!((file, lock));
/// let closed = file.close().await;
/// let released = lock.release().await;
/// closed.and(released)
/// ```
///
/// # Arguments
///
/// - `suppress`: the exit decides whether a failed body fails the caller. The function ends with
///   `Result<Suppression, Error>`, and the context has the verdict `Suppression`.
/// - `struct = Name`: the context is a struct of that name: see below.
/// - `crate = path`: the path of `async_context_manager`, for a crate that renames or re-exports
///   it.
///
/// # A name for the context
///
/// The context of a function has a type that nobody can write. Under `struct = Name`, the attribute
/// writes a struct of that name, with the function's visibility, docs and generics. The struct
/// implements `AsyncContext`, and the function returns it: a type for the fields of a struct, for a
/// trait's associated type, for signatures.
///
/// ```ignore
/// #[async_context(struct = Connection)]
/// pub async fn connect(url: String) -> io::Result<Session> {
///     let (session, _) = yield_!(Session::open(url).await?);
///     session.close().await
/// }
///
/// struct Client {
///     session: Guard<Connection>,
/// }
///
/// let client = Client { session: connect(url).guard().await? };
/// ```
///
/// The struct holds the arguments, and is as large as they are. Used by `with` or `guard`, it costs
/// what any context costs; a call of `enter` by hand puts its code into a box.
///
/// The function may have type parameters, and one named lifetime, which bounds them; without a
/// lifetime, the bound is `'static`. It is a free function. For a method, for arguments of type
/// `impl Trait`, and for several lifetimes there is `boxed()`, which gives a `BoxContext`.
///
/// # Errors
///
/// All mistakes of a function are reported at once, each with what to write instead, and callers of
/// the function still compile.
#[proc_macro_attribute]
pub fn async_context(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    attribute(args.into(), &item.into()).into()
}

/// Takes functions like those under [`#[async_context]`](macro@async_context), which yield with the
/// keyword.
///
/// `yield value` means the same as `yield_!(value)`, which works here as well.
///
/// ```ignore
/// use async_context_manager::contexts;
///
/// contexts! {
///     /// A session that ends with the block.
///     pub async fn session(server: Server) -> Result<Session, Error> {
///         let session = server.log_in().await?;
///         let (session, _outcome) = yield session;
///         session.log_out().await
///     }
///
///     #[async_context(suppress)]
///     async fn forgiving() -> Result<(), Error> {
///         let (_, _) = yield;
///         Ok(Suppression::Suppress)
///     }
/// }
/// ```
///
/// It may stand wherever functions may, in an `impl` block or a trait as well.
///
/// # Errors
///
/// As under `#[async_context]`; what is no function does not belong in here.
#[proc_macro]
pub fn contexts(items: proc_macro::TokenStream) -> proc_macro::TokenStream {
    contexts::contexts(items.into()).into()
}

/// Runs an `async fn` inside of a context: its body becomes the context's body.
///
/// ```ignore
/// use async_context_manager::prelude::*;
///
/// #[within(transaction(pool.clone()) => tx)]
/// async fn transfer(pool: SqlitePool, from: Id, to: Id, amount: i64) -> Result<(), sqlx::Error> {
///     debit(tx, from, amount).await?;
///     credit(tx, to, amount).await
/// }
/// ```
///
/// The context is made and entered when the function is awaited, and may use the arguments. What it
/// lends has the name, or pattern, after `=>`, which may be left out. Several attributes nest: the
/// first is the outermost, and those below it may use what it lends. Attributes that take the
/// `async` away, such as `#[tokio::test]`, stand below.
///
/// # Options
///
/// They follow after a comma: `#[within(transaction(pool.clone()) => tx, local)]`.
///
/// - `local`: uses `with_local`, for a function whose future is not `Send`.
/// - `crate = path`: the path of `async_context_manager`, for a crate that renames or re-exports
///   it.
///
/// # Errors
///
/// A context that borrows does not work here, because the function's future may be dropped: that is
/// what `with_scoped` is for.
///
/// The function returns a `Result` with the error of the context. A context that suppresses needs
/// [`with`](https://docs.rs/async-context-manager), since it may leave no value to return.
#[proc_macro_attribute]
pub fn within(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    within::within(args.into(), &item.into()).into()
}

fn attribute(args: TokenStream, item: &TokenStream) -> TokenStream {
    match syn::parse2(item.clone()) {
        Ok(input) => context(args, input, "yield_!"),
        Err(error) => not_a_function(args, item, error),
    }
}

/// Expands a function. `word` is how a function of this kind spells its yield.
fn context(args: TokenStream, mut input: Input, word: &'static str) -> TokenStream {
    let mut errors = Errors::default();
    input::remove_own(&mut input.attrs, &mut errors);
    let mut args = Args::parse(args, &mut errors);
    if let syn::ReturnType::Type(_, ty) = &input.signature.output {
        args.point_at(ty.span());
    }
    let analysis = analyze::analyze(&input, &args, word, &mut errors);
    if errors.is_empty() {
        expand::expand(input, &args, &analysis)
    } else {
        fallback::fallback(input, &args, &analysis, errors)
    }
}

fn not_a_function(args: TokenStream, item: &TokenStream, error: syn::Error) -> TokenStream {
    let mut errors = Errors::default();
    Args::parse(args, &mut errors);
    errors.push(input::why_not_tokens(item, "#[async_context]", error));
    fallback::other_item(item, errors)
}
