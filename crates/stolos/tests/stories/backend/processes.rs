//! The roles of the binary as processes of their own, beside API servers of either backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::servers::{Backend, Servers};
use super::{NODE_TIME, STOLOS, skip};
use crate::kubectl::{self, Kubectl};

/// How much of the log of each role is shown when a story fails, in bytes.
const MAX_SHOWN: usize = 4096;

/// A fleet whose roles are processes. Dropping it ends every process.
pub(crate) struct Processes {
    /// By name: `hub`, and an agent by its member. They end before the servers do.
    roles: BTreeMap<String, Role>,
    /// Names of roles that ran before and were killed: the next one need not wait for the lease of a dead one.
    killed: BTreeSet<String>,
    servers: Servers,
    /// How long the upgrade of a simulated node takes.
    node_time: String,
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

impl Drop for Processes {
    /// Shows what the roles logged last when a story fails.
    #[expect(clippy::print_stderr, reason = "this explains why a story failed")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for name in self.roles.keys() {
            let log = std::fs::read(self.log(name)).unwrap_or_default();
            let last = String::from_utf8_lossy(&log[log.len().saturating_sub(MAX_SHOWN)..]);
            eprintln!("--- the last of the log of {name}:\n{last}");
        }
    }
}

impl Processes {
    /// Starts servers and roles, or says what is missing and returns nothing. Every member is a FleetMember as well.
    pub(crate) fn start(backend: Backend, members: u32) -> Option<Self> {
        Self::start_with(backend, members, NODE_TIME)
    }

