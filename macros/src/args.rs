//! The arguments of the attribute.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Ident, Path, Token};

use crate::errors::{self, Errors};

/// `#[async_context(suppress, struct = Name, crate = path)]`.
pub(crate) struct Args {
    pub(crate) suppress: bool,
    pub(crate) named: Option<Named>,
    /// The path by which the expansion names the crate `async_context_manager`.
    pub(crate) krate: TokenStream,
    has_crate: bool,
}

pub(crate) struct Named {
    pub(crate) keyword: Token![struct],
    pub(crate) name: Ident,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self {
            suppress: false,
            named: None,
            krate: quote!(::async_context_manager),
            has_crate: false,
        };
        let read = |tokens: ParseStream<'_>| {
            while !tokens.is_empty() {
                args.read(tokens.parse()?, errors);
                tokens.parse::<Option<Token![,]>>()?;
            }
            Ok(())
        };
        if let Err(error) = read.parse2(tokens) {
            errors.push(errors::unknown_argument(error.span()));
        }
        args
    }

    /// Makes rustc's messages about the crate's types point to this span.
    pub(crate) fn point_at(&mut self, span: Span) {
        if !self.has_crate {
            let at = Span::call_site().located_at(span);
            self.krate = quote_spanned!(at=> ::async_context_manager);
        }
    }

    fn read(&mut self, arg: Arg, errors: &mut Errors) {
        let Arg {
            name,
            has_equals,
            value,
        } = arg;
        if name == "suppress" {
            if let Some(value) = value {
                errors.push(errors::suppress_takes_no_value(value));
            } else if self.suppress {
                errors.push(errors::repeated_argument(name));
            }
            self.suppress = true;
        } else if name == "struct" {
            match value.filter(|_| has_equals).map(syn::parse2::<Ident>) {
                _ if self.named.is_some() => errors.push(errors::repeated_argument(name)),
                Some(Ok(struct_name)) => {
                    self.named = Some(Named {
                        keyword: Token![struct](name.span()),
                        name: struct_name,
                    });
                }
                Some(Err(error)) => errors.push(errors::struct_takes_a_name(error.span())),
                None => errors.push(errors::struct_takes_a_name(name.span())),
            }
        } else if name == "crate" {
            if self.has_crate {
                errors.push(errors::repeated_argument(name));
            } else {
                match value
                    .filter(|value| !value.is_empty())
                    .map(syn::parse2::<Path>)
                {
                    Some(Ok(path)) => self.krate = path.into_token_stream(),
                    Some(Err(error)) => errors.push(errors::crate_takes_a_path(error.span())),
                    None => errors.push(errors::crate_takes_a_path(name.span())),
                }
            }
            self.has_crate = true;
        } else {
            errors.push(errors::unknown_argument(name.span()));
        }
    }
}

/// One argument: `name`, `name = value` or `name(value)`, with any value.
struct Arg {
    name: Ident,
    has_equals: bool,
    value: Option<TokenStream>,
}

impl Parse for Arg {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let has_equals = input.parse::<Option<Token![=]>>()?.is_some();
        let mut value = TokenStream::new();
        while !input.is_empty() && !input.peek(Token![,]) {
            value.extend([input.parse::<proc_macro2::TokenTree>()?]);
        }
        let value = (has_equals || !value.is_empty()).then_some(value);
        Ok(Self {
            name,
            has_equals,
            value,
        })
    }
}
