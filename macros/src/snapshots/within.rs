//! What `#[within]` makes of a function.

use expect_test::expect;
use quote::quote;

use super::check;

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