    /// As [`Processes::start`], where the upgrade of a node takes this long.
    pub(crate) fn start_with(backend: Backend, members: u32, node_time: &str) -> Option<Self> {
        let mut fleet = Self::servers(backend, members)?;
        node_time.clone_into(&mut fleet.node_time);
        fleet.install(members);
        let local = json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "Fleet",
            "metadata": { "name": "local", "namespace": "default" }, "spec": { "hub": {} },
        });
        fleet.kubectl("hub").apply(&local.to_string());
        fleet.start_hub(&[]);
        let names: Vec<String> = (1..=members).map(|index| format!("member-{index}")).collect();
        for (index, name) in names.iter().enumerate() {
            fleet.announce(name);
            fleet.add_to_fleet(name, if index == 0 { "canary" } else { "europe" });
            fleet.start_agent(name);
        }
        for name in &names {
            fleet.wait_until_joined(name);
        }
        Some(fleet)
    }

    /// Starts servers alone, or says what is missing and returns nothing.
    pub(crate) fn servers(backend: Backend, members: u32) -> Option<Self> {
        let Some(kubectl) = kubectl::find() else {
            skip("kubectl 1.32 or newer is not on PATH");
            return None;
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let servers = Servers::start(backend, members, &kubectl, directory.path())?;
        Some(Self {
            roles: BTreeMap::new(),
            killed: BTreeSet::new(),
            servers,
            node_time: NODE_TIME.to_owned(),
            kubectl,
            directory,
        })
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.servers.kubeconfig
    }

    pub(crate) fn kubectl(&self, context: &str) -> Kubectl {
        Kubectl::new(&self.kubectl, self.kubeconfig(), context)
    }

    /// Installs definitions and namespaces, and simulates nodes and kubelets of members that have none.
    pub(crate) fn install(&mut self, members: u32) {
        let names: Vec<String> = (1..=members).map(|n| format!("member-{n}")).collect();
        let contexts = names.iter().map(|name| (name.as_str(), &["crds", "--member"][..]));
        for (context, args) in contexts.chain([("hub", &["crds"][..])]) {
            self.define(context, args);
            let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fleet-system}\n";
            self.kubectl(context).apply(namespace);
        }
        if self.servers.backend == Backend::Kubernetes {
            for name in &names {
                self.start_simulation(name);
            }
        }
    }

    /// Installs the definitions that a command prints.
    pub(crate) fn define(&self, context: &str, crds: &[&str]) {
        let output = super::stolos(crds, None);
        assert!(output.status.success(), "stolos crds failed");
        let definitions = String::from_utf8(output.stdout).expect("YAML is UTF-8");
        let kubectl = self.kubectl(context);
        let install = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let applied = kubectl.with_input(&install, &definitions);
        let stderr = String::from_utf8_lossy(&applied.stderr);
        assert!(applied.status.success(), "the definitions are refused by {context}: {stderr}");
        // `kubectl wait` gives up at once on a definition whose conditions are not there yet.
        kubectl.wait_for("the definitions are established", &["crd"], |all| {
            let is_established = |crd: &Value| {
                let conditions = crd["status"]["conditions"].as_array();
                let mut conditions = conditions.into_iter().flatten();
                conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
            };
            all["items"].as_array().is_some_and(|all| all.iter().all(is_established))
        });
    }

    fn start_simulation(&mut self, name: &str) {
        let kubeconfig = self.kubeconfig().display().to_string();
        let node_time = self.node_time.clone();
        let simulate = [
            "simulate",
            "--name",
            name,
            "--member-kubeconfig",
            &kubeconfig,
            "--member-context",
            name,
            "--node-upgrade-time",
            &node_time,
        ];
        self.start_role(&format!("{name}-simulation"), &simulate);
    }

    /// Starts the hub's controllers.
    pub(crate) fn start_hub(&mut self, options: &[&str]) {
        let kubeconfig = self.kubeconfig().display().to_string();
        let args = [&["hub", "--hub-kubeconfig", &kubeconfig, "--hub-context", "hub"], options];
        self.start_role("hub", &args.concat());
    }

    /// Ends a role as a crash would: the `hub`, or the agent of a member.
    pub(crate) fn kill(&mut self, role: &str) {
        self.roles.remove(role).expect("the role runs");
        self.killed.insert(role.to_owned());
    }

    /// Announces a member as KubeFleet's users do: a service account and a MemberCluster that names it.
    pub(crate) fn announce(&self, name: &str) {
        let hub = self.kubectl("hub");
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "fleet-system" },
        });
        hub.apply(&account.to_string());
        let member = json!({
            "apiVersion": "cluster.kubernetes-fleet.io/v1beta1", "kind": "MemberCluster", "metadata": { "name": name },
            "spec": {
                "identity": { "kind": "ServiceAccount", "name": name, "namespace": "fleet-system", "apiGroup": "" },
                "heartbeatPeriodSeconds": 15,
            },
        });
        hub.apply(&member.to_string());
    }

    /// Makes a member known to update runs.
    fn add_to_fleet(&self, name: &str, group: &str) {
        let hub = self.kubectl("hub");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("{name}-kubeconfig"), "namespace": "default" },
            "stringData": { "kubeconfig": self.only(name).to_string() },
        });
        hub.apply(&secret.to_string());
        let fleet_member = json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "FleetMember",
            "metadata": { "name": format!("local.{name}"), "namespace": "default" },
            "spec": {
                "fleetName": "local", "group": group,
                "cluster": { "simulated": { "kubeconfigSecret": { "name": format!("{name}-kubeconfig") } } },
            },
        });
        hub.apply(&fleet_member.to_string());
    }

    /// Starts the agent of a member, which has the rights of its own service account on the hub and no others.
    pub(crate) fn start_agent(&mut self, name: &str) {
        self.start_agent_with(name, &[]);
    }

    /// As [`Processes::start_agent`], with more options.
    pub(crate) fn start_agent_with(&mut self, name: &str, options: &[&str]) {
        let hub = self.kubectl("hub");
        let token = hub.run(&["-n", "fleet-system", "create", "token", name, "--duration=2h"]);
        let restricted = self.directory.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&restricted, self.with_token(token.trim()).to_string())
            .expect("the directory can be written");
        let restricted = restricted.display().to_string();
        let kubeconfig = self.kubeconfig().display().to_string();
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
            "--allow-loopback",
        ];
        self.start_role(name, &[&agent[..], options].concat());
    }

    /// Starts the data plane of a member, with the rights of its agent.
    pub(crate) fn start_data_plane(&mut self, name: &str, options: &[&str]) {
        let path = |file: String| self.directory.path().join(file).display().to_string();
        let (restricted, folder) =
            (path(format!("{name}.kubeconfig")), path(format!("{name}-data-plane")));
        let kubeconfig = self.kubeconfig().display().to_string();
        let plane = [
            "dataplane",
            "--name",
            name,
            "--hub-kubeconfig",
            &restricted,
            "--member-kubeconfig",
            &kubeconfig,
            "--member-context",
            name,
            "--folder",
            &folder,
            "--allow-loopback",
            "--workers",
            "1",
        ];
        self.start_role(&format!("{name}-data-plane"), &[&plane[..], options].concat());
    }

    pub(crate) fn wait_until_joined(&self, name: &str) {
        let hub = self.kubectl("hub");
        hub.wait_for(&format!("{name} has joined"), &["membercluster", name], |member| {
            let conditions = member["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Joined" && c["status"] == "True")
        });
    }

    fn start_role(&mut self, name: &str, args: &[&str]) {
        let log = File::create(self.log(name)).expect("a log file");
        let no_lease = self.killed.contains(name).then_some("--no-leader-election");
        let child = Command::new(STOLOS)
            .args(args)
            .args(no_lease)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.roles.insert(name.to_owned(), Role(child.expect("stolos starts")));
    }

    fn log(&self, role: &str) -> PathBuf {
        self.directory.path().join(format!("{role}.log"))
    }

    fn config(&self) -> Value {
        let text = std::fs::read_to_string(self.kubeconfig()).expect("the kubeconfig is there");
        serde_json::from_str(&text).expect("it was written as JSON")
    }

    /// The kubeconfig of the hub for the bearer of a token.
    fn with_token(&self, token: &str) -> Value {
        let mut config = self.only("hub");
        config["users"] = json!([{ "name": "agent", "user": { "token": token } }]);
        let contexts = config["contexts"].as_array_mut().expect("a list");
        contexts.retain(|context| context["name"] == "hub");
        contexts[0]["context"]["user"] = json!("agent");
        config
    }

    /// The kubeconfig with another current context, its authority inside.
    fn only(&self, context: &str) -> Value {
        let mut config = self.config();
        config["current-context"] = json!(context);
        config
    }
}
