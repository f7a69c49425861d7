//! `#[within(context => value)]`: a whole function as the body of a context.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, TokenStreamExt, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, Pat, Path, ReturnType, Signature, Stmt, Token};

use crate::analyze::{has_impl_trait, is_no_result, type_arguments};
use crate::errors::{self, Errors};
use crate::fallback;
use crate::input::{self, Body, Input};
use crate::paths;

/// The arguments of the attribute: `transaction(pool.clone()) => tx, local, crate = path`.
struct Within {
    context: Expr,
    value: Pat,
    is_local: bool,
    /// The path of the crate `async_context_manager`, if it is not the usual one.
    krate: Option<Path>,
}

impl Parse for Within {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (context, value) = input
            .call(parse_context)
            .map_err(|error| errors::not_a_within(&error))?;
        let mut within = Self {
            context,
            value,
            is_local: false,
            krate: None,
        };
        within
            .read_options(input)
            .map_err(|error| errors::unknown_option(error.span()))?;
        Ok(within)
    }
}

fn parse_context(input: ParseStream<'_>) -> syn::Result<(Expr, Pat)> {
    let context = input.parse()?;
    let value = if input.parse::<Option<Token![=>]>>()?.is_some() {
        Pat::parse_multi_with_leading_vert(input)?
    } else {
        Pat::Verbatim(quote!(_))
    };
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok((context, value))
}

impl Within {
    fn read_options(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        while !input.is_empty() {
            if input.parse::<Option<Token![crate]>>()?.is_some() {
                input.parse::<Token![=]>()?;
                self.krate = Some(input.parse()?);
            } else {
                let name = input.parse::<Ident>()?;
                if name != "local" {
                    return Err(syn::Error::new(name.span(), "another word"));
                }
                self.is_local = true;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }
}

pub(crate) fn within(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut function = match syn::parse2::<Input>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(input::why_not_tokens(item, "#[within]", error));
            return fallback::other_item(item, errors);
        }
    };
    let contexts = read_contexts(args, &mut function.attrs, &mut errors);
    check(&function.signature, &mut errors);
    expand(function, contexts, errors)
}

/// Reads this attribute and those below it, the outermost first.
fn read_contexts(
    args: TokenStream,
    attrs: &mut Vec<Attribute>,
    errors: &mut Errors,
) -> Vec<Within> {
    let mut contexts = Vec::new();
    let mut read = |context: syn::Result<Within>, errors: &mut Errors| match context {
        Ok(context) => contexts.push(context),
        Err(error) => errors.push(error),
    };
    read(syn::parse2(args), errors);
    attrs.retain(|attr| {
        if input::is_named(attr, "within") {
            read(attr.parse_args(), errors);
        } else if input::is_named(attr, "async_context") {
            errors.push(errors::within_on_a_context(attr));
        } else {
            return true;
        }
        false
    });
    contexts
}

fn check(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.push(errors::within_not_async(signature.fn_token));
    }
    match &signature.output {
        ReturnType::Default => {
            let end = signature.paren_token.span.close();
            errors.push(errors::within_no_return_type(end));
        }
        ReturnType::Type(_, ty) if is_no_result(ty) => {
            errors.push(errors::within_not_a_result(ty));
        }
        ReturnType::Type(..) => {}
    }
}

// Input:
//     #[within(transaction(pool.clone()) => tx)]
//     async fn pay(pool: Pool, amount: u64) -> Result<(), DbError> { … }
//
// Output:
//     async fn pay(pool: Pool, amount: u64) -> Result<(), DbError> {
//         let __context = transaction(pool.clone());
//         ::async_context_manager::AsyncContextExt::with(__context, async move |tx| { … }).await
//     }
fn expand(function: Input, contexts: Vec<Within>, errors: Errors) -> TokenStream {
    let Input {
        attrs,
        vis,
        signature,
        body,
    } = function;
    let errors = (!errors.is_empty()).then(|| errors.into_tokens());
    let (brace, inner_attrs, body) = match body {
        Body::Missing(semi) => {
            let error = errors::within_without_body(semi).to_compile_error();
            return quote!(#errors #error #(#attrs)* #vis #signature #semi);
        }
        Body::Parsed {
            brace,
            attrs,
            stmts,
        } => (brace, attrs, pinned(&stmts, &signature.output)),
        // rustc has parsed the body before, or has reported why not.
        Body::Unparsed { tokens, brace, .. } => (brace, Vec::new(), tokens),
    };
    let code = match errors {
        // Without the context, the body could not name the value that the context lends.
        Some(errors) => quote!(#errors ::core::unimplemented!()),
        None => contexts
            .into_iter()
            .rev()
            .fold(body, |body, within| inside(&within, &body)),
    };
    let mut block = TokenStream::new();
    brace.surround(&mut block, |block| {
        block.append_all(inner_attrs);
        block.append_all(code);
    });
    quote!(#(#attrs)* #vis #signature #block)
}

fn inside(within: &Within, body: &TokenStream) -> TokenStream {
    let Within {
        context,
        value,
        is_local,
        krate,
    } = within;
    // Messages about the context must all have the same place, because rustc then reports each only
    // once.
    let at_context = Span::mixed_site().located_at(context.span());
    let name = Ident::new("__context", at_context);
    let krate = krate.as_ref().map_or_else(
        || quote_spanned!(at_context=> ::async_context_manager),
        ToTokens::to_token_stream,
    );
    let with = Ident::new(if *is_local { "with_local" } else { "with" }, at_context);
    let body = quote!(async move |#value| { #body });
    quote_spanned! {at_context=>
        let #name = #context;
        #krate::AsyncContextExt::#with(#name, #body).await
    }
}

/// Returns the body, with a name of the right type for its value, so that rustc reports a wrong
/// value where the value stands.
fn pinned(stmts: &[Stmt], output: &ReturnType) -> TokenStream {
    match output {
        ReturnType::Type(_, ty) if !has_impl_trait(ty) && paths::ends_with_a_value(stmts) => {
            let at_type = Span::mixed_site().located_at(ty.span());
            let result = Ident::new("__context_result", at_type);
            // Only the value's type is pinned. A wrong error type is a mistake of the context or
            // the signature, not of the body.
            let ty = type_arguments(ty).map_or_else(
                || quote!(#ty),
                |(value, _)| quote!(::core::result::Result<#value, _>),
            );
            quote!(let #result: #ty = { #(#stmts)* }; #result)
        }
        _ => quote!(#(#stmts)*),
    }
}
