//! Real API servers, started by `cargo xtask kubernetes up`, and the roles of the binary beside them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use super::{STOLOS, skip};
use crate::kubectl::{self, Kubectl};

/// A fleet on real API servers. Dropping it ends every process.
pub(crate) struct Kubernetes {
    /// Ends before the servers do.
    roles: Vec<Role>,
    _servers: Servers,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    directory: tempfile::TempDir,
}

/// One role of the binary.
struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The API servers; they end when their standard input closes.
struct Servers {
    child: Child,
    input: Option<ChildStdin>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

/// Tells whether the programs are there; building them takes longer than a test may.
fn are_built() -> bool {
    let built = kubectl::cache()
        .is_some_and(|cache| cache.join("stolos/kubernetes-1.34.4/kube-apiserver").is_file());
    built || std::env::var_os("KUBEBUILDER_ASSETS").is_some()
}

impl Kubernetes {
    /// Starts servers and roles, or says what is missing and returns nothing.
    pub(crate) fn start(members: u32) -> Option<Self> {
        if !are_built() {
            skip(
                "no real Kubernetes API server; `cargo xtask kubernetes build` builds one with Go",
            );
            return None;
        }
        let Some(kubectl) = kubectl::find() else {
            skip("kubectl 1.32 or newer is not on PATH");
            return None;
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (servers, kubeconfig) = start_servers(directory.path(), members);
        let mut fleet =
            Self { roles: Vec::new(), _servers: servers, kubeconfig, kubectl, directory };
        fleet.prepare(members);
        fleet.start_hub();
        for index in 1..=members {
            fleet.add_member(&format!("member-{index}"), index);
        }
        Some(fleet)
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn kubectl(&self, context: &str) -> Kubectl {
        Kubectl::new(&self.kubectl, &self.kubeconfig, context)
    }

    /// Installs definitions and namespaces.
    fn prepare(&self, members: u32) {
        let definitions = |args: &[&str]| {
            let output = super::stolos(args, None);
            assert!(output.status.success(), "stolos crds failed");
            String::from_utf8(output.stdout).expect("YAML is UTF-8")
        };
        let contexts = (1..=members).map(|n| (format!("member-{n}"), &["crds", "--member"][..]));
        for (context, args) in contexts.chain([("hub".to_owned(), &["crds"][..])]) {
            let kubectl = self.kubectl(&context);
            let applied =
                kubectl.with_input(&["apply", "--server-side", "-f", "-"], &definitions(args));
            let stderr = String::from_utf8_lossy(&applied.stderr);
            assert!(applied.status.success(), "the definitions are refused by {context}: {stderr}");
            kubectl.run(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
            kubectl.run(&["create", "namespace", "fleet-system"]);
        }
        let fleet = json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "Fleet",
            "metadata": { "name": "local", "namespace": "default" }, "spec": { "hub": {} },
        });
        self.kubectl("hub").apply(&fleet.to_string());
    }

    fn start_hub(&mut self) {
        let kubeconfig = self.kubeconfig.display().to_string();
        self.start_role("hub", &["hub", "--hub-kubeconfig", &kubeconfig, "--hub-context", "hub"]);
    }

    /// Kills the hub's process and starts another, which need not wait for the lease of one that is known to be dead.
    pub(crate) fn restart_hub(&mut self) {
        drop(self.roles.remove(0));
        let kubeconfig = self.kubeconfig.display().to_string();
        let args = [
            "hub",
            "--hub-kubeconfig",
            &kubeconfig,
            "--hub-context",
            "hub",
            "--no-leader-election",
        ];
        self.start_role("hub", &args);
    }

    /// Joins a member: its agent has the rights of its own service account on the hub and no others.
    fn add_member(&mut self, name: &str, index: u32) {
        let kubeconfig = self.kubeconfig.display().to_string();
        let hub = self.kubectl("hub");
        hub.run(&["-n", "fleet-system", "create", "serviceaccount", name]);
        let token = hub.run(&["-n", "fleet-system", "create", "token", name, "--duration=2h"]);
        let restricted = self.directory.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&restricted, self.with_token(token.trim()).to_string())
            .expect("the directory can be written");
        let member = json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster", "metadata": { "name": name },
            "spec": { "identity": { "kind": "ServiceAccount", "name": name, "namespace": "fleet-system", "apiGroup": "" } },
        });
        hub.apply(&member.to_string());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("{name}-kubeconfig"), "namespace": "default" },
            "stringData": { "kubeconfig": self.only(name).to_string() },
        });
        hub.apply(&secret.to_string());
        let group = if index == 1 { "canary" } else { "europe" };
        let fleet_member = json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "FleetMember",
            "metadata": { "name": format!("local.{name}"), "namespace": "default" },
            "spec": {
                "fleetName": "local", "group": group,
                "cluster": { "simulated": { "kubeconfigSecret": { "name": format!("{name}-kubeconfig") } } },
            },
        });
        hub.apply(&fleet_member.to_string());
        let simulate = [
            "simulate",
            "--name",
            name,
            "--member-kubeconfig",
            &kubeconfig,
            "--member-context",
            name,
            "--node-upgrade-time",
            "300ms",
        ];
        self.start_role(&format!("{name}-simulation"), &simulate);
        let restricted = restricted.display().to_string();
        let agent = [
            "member",
            "--name",
            name,
            "--hub-kubeconfig",
            &restricted,
            "--member-kubeconfig",
            &kubeconfig,
            "--member-context",
            name,
        ];
        self.start_role(name, &agent);
        hub.wait_for(&format!("{name} has joined"), &["membercluster", name], |member| {
            let conditions = member["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Joined" && c["status"] == "True")
        });
    }

    fn start_role(&mut self, name: &str, args: &[&str]) {
        let log =
            File::create(self.directory.path().join(format!("{name}.log"))).expect("a log file");
        let child = Command::new(STOLOS)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.roles.push(Role(child.expect("stolos starts")));
    }

    fn config(&self) -> Value {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("the kubeconfig is there");
        serde_json::from_str(&text).expect("it was written as JSON")
    }

    /// The kubeconfig of the hub for the bearer of a token.
    fn with_token(&self, token: &str) -> Value {
        let mut config = self.config();
        config["users"][0]["user"] = json!({ "token": token });
        config["current-context"] = json!("hub");
        config
    }

    /// The kubeconfig with another current context, its authority inside.
    fn only(&self, context: &str) -> Value {
        let mut config = self.config();
        config["current-context"] = json!(context);
        config
    }
}

fn start_servers(directory: &Path, members: u32) -> (Servers, PathBuf) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "kubernetes",
            "up",
            "--members",
            &members.to_string(),
        ])
        .arg("--dir")
        .arg(directory.join("servers"))
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
    let input = child.stdin.take();
    (Servers { child, input }, kubeconfig)
}
