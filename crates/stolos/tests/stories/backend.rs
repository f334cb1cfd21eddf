//! The two ways to run a fleet under a story.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::kubectl::{self, Kubectl};

mod processes;
mod servers;

pub(crate) use processes::Processes;
pub(crate) use servers::Backend;

/// A fleet on either backend.
pub(crate) enum Fleet {
    /// `stolos up`.
    Embedded(Up),
    /// The roles as processes of their own, beside real API servers.
    Processes(Processes),
}

impl Fleet {
    /// Starts a fleet with the contexts `hub`, `member-1` and so on, or says what is missing and returns nothing.
    pub(crate) fn embedded(members: u32) -> Option<Self> {
        Self::embedded_with(members, NODE_TIME)
    }

    /// As [`Fleet::embedded`], on real API servers.
    pub(crate) fn kubernetes(members: u32) -> Option<Self> {
        Self::kubernetes_with(members, NODE_TIME)
    }

    /// As [`Fleet::embedded`], where the upgrade of a node takes this long.
    pub(crate) fn embedded_with(members: u32, node_time: &str) -> Option<Self> {
        Up::start_with(members, node_time, &[]).map(Self::Embedded)
    }

    /// As [`Fleet::kubernetes`], where the upgrade of a node takes this long.
    pub(crate) fn kubernetes_with(members: u32, node_time: &str) -> Option<Self> {
        Processes::start_with(Backend::Kubernetes, members, node_time).map(Self::Processes)
    }

    pub(crate) fn kubectl(&self, context: &str) -> Kubectl {
        match self {
            Self::Embedded(up) => up.kubectl(context),
            Self::Processes(processes) => processes.kubectl(context),
        }
    }

    /// Runs a command of the binary against the hub.
    pub(crate) fn stolos(&self, args: &[&str]) -> std::process::Output {
        match self {
            Self::Embedded(up) => stolos(args, Some(&up.kubeconfig())),
            Self::Processes(processes) => stolos(args, Some(processes.kubeconfig())),
        }
    }
}

/// How long the upgrade of a simulated node takes, unless a story needs it to take longer.
const NODE_TIME: &str = "300ms";

/// The binary under test.
pub(crate) const STOLOS: &str = env!("CARGO_BIN_EXE_stolos");

/// A running `stolos up`. It is killed, not stopped, when a story drops it.
pub(crate) struct Up {
    child: Child,
    pub(crate) ready: Value,
    kubectl: PathBuf,
    /// Arguments of the next start, for the same data directory.
    args: Vec<String>,
    _directory: Option<tempfile::TempDir>,
}

impl Up {
    /// Starts a fleet in a directory of its own, or says what is missing and returns nothing.
    pub(crate) fn start(members: u32) -> Option<Self> {
        Self::start_with(members, NODE_TIME, &[])
    }

    /// As [`Up::start`], with services across clusters.
    pub(crate) fn start_networked(members: u32) -> Option<Self> {
        Self::start_with(members, NODE_TIME, &["--enable-networking-features"])
    }

    /// As [`Up::start`], with more options.
    pub(crate) fn start_with_options(members: u32, options: &[&str]) -> Option<Self> {
        Self::start_with(members, NODE_TIME, options)
    }

    /// As [`Up::start`], where the upgrade of a node takes this long.
    fn start_with(members: u32, node_time: &str, more: &[&str]) -> Option<Self> {
        let Some(kubectl) = kubectl::find() else {
            skip("kubectl 1.32 or newer is not on PATH");
            return None;
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data_dir = directory.path().join("data").display().to_string();
        let args = [
            "--data-dir",
            &data_dir,
            "--members",
            &members.to_string(),
            "--node-upgrade-time",
            node_time,
        ];
        let args: Vec<String> = args.iter().chain(more).map(|arg| (*arg).to_owned()).collect();
        let (child, ready) = spawn(&args);
        Some(Self { child, ready, kubectl, args, _directory: Some(directory) })
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        PathBuf::from(self.ready["kubeconfig"].as_str().expect("a path"))
    }

    pub(crate) fn data_dir(&self) -> &str {
        &self.args[1]
    }

    /// Returns kubectl for a context.
    pub(crate) fn kubectl(&self, context: &str) -> Kubectl {
        Kubectl::new(&self.kubectl, &self.kubeconfig(), context)
    }

    /// Kills the process at whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("the process ends");
    }

    /// Stops the process as a user would and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.child.wait().expect("the process ends").code()
    }

    /// Starts again on the same data directory.
    pub(crate) fn restart(&mut self) {
        (self.child, self.ready) = spawn(&self.args);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(args: &[String]) -> (Child, Value) {
    let mut child = Command::new(STOLOS)
        .args(["up", "--base-port", "0", "-o", "json"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("stolos starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped"))
        .read_line(&mut line)
        .expect("stolos prints a line");
    let ready = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("`{line}` is no ready line: {error}"));
    (child, ready)
}

/// Says why a story did not run.
#[expect(clippy::print_stdout, reason = "a skipped story must be seen")]
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
}

/// How long a command may take: some wait for a whole update run.
const COMMAND_ENDS_WITHIN: Duration = Duration::from_secs(300);

/// Runs the binary to its end, which must come within [`COMMAND_ENDS_WITHIN`].
pub(crate) fn stolos(args: &[&str], kubeconfig: Option<&Path>) -> std::process::Output {
    let mut command = Command::new(STOLOS);
    command.args(args).stdin(Stdio::null()).env_remove("KUBECONFIG");
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("stolos starts");
    let id = child.id();
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    if let Ok(output) = end.recv_timeout(COMMAND_ENDS_WITHIN) {
        return output.expect("its output can be read");
    }
    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
    let output = end.recv().expect("its output is sent").expect("its output can be read");
    let error = String::from_utf8_lossy(&output.stderr);
    panic!("`stolos {}` did not end within {COMMAND_ENDS_WITHIN:?}: {error}", args.join(" "))
}
