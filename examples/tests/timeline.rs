//! The program `timeline`, run as a user runs it.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "what it prints has real times in it")]
mod example;

/// Removes what the layer measures itself, in brackets: that is real time.
fn without_real_time(printed: &str) -> String {
    let lines = printed.lines().map(|line| {
        let rest = line.split_once(" [ ").zip(line.split_once("% ]"));
        rest.map_or(line.to_owned(), |((before, _), (_, after))| {
            format!("{before}{after}")
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_tree_is_what_the_docs_show_but_for_real_time() {
    let output = example::program("timeline").output();
    let (stdout, stderr) = example::printed(&output.expect("the program runs"));
    assert_eq!(stderr, "");
    let printed = without_real_time(&stdout);
    let shown = example::shown(include_str!("../timeline.rs"));
    assert_eq!(printed, without_real_time(&shown));
    let readme = without_real_time(include_str!("../README.md"));
    assert!(readme.contains(&printed), "the README shows it as well");
}

#[test]
fn help_tells_what_it_is() {
    example::has_help("timeline", &["three requests"]);
}
