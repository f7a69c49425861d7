//! The list of behaviours in `behaviours.md` names tests that exist.

use std::fs;
use std::path::Path;

/// The names in backticks in the last column of the table's rows.
fn named_tests(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| no."))
        .filter_map(|line| line.trim_end_matches([' ', '|']).rsplit("| ").next())
        .flat_map(|tests| tests.split('`').skip(1).step_by(2))
}

#[test]
fn every_behaviour_has_tests_that_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = fs::read_dir(folder.join("integration"))
        .expect("the tests are here")
        .map(|file| file.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).expect("a source file is text"))
        .collect();
    let mut names = 0;
    for name in named_tests(include_str!("behaviours.md")) {
        let there = if name.contains('/') {
            folder.join("..").join(name).exists()
        } else {
            sources.contains(&format!("#[test]\nfn {name}()"))
                || sources.contains(&format!("    fn {name}()"))
        };
        assert!(there, "`{name}` is in behaviours.md, and does not exist");
        names += 1;
    }
    assert!(
        names > 50,
        "only {names} names were found: was the table changed?"
    );
}
