//! The expansions of the macros, as text, by subject.
//! `UPDATE_EXPECT=1 cargo test -p async-context-manager-macros` updates them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "an expansion is in one piece")]

mod contexts;
mod fallback;
mod functions;
mod named;
mod within;
mod yields;

use expect_test::Expect;
use proc_macro2::TokenStream;

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

/// Returns `true` if the tokens of the function contain all of these parts.
fn has(output: &TokenStream, parts: &[TokenStream]) -> bool {
    let output = output.to_string();
    parts.iter().all(|part| output.contains(&part.to_string()))
}
