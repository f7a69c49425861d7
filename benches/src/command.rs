//! Other programs that a measurement needs.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Another program of this package, as its source is now.
///
/// # Errors
///
/// If it can't be built.
pub fn sibling(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "benches",
        "--bin",
        name,
    ]);
    output(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    // Next to this one, which may be no release build.
    let target = env::current_exe()?;
    let target = target.parent().and_then(|profile| profile.parent());
    let target = target.ok_or("this program is not in a target folder")?;
    Ok(target.join("release").join(name))
}

/// What it prints, if it ends well.
///
/// # Errors
///
/// If it does not start, or fails: with what it says about it.
pub fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}\n{errors}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
