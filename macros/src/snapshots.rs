//! The expansions of the macros, as text.
//! `UPDATE_EXPECT=1 cargo test -p async-context-manager-macros` updates them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "an expansion is in one piece")]

use expect_test::{Expect, expect};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};

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
fn a_function_becomes_a_struct_with_a_name() {
    let output = context(
        quote!(struct = Connection),
        quote! {
            /// Connects.
            #[expect(clippy::unused_async)]
            pub async fn connect(url: Url) -> Result<Conn, DbError> {
                let (conn, _) = yield_!(Conn::open(url));
                conn.close()
            }
        },
    );
    check(
        output,
        expect![[r#"
            /// Connects.
            #[must_use = "a context does nothing until it is used: call `with` or `guard` on it"]
            pub struct Connection(
                ::async_context_manager::generator::Named<'static, (Url,), Conn, DbError, ()>,
            );
            /// Connects.
            pub fn connect(url: Url) -> Connection {
                Connection(::async_context_manager::generator::Named::new((url,)))
            }
            #[expect(clippy::unused_async)]
            impl ::async_context_manager::AsyncContext for Connection
            where
                Url: ::core::marker::Send,
                Conn: ::core::marker::Send,
            {
                type Value = Conn;
                type Error = DbError;
                type Verdict = ();
                const __LENDS: bool = true;
                async fn enter(&mut self) -> ::core::result::Result<Conn, DbError> {
                    let code = |arguments, lender| {
                        let context = Self(
                            ::async_context_manager::generator::Named::new(arguments),
                        );
                        ::async_context_manager::AsyncContext::__coroutine(context, lender)
                    };
                    self.0
                        .enter(::core::concat!(::core::module_path!(), "::", "connect"), code)
                        .await
                }
                async fn beside(&mut self) -> ::core::result::Result<(), DbError> {
                    self.0.beside(::core::concat!(::core::module_path!(), "::", "connect")).await
                }
                async fn exit(
                    self,
                    value: Conn,
                    outcome: &::async_context_manager::Outcome,
                ) -> ::core::result::Result<(), DbError> {
                    self.0
                        .exit(
                            ::core::concat!(::core::module_path!(), "::", "connect"),
                            value,
                            outcome,
                        )
                        .await
                }
                fn __name(&self) -> &'static str {
                    ::core::concat!(::core::module_path!(), "::", "connect")
                }
                fn __coroutine(
                    self,
                    lender: ::async_context_manager::generator::Lender<Conn, DbError>,
                ) -> impl ::core::future::Future<
                    Output = ::core::result::Result<(), DbError>,
                > + ::core::marker::Send {
                    yield_! {
                        @ used
                    }
                    let (url, ..) = self
                        .0
                        .into_arguments(::core::concat!(::core::module_path!(), "::", "connect"));
                    ::async_context_manager::AsyncContext::__coroutine(
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
                                    let (conn, _) = ({
                                        __context_yielded = ();
                                        let end = lender.yield_(Conn::open(url));
                                        end.await
                                    });
                                    conn.close()
                                };
                                ::async_context_manager::generator::has_yielded(__context_yielded);
                                __context_exit
                            },
                        ),
                        lender,
                    )
                }
            }
            impl ::core::fmt::Debug for Connection
            where
                Url: ::core::marker::Send,
                Conn: ::core::marker::Send,
            {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct("Connection").finish_non_exhaustive()
                }
            }
        "#]],
    );
}

