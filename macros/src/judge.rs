//! Code that lets rustc check that every path yields once, even if a macro hides the yield or a
//! `return`.
//!
//! - A variable is declared without a value. The yield assigns it, and the end of the code reads
//!   it. So rustc refuses an end without a yield (E0381), a second yield (E0384), and a yield in a
//!   closure (E0594).
//! - If a macro before the yield may return, the results after the yield get a type of their own.
//!   So rustc refuses a `return Ok(())` in that macro (E0308).

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprReturn, Item, Macro};

use crate::endings;

pub(crate) fn yielded_at(span: Span) -> Ident {
    Ident::new("__context_yielded", Span::mixed_site().located_at(span))
}

pub(crate) fn read_at(span: Span, krate: &TokenStream) -> TokenStream {
    let yielded = yielded_at(span);
    quote_spanned!(yielded.span()=> #krate::generator::has_yielded(#yielded);)
}

/// The results that a function's own code returns.
pub(crate) struct Returns<'a> {
    /// `true` if each result reads the variable, so that rustc checks that the result comes after
    /// the yield.
    pub(crate) are_read: bool,
    /// `true` if each result has the type that only results after the yield have.
    pub(crate) are_typed: bool,
    pub(crate) krate: &'a TokenStream,
}

impl Returns<'_> {
    // Input:  return file.close().await
    // Output: return { has_yielded(__context_yielded); after_yield(file.close().await) }
    fn rewrite(&self, exit: &mut ExprReturn) {
        let Some(value) = &exit.expr else { return };
        let span = exit.return_token.span;
        let here = Span::mixed_site().located_at(span);
        let is_read = self.are_read && !endings::is_error(value);
        if !is_read && !self.are_typed {
            return;
        }
        let read = is_read.then(|| read_at(span, self.krate));
        let value = if self.are_typed {
            after_yield(self.krate, value)
        } else {
            value.to_token_stream()
        };
        let value = quote_spanned!(here=> { #read #value });
        exit.expr = Some(Box::new(Expr::Verbatim(value)));
    }
}

/// Gives a result the type that only results after the yield have.
pub(crate) fn after_yield(krate: &TokenStream, result: impl ToTokens) -> TokenStream {
    quote!(#krate::generator::after_yield(#result))
}

/// Returns the type that only results after the yield have.
pub(crate) fn after_yield_type(
    krate: &TokenStream,
    verdict: &TokenStream,
    error: &TokenStream,
) -> TokenStream {
    quote!(::core::result::Result<#krate::generator::AfterYield<#verdict>, #error>)
}

/// Pins the type of the results by a `return` before all others. Otherwise rustc takes the type of
/// the user's first `return`, and blames the later ones.
pub(crate) fn pin(krate: &TokenStream, result: &TokenStream, span: Span) -> TokenStream {
    let here = Span::mixed_site().located_at(span);
    let exit = Ident::new("exit", here);
    quote_spanned! {here=>
        if let ::core::option::Option::Some(#exit) = #krate::generator::no_exit::<#result>() {
            return #exit;
        }
    }
}

impl VisitMut for Returns<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            // A `return` in these does not return from the function.
            Expr::Closure(_) | Expr::Async(_) | Expr::Const(_) => {}
            expr => {
                visit_mut::visit_expr_mut(self, expr);
                if let Expr::Return(exit) = expr {
                    self.rewrite(exit);
                }
            }
        }
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// Returns `true` if the macro may return from the function, as far as its name and tokens tell.
pub(crate) fn may_return(mac: &Macro) -> bool {
    let name = mac.path.segments.last().map(|segment| &segment.ident);
    !name.is_some_and(is_known) || has_return(mac.tokens.clone())
}

/// Returns `true` if the tokens of a macro contain a `return`, or another macro that may return.
pub(crate) fn has_return(tokens: TokenStream) -> bool {
    let mut last = None;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                if has_return(group.stream()) {
                    return true;
                }
                last = None;
            }
            TokenTree::Ident(name) if name == "return" => return true,
            TokenTree::Ident(name) => last = Some(name),
            TokenTree::Punct(punct) if punct.as_char() == '!' => {
                if last.take().is_some_and(|name| !is_known(&name)) {
                    return true;
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => last = None,
        }
    }
    false
}

/// Returns `true` for a well-known macro that does not return: a macro of `std`, or one that writes
/// logs, makes values, or joins futures.
fn is_known(name: &Ident) -> bool {
    const KNOWN: [&str; 51] = [
        "anyhow",
        "assert",
        "assert_eq",
        "assert_ne",
        "async_with",
        "async_with_local",
        "cancellable",
        "cfg",
        "column",
        "concat",
        "contexts",
        "dbg",
        "debug",
        "debug_assert",
        "debug_assert_eq",
        "debug_assert_ne",
        "env",
        "eprint",
        "eprintln",
        "error",
        "event",
        "eyre",
        "file",
        "format",
        "format_args",
        "include_bytes",
        "include_str",
        "info",
        "join",
        "json",
        "line",
        "log",
        "matches",
        "module_path",
        "panic",
        "pin",
        "print",
        "println",
        "query",
        "query_as",
        "select",
        "span",
        "stringify",
        "todo",
        "trace",
        "try_join",
        "unreachable",
        "vec",
        "warn",
        "write",
        "writeln",
    ];
    KNOWN.iter().any(|known| name == known)
}
