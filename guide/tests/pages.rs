//! The pages of the guide, in order, and the pictures in them.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src/guide")
}

/// A file of the folder.
fn read(name: &str) -> String {
    let path = folder().join(name);
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages, as `mod.rs` has them.
fn pages() -> Vec<String> {
    let modules = read("mod.rs");
    let names = modules
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    names
        .filter_map(|name| name.strip_suffix(" {}"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_page_ends_with_a_link_to_the_next_one() {
    let pages = pages();
    assert!(pages.len() > 20, "{pages:?}");
    for (page, next) in pages.iter().zip(&pages[1..]) {
        let text = read(&format!("{page}.md"));
        let last = text
            .lines()
            .rev()
            // The targets of pictures stand below it.
            .find(|line| !line.is_empty() && !line.starts_with('['));
        let last = last.unwrap_or_default();
        let is_next =
            last.starts_with("**Next:** [") && last.ends_with(&format!("](crate::guide::{next})"));
        assert!(is_next, "{page} ends with {last:?}, and not with {next}");
    }
}

#[test]
fn the_lists_of_the_pages_agree_with_their_order() {
    let pages = pages();
    let listed = |text: &str, prefix: &str| -> Vec<String> {
        let rows = text.lines().filter_map(|line| line.split_once("| ["));
        let links = rows.filter_map(|(_, row)| row.split_once("](")?.1.split_once(") |"));
        links
            .filter_map(|(link, _)| link.strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
    };
    let index = read("index.md");
    assert_eq!(listed(&index, "guide::"), pages);
    let modules = read("mod.rs");
    assert_eq!(listed(&modules, ""), pages);
}

#[test]
fn each_page_is_a_file_whose_programs_are_tested() {
    let tested = include_str!("../src/lib.rs");
    for file in fs::read_dir(folder()).expect("the folder is there") {
        let path = file.expect("it can be read").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(page) = name.and_then(|name| name.strip_suffix(".md")) else {
            continue;
        };
        if page.contains('.') {
            continue; // a picture
        }
        let is_tested = tested
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .any(|word| word == page);
        assert!(is_tested, "`guide/src/lib.rs` lacks {page}");
        assert!(page == "index" || pages().iter().any(|known| known == page));
    }
}

/// `cargo doc` copies no files, so each picture is in its page, as the target of a link. After a
/// change of a picture: `BLESS=1 cargo test -p guide --test pages`.
#[test]
fn the_pictures_in_the_pages_are_those_of_the_files() {
    for picture in ["choosing", "life"] {
        let svg = read(&format!("{picture}.svg"));
        let mut uri = format!("[{picture}]: data:image/svg+xml,");
        for c in svg.trim_end().chars() {
            match c {
                'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | ',' | ':' | ';' | '/' | '=' | '-' => {
                    uri.push(c);
                }
                _ => {
                    for byte in c.to_string().bytes() {
                        write!(uri, "%{byte:02X}").expect("a `String` takes all");
                    }
                }
            }
        }
        uri.push_str("\n\n");
        let file = format!("{picture}.uri.md");
        if std::env::var_os("BLESS").is_some() {
            fs::write(folder().join(file), uri).expect("the folder can be written to");
        } else {
            assert_eq!(read(&file), uri, "run this test with BLESS=1");
        }
    }
}
