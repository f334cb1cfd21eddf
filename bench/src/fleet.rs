//! A fleet of the real binary.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;

use crate::Common;
use crate::process::{Process, Usage, usage_of};

/// Where a fleet keeps its objects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep<'a> {
    /// In memory.
    Memory,
    /// In this directory.
    Directory(&'a Path),
}

/// Which fleet a benchmark puts its load on.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub(crate) struct Which {
    /// Number of simulated members
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) members: u32,
    /// Keeps everything in memory instead of on disk
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Uses a fleet that runs already: a kubeconfig with the context `hub` and one for each member
    #[arg(long, value_name = "FILE", conflicts_with_all = ["members", "ephemeral"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Processes of that fleet whose memory and CPU time count
    #[arg(long, value_delimiter = ',', requires = "kubeconfig")]
    pub(crate) pids: Vec<u32>,
}

impl Which {
    /// Starts the fleet, or connects to the one that runs. `scratch` takes whatever it writes.
    pub(crate) async fn start(&self, common: &Common, scratch: &Path) -> anyhow::Result<Fleet> {
        self.start_with(common, scratch, &[]).await
    }

    /// As [`Which::start`], with more arguments for `stolos up`.
    pub(crate) async fn start_with(
        &self,
        common: &Common,
        scratch: &Path,
        more: &[&str],
    ) -> anyhow::Result<Fleet> {
        if let Some(kubeconfig) = &self.kubeconfig {
            return Fleet::given(kubeconfig, &self.pids);
        }
        let directory = scratch.join("data");
        let keep = if self.ephemeral { Keep::Memory } else { Keep::Directory(&directory) };
        Fleet::start(common, self.members, keep, scratch, more).await
    }
}

/// A running fleet.
pub(crate) struct Fleet {
    /// Its `stolos up`, if it was started here.
    process: Option<Process>,
    pids: Vec<u32>,
    kubeconfig: Kubeconfig,
    members: Vec<String>,
    ready_after: Duration,
}

impl Fleet {
    /// Starts a fleet on free ports and waits until it is ready. `scratch` takes its kubeconfig and temporary files.
    pub(crate) async fn start(
        common: &Common,
        n_members: u32,
        keep: Keep<'_>,
        scratch: &Path,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let program = program(common)?;
        let (count, kubeconfig) = (n_members.to_string(), path_text(&scratch.join("kubeconfig"))?);
        let mut args = vec!["up", "--members", &count, "--base-port", "0", "-o", "json"];
        args.extend(["--kubeconfig", &kubeconfig]);
        args.extend(more);
        let directory = match keep {
            Keep::Memory => None,
            Keep::Directory(path) => Some(path_text(path)?),
        };
        match &directory {
            None => args.push("--ephemeral"),
            Some(path) => args.extend(["--data-dir", path]),
        }
        let (process, ready) = Process::start(&program, &args, scratch).await?;
        let members = ready.line["members"].as_array().context("the ready line has no members")?;
        let members =
            members.iter().filter_map(|member| member["name"].as_str()).map(str::to_owned);
        let kubeconfig =
            Kubeconfig::read_from(&kubeconfig).context("failed to read the kubeconfig")?;
        Ok(Self {
            process: Some(process),
            pids: Vec::new(),
            kubeconfig,
            members: members.collect(),
            ready_after: ready.after,
        })
    }

    fn given(path: &Path, pids: &[u32]) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        let contexts = kubeconfig.contexts.iter().map(|context| context.name.clone());
        let members = contexts.filter(|name| name != "hub").collect();
        Ok(Self {
            process: None,
            pids: pids.to_vec(),
            kubeconfig,
            members,
            ready_after: Duration::ZERO,
        })
    }

    /// From the start of the process to its ready line.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Names of the members, which are their contexts too.
    pub(crate) fn members(&self) -> &[String] {
        &self.members
    }

    /// Returns a client over TLS, as any user has it.
    pub(crate) async fn client(&self, context: &str) -> anyhow::Result<Client> {
        client(&self.kubeconfig, context).await
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        if let Some(process) = &self.process {
            return process.usage();
        }
        let mut usages = self.pids.iter().map(|pid| usage_of(*pid));
        usages.try_fold(Usage::default(), |sum, usage| Ok(sum + usage?))
    }

    /// Returns how many writes all its API servers have taken: embedded ones count them in their resource versions.
    pub(crate) async fn writes(&self) -> anyhow::Result<f64> {
        let clusters = self.members.iter().map(String::as_str).chain(["hub"]);
        let writes = clusters.map(async |cluster| {
            let api: Api<Namespace> = Api::all(self.client(cluster).await?);
            let list = api.list_metadata(&ListParams::default().limit(1)).await;
            let list =
                list.with_context(|| format!("failed to ask `{cluster}` for its revision"))?;
            let revision = list.metadata.resource_version.unwrap_or_default();
            revision.parse::<f64>().context("a resource version is no number")
        });
        Ok(try_join_all(writes).await?.iter().sum())
    }

    /// Kills the process, if it was started here. What was acknowledged must be there at the next start, so this is as good
    /// as a clean end.
    pub(crate) async fn kill(self) -> anyhow::Result<()> {
        match self.process {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }
}

/// Returns a client of one context of a kubeconfig.
pub(crate) async fn client(kubeconfig: &Kubeconfig, context: &str) -> anyhow::Result<Client> {
    let options =
        KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
        .await
        .with_context(|| format!("the kubeconfig has no usable context `{context}`"))?;
    Client::try_from(config).with_context(|| format!("failed to make a client of `{context}`"))
}

/// Returns the bytes that a directory takes on the disk.
pub(crate) fn bytes_on_disk(directory: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).context("failed to look into the data directory")? {
        let entry = entry.context("failed to look into the data directory")?;
        let metadata = entry.metadata().context("failed to look at a file")?;
        bytes +=
            if metadata.is_dir() { bytes_on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Returns the directory for one run.
pub(crate) fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("stolos-bench-").tempdir();
    made.context("failed to create a directory")
}

fn program(common: &Common) -> anyhow::Result<PathBuf> {
    let program = match &common.stolos {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .context("this program does not know where it is; pass --stolos FILE")?
            .with_file_name("stolos"),
    };
    if !program.is_file() {
        bail!(
            "there is no `{}`; build it with `cargo build --release -p stolos`, or pass --stolos FILE",
            program.display()
        );
    }
    std::path::absolute(&program).with_context(|| format!("failed to find `{}`", program.display()))
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}
