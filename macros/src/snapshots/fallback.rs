//! What is left of a function with errors.

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use quote::quote;

use super::{check, context, has};

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

/// Compares tokens, because the parser does not accept what is newer than itself.
fn check_tokens(output: &TokenStream, expected: &Expect) {
    expected.assert_eq(&output.to_string());
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
