//! Finds Rust files that no target compiles: nothing checks them, so they rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{process, root};

/// Fails when a `.rs` file of the workspace is reached by no target's `mod` declarations.
pub(crate) fn check() -> anyhow::Result<()> {
    let json = process::output(process::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_slice(&json).context("cargo metadata is not JSON")?;
    let mut reached = BTreeSet::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let entry = PathBuf::from(target["src_path"].as_str().unwrap_or_default());
            follow(&entry, true, &mut reached)?;
        }
    }
    let mut orphans = Vec::new();
    for directory in ["crates", "tests", "bench", "xtask"] {
        collect(&root().join(directory), &reached, &mut orphans)?;
    }
    if !orphans.is_empty() {
        bail!("no target compiles these files:\n  {}", orphans.join("\n  "));
    }
    println!("orphan files: none");
    Ok(())
}

/// Follows `mod name;` lines from a file. A crate root and `mod.rs` look beside themselves, others in their folder.
fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    if !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    let parent = file.parent().expect("a source file lies in a folder");
    let beside = is_root || file.file_name().is_some_and(|name| name == "mod.rs");
    let folder = if beside { parent.to_owned() } else { file.with_extension("") };
    for line in text.lines() {
        let Some(name) = declared_module(line) else { continue };
        let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        for candidate in candidates.iter().filter(|path| path.is_file()) {
            follow(candidate, false, reached)?;
        }
    }
    Ok(())
}

/// Reads the name from a line such as `pub(crate) mod name;`.
fn declared_module(line: &str) -> Option<&str> {
    let name = line.trim().strip_suffix(';')?;
    let (visibility, name) = name.rsplit_once("mod ")?;
    let visibility = visibility.trim();
    let plain = visibility.is_empty() || visibility.starts_with("pub");
    (plain && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

fn collect(
    folder: &Path,
    reached: &BTreeSet<PathBuf>,
    orphans: &mut Vec<String>,
) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.context("failed to list the workspace")?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, reached, orphans)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") && !reached.contains(&path) {
            orphans.push(path.display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::declared_module;

    #[test]
    fn module_declarations_are_recognised() {
        assert_eq!(declared_module("mod a;"), Some("a"));
        assert_eq!(declared_module("    pub(crate) mod b_c;"), Some("b_c"));
        assert_eq!(declared_module("pub mod d;"), Some("d"));
        assert_eq!(declared_module("mod inline {"), None);
        assert_eq!(declared_module("let x = mod_y;"), None);
    }
}
