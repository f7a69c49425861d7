//! What the macros expand to, as text. `UPDATE_EXPECT=1 cargo test -p async-context-manager-macros`
//! writes it anew.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use quote::quote;

use crate::input::Input;

#[expect(clippy::needless_pass_by_value, reason = "reads better at the calls")]
fn check(output: TokenStream, expected: Expect) {
    let file = syn::parse2(output).expect("an expansion is Rust");
    expected.assert_eq(&prettyplease::unparse(&file));
}

fn context(args: TokenStream, item: TokenStream) -> TokenStream {
    let input: Input = syn::parse2(item).expect("a function");
    crate::context(args, input, "yield_!")
}

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
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "connect"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        let url = url;
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            let conn = Conn::open(url).await?;
                            let (conn, _) = lender.yield_(conn).await;
                            conn.close().await
                        };
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
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            lender.yield_(&items[a + b]).await;
                            url.close().await
                        };
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
                        let __context_exit: ::core::result::Result<
                            (),
                            <io::Result<File> as ::async_context_manager::generator::IsResult>::Error,
                        > = {
                            let (file, _) = lender.yield_(File::create(dir).await?).await;
                            file.remove().await
                        };
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
                >(
                    ::core::concat!(::core::module_path!(), "::", "counter"),
                    async move |lender| -> ::core::result::Result<(), _> {
                        let f = f;
                        let __context_exit: ::core::result::Result<(), _> = {
                            lender.yield_(f).await;
                            Ok(())
                        };
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
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "forgiving"),
                    async move |
                        lender,
                    | -> ::core::result::Result<crate::reexport::Suppression, Never> {
                        let __context_exit: ::core::result::Result<
                            crate::reexport::Suppression,
                            Never,
                        > = {
                            lender.yield_(()).await;
                            Ok(Suppression::Suppress)
                        };
                        __context_exit
                    },
                )
            }
        "#]],
    );
}

