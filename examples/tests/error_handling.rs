//! The program `error_handling`, run as a user runs it.

#![forbid(unsafe_code)]

mod example;

#[test]
fn a_missing_setting_is_suppressed_and_one_that_is_no_number_is_not() {
    let source = include_str!("../error_handling.rs");
    let stdout = example::prints_what_its_docs_show("error_handling", source);
    for (printed, times) in [
        ("    width is 80\n", 4),
        ("    depth is left to us\n", 4),
        ("    suppressed: there is no setting `depth`\n", 3),
        ("invalid digit found in string\n", 4),
        ("a panic goes through: no width at all\n", 1),
    ] {
        assert_eq!(stdout.matches(printed).count(), times, "{printed}{stdout}");
    }
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("error_handling", &["one type of error"]);
}
