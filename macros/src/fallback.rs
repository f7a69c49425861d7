//! The output for a function with errors. The signature and the body remain, so that callers
//! compile, names count as used, and an editor can complete code that is being typed. The output
//! adds no error of its own.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Stmt;
use syn::visit_mut::VisitMut;

use crate::analyze::Analysis;
use crate::args::Args;
use crate::errors::Errors;
use crate::expand::{Header, assemble, imports, verdict};
use crate::input::{Body, Input};
use crate::named::Function;
use crate::yields::Rewrite;

/// Returns an item that is not a function unchanged, with the errors.
pub(crate) fn other_item(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_tokens();
    quote!(#item #errors)
}

// Output:
//     fn connect(url: Url) -> impl ::async_context_manager::AsyncContext<…> {
//         ::core::compile_error! { "…" }
//         ::async_context_manager::generator::generator::<Conn, DbError, _, _>(
//             "",
//             async move |_| -> ::core::result::Result<(), DbError> {
//                 let url = url;
//                 let _ = (async move || -> ::core::result::Result<_, DbError> { … })().await;
//                 ::core::option::Option::None.unwrap()
//             },
//         )
//     }
pub(crate) fn fallback(
    input: Input,
    args: &Args,
    analysis: &Analysis,
    errors: Errors,
) -> TokenStream {
    let Input {
        attrs,
        vis,
        mut signature,
        body,
    } = input;
    signature.constness = None;
    signature.abi = None;
    let returns = &analysis.returns;
    let Header {
        signature: header,
        captures,
    } = Header::new(&signature, args, returns);
    let errors = errors.into_tokens();
    let krate = &args.krate;
    let nothing = Rewrite::ToNothing(krate);
    let (inner_attrs, body) = match body {
        Body::Missing(semi) => return quote!(#errors #(#attrs)* #vis #header #semi),
        Body::Parsed {
            attrs, mut stmts, ..
        } => {
            for stmt in &mut stmts {
                let mut nothing = nothing;
                nothing.visit_stmt_mut(stmt);
            }
            // Without this, rustc would report a further error for a body that ends without a
            // value.
            let end = (!has_value(&stmts)).then(|| quote!(return ::core::result::Result::Ok(());));
            (attrs, quote!(#(#stmts)* #end))
        }
        Body::Unparsed { tokens, .. } => {
            let tokens = nothing.rewrite_tokens(tokens);
            (Vec::new(), tokens)
        }
    };
    let verdict = verdict(args);
    let imports = imports(&analysis.found);
    let (value, error) = (&returns.value_in_body, &returns.error_in_body);
    let is_readable = returns.is_valid && !analysis.found.is_unreadable;
    let checked = is_readable.then(|| {
        quote! {
            let _ = (async move || -> ::core::result::Result<_, #error> { #body })().await;
        }
    });
    let name = quote!("");
    let context = quote! {
        #krate::generator::generator::<#value, #error, _, _>(
            #name,
            async move |_| -> ::core::result::Result<#verdict, #error> {
                #captures
                #checked
                ::core::option::Option::None.unwrap()
            },
        )
    };
    let function = Function {
        attrs: &attrs,
        vis: &vis,
        signature: &signature,
        header,
        returns,
        verdict,
        name,
        before: quote!(#(#inner_attrs)* #imports #errors),
        context,
    };
    assemble(function, args, analysis)
}

fn has_value(stmts: &[Stmt]) -> bool {
    match stmts.last() {
        Some(Stmt::Expr(_, semi)) => semi.is_none(),
        Some(Stmt::Macro(call)) => call.semi_token.is_none(),
        Some(Stmt::Local(_) | Stmt::Item(_)) | None => false,
    }
}
