//! The tables of this folder name tests that exist: the list of behaviours in `behaviours.md`, and
//! what other systems test in `peers/`.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// The rows of a table, with the cells of its column of tests, and all else.
struct Row<'t> {
    tests: &'t str,
    rest: Vec<&'t str>,
}

/// The cells of a line of a table, without the `|` around them.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(str::trim).collect()
}

/// The rows of all tables in the text. Each has a column whose title ends with "tests".
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut column = None;
    for line in text.lines() {
        if !line.starts_with('|') {
            column = None;
        } else if let Some(column) = column {
            let mut cells = cells(line);
            if !line.starts_with("| ---") {
                assert!(cells.len() > column, "too few cells: {line}");
                let tests = cells.remove(column);
                rows.push(Row { tests, rest: cells });
            }
        } else {
            let title = cells(line).iter().rposition(|cell| cell.ends_with("tests"));
            column = Some(title.expect("a table has a column of tests"));
        }
    }
    rows
}

/// What is in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The root of the crate with the tests.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the source has a test of that name.
fn has(source: &str, test: &str) -> bool {
    source.contains(&format!("\nfn {test}()")) || source.contains(&format!("    fn {test}()"))
}

/// Whether there is a test of that path, such as `protocol::attributes::attributes_are_kept`. The
/// module is a file, or a module inside the file of its parent.
fn is_in_its_module(path: &str) -> bool {
    let file = |modules: &str| {
        let modules = modules.replace("::", "/");
        let path = folder().join("integration").join(modules);
        let source = fs::read_to_string(path.with_extension("rs"));
        source.or_else(|_| fs::read_to_string(path.join("mod.rs")))
    };
    let Some((modules, test)) = path.rsplit_once("::") else {
        return false;
    };
    if let Ok(source) = file(modules) {
        return has(&source, test);
    }
    let Some((outer, inner)) = modules.rsplit_once("::") else {
        return false;
    };
    let source = file(outer).unwrap_or_default();
    let inner = source.split_once(&format!("\nmod {inner} {{\n"));
    let inner = inner.and_then(|(_, rest)| rest.split_once("\n}\n"));
    inner.is_some_and(|(source, _)| has(source, test))
}

/// Checks that all exists that the tables name, and that what they mark as not there yet does not.
/// Returns the names.
fn check<'t>(table: &str, text: &'t str) -> Vec<&'t str> {
    let sources: String = [
        "integration",
        "integration/corpus",
        "integration/guard_model",
    ]
    .into_iter()
    .flat_map(|part| fs::read_dir(folder().join(part)).expect("the tests are here"))
    .map(|file| file.expect("the folder can be read").path())
    .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    .map(|path| fs::read_to_string(path).expect("a source file is text"))
    .collect();
    let exists = |name: &str| {
        if name.contains('/') {
            folder().join("..").join(name).exists()
        } else if name.contains("::") {
            is_in_its_module(name)
        } else {
            has(&sources, name)
        }
    };
    let mut found = Vec::new();
    for Row { tests, rest } in rows(text) {
        assert!(
            !(tests.is_empty() && rest.last() == Some(&"")),
            "{table}: neither a test nor a reason: {rest:?}"
        );
        let wanted = !tests.starts_with("not yet:");
        let files = rest.into_iter().flat_map(names);
        let files = files.filter(|name| name.starts_with("ui-tests/"));
        let files = files.map(|name| (name, true));
        for (name, wanted) in names(tests).map(|name| (name, wanted)).chain(files) {
            assert_eq!(
                exists(name),
                wanted,
                "`{name}` is in {table}: does it exist, in that module? {}",
                exists(name)
            );
            found.push(name);
        }
    }
    found
}

#[test]
fn every_behaviour_has_tests_that_exist_in_the_module_that_is_named() {
    let found = check("behaviours.md", include_str!("behaviours.md"));
    let count = found.len();
    assert!(
        count > 50,
        "only {count} names were found: was the table changed?"
    );
    for name in found {
        let has_module = name.contains("::") || name.contains('/');
        assert!(has_module, "`{name}` has no module");
    }
}

#[test]
fn a_test_is_found_in_its_own_module_alone() {
    let test = "attributes_are_kept";
    assert!(is_in_its_module(&format!("protocol::attributes::{test}")));
    for module in ["protocol::wrong", "order", "order::attributes", "wrong"] {
        assert!(!is_in_its_module(&format!("{module}::{test}")), "{module}");
    }
    assert!(!is_in_its_module(test));
}

/// The numbers of the behaviours. New lines come at the end.
const NUMBERS: RangeInclusive<u32> = 1..=152;

/// A line that is lost leaves a number that is neither in a line nor in the list.
#[test]
fn every_number_has_its_line_or_is_listed_as_not_used() {
    let text = include_str!("behaviours.md");
    let (_, unused) = text.split_once("\nNot used: ").expect("there is the list");
    let (unused, _) = unused.split_once(".\n").expect("the list ends");
    let unused = unused.split(',').map(|number| number.trim().parse());
    let unused: Result<Vec<u32>, _> = unused.collect();

    let rows = rows(text);
    let titles = rows.iter().map(|row| row.rest[0]);
    let (lifo, titles): (Vec<_>, Vec<_>) = titles.partition(|title| title.starts_with("LIFO"));
    assert_eq!(lifo, ["LIFO", "LIFO, siblings"]);
    let numbers: Result<Vec<u32>, _> = titles.into_iter().map(str::parse).collect();
    let mut numbers = numbers.expect("each other line has a number");
    assert!(numbers.is_sorted(), "the lines are in order");

    numbers.extend(unused.expect("the list has numbers only"));
    numbers.sort_unstable();
    assert_eq!(numbers, NUMBERS.collect::<Vec<_>>());
}

#[test]
fn every_test_of_the_peers_has_tests_of_ours_that_exist_or_a_reason() {
    for (table, text) in [
        ("contextlib.md", include_str!("peers/contextlib.md")),
        (
            "async_disposable_stack.md",
            include_str!("peers/async_disposable_stack.md"),
        ),
        ("resource_spec.md", include_str!("peers/resource_spec.md")),
        ("taskgroups.md", include_str!("peers/taskgroups.md")),
        ("timeouts.md", include_str!("peers/timeouts.md")),
        ("cancel_scopes.md", include_str!("peers/cancel_scopes.md")),
    ] {
        check(table, text);
        let lines = text.lines().find_map(|line| line.strip_prefix("Lines: "));
        let lines = lines.and_then(|number| number.parse().ok());
        assert_eq!(Some(rows(text).len()), lines, "the lines of {table}");
    }
}
