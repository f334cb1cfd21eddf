//! Child processes: found or not, run with a bound on their time, shown when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set where everything is to be there: a test that would be skipped fails instead.
const SKIP_NONE: &str = "STOLOS_SKIP_NO_CLIENTS";

/// Says that a test is skipped, in one line.
pub(crate) fn skipped(what: &str, reason: &str) {
    assert!(std::env::var_os(SKIP_NONE).is_none(), "{what} was not to be skipped: {reason}");
    eprintln!("skipped: {what}: {reason}");
}

/// Runs a command that must succeed; its output is shown when it does not, and returned otherwise.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{stdout}\n{stderr}");
    stdout
}

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// Returns the folder in which `cargo xtask clients` keeps what it has made ready.
pub(crate) fn kept() -> PathBuf {
    root().join("target/clients")
}
