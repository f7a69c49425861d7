//! The function under the attribute, as it was written.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::token::Brace;
use syn::{Attribute, Block, Item, Signature, Stmt, Token, Visibility, braced};

use crate::errors::{self, Errors};

/// A function, a method, or a method of a trait with or without a body.
pub(crate) struct Input {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// `;`, for a method without a body, which the implementers of the trait write.
    Missing(Token![;]),
    Parsed {
        brace: Brace,
        attrs: Vec<Attribute>,
        stmts: Vec<Stmt>,
    },
    /// A body that is not parsed: it is still being typed, or its syntax is newer than this parser.
    Unparsed {
        brace: Brace,
        tokens: TokenStream,
        error: syn::Error,
    },
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(Token![;]) {
            return input.parse().map(Self::Missing);
        }
        let content;
        let brace = braced!(content in input);
        let ahead = content.fork();
        match parse_stmts(&ahead) {
            Ok((attrs, stmts)) => {
                content.advance_to(&ahead);
                Ok(Self::Parsed {
                    brace,
                    attrs,
                    stmts,
                })
            }
            Err(error) => Ok(Self::Unparsed {
                brace,
                tokens: content.parse()?,
                error,
            }),
        }
    }
}

fn parse_stmts(input: ParseStream<'_>) -> syn::Result<(Vec<Attribute>, Vec<Stmt>)> {
    Ok((
        input.call(Attribute::parse_inner)?,
        input.call(Block::parse_within)?,
    ))
}

/// Returns `true` for an attribute of this crate, under any path.
pub(crate) fn is_named(attr: &Attribute, name: &str) -> bool {
    let last = attr.path().segments.last();
    last.is_some_and(|segment| segment.ident == name)
}

/// Removes other attributes of this crate, and reports them, because a context cannot have them.
pub(crate) fn remove_own(attrs: &mut Vec<Attribute>, errors: &mut Errors) {
    attrs.retain(|attr| {
        let error = if is_named(attr, "async_context") {
            errors::repeated_attribute(attr)
        } else if is_named(attr, "within") {
            errors::within_on_a_context(attr)
        } else {
            return true;
        };
        errors.push(error);
        false
    });
}

/// Returns why an item is not an [`Input`], if its kind tells.
pub(crate) fn why_not(item: &Item, name: &str) -> Option<syn::Error> {
    let (keyword, found) = match item {
        Item::Impl(item) => (item.impl_token.to_token_stream(), "an `impl` block"),
        Item::Trait(item) => (item.trait_token.to_token_stream(), "a trait"),
        Item::Mod(item) => (item.mod_token.to_token_stream(), "a module"),
        Item::Struct(item) => (item.struct_token.to_token_stream(), "a struct"),
        Item::Enum(item) => (item.enum_token.to_token_stream(), "an enum"),
        Item::Static(item) => (item.static_token.to_token_stream(), "a static"),
        Item::Const(item) => (item.const_token.to_token_stream(), "a constant"),
        Item::Type(item) => (item.type_token.to_token_stream(), "a type alias"),
        Item::Use(item) => (item.use_token.to_token_stream(), "a `use`"),
        Item::Macro(item) => (item.mac.path.to_token_stream(), "a macro"),
        _ => return None,
    };
    Some(errors::not_a_function(keyword, name, found))
}

/// Returns why an item that is not parsed yet is not an [`Input`]: the parser's `error`, unless the
/// kind of the item tells.
pub(crate) fn why_not_tokens(item: &TokenStream, name: &str, error: syn::Error) -> syn::Error {
    let item = syn::parse2::<Item>(item.clone()).ok();
    item.and_then(|item| why_not(&item, name)).unwrap_or(error)
}
