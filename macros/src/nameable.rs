//! Finds the reasons why the context of a function cannot be a struct, as `struct = Name` asks.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{
    FnArg, Lifetime, ParenthesizedGenericArguments, Path, ReturnType, Signature, TypeFnPtr,
    TypeImplTrait, TypeReference,
};

use crate::errors::{self, Errors};
use crate::input::{Body, Input};

pub(crate) fn check(input: &Input, errors: &mut Errors) {
    let signature = &input.signature;
    if let Some(error) = not_free(signature, &input.body) {
        // Stops here, because a method has other parts that would lead to many more errors.
        errors.push(error);
        return;
    }
    for second in signature.generics.lifetimes().skip(1) {
        errors.push(errors::second_lifetime_of_the_struct(&second.lifetime));
    }
    let mut search = Search {
        errors,
        is_argument: true,
    };
    for input in &signature.inputs {
        let FnArg::Typed(argument) = input else {
            continue;
        };
        for attr in &argument.attrs {
            if attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr") {
                search.errors.push(errors::condition_in_the_struct(attr));
            }
        }
        search.visit_type(&argument.ty);
    }
    search.is_argument = false;
    if let ReturnType::Type(_, ty) = &signature.output {
        search.visit_type(ty);
    }
}

/// Returns an error if the function is a method. An attribute sees only its function, so a method
/// without a receiver is only recognized by a `Self`.
fn not_free(signature: &Signature, body: &Body) -> Option<syn::Error> {
    match body {
        Body::Missing(semi) => return Some(errors::struct_of_a_trait(semi)),
        Body::Parsed { .. } | Body::Unparsed { .. } => {}
    }
    let mut place = match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => Some(receiver.to_token_stream()),
        _ => None,
    };
    let mut search = SelfType(None);
    search.visit_signature(signature);
    place = place.or(search.0.map(ToTokens::to_token_stream));
    place.map(errors::struct_of_a_method)
}

struct SelfType<'a>(Option<&'a Path>);

impl<'a> Visit<'a> for SelfType<'a> {
    fn visit_path(&mut self, path: &'a Path) {
        if path.segments.first().is_some_and(|it| it.ident == "Self") {
            self.0.get_or_insert(path);
        }
        visit::visit_path(self, path);
    }
}

/// A search for types and lifetimes that must not occur in the type of a field.
struct Search<'e> {
    errors: &'e mut Errors,
    is_argument: bool,
}

impl Visit<'_> for Search<'_> {
    fn visit_type_impl_trait(&mut self, ty: &TypeImplTrait) {
        self.errors.push(if self.is_argument {
            errors::impl_trait_in_the_struct(ty)
        } else {
            errors::impl_trait_of_the_struct(ty)
        });
    }

    fn visit_type_reference(&mut self, ty: &TypeReference) {
        if ty.lifetime.is_none() {
            let error = errors::elided_lifetime_in_the_struct(ty.and_token);
            self.errors.push(error);
        }
        visit::visit_type_reference(self, ty);
    }

    fn visit_lifetime(&mut self, lifetime: &Lifetime) {
        if lifetime.ident == "_" {
            let error = errors::elided_lifetime_in_the_struct(lifetime);
            self.errors.push(error);
        }
    }

    // Not searched, because an elided lifetime in the type of a function pointer belongs to each
    // call.
    fn visit_type_fn_ptr(&mut self, _: &TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments(&mut self, _: &ParenthesizedGenericArguments) {}
}
