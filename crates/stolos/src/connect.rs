//! Clients of clusters from kubeconfig files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cli::FleetArgs;
use crate::exit::Hinted;

/// Where `stolos up` leaves the kubeconfig in the present directory.
const LOCAL_KUBECONFIG: &str = ".stolos/kubeconfig";

/// Returns a client for the hub that the user means.
pub(crate) async fn hub(args: &FleetArgs) -> anyhow::Result<Client> {
    let given = args.kubeconfig.clone();
    let from_environment = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let local = PathBuf::from(LOCAL_KUBECONFIG);
    let path = given.or_else(|| (!from_environment && local.is_file()).then_some(local));
    from_file(path.as_deref(), args.context.as_deref()).await
}

/// Returns a client for a role: from a kubeconfig, or from the pod's service account.
pub(crate) async fn role(path: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    match (path, Config::incluster()) {
        (None, Ok(config)) => {
            Client::try_from(config).context("failed to use the pod's service account")
        }
        _ => from_file(path, context).await,
    }
}

async fn from_file(path: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    let kubeconfig = match path {
        Some(path) => Kubeconfig::read_from(path)
            .with_context(|| format!("failed to read kubeconfig `{}`", path.display()))?,
        None => Kubeconfig::read().map_err(|error| {
            Hinted::error(
                format!("no kubeconfig: {error}"),
                "start a fleet with `stolos up`, or name a file with --kubeconfig",
            )
        })?,
    };
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .context("failed to use the kubeconfig")?;
    Client::try_from(config).context("failed to use the kubeconfig")
}
