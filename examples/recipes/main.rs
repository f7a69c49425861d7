//! Short programs to copy from, each with its tests. `examples/README.md` lists them by subject.
//!
//! ```sh
//! cargo test -p examples --test recipes --test shared_fixture
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod advisory_lock;
mod body_scope;
mod borrowed_transaction;
mod child_process;
mod consumer;
mod error_types;
mod extractor;
mod fixtures;
mod http_session;
mod journal;
mod layer;
mod lease;
mod lock;
mod open_telemetry;
#[path = "../tests/polls/mod.rs"]
mod polls;
mod prometheus;
mod reload;
mod retry;
mod saga;
mod savepoint;
mod session;
mod shared_server;
mod streaming;
mod task_limit;
mod temporary_directory;
mod test_fixture;
mod tower_service;
mod transaction;

#[test]
fn each_recipe_is_in_the_table_of_the_readme() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = std::fs::read_dir(folder.join("recipes")).unwrap();
    let recipes = recipes.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let mut recipes: Vec<_> = recipes
        .filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "main")
        .collect();
    recipes.sort_unstable();
    let rows = include_str!("../README.md")
        .lines()
        .filter(|line| line.contains("](recipes/"));
    let mut listed: Vec<_> = rows
        .map(|row| {
            let name = row.split('`').nth(1).unwrap();
            let link = format!("[`{name}`](recipes/{name}.rs)");
            assert!(row.contains(&link), "the link of {name}");
            name.to_owned()
        })
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, recipes);
}
