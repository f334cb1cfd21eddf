//! Real Kubernetes API servers for the tests: built from their Go modules, run on loopback.
//!
//! `KUBEBUILDER_ASSETS` is honoured when it holds kube-apiserver, kube-controller-manager and etcd. Otherwise the
//! programs are built from `tests/kubernetes` and kept between runs in the user's cache folder.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::{process, root};

mod cluster;
mod pki;

/// Kubernetes version that is built; `tests/kubernetes/go.mod` requires the same.
const VERSION: &str = "1.34.4";

/// Programs that a cluster needs, and kubectl for the tests.
const PROGRAMS: &[&str] = &["kube-apiserver", "kube-controller-manager", "kubectl"];

/// How long a server may take to become ready; two cores start four of them at once.
const READY_WITHIN: Duration = Duration::from_mins(3);

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Builds kube-apiserver, kube-controller-manager, etcd and kubectl, and prints the folder they are in
    Build,
    /// Starts a hub and members, writes a kubeconfig, and runs until standard input closes
    Up(Up),
    /// Stops what `up --detach` started
    Down {
        /// Folder given to `up`
        #[arg(long, default_value = ".kubernetes")]
        dir: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Up {
    /// Number of member clusters
    #[arg(long, default_value_t = 2)]
    members: u32,
    /// Folder for data, keys, logs and `kubeconfig`; emptied first
    #[arg(long, default_value = ".kubernetes")]
    dir: PathBuf,
    /// Returns when everything is ready and leaves it running; `down` stops it
    #[arg(long)]
    detach: bool,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Build => {
            println!("{}", programs()?.display());
            Ok(())
        }
        Command::Up(args) => up(&args),
        Command::Down { dir } => down(&dir),
    }
}

/// Returns the folder that holds the programs, building them when needed.
fn programs() -> anyhow::Result<PathBuf> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let dir = PathBuf::from(assets);
        if dir.join("kube-controller-manager").is_file() && dir.join("etcd").is_file() {
            return Ok(dir);
        }
    }
    let dir = cache_dir()?.join(format!("kubernetes-{VERSION}"));
    let complete = PROGRAMS.iter().chain(&["etcd"]).all(|program| dir.join(program).is_file());
    if !complete {
        build(&dir)?;
    }
    Ok(dir)
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    let from =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("stolos"))
}

fn build(dir: &Path) -> anyhow::Result<()> {
    if !process::exists("go") {
        bail!("Go is not installed; it builds the real Kubernetes API server for the tests");
    }
    eprintln!(
        "building Kubernetes {VERSION} from its Go modules; the first time takes 10 to 20 minutes"
    );
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    // Built beside and renamed, so that an interrupted build leaves nothing that looks complete.
    let staging = dir.join("building");
    let stamp = "k8s.io/component-base/version";
    let (major, minor) = VERSION.split_once('.').expect("a version has dots");
    let minor = minor.split('.').next().unwrap_or_default();
    let flags = format!(
        "-s -w -X {stamp}.gitVersion=v{VERSION} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    );
    let go = || {
        let mut go = Process::new("go");
        go.current_dir(root().join("tests/kubernetes")).args(["build", "-trimpath"]);
        go
    };
    let packages = PROGRAMS.iter().map(|program| format!("k8s.io/kubernetes/cmd/{program}"));
    process::run(go().arg("-o").arg(staging.join("")).args(["-ldflags", &flags]).args(packages))?;
    process::run(go().arg("-o").arg(staging.join("etcd")).args([
        "-ldflags",
        "-s -w",
        "go.etcd.io/etcd/server/v3",
    ]))?;
    for program in PROGRAMS.iter().chain(&["etcd"]) {
        fs::rename(staging.join(program), dir.join(program))
            .with_context(|| format!("failed to move `{program}` into {}", dir.display()))?;
    }
    Ok(())
}

fn up(args: &Up) -> anyhow::Result<()> {
    let programs = programs()?;
    down(&args.dir)?;
    if args.dir.exists() {
        fs::remove_dir_all(&args.dir)
            .with_context(|| format!("failed to empty {}", args.dir.display()))?;
    }
    fs::create_dir_all(&args.dir)
        .with_context(|| format!("failed to create {}", args.dir.display()))?;
    let dir = args.dir.canonicalize().context("the folder was just created")?;
    let mut running = Running { children: Vec::new(), pids: dir.join("pids") };
    let started = cluster::start_all(&programs, &dir, args.members, &mut running);
    let kubeconfig = match started {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => {
            running.stop();
            return Err(error.context(format!("see the logs in {}", dir.display())));
        }
    };
    println!(
        "{}",
        serde_json::json!({ "event": "ready", "kubeconfig": kubeconfig, "programs": programs })
    );
    if !args.detach {
        let mut sink = Vec::new();
        // Whoever started us holds the other end: its death stops the clusters.
        let _ = std::io::stdin().lock().read_to_end(&mut sink);
        running.stop();
    }
    Ok(())
}

/// Stops the processes that a former `up` wrote down.
fn down(dir: &Path) -> anyhow::Result<()> {
    let pids = dir.join("pids");
    let Ok(list) = fs::read_to_string(&pids) else { return Ok(()) };
    for line in list.lines() {
        let Some((pid, program)) = line.split_once(' ') else { continue };
        let command_line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A pid may have been given to another program since.
        if command_line.starts_with(program) {
            let _ = Process::new("kill").arg(pid).status();
        }
    }
    fs::remove_file(&pids).with_context(|| format!("failed to remove {}", pids.display()))
}

/// The processes of one `up`.
pub(crate) struct Running {
    children: Vec<Child>,
    pids: PathBuf,
}

impl Running {
    /// Starts a program with its output in a log file.
    fn start(&mut self, program: &Path, args: &[String], log: &Path) -> anyhow::Result<()> {
        let file =
            fs::File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
        let copy = file.try_clone().context("failed to share a log file")?;
        let child = Process::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let line = format!("{} {}\n", child.id(), program.display());
        self.children.push(child);
        let mut pids = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.pids)
            .with_context(|| format!("failed to open {}", self.pids.display()))?;
        pids.write_all(line.as_bytes()).context("failed to note a process id")
    }

    fn stop(&mut self) {
        // Servers before etcd, so that none of them logs a lost store.
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(&self.pids);
    }

    fn failed(&mut self) -> Option<String> {
        self.children.iter_mut().find_map(|child| {
            let status = child.try_wait().ok().flatten()?;
            Some(format!("process {} ended with {status}", child.id()))
        })
    }

    /// Waits until `ready` says so, a process dies, or the time is up.
    fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !ready() {
            if let Some(failure) = self.failed() {
                bail!("{failure} while waiting for {what}");
            }
            if Instant::now() > deadline {
                bail!("{what} was not ready within {READY_WITHIN:?}");
            }
            // A foreign process gives no signal when it is ready; asking is the only way.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Returns a port that was free a moment ago, from below those that systems hand out to outgoing connections: such a
/// one could be taken again before the server binds it.
fn free_port() -> anyhow::Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin far from each other.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("none of {COUNT} ports from {FIRST} is free")
}
