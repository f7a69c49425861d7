//! Runs the other programs that a measurement needs.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Builds another program of this package, and returns its path.
///
/// # Errors
///
/// If the program cannot be built.
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
    // Next to this program, which may not be a release build.
    let target = env::current_exe()?;
    let target = target.parent().and_then(|profile| profile.parent());
    let target = target.ok_or("this program is not in a target folder")?;
    Ok(target.join("release").join(name))
}

/// Returns the output of the command, if it ends well.
///
/// # Errors
///
/// If the command does not start, or fails. The error contains its stderr.
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
