//! A fleet of the real binary.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Common;
use crate::process::{Process, Usage};

/// Where a fleet keeps its objects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep<'a> {
    /// In memory.
    Memory,
    /// In this directory.
    Directory(&'a Path),
}

/// A running `stolos up`.
pub(crate) struct Fleet {
    process: Process,
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
    ) -> anyhow::Result<Self> {
        let program = program(common)?;
        let (count, kubeconfig) = (n_members.to_string(), path_text(&scratch.join("kubeconfig"))?);
        let mut args = vec!["up", "--members", &count, "--base-port", "0", "-o", "json"];
        args.extend(["--kubeconfig", &kubeconfig]);
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
        Ok(Self { process, kubeconfig, members: members.collect(), ready_after: ready.after })
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
        self.process.usage()
    }

    /// Kills the process. What was acknowledged must be there at the next start, so this is as good as a clean end.
    pub(crate) async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
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
