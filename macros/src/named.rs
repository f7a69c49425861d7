//! The output for a function under `struct = Name`: a struct of that name, as the function's
//! context.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Lifetime, Meta, PredicateType, ReturnType, Signature,
    Token, Type, TypeParam, TypeParamBound, Visibility, WherePredicate,
};

use crate::analyze::Returns;
use crate::args::Named;

/// The function, with the call of `generator` that is its context.
pub(crate) struct Function<'a> {
    pub(crate) attrs: &'a [Attribute],
    pub(crate) vis: &'a Visibility,
    pub(crate) signature: &'a Signature,
    /// The function that returns the context. Its arguments have the names that the code of
    /// `context` uses.
    pub(crate) header: Signature,
    pub(crate) returns: &'a Returns,
    pub(crate) verdict: TokenStream,
    pub(crate) name: TokenStream,
    /// Attributes, and imports that must count as used. They are written before the context.
    pub(crate) before: TokenStream,
    pub(crate) context: TokenStream,
}

// Input:
//     #[async_context(struct = Connection)]
//     pub async fn connect(url: Url) -> Result<Conn, DbError> { … }
//
// Output:
//     pub struct Connection(Named<'static, (Url,), Conn, DbError, ()>);
//
//     pub fn connect(url: Url) -> Connection {
//         Connection(Named::new((url,)))
//     }
//
//     impl AsyncContext for Connection {
//         type Value = Conn;
//         type Error = DbError;
//         type Verdict = ();
//         const __LENDS: bool = true;
//         async fn enter(&mut self) -> Result<Conn, DbError> { self.0.enter(…).await }
//         async fn beside(&mut self) -> Result<(), DbError> { self.0.beside(…).await }
//         async fn exit(self, value: Conn, outcome: &Outcome) -> Result<(), DbError> {
//             self.0.exit(…).await
//         }
//         fn __name(&self) -> &'static str { "…::connect" }
//         fn __coroutine(self, lender: Lender<Conn, DbError>) -> impl Future<…> + Send {
//             let (url,) = self.0.into_arguments(…);
//             generator::<Conn, DbError, _, _>("…", async move |lender| -> Result<(), DbError> { … })
//                 .__coroutine(lender)
//         }
//     }
//
//     impl Debug for Connection { … }
pub(crate) fn write(named: &Named, krate: &TokenStream, function: Function<'_>) -> TokenStream {
    let Function {
        attrs,
        vis,
        signature,
        mut header,
        returns,
        verdict,
        name: full_name,
        before,
        context,
    } = function;
    let Named { keyword, name } = named;
    let Attributes {
        conditions: on_all,
        function: on_function,
        name: on_struct,
        code: on_code,
    } = Attributes::sort(attrs);
    let types = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(&*argument.ty),
        FnArg::Receiver(_) => None,
    });
    let lifetime = signature.generics.lifetimes().next().map_or_else(
        || Lifetime::new("'static", Span::call_site()),
        |it| it.lifetime.clone(),
    );
    bind(&mut header.generics, &lifetime);
    let generics = for_impl(&header.generics, types.clone(), returns);
    let (on_impl, with_arguments, where_clause) = generics.split_for_impl();
    let declared = &signature.generics;
    let declared_where = &declared.where_clause;
    let values = values(&header);
    let (phantoms, phantom_values) = phantoms(&header.generics);
    let (value, error) = (&returns.value, &returns.error);
    let held = quote! {
        #krate::generator::Named<
            #lifetime, (#(#types,)* #(#phantoms,)*), #value, #error, #verdict
        >
    };
    let returned = quote_spanned!(name.span()=> #name #with_arguments);
    header.output = ReturnType::Type(arrow(&header), Box::new(Type::Verbatim(returned.clone())));
    let lender = Ident::new("lender", Span::mixed_site());
    let shown = name.unraw().to_string();
    let result = quote!(::core::result::Result<#verdict, #error>);
    // Messages of rustc about the code's future must point to the type that the function returns.
    let at_return = Span::call_site().located_at(returns.start);
    let future = quote_spanned! {at_return=>
        impl ::core::future::Future<Output = #result> + ::core::marker::Send
    };
    quote! {
        #(#on_all)*
        #(#on_struct)*
        #vis #keyword #name #declared (#held) #declared_where;

        #(#on_all)*
        #(#on_function)*
        #vis #header {
            #name(#krate::generator::Named::new((#(#values,)* #(#phantom_values,)*)))
        }

        #(#on_all)*
        #(#on_code)*
        impl #on_impl #krate::AsyncContext for #returned #where_clause {
            type Value = #value;
            type Error = #error;
            type Verdict = #verdict;
            const __LENDS: bool = true;

            async fn enter(&mut self) -> ::core::result::Result<#value, #error> {
                let code = |arguments, lender| {
                    let context = Self(#krate::generator::Named::new(arguments));
                    #krate::AsyncContext::__coroutine(context, lender)
                };
                self.0.enter(#full_name, code).await
            }

            async fn beside(&mut self) -> ::core::result::Result<(), #error> {
                self.0.beside(#full_name).await
            }

            async fn exit(
                self,
                value: #value,
                outcome: &#krate::Outcome,
            ) -> #result {
                self.0.exit(#full_name, value, outcome).await
            }

            fn __name(&self) -> &'static str {
                #full_name
            }

            fn __coroutine(self, #lender: #krate::generator::Lender<#value, #error>) -> #future {
                #before
                let (#(#values,)* ..) = self.0.into_arguments(#full_name);
                #krate::AsyncContext::__coroutine(#context, #lender)
            }
        }

        #(#on_all)*
        impl #on_impl ::core::fmt::Debug for #returned #where_clause {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#shown).finish_non_exhaustive()
            }
        }
    }
}

