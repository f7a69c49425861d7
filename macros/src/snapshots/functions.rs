//! What a function becomes: its signature, its arguments and its types.

use expect_test::expect;
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use super::{check, context, has};

#[test]
fn a_function_becomes_one_call() {
    let output = context(
        quote!(),
        quote! {
            /// Connects.
            #[must_use]
            pub async fn connect(url: Url) -> Result<Conn, DbError> {
                let conn = Conn::open(url).await?;
                let (conn, _) = yield_!(conn);
                conn.close().await
            }
        },
    );
    check(
        output,
        expect![[r#"
            /// Connects.
            #[must_use]
            pub fn connect(
                url: Url,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = Conn,
                Error = DbError,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    Conn,
                    DbError,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "connect"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        let url = url;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            let conn = Conn::open(url).await?;
                            let (conn, _) = ({
                                __context_yielded = ();
                                let end = lender.yield_(conn);
                                end.await
                            });
                            conn.close().await
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn arguments_move_inside_with_their_patterns() {
    let output = context(
        quote!(),
        quote! {
            async fn open<'a, T, const N: usize>(
                &self,
                mut url: Url,
                _unused: Guard,
                _: Guard,
                (a, b): (A, B),
                #[cfg(feature = "x")] items: &'a [T; N],
            ) -> Result<&'a T, DbError>
            where
                T: Sync,
            {
                yield_!(&items[a + b]);
                url.close().await
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn open<'a, T, const N: usize>(
                &self,
                url: Url,
                _unused: Guard,
                __context_arg3: Guard,
                __context_arg4: (A, B),
                #[cfg(feature = "x")]
                items: &'a [T; N],
            ) -> impl ::async_context_manager::AsyncContext<
                Value = &'a T,
                Error = DbError,
                Verdict = (),
            >
            where
                T: Sync,
            {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    &'a T,
                    DbError,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "open"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        let _ = &self;
                        let mut url = url;
                        let _unused = ::core::convert::identity(_unused);
                        let __context_arg3 = __context_arg3;
                        let _ = __context_arg3;
                        let __context_arg4 = __context_arg4;
                        let (a, b) = __context_arg4;
                        #[cfg(feature = "x")]
                        let items = items;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(&items[a + b]);
                                end.await
                            });
                            url.close().await
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn an_alias_is_projected() {
    let output = context(
        quote!(),
        quote! {
            async fn temp_file(dir: &Path) -> io::Result<File> {
                let (file, _) = yield_!(File::create(dir).await?);
                file.remove().await
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn temp_file(
                dir: &Path,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = <io::Result<File> as ::async_context_manager::generator::IsResult>::Value,
                Error = <io::Result<File> as ::async_context_manager::generator::IsResult>::Error,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    <io::Result<File> as ::async_context_manager::generator::IsResult>::Value,
                    <io::Result<File> as ::async_context_manager::generator::IsResult>::Error,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "temp_file"),
                    async move |
                        lender,
                    | -> ::core::result::Result<
                        (),
                        <io::Result<File> as ::async_context_manager::generator::IsResult>::Error,
                    > {
                        let dir = dir;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<
                            (),
                            <io::Result<File> as ::async_context_manager::generator::IsResult>::Error,
                        > = {
                            let (file, _) = ({
                                __context_yielded = ();
                                let end = lender.yield_(File::create(dir).await?);
                                end.await
                            });
                            file.remove().await
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn impl_trait_is_inferred_in_the_body() {
    let output = context(
        quote!(),
        quote! {
            async fn counter(f: impl Fn() -> u32) -> Result<impl Fn() -> u32, impl Error> {
                yield_!(f);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn counter(
                f: impl Fn() -> u32,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = impl Fn() -> u32,
                Error = impl Error,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    _,
                    _,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "counter"),
                    async move |lender| -> ::core::result::Result<(), _> {
                        let f = f;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), _> = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(f);
                                end.await
                            });
                            Ok(())
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn suppress_and_crate_are_arguments() {
    let output = context(
        quote!(suppress, crate = crate::reexport),
        quote! {
            async fn forgiving() -> Result<(), Never> {
                yield_!();
                Ok(Suppression::Suppress)
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn forgiving() -> impl crate::reexport::AsyncContext<
                Value = (),
                Error = Never,
                Verdict = crate::reexport::Suppression,
            > {
                yield_! {
                    @ used
                }
                crate::reexport::generator::generator::<
                    (),
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "forgiving"),
                    async move |
                        lender,
                    | -> ::core::result::Result<crate::reexport::Suppression, Never> {
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<
                            crate::reexport::Suppression,
                            Never,
                        > = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(());
                                end.await
                            });
                            Ok(Suppression::Suppress)
                        };
                        crate::reexport::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn a_method_without_a_body_keeps_its_signature() {
    let output = context(
        quote!(),
        quote! {
            async fn begin(&self) -> Result<Transaction<'_>, Self::Error>;
        },
    );
    let output = quote!(trait Database { #output });
    check(
        output,
        expect![[r#"
        trait Database {
            fn begin(
                &self,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = Transaction<'_>,
                Error = Self::Error,
                Verdict = (),
            >;
        }
    "#]],
    );
}

#[test]
fn a_body_that_always_fails_needs_no_yield() {
    let output = context(
        quote!(),
        quote! {
            async fn later() -> Result<Conn, DbError> {
                todo!()
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn later() -> impl ::async_context_manager::AsyncContext<
                Value = Conn,
                Error = DbError,
                Verdict = (),
            > {
                ::async_context_manager::generator::generator::<
                    Conn,
                    DbError,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "later"),
                    async move |lender| -> ::core::result::Result<(), DbError> { todo!() },
                )
            }
        "#]],
    );
}

#[test]
fn a_macro_that_may_return_before_the_yield_has_another_type_to_return() {
    let output = context(
        quote!(),
        quote! {
            async fn connect(url: Url) -> Result<Conn, DbError> {
                check!(url);
                let (conn, outcome) = yield_!(Conn::open(url));
                if outcome.is_failed() {
                    return conn.close();
                }
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn connect(
                url: Url,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = Conn,
                Error = DbError,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    Conn,
                    DbError,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "connect"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        ::async_context_manager::generator::only_after_yield::<
                            (),
                            DbError,
                            _,
                        >(async move {
                                let url = url;
                                if let ::core::option::Option::Some(exit) = ::async_context_manager::generator::no_exit::<
                                    ::core::result::Result<
                                        ::async_context_manager::generator::AfterYield<()>,
                                        DbError,
                                    >,
                                >() {
                                    return exit;
                                }
                                let __context_yielded: ();
                                let __context_exit: ::core::result::Result<(), DbError> = {
                                    check!(url);
                                    let (conn, outcome) = ({
                                        __context_yielded = ();
                                        let end = lender.yield_(Conn::open(url));
                                        end.await
                                    });
                                    if outcome.is_failed() {
                                        return {
                                            ::async_context_manager::generator::has_yielded(
                                                __context_yielded,
                                            );
                                            ::async_context_manager::generator::after_yield(
                                                conn.close(),
                                            )
                                        };
                                    }
                                    Ok(())
                                };
                                ::async_context_manager::generator::has_yielded(__context_yielded);
                                ::async_context_manager::generator::after_yield(__context_exit)
                            })
                            .await
                    },
                )
            }
        "#]],
    );
}

#[test]
fn what_is_expected_of_an_argument_is_expected_inside() {
    let output = context(
        quote!(),
        quote! {
            async fn open(
                #[expect(unused)] a: u32,
                #[cfg_attr(test, expect(unused))] b: u32,
                #[cfg(expect)] c: u32,
                #[allow(unused)] d: u32,
            ) -> Result<u32, Never> {
                yield_!(1);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn open(
                a: u32,
                b: u32,
                #[cfg(expect)]
                c: u32,
                #[allow(unused)]
                d: u32,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = u32,
                Error = Never,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    u32,
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "open"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        #[expect(unused)]
                        let a = a;
                        #[cfg_attr(test, expect(unused))]
                        let b = b;
                        #[cfg(expect)]
                        let c = c;
                        #[allow(unused)]
                        let d = d;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(1);
                                end.await
                            });
                            Ok(())
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn patterns_are_there_where_their_arguments_are() {
    let output = context(
        quote!(),
        quote! {
            async fn open(
                #[cfg(test)] (a, b): (u32, u32),
                #[cfg_attr(test, cfg(unix))] (c, d): (u32, u32),
                #[allow(unused)] (e, f): (u32, u32),
                ref g: u32,
                h @ 0..: u32,
            ) -> Result<u32, Never> {
                yield_!(1);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn open(
                #[cfg(test)]
                __context_arg0: (u32, u32),
                #[cfg_attr(test, cfg(unix))]
                __context_arg1: (u32, u32),
                #[allow(unused)]
                __context_arg2: (u32, u32),
                __context_arg3: u32,
                __context_arg4: u32,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = u32,
                Error = Never,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    u32,
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "open"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        #[cfg(test)]
                        let __context_arg0 = __context_arg0;
                        #[cfg(test)]
                        let (a, b) = __context_arg0;
                        #[cfg_attr(test, cfg(unix))]
                        let __context_arg1 = __context_arg1;
                        #[cfg_attr(test, cfg(unix))]
                        let (c, d) = __context_arg1;
                        let __context_arg2 = __context_arg2;
                        #[allow(unused)]
                        let (e, f) = __context_arg2;
                        let __context_arg3 = __context_arg3;
                        let ref g = __context_arg3;
                        let __context_arg4 = __context_arg4;
                        let h @ 0.. = __context_arg4;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(1);
                                end.await
                            });
                            Ok(())
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn a_result_may_be_in_parentheses_or_come_from_a_macro() {
    let ty = quote!(Result<impl Fn() -> u32, DbError>);
    let fragment = Group::new(Delimiter::None, ty.clone());
    for ty in [quote!((#ty)), quote!(#fragment), quote!(((#fragment)))] {
        let output = context(quote!(), quote!(async fn open() -> #ty { todo!() }));
        let types = quote!(Value = impl Fn() -> u32, Error = DbError, Verdict = ());
        assert!(has(&output, &[types]), "{output}");
    }
}

#[test]
fn only_what_is_called_result_is_known_to_have_its_types_in_order() {
    for ty in [
        quote!(Swapped<DbError, u32>),
        quote!(<Type>::String),
        quote!(module::Option<u32>),
        quote!((io::Result<u32>)),
    ] {
        let output = context(quote!(), quote!(async fn open() -> #ty { todo!() }));
        let ty = match &syn::parse2(ty.clone()) {
            Ok(syn::Type::Paren(inner)) => inner.elem.to_token_stream(),
            _ => ty,
        };
        let value = quote!(<#ty as ::async_context_manager::generator::IsResult>::Value);
        assert!(has(&output, &[quote!(Value = #value)]), "{output}");
    }
}

#[test]
fn what_rustc_says_of_a_context_points_at_the_return_type() {
    let function: TokenStream = "async fn open() -> Result<u32, DbError> { yield_!(1); Ok(()) }"
        .parse()
        .expect("tokens");
    let output = context(quote!(), function);
    let mut columns = Vec::new();
    for_each(output, &mut |name| {
        if name == "async_context_manager" {
            columns.push(name.span().start().column);
        }
    });
    assert!(columns.iter().all(|column| *column == 19), "{columns:?}");
}

fn for_each(tokens: TokenStream, look: &mut impl FnMut(Ident)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => for_each(group.stream(), look),
            TokenTree::Ident(name) => look(name),
            _ => {}
        }
    }
}
