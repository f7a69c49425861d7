//! Finds what is wrong with the function, and reads its return type. After this pass nothing can
//! fail.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{GenericArgument, PathArguments, ReturnType, Safety, Signature, Type, TypeImplTrait};

use crate::args::Args;
use crate::errors::{self, Errors};
use crate::input::{Body, Input};
use crate::nameable;
use crate::paths::{self, Found};

/// The facts about the function that the expansion needs.
pub(crate) struct Analysis {
    pub(crate) returns: Returns,
    pub(crate) found: Found,
    /// `true` if the context can be the struct that `struct = Name` asks for.
    pub(crate) is_nameable: bool,
}

/// Analyzes the function. `word` is how the function spells its yield.
pub(crate) fn analyze(
    input: &Input,
    args: &Args,
    word: &'static str,
    errors: &mut Errors,
) -> Analysis {
    check_qualifiers(&input.signature, errors);
    let before = errors.len();
    if args.named.is_some() {
        nameable::check(input, errors);
    }
    let is_nameable = errors.len() == before;
    let returns = Returns::read(&input.signature, &args.krate, errors);
    let found = match &input.body {
        Body::Missing(_) => Found::default(),
        Body::Parsed { stmts, .. } => {
            paths::check(stmts, &input.signature.ident, args.suppress, word, errors)
        }
        Body::Unparsed { tokens, error, .. } => paths::check_tokens(tokens, error, word, errors),
    };
    Analysis {
        returns,
        found,
        is_nameable,
    }
}

fn check_qualifiers(signature: &Signature, errors: &mut Errors) {
    if let Some(keyword) = signature.constness {
        errors.push(errors::const_function(keyword));
    } else if signature.asyncness.is_none() {
        errors.push(errors::not_async(signature.fn_token));
    }
    if let Safety::Unsafe(keyword) = signature.safety {
        errors.push(errors::unsafe_function(keyword));
    }
    if let Some(abi) = &signature.abi {
        errors.push(errors::extern_function(abi));
    }
}

/// The two types of the yielded `Result`.
pub(crate) struct Returns {
    pub(crate) value: TokenStream,
    pub(crate) error: TokenStream,
    /// The value type, for places where `impl Trait` is not allowed. It is `_` if the value type
    /// has an `impl Trait`.
    pub(crate) value_in_body: TokenStream,
    pub(crate) error_in_body: TokenStream,
    pub(crate) is_valid: bool,
    /// The place where the type is written. rustc's messages about the context must point there.
    pub(crate) start: Span,
    pub(crate) end: Span,
}

impl Returns {
    fn read(signature: &Signature, krate: &TokenStream, errors: &mut Errors) -> Self {
        match &signature.output {
            ReturnType::Default => {
                let end = signature.paren_token.span.close();
                errors.push(errors::no_return_type(end));
                Self::unknown(quote!(()), (end, end))
            }
            ReturnType::Type(_, ty) => Self::read_type(ty, krate).unwrap_or_else(|error| {
                errors.push(error);
                let value = if has_impl_trait(ty) || matches!(**ty, Type::Never(_)) {
                    quote!(())
                } else {
                    ty.to_token_stream()
                };
                Self::unknown(value, ends(ty))
            }),
        }
    }

    fn read_type(ty: &Type, krate: &TokenStream) -> syn::Result<Self> {
        match ty {
            Type::Paren(inner) => Self::read_type(&inner.elem, krate),
            Type::Group(inner) => Self::read_type(&inner.elem, krate),
            Type::ImplTrait(_) => Err(errors::returns_a_context(ty)),
            _ if is_no_result(ty) => Err(errors::not_a_result(ty)),
            _ => match type_arguments(ty) {
                Some((value, error)) => Ok(Self::from_types(value, error, ends(ty))),
                None if has_impl_trait(ty) => Err(errors::impl_in_alias(ty)),
                None => Ok(Self::from_alias(ty, krate)),
            },
        }
    }

    fn from_types(value: &Type, error: &Type, (start, end): (Span, Span)) -> Self {
        let in_body = |ty: &Type| {
            if has_impl_trait(ty) {
                quote!(_)
            } else {
                ty.to_token_stream()
            }
        };
        Self {
            value_in_body: in_body(value),
            error_in_body: in_body(error),
            value: value.to_token_stream(),
            error: error.to_token_stream(),
            is_valid: true,
            start,
            end,
        }
    }

    // Input:  io::Result<File>
    // Output: <io::Result<File> as IsResult>::Value and <io::Result<File> as IsResult>::Error
    fn from_alias(ty: &Type, krate: &TokenStream) -> Self {
        let (start, end) = ends(ty);
        let value = quote_spanned!(start=> <#ty as #krate::generator::IsResult>::Value);
        let error = quote_spanned!(start=> <#ty as #krate::generator::IsResult>::Error);
        Self {
            value_in_body: value.clone(),
            error_in_body: error.clone(),
            value,
            error,
            is_valid: true,
            start,
            end,
        }
    }

    /// Returns types for a function that does not return a `Result`. With these types, the
    /// function's callers still compile, as far as possible.
    fn unknown(value: TokenStream, (start, end): (Span, Span)) -> Self {
        let error = quote!(::core::convert::Infallible);
        Self {
            value_in_body: value.clone(),
            error_in_body: error.clone(),
            value,
            error,
            is_valid: false,
            start,
            end,
        }
    }
}

/// Returns the first and the last span of the type.
fn ends(ty: &Type) -> (Span, Span) {
    let start = ty.span();
    let last = ty.to_token_stream().into_iter().last();
    let end = last.map_or(start, |token| token.span());
    (start, end)
}

/// Returns `A` and `B` of `path::to::Result<A, B>`.
pub(crate) fn type_arguments(ty: &Type) -> Option<(&Type, &Type)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(generics) = &last.arguments else {
        return None;
    };
    let mut arguments = generics.args.iter();
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(GenericArgument::Type(value)), Some(GenericArgument::Type(error)), None)
            if last.ident == "Result" =>
        {
            Some((value, error))
        }
        _ => None,
    }
}

/// Returns `true` if the syntax shows that the type is not a `Result`, whatever the aliases are.
pub(crate) fn is_no_result(ty: &Type) -> bool {
    match ty {
        Type::Paren(inner) => is_no_result(&inner.elem),
        Type::Group(inner) => is_no_result(&inner.elem),
        Type::Path(_) => is_well_known(ty),
        Type::Macro(_) | Type::Verbatim(_) | Type::ImplTrait(_) => false,
        _ => true,
    }
}

/// Returns `true` for a type that is never an alias of `Result`, so that the macro itself can
/// report it.
fn is_well_known(ty: &Type) -> bool {
    const NAMES: [&str; 26] = [
        "bool", "char", "str", "String", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
        "u32", "u64", "u128", "usize", "f32", "f64", "Option", "Vec", "Box", "Arc", "Rc",
        "HashMap", "Self", "Cow",
    ];
    let Type::Path(path) = ty else { return false };
    let is_single = path.qself.is_none() && path.path.segments.len() == 1;
    let last = path.path.segments.last();
    is_single && last.is_some_and(|last| NAMES.iter().any(|name| last.ident == name))
}

pub(crate) fn has_impl_trait(ty: &Type) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_type_impl_trait(&mut self, _: &TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut search = Search(false);
    search.visit_type(ty);
    search.0
}
