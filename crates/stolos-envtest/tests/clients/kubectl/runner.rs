//! Finding and running kubectl.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Cluster;

/// How long a story waits for what another server does later.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kubectl and its minor version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) minor: u32,
    program: PathBuf,
}

/// Returns one kubectl of each minor version that is here, the oldest first: the one in PATH, those of the name
/// `kubectl.1.N` beside it, and the one built for the real API server of the tests.
pub(crate) fn versions() -> Vec<Version> {
    let mut found: Vec<Version> = Vec::new();
    let mut add = |program: PathBuf| {
        if let Some(minor) = minor_version(&program) {
            found.push(Version { minor, program });
        }
    };
    if let Some(program) = in_path("kubectl") {
        let real = program.canonicalize().unwrap_or(program.clone());
        for entry in std::fs::read_dir(real.parent().unwrap()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("kubectl.1.") {
                add(entry.path());
            }
        }
        add(program);
    }
    let cache = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/stolos"));
    if let Some(cache) = cache {
        add(cache.join("kubernetes-1.34.4/kubectl"));
    }
    found.sort();
    found.dedup_by_key(|version| version.minor);
    found
}

/// Returns the newest kubectl.
pub(crate) fn newest() -> Option<Version> {
    versions().pop()
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn minor_version(program: &Path) -> Option<u32> {
    let output = Command::new(program).args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?.to_owned();
    minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

/// kubectl at work on a cluster, in a namespace.
pub(crate) struct Kubectl<'a> {
    version: Version,
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Kubectl<'a> {
    /// Makes the namespace and works in it.
    pub(crate) fn new(version: &Version, cluster: &'a Cluster, namespace: &str) -> Self {
        let kubectl = Self { version: version.clone(), cluster, namespace: namespace.to_owned() };
        kubectl.run(&format!("create namespace {namespace}"));
        kubectl
    }

    /// Deletes the namespace; on another cluster than ours that matters.
    pub(crate) fn leave(&self) {
        self.run(&format!("delete namespace --wait=false {}", self.namespace));
    }

    pub(crate) fn minor(&self) -> u32 {
        self.version.minor
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns a file in the cluster's folder with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.cluster.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = if std::path::Path::new(name).extension().is_some_and(|end| end == "yaml") {
            yaml(content)
        } else {
            content.to_owned()
        };
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Returns the command with these arguments. Each word is one argument; spaces go into `'single quotes'`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.version.program);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig());
        command.args(["--namespace", &self.namespace]).args(words(line));
        // Discovery is cached in the home folder.
        command.env("HOME", self.cluster.folder()).env_remove("KUBECONFIG");
        command
    }

    /// Runs kubectl and returns whatever comes of it.
    pub(crate) fn output(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs kubectl, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        self.succeeded(line, &self.output(line))
    }

    /// Runs kubectl until it succeeds: another server than ours publishes a new kind some time after it is established.
    #[track_caller]
    pub(crate) fn run_until_done(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.output(line);
            if output.status.success() || Instant::now() > deadline {
                return self.succeeded(line, &output);
            }
        }
    }

    /// Runs kubectl with standard input; it must succeed.
    #[track_caller]
    pub(crate) fn feed(&self, line: &str, input: &str) -> String {
        self.succeeded(line, &self.fed(line, input))
    }

    /// Runs kubectl, which must fail, and returns its standard error.
    #[track_caller]
    pub(crate) fn fail(&self, line: &str) -> String {
        self.failed(line, &self.output(line))
    }

    /// Runs kubectl with standard input; it must fail.
    #[track_caller]
    pub(crate) fn fail_fed(&self, line: &str, input: &str) -> String {
        self.failed(line, &self.fed(line, input))
    }

    /// Runs kubectl with standard input; it must succeed, and what it says on standard error is returned.
    #[track_caller]
    pub(crate) fn fed_stderr(&self, line: &str, input: &str) -> String {
        let output = self.fed(line, input);
        self.succeeded(line, &output);
        texts(&output).1
    }

    /// Starts kubectl and lets it run; its output is piped.
    pub(crate) fn start(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Returns one value of an object by a JSONPath.
    #[track_caller]
    pub(crate) fn value(&self, object: &str, path: &str) -> String {
        self.run(&format!("get {object} -o 'jsonpath={{{path}}}'"))
    }

    /// Returns whether an object is there.
    #[track_caller]
    pub(crate) fn exists(&self, object: &str) -> bool {
        !self.run(&format!("get {object} --ignore-not-found -o name")).is_empty()
    }

    fn fed(&self, line: &str, input: &str) -> Output {
        use std::io::Write;
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(yaml(input).as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn succeeded(&self, line: &str, output: &Output) -> String {
        let (stdout, stderr) = texts(output);
        let minor = self.minor();
        assert!(output.status.success(), "kubectl 1.{minor} {line} failed:\n{stdout}{stderr}");
        stdout
    }

    #[track_caller]
    fn failed(&self, line: &str, output: &Output) -> String {
        let (stdout, stderr) = texts(output);
        let minor = self.minor();
        assert!(
            !output.status.success(),
            "kubectl 1.{minor} {line} was to fail:\n{stdout}{stderr}"
        );
        stderr
    }
}

/// Marks a text as YAML: an older kubectl takes what begins with a brace for JSON.
fn yaml(text: &str) -> String {
    if text.starts_with('{') { format!("---\n{text}") } else { text.to_owned() }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Splits a command line at spaces that are not between single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("there is always a word").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
