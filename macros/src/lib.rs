//! The macros of `async-context-manager`. Depend on that crate, which re-exports them, not on this
//! one.
//!
//! A function goes through three passes: `input` (what was written), `analyze` (what is wrong with
//! it), `expand` (what it becomes). After `analyze` nothing can fail. A function with errors goes
//! through `fallback` instead, which keeps its signature, so that nothing else in the crate breaks.

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

/// Turns an `async fn` that yields once into an async context.
///
/// The code up to `yield_!` is the enter: it opens what the context lends. `yield_!(value)` lends
/// the value to the caller's body. When the body has completed, failed, panicked or been cancelled,
/// `yield_!` evaluates to `(value, &Outcome)`. The rest of the code is the exit.
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
/// The return type names the *yielded* value, as in `Result<Value, Error>`, or any alias of it such
/// as `io::Result<Value>`. The function itself ends with `Result<(), Error>`. A call returns an
/// `impl AsyncContext<Value = Value, Error = Error, Verdict = ()>`, and runs nothing yet. The
/// arguments are kept, used or not, until the exit has ended, and drop as those of an `async fn`
/// do.
///
/// Take owned arguments (`String`, `Arc<…>`) if possible. A context that borrows from its caller
/// can only be used by `with_scoped`, which cannot exit the context when it is dropped.
///
/// The function may be a free function, a method with any receiver, or a method of a trait with or
/// without a body. (A trait whose methods take `&self` needs the supertrait `Sync`.)
///
/// # Where the yield stands
///
/// Every path through the function must either pass the one yield, or end with an error: by `?`, by
/// `return Err(…)` or a last `Err(…)`, or by a macro such as `panic!` or `bail!`. The yield must
/// stand in the function's own code. It may be in blocks, and in a branch whose siblings end with
/// an error. It must not be in a loop, closure, `async` block, nested function, `else` of a `let`,
/// or another macro. Anything else is a compile error.
///
/// A macro of your own before the yield may leave the function by an error. A `return Ok(())` in
/// that macro does not compile: "expected `AfterYield<()>`, found `()`". The exception is a
/// function that has such a macro after the yield as well. There, both macros may return anything,
/// and a function that returns `Ok` before its yield panics.
///
/// # After the yield
///
/// A `?` after the yield skips the later steps of the exit. If all of them matter, run each before
/// you look at the results:
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
/// The type of a function's context cannot be written. With `struct = Name`, the attribute declares
/// a struct of that name, with the function's visibility, docs and generics. The struct implements
/// `AsyncContext`, and the function returns it. It can be the type of a struct's field, a trait's
/// associated type, or a part of a signature.
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
/// the same as any context. A call of `enter` by hand boxes its code.
///
/// The function may have type parameters, and one named lifetime, which bounds them; without a
/// lifetime, the bound is `'static`. It must be a free function. For a method, for arguments of
/// type `impl Trait`, and for several lifetimes, use `boxed()`, which returns a `BoxContext`.
///
/// # Errors
///
/// All mistakes in a function are reported at once, each with what to write instead. Callers of the
/// function still compile.
#[proc_macro_attribute]
pub fn async_context(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    attribute(args.into(), &item.into()).into()
}

/// Turns functions into async contexts, as [`#[async_context]`](macro@async_context) does. Here, a
/// function may yield with the keyword `yield`.
///
/// `yield value` means the same as `yield_!(value)`, which is also allowed here.
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
/// The macro may stand wherever functions may, also in an `impl` block or a trait.
///
/// # Errors
///
/// As under `#[async_context]`. Only functions are allowed inside.
#[proc_macro]
pub fn contexts(items: proc_macro::TokenStream) -> proc_macro::TokenStream {
    contexts::contexts(items.into()).into()
}

/// Runs an `async fn` inside a context: the body of the function becomes the body of the context.
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
/// The context is created and entered when the function is awaited, and may use the arguments. The
/// value has the name, or pattern, after `=>`, which is optional. Several attributes nest: the
/// first is the outermost, and those below it may use what it lends. Attributes that remove the
/// `async`, such as `#[tokio::test]`, must stand below.
///
/// # Options
///
/// Options follow after a comma: `#[within(transaction(pool.clone()) => tx, local)]`.
///
/// - `local`: uses `with_local`, for a function whose future is not `Send`.
/// - `crate = path`: the path of `async_context_manager`, for a crate that renames or re-exports
///   it.
///
/// # Errors
///
/// A context that borrows is not allowed, because the function's future may be dropped: use
/// `with_scoped` for such a context.
///
/// The function must return a `Result` with the error of the context. For a context that
/// suppresses, use [`with`](https://docs.rs/async-context-manager) instead, because there may be no
/// value to return.
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

/// Expands a function. `word` is how the function spells its yield.
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
