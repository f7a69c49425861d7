//! What `contexts!` makes of its functions.

use expect_test::expect;
use quote::quote;

use super::check;

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
