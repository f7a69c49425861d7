//! The program `parallel_work`, run as a user runs it.

#![forbid(unsafe_code)]

mod example;

#[test]
fn what_is_opened_is_closed_also_where_another_one_fails() {
    let source = include_str!("../parallel_work.rs");
    let stdout = example::prints_what_its_docs_show("parallel_work", source);
    let timelines: Vec<_> = stdout.split("\n\n").collect();
    assert_eq!(timelines.len(), 7, "{stdout}");
    for timeline in timelines {
        let count = |what| timeline.matches(what).count();
        assert_eq!(count(": opened"), count(": closing, "), "{timeline}");
        let rude = if timeline.contains("do not say goodbye") {
            2
        } else {
            0
        };
        assert_eq!(count(": closing, "), count(": closed") + rude, "{timeline}");
        assert_eq!(count("the caller has "), 1, "{timeline}");
        // If there are two errors, the caller gets one, and the hook the other.
        assert_eq!(count("reported: "), rude / 2, "{timeline}");
    }
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("parallel_work", &["several contexts at once", "paused"]);
}
