//! No module of the crates names one that stands above it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the runtime, from the lowest to the highest. Those of a line do not name each
/// other.
const RUNTIME: &[&[&str]] = &[
    &[
        "body",
        "carry",
        "fairness",
        "fallback",
        "lock",
        "panic",
        "roster",
        "timeout_error",
    ],
    &["outcome", "time_limit"],
    &["report"],
    &["alarm", "failure", "observe"],
    &["exchange"],
    &["lender", "order"],
    &["door"],
    &["beside", "cancellable", "code"],
    &["context", "coroutine"],
    &[
        "converted",
        "detached",
        "generator",
        "hand_written",
        "settle",
    ],
    &["scope"],
    &["driven"],
    &[
        "combine", "guard", "shared", "shutdown", "stack", "stream", "testing",
    ],
    &["ext"],
];

/// Those of the macros.
const MACROS: &[&[&str]] = &[
    &["errors"],
    &["args", "endings", "input"],
    &["judge", "nameable"],
    &["yields"],
    &["paths"],
    &["analyze", "contexts"],
    &["named"],
    &["expand"],
    &["fallback"],
    &["within"],
    &["fuzz", "snapshots"],
    &["messages"],
];

#[test]
fn no_module_of_the_runtime_names_a_higher_one() {
    check("runtime", RUNTIME);
}

#[test]
fn no_module_of_the_macros_names_a_higher_one() {
    check("macros", MACROS);
}

fn check(package: &str, floors: &[&[&str]]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(package);
    let src = root.join("src");
    let floor = |module: &str| floors.iter().position(|floor| floor.contains(&module));
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in files(&src) {
        let relative = path.strip_prefix(&src).expect("it was found there");
        let module = relative.iter().next().expect("a file has a name");
        let module = module.to_str().expect("our names are ASCII");
        let module = module.trim_end_matches(".rs").to_owned();
        // These name all modules, and have no code.
        if module == "lib" || module == "guide" {
            continue;
        }
        let Some(its) = floor(&module) else {
            wrong.push(format!(
                "{package}: `{module}` is missing in the list of this test"
            ));
            continue;
        };
        let text = fs::read_to_string(&path).expect("the sources are there");
        for other in named(&text) {
            let is_lower = floor(&other).is_none_or(|other| other < its);
            if other != module && !is_lower {
                wrong.push(format!("{package}: `{module}` names `{other}`"));
            }
        }
        seen.insert(module);
    }
    for module in floors.iter().copied().flatten() {
        if !seen.contains(*module) {
            wrong.push(format!("{package}: there is no `{module}` any more"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Without the constant, the hidden method would not be called.
#[test]
fn a_context_with_a_coroutine_of_its_own_says_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for package in ["runtime", "macros", "leases"] {
        for path in files(&root.join(package).join("src")) {
            if path.ends_with("runtime/src/context.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it was found there");
            let coroutines = text.matches("fn __coroutine(").count();
            let said = text.matches("const __LENDS: bool = true;").count();
            assert_eq!(coroutines, said, "in {}", path.display());
            count += coroutines;
        }
    }
    assert!(count > 10, "they have another name by now");
}

/// The modules in `crate::module` and `use crate::{module, …}` of the code, without its comments.
fn named(text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut named = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        // What a macro names is named where that is used.
        if code[..at].ends_with('$') {
            continue;
        }
        let after = &code[at + found.len()..];
        let list = after
            .strip_prefix('{')
            .and_then(|list| list.split('}').next());
        for path in list.unwrap_or(after).split(',') {
            let module: String = path
                .trim_start()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            named.insert(module);
            if list.is_none() {
                break;
            }
        }
    }
    named
}

#[test]
fn the_page_for_developers_has_a_line_for_each_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("DEVELOPMENT.md")).expect("the page is there");
    let mut missing = Vec::new();
    for package in ["runtime", "macros"] {
        let src = root.join(package).join("src");
        for path in files(&src) {
            let file = path.strip_prefix(&src).expect("it was found there");
            let file = file.to_str().expect("our names are ASCII");
            let file = file.replace(std::path::MAIN_SEPARATOR, "/");
            if !page.contains(&format!("`{file}`")) {
                missing.push(format!("{package}/src/{file}"));
            }
        }
    }
    assert!(missing.is_empty(), "DEVELOPMENT.md lacks {missing:?}");
}
