//! The program `async_resource`, run as a user runs it.

#![forbid(unsafe_code)]

mod example;

#[test]
fn both_journals_have_the_same_trace_whatever_happens() {
    let source = include_str!("../async_resource.rs");
    let stdout = example::prints_what_its_docs_show("async_resource", source);
    let mut lines = stdout.lines();
    let head = lines.next().unwrap_or_default();
    let (left, right) = ("by hand", "as a generator");
    let columns = [left, right].map(|title| head.find(title).expect("it is a column"));
    assert_eq!(lines.next_back(), Some("equal in 5 of 5 cases"));
    let mut ends = 0;
    for line in lines {
        let by_hand = line[columns[0]..columns[1]].trim_end();
        assert_eq!(by_hand, &line[columns[1]..]);
        ends += usize::from(by_hand.starts_with("the caller has "));
    }
    assert_eq!(ends, 5, "{stdout}");
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("async_resource", &["the same resource twice"]);
}
