//! All messages of the crate, and the collector with which all errors of an item are reported at
//! once.
//!
//! A message says what is wrong, and then, on a line of its own, what to write instead.

use std::fmt::Display;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Error, Macro, Token};

#[derive(Default)]
pub(crate) struct Errors(Vec<Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.iter().map(Error::to_compile_error).collect()
    }
}

fn over(tokens: impl ToTokens, what: impl Display, help: impl Display) -> Error {
    Error::new_spanned(tokens, message(what, help))
}

fn at(span: Span, what: impl Display, help: impl Display) -> Error {
    Error::new(span, message(what, help))
}

fn message(what: impl Display, help: impl Display) -> String {
    format!("{what}\nhelp: {help}")
}

// The attribute and its item.

pub(crate) fn unknown_argument(argument: Span) -> Error {
    at(
        argument,
        "`#[async_context]` has no such argument",
        "its arguments are `suppress`, `struct = Name` and `crate = path`",
    )
}

pub(crate) fn repeated_argument(argument: impl ToTokens) -> Error {
    over(
        argument,
        "this argument of `#[async_context]` is given twice",
        "remove one of the two",
    )
}

pub(crate) fn repeated_attribute(attribute: impl ToTokens) -> Error {
    over(
        attribute,
        "`#[async_context]` is on this function twice",
        "remove one of the two",
    )
}

pub(crate) fn within_on_a_context(attribute: impl ToTokens) -> Error {
    over(
        attribute,
        "a context cannot be the body of another by `#[within]`",
        "use the other one in its code: `let value = context(…).guard().await?;`",
    )
}

pub(crate) fn suppress_takes_no_value(value: impl ToTokens) -> Error {
    over(
        value,
        "`suppress` takes no value",
        "write `#[async_context(suppress)]`, or leave it out",
    )
}

pub(crate) fn struct_takes_a_name(span: Span) -> Error {
    at(
        span,
        "`struct` takes the name of the struct that the context is to be",
        "write `#[async_context(struct = Name)]`",
    )
}

pub(crate) fn crate_takes_a_path(span: Span) -> Error {
    at(
        span,
        "`crate` takes the path of the crate `async_context_manager`",
        "write `#[async_context(crate = some::path)]`",
    )
}

pub(crate) fn not_a_function(keyword: impl ToTokens, name: &str, found: &str) -> Error {
    let help = match name {
        "contexts!" => "move it out of the `contexts!`",
        "#[within]" => "put it on each `async fn` that is to run inside of the context",
        _ => "put it on each `async fn` that yields",
    };
    over(
        keyword,
        format!("`{name}` is for an `async fn`, but this is {found}"),
        help,
    )
}

pub(crate) fn not_async(keyword: impl ToTokens) -> Error {
    over(
        keyword,
        "an async context is an `async fn`, but this function is not `async`",
        "write `async fn`",
    )
}

pub(crate) fn const_function(keyword: impl ToTokens) -> Error {
    over(
        keyword,
        "an async context cannot be a `const fn`",
        "write `async fn`",
    )
}

pub(crate) fn unsafe_function(keyword: impl ToTokens) -> Error {
    over(
        keyword,
        "an async context cannot be an `unsafe fn`",
        "remove `unsafe`, and write an `unsafe` block around what needs it",
    )
}

pub(crate) fn extern_function(abi: impl ToTokens) -> Error {
    over(
        abi,
        "an async context cannot have an `extern` ABI",
        "remove it: a context is used from Rust alone",
    )
}

// The return type.

pub(crate) fn no_return_type(end: Span) -> Error {
    at(
        end,
        "an async context returns a `Result`, but this function has no return type",
        "write `-> Result<T, E>`, where `T` is the type of the yielded value",
    )
}

pub(crate) fn not_a_result(ty: impl ToTokens) -> Error {
    over(
        ty,
        "an async context returns a `Result`, but this is another type",
        "write `Result<T, E>`, where `T` is the type of the yielded value",
    )
}

pub(crate) fn returns_a_context(ty: impl ToTokens) -> Error {
    over(
        ty,
        "`#[async_context]` names the yielded value, not the context or the future",
        "write `Result<T, E>`, where `T` is the type of the yielded value",
    )
}

pub(crate) fn impl_in_alias(ty: impl ToTokens) -> Error {
    over(
        ty,
        "`impl Trait` cannot be used inside an alias of `Result` here",
        "write `Result<T, E>` with both of its types",
    )
}

// The struct of `struct = Name`.

pub(crate) fn struct_of_a_method(place: impl ToTokens) -> Error {
    over(
        place,
        "`struct` is for a free function, but this is a method",
        "write a free function, or use `boxed()`, whose context is a `BoxContext<T, E>`",
    )
}