#[test]
fn cancellable_is_rewritten_inside_of_other_macros() {
    let output = context(
        quote!(),
        quote! {
            async fn lock(a: &Mutex, b: &Mutex) -> Result<(Guard, Guard), Never> {
                let first = cancellable!(a.lock()).await;
                let (second, _) = join!(cancellable!(b.lock()), async move { 1 });
                yield_!((first, second));
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn lock(
                a: &Mutex,
                b: &Mutex,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = (Guard, Guard),
                Error = Never,
                Verdict = (),
            > {
                cancellable! {
                    @ used
                }
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    (Guard, Guard),
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "lock"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        let lender = &lender;
                        let a = a;
                        let b = b;
                        let __context_exit: ::core::result::Result<(), Never> = {
                            let first = lender.cancellable(a.lock()).await;
                            let (second, _) = join!(lender.cancellable(b.lock()), async move { 1 });
                            lender.yield_((first, second)).await;
                            Ok(())
                        };
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
fn a_function_with_errors_survives_them() {
    let output = context(
        quote!(),
        quote! {
            pub fn connect(url: Url) -> Result<Conn, DbError> {
                let conn = Conn::open(url).await?;
                loop {
                    yield_!(conn);
                }
            }
        },
    );
    check(
        output,
        expect![[r#"
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
                ::core::compile_error! {
                    "an async context is an `async fn`, but this function is not `async`\nhelp: write `async fn`"
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside a loop, because it could run more than once\nhelp: move the loop before or after the `yield_!`"
                }
                ::async_context_manager::generator::generator::<
                    Conn,
                    _,
                    _,
                >(
                    "",
                    async move |_| -> ::core::result::Result<(), DbError> {
                        let url = url;
                        let _ = (async move || -> ::core::result::Result<_, DbError> {
                            let conn = Conn::open(url).await?;
                            loop {
                                (
                                    conn,
                                    ::core::option::Option::<&::async_context_manager::Outcome>::None
                                        .unwrap(),
                                );
                            }
                        })()
                            .await;
                        ::core::option::Option::None.unwrap()
                    },
                )
            }
        "#]],
    );
}

#[test]
fn contexts_yield_with_the_keyword() {
    let output = crate::contexts::contexts(quote! {
        pub async fn connect(url: Url) -> Result<Conn, DbError> {
            let (conn, outcome) = yield Conn::open(url).await?;
            conn.close(outcome).await
        }

        #[async_context(suppress)]
        async fn forgiving() -> Result<(), Never> {
            yield;
            Ok(Suppression::Suppress)
        }

        struct Misplaced;
    });
    check(
        output,
        expect![[r#"
            pub fn connect(
                url: Url,
            ) -> impl ::async_context_manager::AsyncContext<
                Value = Conn,
                Error = DbError,
                Verdict = (),
            > {
                ::async_context_manager::generator::generator::<
                    Conn,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "connect"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        let url = url;
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            let (conn, outcome) = lender.yield_(Conn::open(url).await?).await;
                            conn.close(outcome).await
                        };
                        __context_exit
                    },
                )
            }
            fn forgiving() -> impl ::async_context_manager::AsyncContext<
                Value = (),
                Error = Never,
                Verdict = ::async_context_manager::Suppression,
            > {
                ::async_context_manager::generator::generator::<
                    (),
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "forgiving"),
                    async move |
                        lender,
                    | -> ::core::result::Result<::async_context_manager::Suppression, Never> {
                        let __context_exit: ::core::result::Result<
                            ::async_context_manager::Suppression,
                            Never,
                        > = {
                            lender.yield_(()).await;
                            Ok(Suppression::Suppress)
                        };
                        __context_exit
                    },
                )
            }
            struct Misplaced;
            ::core::compile_error! {
                "`contexts!` is for an `async fn`, but this is a struct\nhelp: move it out of the `contexts!`"
            }
        "#]],
    );
}

#[test]
fn within_nests_the_first_outermost() {
    let output = crate::within::within(
        quote!(connect(url.clone()) => conn),
        &quote! {
            #[within(conn.transaction() => tx)]
            #[tokio::test]
            async fn pays(url: Url) -> Result<(), DbError> {
                tx.pay(1).await?;
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            #[tokio::test]
            async fn pays(url: Url) -> Result<(), DbError> {
                let __context = connect(url.clone());
                ::async_context_manager::AsyncContextExt::with(
                        __context,
                        async move |conn| {
                            let __context = conn.transaction();
                            ::async_context_manager::AsyncContextExt::with(
                                    __context,
                                    async move |tx| {
                                        let __context_result: ::core::result::Result<(), _> = {
                                            tx.pay(1).await?;
                                            Ok(())
                                        };
                                        __context_result
                                    },
                                )
                                .await
                        },
                    )
                    .await
            }
        "#]],
    );
}

#[test]
fn within_takes_options() {
    let output = crate::within::within(
        quote!(connect(url) => conn, send, crate = framework::contexts),
        &quote! {
            async fn pays(url: Url) -> Result<(), DbError> {
                conn.pay(1).await
            }
        },
    );
    check(
        output,
        expect![[r#"
        async fn pays(url: Url) -> Result<(), DbError> {
            let __context = connect(url);
            framework::contexts::AsyncContextExt::with_send(
                    __context,
                    async move |conn| {
                        let __context_result: ::core::result::Result<(), _> = {
                            conn.pay(1).await
                        };
                        __context_result
                    },
                )
                .await
        }
    "#]],
    );
}

#[test]
fn names_that_only_rustc_can_tell_apart_are_invented() {
    let output = context(
        quote!(),
        quote! {
            async fn open(url: Url, url: Url, lender: u32, _unused: u32) -> Result<u32, DbError> {
                yield_!(lender);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
        fn open(
            __context_arg0: Url,
            __context_arg1: Url,
            __context_arg2: u32,
            _unused: u32,
        ) -> impl ::async_context_manager::AsyncContext<
            Value = u32,
            Error = DbError,
            Verdict = (),
        > {
            yield_! {
                @ used
            }
            ::async_context_manager::generator::generator::<
                u32,
                _,
                _,
            >(
                ::core::concat!(::core::module_path!(), "::", "open"),
                async move |lender| -> ::core::result::Result<(), DbError> {
                    let __context_arg0 = __context_arg0;
                    let url = __context_arg0;
                    let __context_arg1 = __context_arg1;
                    let url = __context_arg1;
                    let __context_arg2 = __context_arg2;
                    let lender = __context_arg2;
                    let _unused = ::core::convert::identity(_unused);
                    let __context_exit: ::core::result::Result<(), DbError> = {
                        lender.yield_(lender).await;
                        Ok(())
                    };
                    __context_exit
                },
            )
        }
    "#]],
    );
}

#[test]
fn no_line_of_a_message_is_longer_than_a_hundred_characters() {
    let source = include_str!("errors.rs");
    let words = source
        .replace("{word}", "yield_!")
        .replace("{place}", "the `else` of a `let`");
    let long = words
        .lines()
        .filter(|line| line.trim_start().starts_with(['"', 'f']))
        .filter_map(|line| line.split('"').nth(1))
        .find(|message| message.chars().count() > 100);
    assert_eq!(long, None);
}