#[test]
fn a_struct_has_the_generics_of_its_function() {
    let output = context(
        quote!(suppress, struct = Lookup),
        quote! {
            #[cfg(unix)]
            #[must_use = "for once"]
            async fn lookup<'a, K: Key, V, const N: usize>(
                keys: &'a [K; N],
                (a, b): (u32, u32),
            ) -> Result<V, DbError>
            where
                V: Default + Send,
            {
                yield_!(V::find(keys, a + b));
                Ok(Suppression::Suppress)
            }
        },
    );
    check(
        output,
        expect![[r##"
            #[cfg(unix)]
            #[must_use = "for once"]
            struct Lookup<'a, K: Key, V, const N: usize>(
                ::async_context_manager::generator::Named<
                    'a,
                    (
                        &'a [K; N],
                        (u32, u32),
                        ::core::marker::PhantomData<fn() -> *const K>,
                        ::core::marker::PhantomData<fn() -> *const V>,
                    ),
                    V,
                    DbError,
                    ::async_context_manager::Suppression,
                >,
            )
            where
                V: Default + Send;
            #[cfg(unix)]
            fn lookup<'a, K: Key + 'a, V, const N: usize>(
                keys: &'a [K; N],
                __context_arg1: (u32, u32),
            ) -> Lookup<'a, K, V, N>
            where
                V: Default + Send + 'a,
            {
                Lookup(
                    ::async_context_manager::generator::Named::new((
                        keys,
                        __context_arg1,
                        ::core::marker::PhantomData,
                        ::core::marker::PhantomData,
                    )),
                )
            }
            #[cfg(unix)]
            impl<'a, K: Key + 'a, V, const N: usize> ::async_context_manager::AsyncContext
            for Lookup<'a, K, V, N>
            where
                V: Default + Send + 'a,
                Self: 'a,
            {
                type Value = V;
                type Error = DbError;
                type Verdict = ::async_context_manager::Suppression;
                const __LENDS: bool = true;
                async fn enter(&mut self) -> ::core::result::Result<V, DbError> {
                    let code = |arguments, lender| {
                        let context = Self(
                            ::async_context_manager::generator::Named::new(arguments),
                        );
                        ::async_context_manager::AsyncContext::__coroutine(context, lender)
                    };
                    self.0.enter(::core::concat!(::core::module_path!(), "::", "lookup"), code).await
                }
                async fn beside(&mut self) -> ::core::result::Result<(), DbError> {
                    self.0.beside(::core::concat!(::core::module_path!(), "::", "lookup")).await
                }
                async fn exit(
                    self,
                    value: V,
                    outcome: &::async_context_manager::Outcome,
                ) -> ::core::result::Result<::async_context_manager::Suppression, DbError> {
                    self.0
                        .exit(
                            ::core::concat!(::core::module_path!(), "::", "lookup"),
                            value,
                            outcome,
                        )
                        .await
                }
                fn __name(&self) -> &'static str {
                    ::core::concat!(::core::module_path!(), "::", "lookup")
                }
                fn __coroutine(
                    self,
                    lender: ::async_context_manager::generator::Lender<V, DbError>,
                ) -> impl ::core::future::Future<
                    Output = ::core::result::Result<::async_context_manager::Suppression, DbError>,
                > + ::core::marker::Send {
                    yield_! {
                        @ used
                    }
                    let (keys, __context_arg1, ..) = self
                        .0
                        .into_arguments(::core::concat!(::core::module_path!(), "::", "lookup"));
                    ::async_context_manager::AsyncContext::__coroutine(
                        ::async_context_manager::generator::generator::<
                            V,
                            DbError,
                            _,
                            _,
                        >(
                            ::core::concat!(::core::module_path!(), "::", "lookup"),
                            async move |
                                lender,
                            | -> ::core::result::Result<
                                ::async_context_manager::Suppression,
                                DbError,
                            > {
                                let keys = keys;
                                let __context_arg1 = __context_arg1;
                                let (a, b) = __context_arg1;
                                let __context_yielded: ();
                                let __context_exit: ::core::result::Result<
                                    ::async_context_manager::Suppression,
                                    DbError,
                                > = {
                                    ({
                                        __context_yielded = ();
                                        let end = lender.yield_(V::find(keys, a + b));
                                        end.await
                                    });
                                    Ok(Suppression::Suppress)
                                };
                                ::async_context_manager::generator::has_yielded(__context_yielded);
                                __context_exit
                            },
                        ),
                        lender,
                    )
                }
            }
            #[cfg(unix)]
            impl<'a, K: Key + 'a, V, const N: usize> ::core::fmt::Debug for Lookup<'a, K, V, N>
            where
                V: Default + Send + 'a,
                Self: 'a,
            {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct("Lookup").finish_non_exhaustive()
                }
            }
        "##]],
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
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "lock"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        let lender = &lender;
                        let a = a;
                        let b = b;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            let first = lender.cancellable(a.lock()).await;
                            let (second, _) = join!(lender.cancellable(b.lock()), async move { 1 });
                            ({
                                __context_yielded = ();
                                let end = lender.yield_((first, second));
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
                    DbError,
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
                    DbError,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "connect"),
                    async move |lender| -> ::core::result::Result<(), DbError> {
                        let url = url;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            let (conn, outcome) = ({
                                __context_yielded = ();
                                let end = lender.yield_(Conn::open(url).await?);
                                end.await
                            });
                            conn.close(outcome).await
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
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
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "forgiving"),
                    async move |
                        lender,
                    | -> ::core::result::Result<::async_context_manager::Suppression, Never> {
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<
                            ::async_context_manager::Suppression,
                            Never,
                        > = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(());
                                end.await
                            });
                            Ok(Suppression::Suppress)
                        };
                        ::async_context_manager::generator::has_yielded(__context_yielded);
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
        quote!(connect(url) => conn, local, crate = framework::contexts),
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
            framework::contexts::AsyncContextExt::with_local(
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
                    DbError,
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
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), DbError> = {
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(lender);
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
fn calls_in_the_tokens_of_other_macros_go_with_their_paths() {
    let output = context(
        quote!(),
        quote! {
            async fn pair() -> Result<Pair, Never> {
                let pair = dbg!(Pair {
                    a: a::path::cancellable!(one()).await,
                    b: ::path::cancellable!(two()).await,
                    c: contexts!(yield) != vec![cancellable(three)],
                });
                yield_!(pair);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn pair() -> impl ::async_context_manager::AsyncContext<
                Value = Pair,
                Error = Never,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::async_context_manager::generator::generator::<
                    Pair,
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "pair"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        let lender = &lender;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            let pair = dbg!(
                                Pair { a : lender.cancellable(one()). await, b : lender
                                .cancellable(two()). await, c : contexts!(yield) !=
                                vec![cancellable(three)], }
                            );
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(pair);
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
fn a_cancellable_in_an_async_block_leaves_the_others_their_lender() {
    let output = context(
        quote!(),
        quote! {
            async fn pair() -> Result<u32, Never> {
                let later = async move { cancellable!(one()).await };
                yield_!(later.await);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn pair() -> impl ::async_context_manager::AsyncContext<
                Value = u32,
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
                    u32,
                    Never,
                    _,
                    _,
                >(
                    ::core::concat!(::core::module_path!(), "::", "pair"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        let lender = &lender;
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            let later = async move { lender.cancellable(one()).await };
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(later.await);
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
fn contexts_inside_of_a_context_keep_their_yields() {
    let output = context(
        quote!(),
        quote! {
            async fn outer() -> Result<u32, Never> {
                #[async_context]
                async fn inner() -> Result<u32, Never> {
                    yield_!(1);
                    Ok(())
                }
                impl Type {
                    #[async_context]
                    async fn inner() -> Result<u32, Never> {
                        yield_!(2);
                        Ok(())
                    }
                }
                trait Trait {
                    #[async_context]
                    async fn inner() -> Result<u32, Never> {
                        yield_!(3);
                        Ok(())
                    }
                }
                yield_!(4);
                Ok(())
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn outer() -> impl ::async_context_manager::AsyncContext<
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
                    ::core::concat!(::core::module_path!(), "::", "outer"),
                    async move |lender| -> ::core::result::Result<(), Never> {
                        let __context_yielded: ();
                        let __context_exit: ::core::result::Result<(), Never> = {
                            #[async_context]
                            async fn inner() -> Result<u32, Never> {
                                yield_!(1);
                                Ok(())
                            }
                            impl Type {
                                #[async_context]
                                async fn inner() -> Result<u32, Never> {
                                    yield_!(2);
                                    Ok(())
                                }
                            }
                            trait Trait {
                                #[async_context]
                                async fn inner() -> Result<u32, Never> {
                                    yield_!(3);
                                    Ok(())
                                }
                            }
                            ({
                                __context_yielded = ();
                                let end = lender.yield_(4);
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
fn functions_inside_of_a_function_with_errors_lose_their_yields() {
    let output = context(
        quote!(),
        quote! {
            async fn outer() -> Result<u32, Never> {
                async fn inner() {
                    yield_!(1);
                }
                impl Type {
                    async fn inner() {
                        yield_!(2);
                    }
                }
                trait Trait {
                    async fn inner() {
                        yield_!(3);
                    }
                }
                print!(yield_!(), yield_!(4));
            }
        },
    );
    check(
        output,
        expect![[r#"
            fn outer() -> impl ::async_context_manager::AsyncContext<
                Value = u32,
                Error = Never,
                Verdict = (),
            > {
                yield_! {
                    @ used
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside a nested function, because that is not the context\nhelp: put `#[async_context]` on the nested function if it is a context itself"
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside a nested function, because that is not the context\nhelp: put `#[async_context]` on the nested function if it is a context itself"
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside a nested function, because that is not the context\nhelp: put `#[async_context]` on the nested function if it is a context itself"
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside another macro, because how often the macro runs it is unknown\nhelp: write `let (value, outcome) = yield_!(value);`, then use `value` in the macro"
                }
                ::core::compile_error! {
                    "`yield_!` cannot be inside another macro, because how often the macro runs it is unknown\nhelp: write `let (value, outcome) = yield_!(value);`, then use `value` in the macro"
                }
                ::async_context_manager::generator::generator::<
                    u32,
                    Never,
                    _,
                    _,
                >(
                    "",
                    async move |_| -> ::core::result::Result<(), Never> {
                        let _ = (async move || -> ::core::result::Result<_, Never> {
                            async fn inner() {
                                (
                                    1,
                                    ::core::option::Option::<&::async_context_manager::Outcome>::None
                                        .unwrap(),
                                );
                            }
                            impl Type {
                                async fn inner() {
                                    (
                                        2,
                                        ::core::option::Option::<
                                            &::async_context_manager::Outcome,
                                        >::None
                                            .unwrap(),
                                    );
                                }
                            }
                            trait Trait {
                                async fn inner() {
                                    (
                                        3,
                                        ::core::option::Option::<
                                            &::async_context_manager::Outcome,
                                        >::None
                                            .unwrap(),
                                    );
                                }
                            }
                            print!(
                                ((), ::core::option::Option:: < & ::async_context_manager::Outcome >
                                ::None.unwrap()), (4, ::core::option::Option:: < &
                                ::async_context_manager::Outcome > ::None.unwrap())
                            );
                            return ::core::result::Result::Ok(());
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

/// Compares tokens, because the parser does not accept syntax that is newer than itself.
fn check_tokens(output: &TokenStream, expected: &Expect) {
    expected.assert_eq(&output.to_string());
}

#[test]
fn a_body_that_is_newer_than_the_parser_keeps_its_tokens() {
    let output = context(
        quote!(),
        quote! {
            async fn lock(a: Mutex) -> Result<Guard, Never> {
                let guard = newer syntax cancellable!(a.lock()).await;
                let ((guard, _), _) = (yield_!(guard), yield_!());
                guard.unlock()
            }
        },
    );
    check_tokens(
        &output,
        &expect![[
            r#"fn lock (a : Mutex) -> impl :: async_context_manager :: AsyncContext < Value = Guard , Error = Never , Verdict = () > { yield_ ! { @ used } cancellable ! { @ used } :: async_context_manager :: generator :: generator :: < Guard , Never , _ , _ > (:: core :: concat ! (:: core :: module_path ! () , "::" , "lock") , async move | lender | -> :: core :: result :: Result < () , Never > { let lender = & lender ; let a = a ; if let :: core :: option :: Option :: Some (exit) = :: async_context_manager :: generator :: no_exit :: < :: core :: result :: Result < () , Never > > () { return exit ; } let __context_yielded : () ; let __context_exit : :: core :: result :: Result < () , Never > = { { let guard = newer syntax lender . cancellable (a . lock ()) . await ; let ((guard , _) , _) = (({ __context_yielded = () ; let end = lender . yield_ (guard) ; end . await }) , ({ __context_yielded = () ; let end = lender . yield_ (()) ; end . await })) ; guard . unlock () } } ; __context_exit } ,) }"#
        ]],
    );

    let output = context(
        quote!(),
        quote! {
            async fn never() -> Result<Guard, Never> {
                newer syntax
            }
        },
    );
    check_tokens(
        &output,
        &expect![[
            r#"fn never () -> impl :: async_context_manager :: AsyncContext < Value = Guard , Error = Never , Verdict = () > { :: async_context_manager :: generator :: generator :: < Guard , Never , _ , _ > (:: core :: concat ! (:: core :: module_path ! () , "::" , "never") , async move | lender | -> :: core :: result :: Result < () , Never > { let __context_exit : :: core :: result :: Result < () , Never > = { { newer syntax } } ; __context_exit } ,) }"#
        ]],
    );
}

#[test]
fn within_pins_the_type_of_what_the_body_ends_with() {
    let within = |signature, body| {
        let function = quote!(#signature { #body });
        crate::within::within(quote!(context()), &function)
    };
    let plain = quote!(async fn plain() -> Result<u32, DbError>);
    let alias = quote!(async fn alias() -> (io::Result<u32>));
    let opaque = quote!(async fn opaque() -> Result<impl Fn(), DbError>);
    let output = [
        within(&plain, quote!(value())),
        within(&plain, quote!(return value())),
        within(&plain, quote!(loop {})),
        within(&alias, quote!(value())),
        within(&opaque, quote!(value())),
    ];
    check(
        output.into_iter().collect(),
        expect![[r#"
        async fn plain() -> Result<u32, DbError> {
            let __context = context();
            ::async_context_manager::AsyncContextExt::with(
                    __context,
                    async move |_| {
                        let __context_result: ::core::result::Result<u32, _> = { value() };
                        __context_result
                    },
                )
                .await
        }
        async fn plain() -> Result<u32, DbError> {
            let __context = context();
            ::async_context_manager::AsyncContextExt::with(
                    __context,
                    async move |_| { return value() },
                )
                .await
        }
        async fn plain() -> Result<u32, DbError> {
            let __context = context();
            ::async_context_manager::AsyncContextExt::with(__context, async move |_| { loop {} })
                .await
        }
        async fn alias() -> (io::Result<u32>) {
            let __context = context();
            ::async_context_manager::AsyncContextExt::with(
                    __context,
                    async move |_| {
                        let __context_result: (io::Result<u32>) = { value() };
                        __context_result
                    },
                )
                .await
        }
        async fn opaque() -> Result<impl Fn(), DbError> {
            let __context = context();
            ::async_context_manager::AsyncContextExt::with(__context, async move |_| { value() })
                .await
        }
    "#]],
    );
}

/// Returns `true` if the tokens of the function contain all of these parts.
fn has(output: &TokenStream, parts: &[TokenStream]) -> bool {
    let output = output.to_string();
    parts.iter().all(|part| output.contains(&part.to_string()))
}

#[test]
fn callers_of_a_function_without_a_result_still_get_a_value() {
    for (output, value) in [
        (quote!(), quote!(())),
        (quote!(-> !), quote!(())),
        (quote!(-> impl Future<Output = u32>), quote!(())),
        (quote!(-> Option<impl Fn()>), quote!(())),
        (quote!(-> Option<u32>), quote!(Option<u32>)),
    ] {
        let output = context(quote!(), quote!(async fn open() #output { yield_!(1); }));
        let value = quote!(Value = #value, Error = ::core::convert::Infallible, Verdict = ());
        assert!(has(&output, &[quote!(compile_error), value]), "{output}");
    }
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
fn a_body_that_would_only_add_errors_is_left_out() {
    for (body, is_kept) in [
        (quote!(const { yield_!(marker) }; Ok(())), false),
        (quote!(return Err(error); yield_!(marker); Ok(())), false),
        (quote!(if id > 0 { return; } yield_!(marker); Ok(())), false),
        (
            quote!(if id > 0 { return Ok(()); } yield_!(marker); Ok(())),
            true,
        ),
        (quote!(let lend = || yield_!(marker); Ok(())), true),
    ] {
        let function = quote!(async fn open(id: u32) -> Result<u32, DbError> { #body });
        let output = context(quote!(), function);
        assert!(has(&output, &[quote!(compile_error)]), "{output}");
        assert_eq!(has(&output, &[quote!(marker)]), is_kept, "{output}");
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
