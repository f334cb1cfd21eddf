//! Files that a command line names.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// Returns the text of a file; `-` stands for standard input.
pub(crate) fn text_of(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}
