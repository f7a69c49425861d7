//! What a function becomes under `struct = Name`.

use expect_test::expect;
use quote::quote;

use super::{check, context};

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