fn arrow(header: &Signature) -> Token![->] {
    match header.output {
        ReturnType::Type(arrow, _) => arrow,
        ReturnType::Default => Token![->](Span::call_site()),
    }
}

/// Adds the lifetime as a bound of each type parameter, next to the bounds that the parameter
/// already has, because clippy wants all bounds in one place.
fn bind(generics: &mut Generics, lifetime: &Lifetime) {
    let Generics {
        params,
        where_clause,
        ..
    } = generics;
    for param in params {
        let GenericParam::Type(TypeParam { ident, bounds, .. }) = param else {
            continue;
        };
        let clause = where_clause.iter_mut();
        let mut predicates = clause.flat_map(|clause| &mut clause.predicates);
        let bounds = predicates
            .find_map(|predicate| match predicate {
                WherePredicate::Type(PredicateType {
                    bounded_ty: Type::Path(path),
                    bounds,
                    ..
                }) if path.path.is_ident(&*ident) => Some(bounds),
                _ => None,
            })
            .unwrap_or(bounds);
        bounds.push(TypeParamBound::Lifetime(lifetime.clone()));
    }
}

fn for_impl<'a>(
    generics: &Generics,
    types: impl Iterator<Item = &'a Type>,
    returns: &Returns,
) -> Generics {
    let mut generics = generics.clone();
    let mut predicates = Vec::new();
    if let Some(param) = generics.lifetimes().next() {
        // This uses the lifetime a second time, because lints want a lifetime that is used only
        // once to be elided.
        let bound = TypeParamBound::Lifetime(param.lifetime.clone());
        predicates.push(predicate(Type::Verbatim(quote!(Self)), bound));
    }
    if generics.params.is_empty() {
        let value = Type::Verbatim(returns.value.clone());
        predicates.extend(types.map(send));
        predicates.push(send(&value));
    }
    if !predicates.is_empty() {
        generics.make_where_clause().predicates.extend(predicates);
    }
    generics
}

/// Bounds the type of an argument by `Send`, so that rustc reports an argument that is not `Send`
/// once, at its type, and not for each method of the context. (If a type has parameters, rustc
/// takes this bound as given, and checks no further.)
fn send(ty: &Type) -> WherePredicate {
    let at_type = Span::call_site().located_at(ty.span());
    let send = quote_spanned!(at_type=> ::core::marker::Send);
    predicate(ty.clone(), TypeParamBound::Verbatim(send))
}

fn predicate(ty: Type, bound: TypeParamBound) -> WherePredicate {
    WherePredicate::Type(PredicateType {
        attrs: Vec::new(),
        lifetimes: None,
        bounded_ty: ty,
        colon_token: Token![:](Span::call_site()),
        bounds: std::iter::once(bound).collect(),
    })
}

/// Returns the names of the arguments inside the function.
fn values(header: &Signature) -> Vec<TokenStream> {
    let typed = header.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument.pat.to_token_stream()),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

/// Returns the phantom fields, because a type parameter may occur only in the function's code.
fn phantoms(generics: &Generics) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let phantom = |TypeParam { ident, .. }: &TypeParam| {
        (
            quote!(::core::marker::PhantomData<fn() -> *const #ident>),
            quote!(::core::marker::PhantomData),
        )
    };
    generics.type_params().map(phantom).unzip()
}

/// The attributes of the function, by the item that they belong to.
#[derive(Default)]
struct Attributes<'a> {
    /// The conditions under which the item exists.
    conditions: Vec<&'a Attribute>,
    function: Vec<&'a Attribute>,
    name: Vec<TokenStream>,
    /// The lints of the code, which is no longer in the function.
    code: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    fn sort(attrs: &'a [Attribute]) -> Self {
        let mut sorted = Self::default();
        let mut must_use = quote! {
            #[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
        };
        for attr in attrs {
            let path = attr.path();
            let is = |name: &str| path.is_ident(name);
            if is("cfg") || is("cfg_attr") && has_word(attr, &["cfg"]) {
                sorted.conditions.push(attr);
            } else if is("doc") || is("cfg_attr") && has_word(attr, &["doc"]) {
                sorted.function.push(attr);
                sorted.name.push(attr.to_token_stream());
            } else if is("must_use") {
                must_use = attr.to_token_stream();
            } else if is("allow") || is("warn") || is("deny") || is("forbid") {
                sorted.function.push(attr);
                sorted.name.push(attr.to_token_stream());
                sorted.code.push(attr);
            } else if is("expect") && has_word(attr, &["dead_code", "unused"]) {
                sorted.function.push(attr);
                sorted.name.push(attr.to_token_stream());
            } else if is("expect") && !has_word(attr, &SIGNATURE_LINTS) {
                sorted.code.push(attr);
            } else {
                sorted.function.push(attr);
            }
        }
        sorted.name.push(must_use);
        sorted
    }
}

/// Lints that look only at a function's signature.
const SIGNATURE_LINTS: [&str; 4] = [
    "too_many_arguments",
    "type_complexity",
    "fn_params_excessive_bools",
    "needless_lifetimes",
];

fn has_word(attr: &Attribute, words: &[&str]) -> bool {
    let Meta::List(list) = &attr.meta else {
        return false;
    };
    let is_one = |token: TokenTree| match token {
        TokenTree::Ident(name) => words.iter().any(|word| name == word),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    };
    list.tokens.clone().into_iter().any(is_one)
}
