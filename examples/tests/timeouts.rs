//! The program `timeouts`, run as a user runs it.

#![forbid(unsafe_code)]

mod example;

#[test]
fn no_exit_is_cut_off_but_that_with_a_limit_of_its_own() {
    let source = include_str!("../timeouts.rs");
    let stdout = example::prints_what_its_docs_show("timeouts", source);
    let timelines: Vec<_> = stdout.split("\n\n").collect();
    assert_eq!(timelines.len(), 7, "{stdout}");
    for timeline in timelines {
        // What was opened is closed once, and not before it was opened.
        let at = |what: &str| timeline.find(&format!(" ms  {what}"));
        assert_eq!(timeline.matches(" ms  opened").count(), 1, "{timeline}");
        assert_eq!(timeline.matches(" ms  closing: ").count(), 1, "{timeline}");
        assert!(at("opened") < at("closing"), "{timeline}");
        let is_whole = at("closing") < at("closed");
        assert_eq!(is_whole, !timeline.contains("exit_timeout"), "{timeline}");
        // The caller gets this error, so it is not reported.
        assert!(!timeline.contains("reported: "), "{timeline}");
    }
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("timeouts", &["a time limit", "paused"]);
}
