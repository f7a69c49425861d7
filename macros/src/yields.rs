//! `yield_!`, `yield` and `cancellable!`: how they are recognised, and how they are rewritten.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Expr, ExprYield, Macro, Path, Stmt, Token};

use crate::errors::{self, Yield};
use crate::input::is_named;
use crate::judge;

/// The crate's own macros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Yield,
    Cancellable,
    /// `contexts!`, whose functions use the keyword, and which rewrites its functions itself.
    Contexts,
}

impl Own {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = &path.segments.last()?.ident;
        Self::of_name(name)
    }

    fn of_name(name: &Ident) -> Option<Self> {
        if name == "yield_" || name == "r#yield" {
            Some(Self::Yield)
        } else if name == "cancellable" {
            Some(Self::Cancellable)
        } else if name == "contexts" {
            Some(Self::Contexts)
        } else {
            None
        }
    }
}

/// Returns `true` for a nested function that is itself a context.
pub(crate) fn is_context(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| is_named(attr, "async_context"))
}

pub(crate) struct Yielded<T = Expr> {
    /// `()` if there is no value.
    pub(crate) value: T,
    pub(crate) beside: Option<T>,
}

impl Yielded {
    /// Parses the arguments of `yield_!(value, beside)`.
    pub(crate) fn of(mac: &Macro) -> syn::Result<Self> {
        if mac.tokens.is_empty() {
            return Ok(Self::nothing());
        }
        one_or_two.parse2(mac.tokens.clone()).map_err(|error| {
            if has_several(&mac.tokens) {
                errors::several_values(&mac.tokens)
            } else {
                errors::not_an_expression(&error)
            }
        })
    }

    fn nothing() -> Self {
        Self {
            value: Expr::Verbatim(quote!(())),
            beside: None,
        }
    }
}

fn one_or_two(input: ParseStream<'_>) -> syn::Result<Yielded> {
    let value = input.parse()?;
    let comma = input.parse::<Option<Token![,]>>()?;
    let beside = if comma.is_some() && !input.is_empty() {
        Some(one_expression(input)?)
    } else {
        None
    };
    Ok(Yielded { value, beside })
}

pub(crate) fn cancellable_future(mac: &Macro) -> syn::Result<Expr> {
    one_expression
        .parse2(mac.tokens.clone())
        .map_err(|_| errors::cancellable_takes_a_future(mac))
}

fn one_expression(input: ParseStream<'_>) -> syn::Result<Expr> {
    let expr = input.parse()?;
    input.parse::<Option<Token![,]>>()?;
    Ok(expr)
}

fn has_several(tokens: &TokenStream) -> bool {
    tokens
        .clone()
        .into_iter()
        .any(|token| is_punct(&token, ','))
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == punct)
}

/// The name of the value that the runtime passes to the generator. The name appears in rustc's
/// messages.
pub(crate) const LENDER: &str = "lender";

pub(crate) fn lender_at(span: Span) -> Ident {
    Ident::new(LENDER, Span::mixed_site().located_at(span))
}

/// The kind of code that replaces the calls.
#[derive(Clone, Copy)]
pub(crate) enum Rewrite<'a> {
    /// Calls of the runtime.
    ToCalls,
    /// Expressions of the right types that compile anywhere, for a function that already has errors
    /// and must not get more. Holds the path of the runtime.
    ToNothing(&'a TokenStream),
}

