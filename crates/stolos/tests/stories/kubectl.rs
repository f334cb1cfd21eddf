//! kubectl, and waiting for what it shows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a story waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// kubectl with a kubeconfig and a context.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    context: String,
}

/// Returns a kubectl of 1.32 or newer: from PATH, or the one built for the real API server.
pub(crate) fn find() -> Option<PathBuf> {
    let built = cache().map(|cache| cache.join("stolos/kubernetes-1.34.4/kubectl"));
    let candidates = [Some(PathBuf::from("kubectl")), built];
    candidates
        .into_iter()
        .flatten()
        .find(|program| minor_version(program).is_some_and(|minor| minor >= 32))
}

/// Returns the user's cache folder.
pub(crate) fn cache() -> Option<PathBuf> {
    let from =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")))
}

fn minor_version(program: &Path) -> Option<u32> {
    let output = Command::new(program).args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}

impl Kubectl {
    pub(crate) fn new(program: &Path, kubeconfig: &Path, context: &str) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            context: context.to_owned(),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // Ports are used again, and what kubectl remembers of the server that had one before is wrong for hours.
            .arg("--cache-dir")
            .arg(self.kubeconfig.with_extension("cache"))
            .args(["--context", &self.context])
            .args(args);
        command
    }

    /// Runs kubectl and returns whatever comes of it.
    pub(crate) fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("kubectl starts")
    }

    /// Runs kubectl, which must succeed, and returns its standard output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {} failed: {stderr}", args.join(" "));
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Runs kubectl, which must fail, and returns its standard error.
    pub(crate) fn fail(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(!output.status.success(), "kubectl {} was to fail", args.join(" "));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts kubectl and lets it run; its standard output is piped.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("kubectl starts")
    }

    /// Runs kubectl with a manifest on standard input.
    pub(crate) fn with_input(&self, args: &[&str], manifest: &str) -> Output {
        use std::io::Write;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(manifest.as_bytes())
            .expect("kubectl reads its input");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Applies a manifest. A kind that has just been defined may take a moment to be served.
    pub(crate) fn apply(&self, manifest: &str) {
        wait_until("a manifest is applied", || {
            let output = self.with_input(&["apply", "-f", "-"], manifest);
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return Ok(());
            }
            assert!(
                stderr.contains("no matches for kind"),
                "kubectl apply failed: {stderr}\n{manifest}"
            );
            Err(Value::from(stderr))
        });
    }

    /// Returns an object, or nothing when it is not there.
    pub(crate) fn get(&self, args: &[&str]) -> Option<Value> {
        wait_until(&format!("kubectl gets {args:?}"), || self.look(args))
    }

    /// Returns an object, nothing when it is not there, or why kubectl does not know.
    fn look(&self, args: &[&str]) -> Result<Option<Value>, Value> {
        let output = self.try_run(&[&["get", "-o", "json"], args].concat());
        if output.status.success() {
            let found = serde_json::from_slice(&output.stdout).expect("kubectl prints JSON");
            return Ok(Some(found));
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let absent = ["(NotFound)", "doesn't have a resource type"];
        if absent.iter().any(|text| stderr.contains(text)) {
            Ok(None)
        } else {
            Err(Value::from(stderr))
        }
    }

    /// Waits until an object satisfies a condition, looking again whenever kubectl has seen it; nothing passes for
    /// `Value::Null`.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        args: &[&str],
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_until(what, || {
            let value = self.look(args)?.unwrap_or_default();
            if holds(&value) { Ok(value) } else { Err(value) }
        })
    }

    /// Waits until an object is gone.
    pub(crate) fn wait_gone(&self, args: &[&str]) {
        self.wait_for(&format!("{args:?} is gone in {}", self.context), args, Value::is_null);
    }
}

/// Looks again and again from outside the process, until it is so or the patience ends.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Result<T, Value>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => {
                let seen = seen.get("status").unwrap_or(&seen).to_string();
                assert!(
                    Instant::now() < deadline,
                    "waited in vain until {what}; last seen: {seen}"
                );
                std::thread::yield_now();
            }
        }
    }
}
