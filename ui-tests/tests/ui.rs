//! Wrong programs and what the compiler says to them; right programs that have to compile.
//!
//! The `.stderr` files are blessed by `TRYBUILD=overwrite cargo test -p ui-tests`.

#[test]
fn wrong_programs_get_a_helpful_error() {
    trybuild::TestCases::new().compile_fail("ui/*/*.rs");
}

#[test]
fn right_programs_compile() {
    trybuild::TestCases::new().pass("pass/*.rs");
}
