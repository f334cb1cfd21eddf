//! The server under load: a process of its own over TLS, in this process, or a server that somebody else started.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use kube::config::Kubeconfig;
use serde_json::json;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::{DEFAULT_ISSUER, TokenSigner, UserInfo};
use stolos_apiserver::serve::kubeconfig::{self, Login};
use stolos_apiserver::serve::{CertificateAuthority, Limits, Server, server_config};
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use tokio::net::TcpListener;

use super::{ServeArgs, Via};
use crate::process::{Process, Usage, usage_of};

/// Name of the cluster, its context and its user.
const NAME: &str = "bench";

/// A server under load.
pub(super) enum Target {
    Tls { process: Box<Process>, kubeconfig: Box<Kubeconfig> },
    Process { api: ApiServer, store: Store },
    Given { kubeconfig: Box<Kubeconfig>, context: String, pids: Vec<u32> },
}

impl Target {
    /// Starts an empty server whose files are in `directory`.
    pub(super) async fn start(via: Via, memory: bool, directory: &Path) -> anyhow::Result<Self> {
        match via {
            Via::Process => {
                let store = open(directory, memory)?;
                let api = start(&store, Options::default()).await?;
                Ok(Self::Process { api, store })
            }
            Via::Tls => Ok(Self::tls(directory, memory, 0).await?.0),
        }
    }

    /// Returns the current context of a kubeconfig, served by these processes.
    pub(super) fn given(path: &Path, pids: &[u32]) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        let context = kubeconfig.current_context.clone();
        let context = context.context("the kubeconfig has no current context")?;
        Ok(Self::Given { kubeconfig: Box::new(kubeconfig), context, pids: pids.to_vec() })
    }

    /// Starts a process that keeps its objects in `directory`, and returns how long it took to be ready.
    pub(super) async fn tls(
        directory: &Path,
        memory: bool,
        more_clusters: u32,
    ) -> anyhow::Result<(Self, Duration)> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let shown = directory.to_str().context("the directory is not UTF-8")?;
        let more_clusters = more_clusters.to_string();
        let mut arguments = vec!["serve", "--directory", shown, "--more-clusters", &more_clusters];
        arguments.extend(memory.then_some("--memory"));
        let (process, ready) = Process::start(&program, &arguments, directory).await?;
        let kubeconfig = Kubeconfig::read_from(directory.join("kubeconfig"))
            .context("failed to read the kubeconfig")?;
        let target = Self::Tls { process: Box::new(process), kubeconfig: Box::new(kubeconfig) };
        Ok((target, ready.after))
    }

    /// Returns a client with connections of its own.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        match self {
            Self::Tls { kubeconfig, .. } => crate::fleet::client(kubeconfig, NAME).await,
            Self::Given { kubeconfig, context, .. } => {
                crate::fleet::client(kubeconfig, context).await
            }
            Self::Process { api, .. } => {
                Ok(Client::new(api.as_user(UserInfo::internal(NAME)), "default"))
            }
        }
    }

    /// Returns this many clients.
    pub(super) async fn clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }

    /// Returns what the server has used; `None` when it cannot be told from the load.
    pub(super) fn usage(&self) -> anyhow::Result<Option<Usage>> {
        match self {
            Self::Tls { process, .. } => process.usage().map(Some),
            Self::Given { pids, .. } if pids.is_empty() => Ok(None),
            Self::Given { pids, .. } => pids
                .iter()
                .map(|pid| usage_of(*pid))
                .try_fold(Usage::default(), |sum, usage| Ok(sum + usage?))
                .map(Some),
            Self::Process { .. } => Ok(None),
        }
    }

    /// Lets a process end by itself, with its files closed.
    pub(super) async fn interrupt(self) -> anyhow::Result<()> {
        match self {
            Self::Tls { process, .. } => process.interrupt().await,
            other => other.stop().await,
        }
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Tls { process, .. } => process.kill().await,
            Self::Given { .. } => Ok(()),
            Self::Process { api, store } => {
                api.stop();
                store.close();
                Ok(())
            }
        }
    }
}

/// Serves until it is interrupted or killed.
pub(crate) async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let directory = &args.directory;
    let store = open(directory, args.memory)?;
    let authority = CertificateAuthority::load_or_create(directory, NAME, now)
        .context("failed to make the certificate authority")?;
    let signer = TokenSigner::load_or_create(directory, DEFAULT_ISSUER)
        .context("failed to make the key for tokens")?;
    let api =
        start(&store, Options { signer: Some(Arc::new(signer)), ..Options::default() }).await?;
    let mut others = Vec::new();
    for number in 0..args.more_clusters {
        let name = format!("{NAME}-{number}");
        let cluster = store.cluster(&name).with_context(|| format!("failed to make `{name}`"))?;
        let started = ApiServer::start(cluster, Options::default()).await;
        others.push(started.with_context(|| format!("failed to start `{name}`"))?);
    }
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen on 127.0.0.1")?;
    let serving = authority.server(&[], now).context("failed to issue the server's certificate")?;
    let tls = server_config(&serving, &authority).context("failed to set up TLS")?;
    let server = Server::start(listener, Some(tls), api.service(), Limits::default())
        .context("failed to serve")?;
    let admin = authority
        .client(NAME, Some("system:masters"), now)
        .context("failed to issue the client's certificate")?;
    let context = kubeconfig::Context {
        name: NAME.to_owned(),
        server: format!("https://{}", server.address()),
        authority: authority.certificate().to_owned(),
        login: Login::Certificate(admin),
        namespace: None,
    };
    kubeconfig::write(&directory.join("kubeconfig"), &[context], NAME)
        .context("failed to write the kubeconfig")?;
    {
        use std::io::Write;
        let ready = json!({ "event": "ready", "server": server.address() });
        writeln!(std::io::stdout().lock(), "{ready}").context("nobody waits for the server")?;
    }
    tokio::signal::ctrl_c().await.context("failed to wait for the end")?;
    api.stop();
    store.close();
    Ok(())
}

fn open(directory: &Path, memory: bool) -> anyhow::Result<Store> {
    if memory {
        return Ok(Store::memory());
    }
    Store::open(&directory.join("store")).context("failed to open the store")
}

async fn start(store: &Store, options: Options) -> anyhow::Result<ApiServer> {
    let cluster = store.cluster(NAME).context("failed to make the cluster")?;
    ApiServer::start(cluster, options).await.context("failed to start the API server")
}
