//! `contexts!`, whose functions yield with the keyword. The keyword is unstable elsewhere, but can
//! be used here, because rustc does not parse the tokens of a macro.

use proc_macro2::TokenStream;
use quote::{ToTokens, TokenStreamExt};
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Item, Meta};

use crate::context;
use crate::errors::Errors;
use crate::input::{self, Input};

/// Expands each of the functions, and leaves other items alone.
pub(crate) fn contexts(items: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut output = TokenStream::new();
    let parsed = |items: ParseStream<'_>| {
        while !items.is_empty() {
            output.append_all(next(items, &mut errors)?);
        }
        Ok(())
    };
    if let Err(error) = parsed.parse2(items) {
        errors.push(error);
    }
    output.append_all(errors.into_tokens());
    output
}

fn next(items: ParseStream<'_>, errors: &mut Errors) -> syn::Result<TokenStream> {
    let ahead = items.fork();
    match ahead.parse::<Input>() {
        Ok(mut function) => {
            items.advance_to(&ahead);
            let args = take_args(&mut function);
            Ok(context(args, function, "yield"))
        }
        Err(error) => {
            let item: Item = items.parse().map_err(|_| error.clone())?;
            errors.push(input::why_not(&item, "contexts!").unwrap_or(error));
            Ok(item.into_token_stream())
        }
    }
}

/// Takes the arguments of `#[async_context(suppress)]` on a function inside. There, the attribute
/// only serves for these arguments.
fn take_args(function: &mut Input) -> TokenStream {
    let mut args = TokenStream::new();
    function.attrs.retain(|attr| {
        let is_ours = input::is_named(attr, "async_context");
        if let (true, Meta::List(list)) = (is_ours, &attr.meta) {
            args.append_all(list.tokens.clone());
        }
        !is_ours
    });
    args
}
