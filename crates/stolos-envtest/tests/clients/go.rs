//! client-go and controller-runtime: the Go module in `tests/clients/go`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::program::{kept, root, run, skipped};

/// Longest that a Go test may take; `go test` says where it hangs.
const TIMEOUT: &str = "-test.timeout=240s";

/// What to do where something is missing.
pub(crate) const PREPARE: &str = "run `cargo xtask clients` where there is Go";

/// Returns the compiled tests, or nothing where Go or its modules are missing. They are compiled afresh, which Go's
/// cache makes quick, and nothing is fetched.
pub(crate) fn tests() -> Option<&'static Path> {
    static COMPILED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| {
        let binary = kept().join("clients.test");
        if !binary.is_file() {
            return None;
        }
        let mut compile = offline("go");
        compile.args(["test", "-trimpath", "-c", "-o"]).arg(&binary).arg(".");
        run(&mut compile);
        Some(binary)
    });
    compiled.as_deref()
}

/// Returns a command in the folder of the Go module that fetches nothing.
fn offline(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root().join("tests/clients/go")).env("GOPROXY", "off");
    command
}

/// Runs tests by a pattern of their names.
fn go_test(binary: &Path, pattern: &str) -> Command {
    let mut command = offline(binary);
    command.args([TIMEOUT, "-test.v", "-test.run", pattern]);
    command.env_remove("KUBECONFIG").env_remove("KUBEBUILDER_ASSETS");
    command
}

#[test]
fn client_go_and_controller_runtime_work_as_on_any_cluster() {
    let Some(binary) = tests() else { return skipped("Go clients", PREPARE) };
    let cluster = Cluster::start();
    let output = run(go_test(binary, ".").env("KUBECONFIG", cluster.kubeconfig()));
    let passed = output.lines().filter(|line| line.starts_with("--- PASS")).count();
    assert!(passed >= 20, "only {passed} Go tests ran:\n{output}");
}

#[test]
fn envtest_runs_on_the_drop_in() {
    let Some(binary) = tests() else { return skipped("envtest", PREPARE) };
    let assets = Path::new(env!("CARGO_BIN_EXE_kube-apiserver")).parent().unwrap();
    let crds = reference_crds().unwrap_or_else(|| root().join("deploy/crds.yaml"));
    let output = run(go_test(binary, "^TestEnvtestRunsOnTheDropIn$")
        .env("KUBEBUILDER_ASSETS", assets)
        .env("TEST_CRDS", crds));
    assert!(output.contains("--- PASS: TestEnvtestRunsOnTheDropIn"), "{output}");
}

/// Returns the CRDs of other projects that lie beside this one on the machines of its developers.
fn reference_crds() -> Option<PathBuf> {
    let folder = root().join("../shared/reference/crds");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: CRDs of other projects: they are not beside this project, ours are used");
    None
}

/// Renders the chart of a service mesh to a file.
pub(crate) fn render_chart(binary: &Path, file: &Path) {
    run(go_test(binary, "^TestChartIsRendered$").env("CHART_FILE", file));
}
