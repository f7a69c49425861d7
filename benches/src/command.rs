//! Other programs that a measurement needs.

use std::error::Error;
use std::process::Command;

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
