//! The output for a function: the same signature, and one call of the runtime.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::token::Brace;
use syn::visit_mut::VisitMut;
use syn::{Attribute, FnArg, Meta, Pat, PatType, Signature};

use crate::analyze::{Analysis, Returns};
use crate::args::Args;
use crate::input::{Body, Input};
use crate::judge;
use crate::named::{self, Function};
use crate::paths::Found;
use crate::yields::{self, Rewrite, lender_at};

// Input:
//     async fn connect(url: Url) -> Result<Conn, DbError> {
//         let conn = Conn::open(url).await?;
//         let (conn, _) = yield_!(conn);
//         conn.close().await
//     }
//
// Output:
//     fn connect(url: Url)
//         -> impl ::async_context_manager::AsyncContext<Value = Conn, Error = DbError, Verdict = ()>
//     {
//         ::async_context_manager::generator::generator::<Conn, DbError, _, _>(
//             ::core::concat!(::core::module_path!(), "::connect"),
//             async move |lender| -> ::core::result::Result<(), DbError> {
//                 let url = url;
//                 let __context_yielded: ();
//                 let __context_exit: ::core::result::Result<(), DbError> = {
//                     let conn = Conn::open(url).await?;
//                     let (conn, _) = ({
//                         __context_yielded = ();
//                         let end = lender.yield_(conn);
//                         end.await
//                     });
//                     conn.close().await
//                 };
//                 ::async_context_manager::generator::has_yielded(__context_yielded);
//                 __context_exit
//             },
//         )
//     }
pub(crate) fn expand(input: Input, args: &Args, analysis: &Analysis) -> TokenStream {
    let Input {
        attrs,
        vis,
        signature,
        body,
    } = input;
    let Analysis { returns, found, .. } = analysis;
    let Header {
        signature: header,
        captures,
    } = Header::new(&signature, args, returns);
    let krate = &args.krate;
    let mut results = judge::Returns {
        are_read: found.has_yield && !found.has_untold_error,
        are_typed: found.has_yield
            && found.may_return_before_the_yield
            && !found.may_return_after_the_yield,
        krate,
    };
    let (brace, inner_attrs, body) = match body {
        Body::Missing(semi) => return quote!(#(#attrs)* #vis #header #semi),
        Body::Parsed {
            brace,
            attrs,
            mut stmts,
        } => {
            for stmt in &mut stmts {
                results.visit_stmt_mut(stmt);
                Rewrite::ToCalls.visit_stmt_mut(stmt);
            }
            (brace, attrs, quote!(#(#stmts)*))
        }
        Body::Unparsed { brace, tokens, .. } => {
            let mut body = Group::new(Delimiter::Brace, Rewrite::ToCalls.rewrite_tokens(tokens));
            // While the code is being typed, a token may be missing before the last brace. rustc
            // reports this only once if the brace has the same span.
            body.set_span(brace.span.close());
            (brace, Vec::new(), body.into_token_stream())
        }
    };
    let lender = lender_at(Span::call_site());
    // Closures and blocks that move the variables they name get a copy of this reference.
    let shared = found
        .has_nested_cancellable
        .then(|| quote!(let #lender = &#lender;));
    let name = signature.ident.unraw().to_string();
    let name = quote!(::core::concat!(::core::module_path!(), "::", #name));
    let verdict = verdict(args);
    let imports = imports(found);
    let (value, error) = (&returns.value_in_body, &returns.error_in_body);
    // Messages of rustc must point to the `async`, the return type and the body, not to the
    // attribute.
    let at_return = Span::call_site().located_at(returns.start);
    let at_async = Span::call_site().located_at(signature.asyncness.span());
    let arguments = quote_spanned!(at_async=> async move |#lender|);
    let result = quote!(::core::result::Result<#verdict, #error>);
    let code = Code {
        krate,
        found,
        verdict: &verdict,
        error,
        result: &result,
        function: &signature.ident,
        at_return,
        brace,
    };
    let code = code.judged(&quote!(#shared #captures), body, &results);
    let call = quote_spanned! {at_return=>
        #krate::generator::generator::<#value, #error, _, _>(
            #name,
            #arguments -> #result { #code },
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
        before: quote!(#(#inner_attrs)* #imports),
        context: call,
    };
    assemble(function, args, analysis)
}

/// The parts around the function's code.
struct Code<'a> {
    krate: &'a TokenStream,
    found: &'a Found,
    verdict: &'a TokenStream,
    error: &'a TokenStream,
    result: &'a TokenStream,
    function: &'a Ident,
    at_return: Span,
    brace: Brace,
}

impl Code<'_> {
    /// Returns the body in a form in which rustc checks that each path yields once.
    fn judged(
        &self,
        captures: &TokenStream,
        body: TokenStream,
        results: &judge::Returns<'_>,
    ) -> TokenStream {
        let Self {
            krate,
            found,
            verdict,
            error,
            result,
            ..
        } = self;
        let declared = found.has_yield.then(|| {
            let yielded = judge::yielded_at(self.function.span());
            quote!(let #yielded: ();)
        });
        let code = if found.ends_with_a_value {
            self.with_its_end(body, results)
        } else {
            body
        };
        let pinned = |result: &TokenStream| {
            found
                .may_return
                .then(|| judge::pin(krate, result, self.at_return))
        };
        if !results.are_typed {
            let pinned = pinned(result);
            return quote!(#captures #pinned #declared #code);
        }
        // Input:  #code
        // Output: only_after_yield::<(), E, _>(async move { #code }).await
        let pinned = pinned(&judge::after_yield_type(krate, verdict, error));
        quote! {
            #krate::generator::only_after_yield::<#verdict, #error, _>(async move {
                #captures
                #pinned
                #declared
                #code
            })
            .await
        }
    }

    /// Gives the result of the body a name. The name pins the type: otherwise rustc blames the
    /// whole body for a wrong value at its end.
    fn with_its_end(&self, body: TokenStream, results: &judge::Returns<'_>) -> TokenStream {
        let Self {
            krate,
            result,
            brace,
            ..
        } = self;
        let exit = Ident::new("__context_exit", Span::mixed_site());
        let mut block = TokenStream::new();
        brace.surround(&mut block, |block| block.append_all(body));
        let end = brace.span.close();
        let read = results.are_read.then(|| judge::read_at(end, krate));
        let value = if results.are_typed {
            judge::after_yield(krate, &exit)
        } else {
            exit.to_token_stream()
        };
        quote!(let #exit: #result = #block; #read #value)
    }
}

/// Returns the function that returns the context, and the struct of `struct = Name`.
pub(crate) fn assemble(function: Function<'_>, args: &Args, analysis: &Analysis) -> TokenStream {
    if let (Some(named), true) = (&args.named, analysis.is_nameable) {
        return named::write(named, &args.krate, function);
    }
    let Function {
        attrs,
        vis,
        header,
        before,
        context,
        ..
    } = function;
    quote! {
        #(#attrs)*
        #vis #header {
            #before
            #context
        }
    }
}

/// Returns a call that expands to nothing for each import of a rewritten macro. The function no
/// longer needs the import, but the user was right to write it, so it must count as used.
pub(crate) fn imports(found: &Found) -> TokenStream {
    let imports = found.imports.iter().map(|name| {
        let at_name = Span::call_site().located_at(name.span());
        quote_spanned!(at_name=> #name! { @used })
    });
    imports.collect()
}

/// Returns the type of an exit's `Ok`.
pub(crate) fn verdict(args: &Args) -> TokenStream {
    let krate = &args.krate;
    if args.suppress {
        quote!(#krate::Suppression)
    } else {
        quote!(())
    }
}

/// The signature of the function that returns the context, and the code that moves the arguments
/// into the generator.
pub(crate) struct Header {
    pub(crate) signature: Signature,
    pub(crate) captures: TokenStream,
}

impl Header {
    pub(crate) fn new(signature: &Signature, args: &Args, returns: &Returns) -> Self {
        let mut signature = signature.clone();
        let names: Vec<_> = signature.inputs.iter().filter_map(name).collect();
        // Two names may look the same but differ for rustc: a name from a macro, or one of our own.
        let is_ambiguous = |name: &Ident| {
            let is_own = name == yields::LENDER || name.to_string().starts_with("__context");
            is_own || names.iter().filter(|&it| it == name).count() > 1
        };
        let captures = signature
            .inputs
            .iter_mut()
            .enumerate()
            .map(|(index, input)| capture(index, input, &is_ambiguous))
            .collect();
        let krate = &args.krate;
        let verdict = verdict(args);
        let Returns { value, error, .. } = returns;
        signature.asyncness = None;
        let at_return = Span::call_site().located_at(returns.start);
        let at_end = Span::call_site().located_at(returns.end);
        let close = quote_spanned!(at_end=> >);
        let arrow = syn::token::RArrow {
            spans: [at_return; 2],
        };
        signature.output = syn::ReturnType::Type(
            arrow,
            Box::new(syn::Type::Verbatim(quote_spanned! {at_return=>
                impl #krate::AsyncContext<Value = #value, Error = #error, Verdict = #verdict #close
            })),
        );
        Self {
            signature,
            captures,
        }
    }
}

/// Moves an argument into the generator, used or not, so that it drops when it would drop in an
/// `async fn`. A pattern moves inside as well. If the pattern is a name, the signature keeps the
/// name.
fn capture(index: usize, input: &mut FnArg, is_ambiguous: &impl Fn(&Ident) -> bool) -> TokenStream {
    match input {
        // Input:  &self
        // Output: let _ = &self;
        FnArg::Receiver(receiver) => {
            let attrs = conditions(&receiver.attrs);
            let this = receiver.self_token;
            quote!(#(#attrs)* let _ = &#this;)
        }
        FnArg::Typed(argument) => {
            let attrs = argument.attrs.clone();
            // An `expect` must stand where the argument is used: inside the generator.
            argument.attrs.retain(|attr| !has_expect(attr));
            let pat = argument.pat.clone();
            let name = plain_name(&pat);
            // Wrapped in a call, because lints take a plain `_name` for a statement without effect.
            let is_underscored = name.is_some_and(|name| name.to_string().starts_with('_'));
            let value = |outer: &Ident| {
                if is_underscored {
                    quote!(::core::convert::identity(#outer))
                } else {
                    outer.to_token_stream()
                }
            };
            if let Some(name) = name.filter(|name| !is_ambiguous(name)) {
                // Input:  mut url: Url
                // Output: let mut url = url;
                //
                // The outer name belongs to this crate. Otherwise lints would report that a name of
                // the user is shadowed.
                let outer = ours(name);
                *argument.pat = Pat::Verbatim(outer.to_token_stream());
                let value = value(&outer);
                quote!(#(#attrs)* let #pat = #value;)
            } else {
                // Input:  (a, b): (A, B)
                // Output: let __context_arg0 = __context_arg0; let (a, b) = __context_arg0;
                let outer = invented_name(index, argument);
                let conditions = conditions(&attrs);
                let value = value(&outer);
                quote! {
                    #(#conditions)* let #outer = #outer;
                    #(#attrs)* let #pat = #value;
                }
            }
        }
    }
}

/// Turns a name of the user into a name of this crate.
fn ours(name: &Ident) -> Ident {
    let span = Span::mixed_site().located_at(name.span());
    // `gen` is a keyword in the edition of this crate, but may be a name in the user's edition.
    if name == "gen" {
        return Ident::new_raw("gen", span);
    }
    let mut name = name.clone();
    name.set_span(span);
    name
}

fn has_expect(attr: &Attribute) -> bool {
    match &attr.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let mut tokens = list.tokens.clone().into_iter();
            tokens.any(|token| matches!(token, TokenTree::Ident(name) if name == "expect"))
        }
        meta => meta.path().is_ident("expect"),
    }
}

fn name(input: &FnArg) -> Option<Ident> {
    match input {
        FnArg::Typed(argument) => plain_name(&argument.pat).cloned(),
        FnArg::Receiver(_) => None,
    }
}

fn plain_name(pat: &Pat) -> Option<&Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(&pat.ident),
        _ => None,
    }
}

fn invented_name(index: usize, argument: &mut PatType) -> Ident {
    let name = format_ident!("__context_arg{index}", span = Span::mixed_site());
    *argument.pat = Pat::Verbatim(name.to_token_stream());
    name
}

fn conditions(attrs: &[Attribute]) -> Vec<&Attribute> {
    let is_condition =
        |attr: &&Attribute| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr");
    attrs.iter().filter(is_condition).collect()
}
