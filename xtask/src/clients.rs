//! Gets ready what the tests with other people's clients need: compiled Go tests, a Python environment, a chart.
//!
//! The tests themselves fetch nothing; each that lacks something says so in one line and names this command.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::process::{exists, run};
use crate::root;

/// Fetches modules and packages through their ordinary clients and compiles what is compiled.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let kept = root().join("target/clients");
    fs::create_dir_all(&kept).with_context(|| format!("failed to create {}", kept.display()))?;
    if exists("go") {
        go(&kept)?;
    } else {
        println!("Go clients: skipped, `go` is not installed");
    }
    if exists("python3") {
        python(&kept)?;
    } else {
        println!("Python client: skipped, `python3` is not installed");
    }
    Ok(())
}

fn go(kept: &Path) -> anyhow::Result<()> {
    let sources = root().join("tests/clients/go");
    let tests = kept.join("clients.test");
    let mut compile = Command::new("go");
    compile.current_dir(&sources).args(["test", "-trimpath", "-c", "-o"]).arg(&tests).arg(".");
    run(&mut compile)?;
    // Rendering the chart once fetches its module.
    let mut render = Command::new(&tests);
    render.current_dir(&sources).args(["-test.run", "^TestChartIsRendered$"]);
    run(render.env("CHART_FILE", kept.join("chart.yaml")))?;
    println!("Go clients: ready");
    Ok(())
}

fn python(kept: &Path) -> anyhow::Result<()> {
    let requirements = root().join("tests/clients/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("failed to read {}", requirements.display()))?;
    let folder = kept.join("python");
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("Python client: ready");
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    run(&mut install)?;
    // Written last, so that an interrupted installation is done again.
    fs::write(&stamp, wanted).with_context(|| format!("failed to write {}", stamp.display()))?;
    println!("Python client: ready");
    Ok(())
}
