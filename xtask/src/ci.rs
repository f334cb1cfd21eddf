//! Everything that CI does, on a laptop, cheapest first.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::process::{cargo, exists, output, run};
use crate::{layers, orphans, root, simulate};

/// Runs the whole gate.
pub(crate) fn run_gate(no_tests: bool) -> anyhow::Result<()> {
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("layers", layers::check)?;
    step("orphan files", orphans::check)?;
    optional("typos", "typos", || run(&mut std::process::Command::new("typos")))?;
    step("clippy", || {
        run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    if !no_tests {
        step("tests", || run(cargo().args(["test", "--workspace", "--locked"])))?;
    }
    step("simulation", simulate::all)?;
    step("rustdoc", || {
        run(cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
    })?;
    step("generated files", || generate(true))?;
    optional("cargo-deny", "dependencies", || run(cargo().args(["deny", "check"])))?;
    optional("cargo-machete", "unused dependencies", || run(cargo().args(["machete"])))?;
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    work().with_context(|| format!("step `{name}` failed"))
}

/// Runs a step whose tool takes minutes to compile only where the tool is installed.
fn optional(
    tool: &str,
    name: &str,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if exists(tool) {
        return step(name, work);
    }
    println!("== {name}: skipped, `{tool}` is not installed");
    Ok(())
}

/// Writes the generated files, or with `check` fails on the first that differs.
pub(crate) fn generate(check: bool) -> anyhow::Result<()> {
    let stolos = |args: &[&str]| {
        output(cargo().args(["run", "--quiet", "--locked", "--package", "stolos", "--"]).args(args))
    };
    update(&root().join("deploy/crds.yaml"), &stolos(&["crds"])?, check)?;
    update(&root().join("docs/reference/cli.md"), &stolos(&["cli-reference"])?, check)
}

fn update(path: &Path, content: &[u8], check: bool) -> anyhow::Result<()> {
    if check {
        let same = fs::read(path).is_ok_and(|old| old == content);
        if !same {
            bail!("{} is out of date; run `cargo xtask generate`", path.display());
        }
        println!("{}: up to date", path.display());
        return Ok(());
    }
    let folder = path.parent().expect("a generated file lies in a folder");
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