pub(crate) fn struct_of_a_trait(semi: impl ToTokens) -> Error {
    over(
        semi,
        "`struct` is for a free function, but this is a method of a trait",
        "give the trait a `type Context: AsyncContext + 'static;`, and return that",
    )
}

pub(crate) fn impl_trait_in_the_struct(argument: impl ToTokens) -> Error {
    over(
        argument,
        "a struct cannot hold an argument of type `impl Trait`",
        "write a type parameter, as in `<T: Trait>`, or use `boxed()` instead of `struct`",
    )
}

pub(crate) fn impl_trait_of_the_struct(ty: impl ToTokens) -> Error {
    over(
        ty,
        "the type of a struct's value cannot be an `impl Trait`",
        "name the type, or box the value, or use `boxed()` instead of `struct`",
    )
}

pub(crate) fn elided_lifetime_in_the_struct(at: impl ToTokens) -> Error {
    over(
        at,
        "the struct of a context needs a name for this lifetime",
        "write `<'a>` after the function's name, and `'a` here; or take what is owned",
    )
}

pub(crate) fn second_lifetime_of_the_struct(lifetime: impl ToTokens) -> Error {
    over(
        lifetime,
        "the struct of a context has at most one lifetime, but this is a second one",
        "write the same lifetime for both; or take what is owned",
    )
}

pub(crate) fn condition_in_the_struct(attribute: impl ToTokens) -> Error {
    over(
        attribute,
        "an argument of a function under `struct` cannot depend on a condition",
        "write two functions, and put the condition on each",
    )
}

// The yield.

pub(crate) fn no_yield(name: impl ToTokens, word: &str) -> Error {
    over(
        name,
        format!("an async context yields exactly once, but this one has no `{word}`"),
        format!("{}, between opening and closing", yield_example(word)),
    )
}

pub(crate) fn no_yield_outside_of_macros(name: impl ToTokens, word: &str) -> Error {
    over(
        name,
        format!("an async context yields exactly once, but this one has no `{word}`"),
        format!(
            "{} in its own code; other macros cannot hold it",
            yield_example(word)
        ),
    )
}

/// A yield, with the details that an error about it needs.
#[derive(Clone)]
pub(crate) struct Yield {
    pub(crate) tokens: TokenStream,
    /// `yield_!` or `yield`.
    pub(crate) word: &'static str,
    /// The name of the macro, if it is called by its name alone.
    pub(crate) name: Option<Ident>,
}

impl Yield {
    pub(crate) fn from_macro(mac: &Macro) -> Self {
        let (path, bang) = (&mac.path, &mac.bang_token);
        Self {
            tokens: quote!(#path #bang),
            word: "yield_!",
            name: path.get_ident().cloned(),
        }
    }

    pub(crate) fn from_keyword(keyword: Token![yield]) -> Self {
        Self {
            tokens: keyword.into_token_stream(),
            word: "yield",
            name: None,
        }
    }
}

pub(crate) fn second_yield(second: &Yield) -> Error {
    over(
        &second.tokens,
        format!(
            "an async context yields exactly once, but this is a second `{}`",
            second.word
        ),
        "yield a tuple or a struct instead",
    )
}

pub(crate) fn yield_in_two_branches(second: &Yield) -> Error {
    let word = second.word;
    over(
        &second.tokens,
        format!(
            "an async context yields in one place, but this is a second `{word}` in another branch"
        ),
        format!("let each branch make the value, and write one `{word}` after the branches"),
    )
}

pub(crate) fn yield_on_one_branch(one: &Yield) -> Error {
    let word = one.word;
    over(
        &one.tokens,
        format!("this `{word}` does not run on every path"),
        "write it after the branches, or leave the others with `return Err(…)`",
    )
}

pub(crate) fn unreachable_yield(one: &Yield) -> Error {
    let word = one.word;
    over(
        &one.tokens,
        format!("this `{word}` is never reached"),
        "remove what leaves the function before it, or make that conditional",
    )
}

pub(crate) fn yield_inside(one: &Yield, place: Place) -> Error {
    let word = one.word;
    let (place, why, help) = match place {
        Place::Loop => (
            "a loop",
            "because it could run more than once",
            format!("move the loop before or after the `{word}`"),
        ),
        Place::Closure => (
            "a closure",
            "because the closure may never be called",
            format!("move the `{word}` to the function's own body"),
        ),
        Place::AsyncBlock => (
            "an `async` block",
            "because the block is a future of its own",
            format!("move the `{word}` to the function's own body"),
        ),
        Place::Function => (
            "a nested function",
            "because that is not the context",
            "put `#[async_context]` on the nested function if it is a context itself".to_owned(),
        ),
        Place::Const => (
            "a constant",
            "because that is evaluated at compile time",
            format!("move the `{word}` to the function's own body"),
        ),
        Place::TryBlock => (
            "a `try` block",
            "because a `?` in the block would skip it",
            format!("move the `{word}` after the block"),
        ),
        Place::LetElse => (
            "the `else` of a `let`",
            "because the other path would not run it",
            "make the value with a `match`, and yield it after".to_owned(),
        ),
        Place::Macro => (
            "another macro",
            "because how often the macro runs it is unknown",
            format!("{}, then use `value` in the macro", yield_example(word)),
        ),
    };
    over(
        &one.tokens,
        format!("`{word}` cannot be inside {place}, {why}"),
        help,
    )
}

/// A place where a yield is not allowed.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Loop,
    Closure,
    AsyncBlock,
    Function,
    Const,
    TryBlock,
    LetElse,
    Macro,
}

