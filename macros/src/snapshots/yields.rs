//! How `yield_!` and `cancellable!` are found and rewritten, in other macros too.

use expect_test::expect;
use quote::quote;

use super::{check, context};

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
