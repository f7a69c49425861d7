//! The tables of this folder name tests that exist: the list of behaviours in `behaviours.md`, and
//! what other systems test in `peers/`.

use std::fs;
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

/// Checks that all exists that the tables name, and that what they mark as not there yet does not.
/// Returns the number of names.
fn check(table: &str, text: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = [
        "integration",
        "integration/corpus",
        "integration/guard_model",
    ]
    .into_iter()
    .flat_map(|part| fs::read_dir(folder.join(part)).expect("the tests are here"))
    .map(|file| file.expect("the folder can be read").path())
    .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    .map(|path| fs::read_to_string(path).expect("a source file is text"))
    .collect();
    let exists = |name: &str| {
        if name.contains('/') {
            folder.join("..").join(name).exists()
        } else {
            sources.contains(&format!("\nfn {name}()"))
                || sources.contains(&format!("    fn {name}()"))
        }
    };
    let mut count = 0;
    for Row { tests, rest } in rows(text) {
        assert!(
            !(tests.is_empty() && rest.last() == Some(&"")),
            "{table}: neither a test nor a reason: {rest:?}"
        );
        let wanted = !tests.starts_with("not yet:");
        let files = rest
            .iter()
            .flat_map(|cell| names(cell))
            .filter(|name| name.starts_with("ui-tests/"));
        let files = files.map(|name| (name, true));
        for (name, wanted) in names(tests).map(|name| (name, wanted)).chain(files) {
            assert_eq!(
                exists(name),
                wanted,
                "`{name}` is in {table}: does it exist? {}",
                exists(name)
            );
            count += 1;
        }
    }
    count
}

#[test]
fn every_behaviour_has_tests_that_exist() {
    let names = check("behaviours.md", include_str!("behaviours.md"));
    assert!(
        names > 50,
        "only {names} names were found: was the table changed?"
    );
}

/// The numbers that have a line. They are the numbers of the list that the project began with, and
/// two lines about LIFO that have none. Other lines of that list have been merged into these.
const NUMBERS: [&str; 117] = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "14",
    "15",
    "16",
    "17",
    "19",
    "20",
    "21",
    "22",
    "23",
    "24",
    "25",
    "26",
    "27",
    "30",
    "31",
    "32",
    "33",
    "34",
    "35",
    "37",
    "41",
    "42",
    "43",
    "44",
    "45",
    "47",
    "50",
    "51",
    "52",
    "53",
    "54",
    "55",
    "56",
    "57",
    "58",
    "59",
    "60",
    "62",
    "63",
    "65",
    "69",
    "71",
    "73",
    "74",
    "75",
    "78",
    "79",
    "80",
    "82",
    "83",
    "84",
    "85",
    "87",
    "88",
    "90",
    "91",
    "92",
    "93",
    "94",
    "96",
    "97",
    "100",
    "101",
    "LIFO",
    "LIFO, siblings",
    "102",
    "104",
    "106",
    "108",
    "109",
    "110",
    "114",
    "117",
    "118",
    "121",
    "122",
    "123",
    "124",
    "125",
    "126",
    "127",
    "128",
    "129",
    "130",
    "131",
    "132",
    "133",
    "134",
    "135",
    "136",
    "137",
    "138",
    "139",
    "140",
    "141",
    "142",
    "143",
    "144",
    "145",
    "146",
    "148",
    "149",
    "150",
    "151",
    "152",
];

#[test]
fn every_number_has_its_line() {
    let text = include_str!("behaviours.md");
    let numbers: Vec<_> = rows(text).iter().map(|row| row.rest[0]).collect();
    assert_eq!(numbers, NUMBERS);
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