impl Rewrite<'_> {
    fn yield_<T: ToTokens>(self, yielded: Yielded<T>, span: Span) -> TokenStream {
        let Yielded { value, beside } = yielded;
        match self {
            // Input:  yield_!(value)
            // Output: ({ __context_yielded = (); let end = lender.yield_(value); end.await })
            // Input:  yield_!(value, beside)
            // Output: ({ __context_yielded = (); let end = lender.yield_beside(value, beside); end.await })
            //
            // The temporaries in the value drop before the wait, so that a lock that the value
            // takes is not held while the body runs.
            Self::ToCalls => {
                let lender = lender_at(span);
                let here = Span::mixed_site().located_at(span);
                let end = Ident::new("end", here);
                let call = match beside {
                    None => quote_spanned!(span=> let #end = #lender.yield_(#value);),
                    Some(beside) => {
                        quote_spanned!(span=> let #end = #lender.yield_beside(#value, #beside);)
                    }
                };
                let wait = quote_spanned!(span=> #end.await);
                // The parentheses come from the macro, so that no lint calls them unnecessary.
                let yielded = judge::yielded_at(span);
                let block = quote_spanned!(here=> { #yielded = (); #call #wait });
                quote_spanned!(here=> (#block))
            }
            Self::ToNothing(krate) => {
                let value = match beside {
                    None => value.into_token_stream(),
                    Some(beside) => quote_spanned!(span=> { let _ = #beside; #value }),
                };
                quote_spanned!(span=> (#value, ::core::option::Option::<&#krate::Outcome>::None.unwrap()))
            }
        }
    }

    fn cancellable(self, future: impl ToTokens, span: Span) -> TokenStream {
        match self {
            // Input:  cancellable!(future)
            // Output: lender.cancellable(future)
            Self::ToCalls => {
                let lender = lender_at(span);
                quote_spanned!(span=> #lender.cancellable(#future))
            }
            Self::ToNothing(_) => quote_spanned!(span=> ::core::convert::identity(#future)),
        }
    }

    fn or_nothing(self, argument: syn::Result<Expr>, nothing: TokenStream) -> Option<Expr> {
        match (argument, self) {
            (Ok(argument), _) => Some(argument),
            (Err(_), Self::ToNothing(_)) => Some(Expr::Verbatim(nothing)),
            // `analyze` has already reported it.
            (Err(_), Self::ToCalls) => None,
        }
    }

    fn rewrite_macro(&mut self, mac: &Macro) -> Option<Expr> {
        let span = mac.path.span();
        let tokens = match Own::of(&mac.path)? {
            Own::Yield => {
                let mut yielded = match (Yielded::of(mac), *self) {
                    (Ok(yielded), _) => yielded,
                    (Err(_), Self::ToNothing(_)) => Yielded::nothing(),
                    // `analyze` has already reported it.
                    (Err(_), Self::ToCalls) => return None,
                };
                self.visit_expr_mut(&mut yielded.value);
                if let Some(beside) = &mut yielded.beside {
                    self.visit_expr_mut(beside);
                }
                self.yield_(yielded, span)
            }
            Own::Cancellable => {
                let nothing = quote!(::core::future::ready(()));
                let mut future = self.or_nothing(cancellable_future(mac), nothing)?;
                self.visit_expr_mut(&mut future);
                self.cancellable(future, span)
            }
            Own::Contexts => return None,
        };
        Some(Expr::Verbatim(tokens))
    }

    fn rewrite_keyword(&mut self, expr: &ExprYield) -> Expr {
        let mut value = expr
            .expr
            .as_deref()
            .map_or_else(|| Expr::Verbatim(quote!(())), Expr::clone);
        self.visit_expr_mut(&mut value);
        let yielded = Yielded {
            value,
            beside: None,
        };
        Expr::Verbatim(self.yield_(yielded, expr.yield_token.span))
    }

    /// Rewrites the calls in the tokens of another macro, which have no syntax tree.
    pub(crate) fn rewrite_tokens(self, tokens: TokenStream) -> TokenStream {
        let mut output = TokenStream::new();
        for piece in pieces(tokens) {
            match piece {
                Piece::Call(call) => {
                    let span = call.name.span();
                    let arguments = call.arguments.stream();
                    output.append_all(match call.own {
                        Own::Yield => self.yield_(self.rewrite_yielded(arguments), span),
                        Own::Cancellable => self.cancellable(self.rewrite_tokens(arguments), span),
                        Own::Contexts => {
                            let (path, bang, arguments) = (call.path, call.bang, call.arguments);
                            quote!(#(#path)* #bang #arguments)
                        }
                    });
                }
                Piece::Other(TokenTree::Group(group)) => {
                    let inside = self.rewrite_tokens(group.stream());
                    let mut rewritten = Group::new(group.delimiter(), inside);
                    rewritten.set_span(group.span_close());
                    output.append(rewritten);
                }
                Piece::Other(token) => output.append(token),
            }
        }
        output
    }
}

impl Rewrite<'_> {
    fn rewrite_yielded(self, arguments: TokenStream) -> Yielded<TokenStream> {
        let (value, beside) = match one_or_two.parse2(arguments.clone()) {
            Ok(Yielded {
                value,
                beside: Some(beside),
            }) => (value.into_token_stream(), Some(beside.into_token_stream())),
            Err(_) if arguments.is_empty() => (quote!(()), None),
            Ok(_) | Err(_) => (arguments, None),
        };
        Yielded {
            value: self.rewrite_tokens(value),
            beside: beside.map(|beside| self.rewrite_tokens(beside)),
        }
    }
}

fn with_attributes(attrs: &[Attribute], expr: Expr) -> Expr {
    if attrs.is_empty() {
        expr
    } else {
        Expr::Verbatim(quote!(#(#attrs)* #expr))
    }
}

impl VisitMut for Rewrite<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let rewritten = match expr {
            Expr::Macro(call) => self
                .rewrite_macro(&call.mac)
                .map(|expr| with_attributes(&call.attrs, expr)),
            Expr::Yield(call) => {
                let rewritten = self.rewrite_keyword(call);
                Some(with_attributes(&call.attrs, rewritten))
            }
            _ => None,
        };
        match rewritten {
            Some(rewritten) => *expr = rewritten,
            None => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        let rewritten = match stmt {
            Stmt::Macro(call) => self.rewrite_macro(&call.mac).map(|expr| {
                // `yield_! { value }` may be a statement without a semicolon.
                let is_braced = matches!(call.mac.delimiter, syn::MacroDelimiter::Brace(_));
                let semi = is_braced.then(<Token![;]>::default);
                let expr = with_attributes(&call.attrs, expr);
                Stmt::Expr(expr, call.semi_token.or(semi))
            }),
            _ => None,
        };
        match rewritten {
            Some(rewritten) => *stmt = rewritten,
            None => visit_mut::visit_stmt_mut(self, stmt),
        }
    }

    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        if Own::of(&mac.path).is_none() {
            mac.tokens = self.rewrite_tokens(std::mem::take(&mut mac.tokens));
        }
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        if !is_context(&function.attrs) {
            visit_mut::visit_item_fn_mut(self, function);
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        if !is_context(&function.attrs) {
            visit_mut::visit_impl_item_fn_mut(self, function);
        }
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut syn::TraitItemFn) {
        if !is_context(&function.attrs) {
            visit_mut::visit_trait_item_fn_mut(self, function);
        }
    }
}

/// A call `name!(…)` or `path::to::name!(…)` among the tokens of another macro.
struct Call {
    own: Own,
    path: Vec<TokenTree>,
    name: Ident,
    bang: TokenTree,
    arguments: Group,
}

enum Piece {
    Call(Call),
    Other(TokenTree),
}

/// Splits the tokens into pieces, where each call of the crate's own macros is one piece. Groups
/// are not searched.
fn pieces(tokens: TokenStream) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let named = match &token {
            TokenTree::Ident(name) => Own::of_name(name).map(|own| (own, name.clone())),
            _ => None,
        };
        let bang = rest.next_if(|next| named.is_some() && is_punct(next, '!'));
        let (Some((own, name)), Some(bang)) = (named, bang) else {
            pieces.push(Piece::Other(token));
            continue;
        };
        match rest.next_if(|next| matches!(next, TokenTree::Group(_))) {
            Some(TokenTree::Group(arguments)) => {
                let mut path = take_path(&mut pieces);
                path.push(token);
                pieces.push(Piece::Call(Call {
                    own,
                    path,
                    name,
                    bang,
                    arguments,
                }));
            }
            _ => pieces.extend([Piece::Other(token), Piece::Other(bang)]),
        }
    }
    pieces
}

/// Takes the `path::to::` before a name.
fn take_path(pieces: &mut Vec<Piece>) -> Vec<TokenTree> {
    let mut start = pieces.len();
    let is_colon =
        |piece: Option<&Piece>| matches!(piece, Some(Piece::Other(token)) if is_punct(token, ':'));
    while is_colon(pieces.get(start.wrapping_sub(1))) && is_colon(pieces.get(start.wrapping_sub(2)))
    {
        start -= 2;
        match pieces.get(start.wrapping_sub(1)) {
            Some(Piece::Other(TokenTree::Ident(_))) => start -= 1,
            _ => break,
        }
    }
    let path = pieces.drain(start..);
    path.filter_map(|piece| match piece {
        Piece::Other(token) => Some(token),
        Piece::Call(_) => None,
    })
    .collect()
}

/// The calls that are hidden in the tokens of another macro.
#[derive(Default)]
pub(crate) struct Hidden {
    pub(crate) yields: Vec<Yield>,
    pub(crate) cancellables: Vec<Cancellable>,
    /// The first word `yield`, which may belong to the other macro.
    pub(crate) keyword: Option<Yield>,
}

/// A `cancellable!`, with the details that an error about it needs.
pub(crate) struct Cancellable {
    pub(crate) tokens: TokenStream,
    /// The name of the macro, if it is called by its name alone.
    pub(crate) name: Option<Ident>,
}

impl Hidden {
    pub(crate) fn find(tokens: &TokenStream) -> Self {
        let mut hidden = Self::default();
        hidden.search(tokens.clone());
        hidden
    }

    fn search(&mut self, tokens: TokenStream) {
        for piece in pieces(tokens) {
            match piece {
                Piece::Call(call) => self.add(call),
                Piece::Other(TokenTree::Group(group)) => self.search(group.stream()),
                Piece::Other(TokenTree::Ident(name)) if name == "yield" => {
                    let keyword = Token![yield](name.span());
                    self.keyword.get_or_insert(Yield::from_keyword(keyword));
                }
                Piece::Other(_) => {}
            }
        }
    }

    fn add(&mut self, call: Call) {
        let Call {
            own,
            path,
            name,
            bang,
            arguments,
        } = call;
        let tokens = quote!(#(#path)* #bang);
        let name = (path.len() == 1).then_some(name);
        match own {
            Own::Yield => self.yields.push(Yield {
                tokens,
                word: "yield_!",
                name,
            }),
            Own::Cancellable => self.cancellables.push(Cancellable { tokens, name }),
            // `contexts!` rewrites its content itself.
            Own::Contexts => return,
        }
        self.search(arguments.stream());
    }
}