pub(crate) fn several_values(values: impl ToTokens) -> Error {
    over(
        values,
        "`yield_!` takes a value, and a future that runs beside the body",
        "yield several values as a tuple: `yield_!((a, b))`",
    )
}

pub(crate) fn not_an_expression(error: &Error) -> Error {
    at(
        error.span(),
        format!("`yield_!` takes an expression, but {error}"),
        "write `let (value, outcome) = yield_!(value);`",
    )
}

pub(crate) fn leaves_before_the_yield(exit: impl ToTokens, word: &str) -> Error {
    over(
        exit,
        format!("before its `{word}`, an async context can only be left with an error"),
        format!("write `return Err(…)`, or yield first: what follows the `{word}` is the exit"),
    )
}

pub(crate) fn raw_yield(name: impl ToTokens) -> Error {
    over(
        name,
        "the yield of an async context is not spelled like this",
        "write `yield_!(value)`",
    )
}

// The end of an exit.

pub(crate) fn no_suppression(unit: impl ToTokens) -> Error {
    over(
        unit,
        "under `suppress`, an exit says by a `Suppression` whether it suppresses",
        "write `Ok(Suppression::Propagate)`, or remove `suppress` from the attribute",
    )
}

pub(crate) fn unexpected_suppression(value: impl ToTokens) -> Error {
    over(
        value,
        "this exit ends with a `Suppression`, but its attribute does not say so",
        "write `#[async_context(suppress)]`, or end with `Ok(())`",
    )
}

// `cancellable!`.

pub(crate) fn cancellable_takes_a_future(call: impl ToTokens) -> Error {
    over(
        call,
        "`cancellable!` takes one future",
        "write `cancellable!(future).await`",
    )
}

pub(crate) fn cancellable_after_the_yield(call: impl ToTokens, word: &str) -> Error {
    over(
        call,
        format!("`cancellable!` has no effect after the `{word}`: an exit always runs to its end"),
        "await the future as it is",
    )
}

pub(crate) fn cancellable_in_a_function(call: impl ToTokens) -> Error {
    over(
        call,
        "`cancellable!` cannot be inside a nested function",
        "use it where the nested function is called: `cancellable!(call()).await`",
    )
}

// `#[within]`.

pub(crate) fn not_a_within(error: &Error) -> Error {
    at(
        error.span(),
        "`#[within]` takes a context, and a name for what it lends",
        "write `#[within(context(…) => value)]`",
    )
}

pub(crate) fn unknown_option(option: Span) -> Error {
    at(
        option,
        "`#[within]` has no such option",
        "its options are `local` and `crate = path`: `#[within(context(…) => value, local)]`",
    )
}

pub(crate) fn within_not_async(keyword: impl ToTokens) -> Error {
    over(
        keyword,
        "`#[within]` is for an `async fn`, but this function is not `async`",
        "write `async fn`, and `#[within]` above attributes such as `#[tokio::test]`",
    )
}

pub(crate) fn within_no_return_type(end: Span) -> Error {
    at(
        end,
        "a function under `#[within]` returns a `Result`, because its context may fail",
        "write `-> Result<T, E>`, where `E` is the error of the context",
    )
}

pub(crate) fn within_not_a_result(ty: impl ToTokens) -> Error {
    over(
        ty,
        "a function under `#[within]` returns a `Result`, because its context may fail",
        "write `Result<T, E>`, where `E` is the error of the context",
    )
}

pub(crate) fn within_without_body(semi: impl ToTokens) -> Error {
    over(
        semi,
        "a function under `#[within]` has a body, which runs inside of the context",
        "put `#[within]` on the implementations of this method",
    )
}

fn yield_example(word: &str) -> String {
    if word == "yield" {
        "write `let (value, outcome) = yield value;`".to_owned()
    } else {
        "write `let (value, outcome) = yield_!(value);`".to_owned()
    }
}
