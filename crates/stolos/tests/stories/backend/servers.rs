//! API servers on which nothing of a fleet runs yet, on either backend.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use super::{Up, skip};
use crate::kubectl::{self, Kubectl};

/// Which API servers a story runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Those of `stolos up`: its members serve as a hub and members of another fleet.
    Embedded,
    /// kube-apiserver and kube-controller-manager, started by `cargo xtask kubernetes up`.
    Kubernetes,
}

/// API servers, with contexts `hub`, `member-1` and so on in a kubeconfig. Dropping them ends them.
pub(crate) struct Servers {
    /// Written as JSON, with everything that it names inside.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) backend: Backend,
    _running: Running,
}

#[expect(dead_code, reason = "they are held only to end with the story")]
enum Running {
    Embedded(Up),
    Kubernetes(Xtask),
}

/// The process of `cargo xtask`; it ends when its standard input closes.
struct Xtask {
    child: Child,
    input: Option<ChildStdin>,
}

impl Drop for Xtask {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

impl Servers {
    /// Starts a hub and so many members, or says what is missing and returns nothing.
    pub(crate) fn start(
        backend: Backend,
        members: u32,
        kubectl: &Path,
        dir: &Path,
    ) -> Option<Self> {
        match backend {
            Backend::Embedded => embedded(members, kubectl, dir),
            Backend::Kubernetes if are_built() => Some(kubernetes(dir, members)),
            Backend::Kubernetes => {
                skip(
                    "no real Kubernetes API server; `cargo xtask kubernetes build` builds one with Go",
                );
                None
            }
        }
    }
}

/// Tells whether the programs are there; building them takes longer than a test may.
fn are_built() -> bool {
    let built = kubectl::cache()
        .is_some_and(|cache| cache.join("stolos/kubernetes-1.34.4/kube-apiserver").is_file());
    built || std::env::var_os("KUBEBUILDER_ASSETS").is_some()
}

/// Takes the members of a `stolos up`, which are the members of a hub that places nothing on them.
fn embedded(members: u32, kubectl: &Path, dir: &Path) -> Option<Servers> {
    let up = Up::start(members + 1)?;
    let outer = Kubectl::new(kubectl, &up.kubeconfig(), "hub");
    let text = outer.run(&["config", "view", "--raw", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    let contexts = config["contexts"].as_array_mut().expect("a list");
    contexts.retain(|context| context["name"] != "hub");
    for (index, context) in contexts.iter_mut().enumerate() {
        context["name"] = if index == 0 { json!("hub") } else { json!(format!("member-{index}")) };
    }
    let kubeconfig = dir.join("servers.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).expect("the directory can be written");
    Some(Servers { kubeconfig, backend: Backend::Embedded, _running: Running::Embedded(up) })
}

fn kubernetes(dir: &Path, members: u32) -> Servers {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["run", "--quiet", "--package", "xtask", "--", "kubernetes", "up", "--members"])
        .arg(members.to_string())
        .arg("--dir")
        .arg(dir.join("servers"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    output.read_line(&mut line).expect("xtask prints a line");
    let ready: Value = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("`{line}` is no ready line: {error}"));
    let kubeconfig = PathBuf::from(ready["kubeconfig"].as_str().expect("a path"));
    let running = Running::Kubernetes(Xtask { input: child.stdin.take(), child });
    Servers { kubeconfig, backend: Backend::Kubernetes, _running: running }
}
