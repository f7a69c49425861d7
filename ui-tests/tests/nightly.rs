//! The keyword `yield` under the attribute, which only a nightly compiler lets through to it.

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

const PROGRAM: &str = r#"
    #![feature(yield_expr)]
    #![deny(warnings)]
    use async_context_manager::prelude::*;

    #[async_context]
    async fn context() -> Result<u32, String> {
        let (value, outcome) = yield 1;
        if outcome.is_completed() && value > 0 { Ok(()) } else { Err("failed".to_owned()) }
    }

    fn main() {
        let _ = context().with(async |value| Ok(*value));
    }
"#;

fn nightly(arguments: &[&str], directory: &Path) -> Option<Output> {
    Command::new("rustup")
        .args(["run", "nightly"])
        .args(arguments)
        .current_dir(directory)
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .output()
        .ok()
}

#[test]
fn the_keyword_works_under_the_attribute_on_nightly() -> std::io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keyword-on-nightly");
    fs::create_dir_all(&scratch)?;
    if !nightly(&["rustc", "--version"], &scratch).is_some_and(|output| output.status.success()) {
        eprintln!("skipped: there is no nightly toolchain");
        return Ok(());
    }
    let manifest = format!(
        "[package]\nname = \"keyword-on-nightly\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [[bin]]\nname = \"main\"\npath = \"main.rs\"\n\
         [dependencies]\nasync-context-manager = {{ path = {:?} }}\n[workspace]\n",
        workspace.join("runtime")
    );
    fs::write(scratch.join("Cargo.toml"), manifest)?;
    fs::write(scratch.join("main.rs"), PROGRAM)?;
    fs::copy(workspace.join("Cargo.lock"), scratch.join("Cargo.lock"))?;
    let checked = nightly(&["cargo", "check", "--quiet", "--jobs=1"], &scratch)
        .map(|output| (output.status.success(), output.stderr));
    let (success, stderr) = checked.unwrap_or_default();
    assert!(success, "{}", String::from_utf8_lossy(&stderr));
    Ok(())
}
