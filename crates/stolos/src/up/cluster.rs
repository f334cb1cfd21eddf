//! One logical cluster of `stolos up`: API server, controllers, listener, identities.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::{DEFAULT_ISSUER, TokenSigner, UserInfo};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::serve::{CertificateAuthority, Credentials, Limits, Server, server_config};
use stolos_apiserver::server::Options;
use tokio::net::TcpListener;

use super::data_dir::DataDir;
use crate::exit::Hinted;

/// Name of the hub, its context and its logical cluster.
pub(super) const HUB: &str = "hub";

/// User in the written kubeconfig.
const ADMIN: &str = "stolos-admin";

/// Open sockets, bound before anything else starts, so that a taken port is noticed first.
pub(super) struct Listeners {
    hub: TcpListener,
    members: Vec<TcpListener>,
}

impl Listeners {
    /// Binds the hub to `base + 1` and the members to what follows; or any free ports when `base` is 0.
    pub(super) async fn bind(ip: IpAddr, base: u16, members: u32) -> anyhow::Result<Self> {
        let port = |offset: u32| -> anyhow::Result<u16> {
            if base == 0 {
                return Ok(0);
            }
            u16::try_from(u32::from(base) + offset).ok().with_context(|| {
                format!(
                    "`--base-port {base}` leaves no room for {members} members below port 65536"
                )
            })
        };
        let hub = bind(ip, port(1)?).await?;
        let mut bound = Vec::new();
        for index in 0..members {
            bound.push(bind(ip, port(index + 2)?).await?);
        }
        Ok(Self { hub, members: bound })
    }
}

async fn bind(ip: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(ip, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Hinted::error(
            format!("port {port} on {ip} is in use"),
            "choose other ports with --base-port, or 0 for any free ones",
        ),
        std::io::ErrorKind::AddrNotAvailable => Hinted::error(
            format!("{ip} is not an address of this machine"),
            "choose another --listen address",
        ),
        _ => anyhow::Error::from(error).context(format!("failed to listen on {ip} port {port}")),
    })
}

/// A running logical cluster.
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) api: ApiServer,
    pub(super) authority: String,
    pub(super) admin: Credentials,
    server: Server,
}

impl Cluster {
    /// Starts the hub and the members side by side.
    pub(super) async fn start_all(
        data_dir: &DataDir,
        listeners: Listeners,
        listen: IpAddr,
    ) -> anyhow::Result<(Self, Vec<Self>)> {
        let now = jiff::Timestamp::now();
        let authority =
            CertificateAuthority::load_or_create(&data_dir.authority_dir()?, "stolos", now)
                .context("failed to open the certificate authority")?;
        let admin = authority
            .client(ADMIN, Some("system:masters"), now)
            .context("failed to issue the administrator's certificate")?;
        let serving =
            authority.server(&[listen], now).context("failed to issue the server's certificate")?;
        let start = |name: String, listener: TcpListener| {
            Self::start(data_dir, name, listener, &authority, &serving, admin.clone())
        };
        let members = (1..)
            .zip(listeners.members)
            .map(|(n, listener)| start(format!("member-{n}"), listener));
        futures::future::try_join(
            start(HUB.to_owned(), listeners.hub),
            futures::future::try_join_all(members),
        )
        .await
    }

    async fn start(
        data_dir: &DataDir,
        name: String,
        listener: TcpListener,
        authority: &CertificateAuthority,
        serving: &Credentials,
        admin: Credentials,
    ) -> anyhow::Result<Self> {
        let failed = || format!("failed to start the API server of `{name}`");
        let store = data_dir.store().cluster(&name).with_context(failed)?;
        let root_ca = Some(authority.certificate().to_owned());
        // Tokens stay valid across restarts; each cluster signs with a key of its own.
        let keys = data_dir.keys_of(&name)?;
        let signer = TokenSigner::load_or_create(&keys, DEFAULT_ISSUER).with_context(failed)?;
        let options = Options {
            signer: Some(Arc::new(signer)),
            controllers: Controllers { root_ca, ..Controllers::default() },
            ..Options::default()
        };
        let api = ApiServer::start(store, options).await.with_context(failed)?;
        let tls = server_config(serving, authority).with_context(failed)?;
        let server =
            Server::start(listener, Some(Arc::clone(&tls)), api.service(), Limits::default())
                .with_context(failed)?;
        Ok(Self { name, api, authority: authority.certificate().to_owned(), admin, server })
    }

    /// Returns the URL for clients.
    pub(super) fn url(&self) -> String {
        let address = self.server.address();
        // Nobody can connect to an address that means every address.
        let host = match address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv6() => "[::1]".to_owned(),
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("https://{host}:{}", address.port())
    }

    /// Returns a client in this process with all rights.
    pub(super) fn client(&self) -> Client {
        self.as_user(ADMIN)
    }

    /// Returns a client in this process with all rights under this name.
    pub(super) fn as_user(&self, name: &str) -> Client {
        Client::new(self.api.as_user(UserInfo::internal(name)), "default")
    }

    pub(super) async fn stop(self, grace: Duration) {
        self.api.stop();
        self.server.stop(grace).await;
    }
}
