//! Endpoints, clients and desired states.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use stolos_core::network::balance::{
    self, Endpoint, EndpointId, EndpointState, HealthSettings, LeasePolicy, Protocol, Settings,
    VipPort,
};
use stolos_dataplane::{
    Config, DataPlane, Desired, DesiredVip, EndpointStats, Options, Proxy, Report, VipStats,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Far longer than anything here takes; whoever waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a proxy with two workers.
pub(crate) fn proxy() -> Proxy {
    proxy_with(|_| {})
}

/// Starts a proxy with two workers and some settings of one's own.
pub(crate) fn proxy_with(change: impl FnOnce(&mut Config)) -> Proxy {
    let mut config = Config { workers: 2, ..Config::default() };
    change(&mut config);
    Proxy::start(&config).unwrap()
}

/// Returns an address of loopback at which nobody listens. Each call gives one of its own, as other tests run beside.
pub(crate) fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap()
}

pub(crate) fn tcp(address: SocketAddr) -> VipPort {
    VipPort { protocol: Protocol::Tcp, address: address.ip(), port: address.port() }
}

pub(crate) fn udp(address: SocketAddr) -> VipPort {
    VipPort { protocol: Protocol::Udp, ..tcp(address) }
}

/// The endpoint at `address`, of the only cluster.
pub(crate) fn id(address: SocketAddr) -> EndpointId {
    EndpointId { cluster: "one".to_owned(), address: address.ip(), port: address.port() }
}

pub(crate) fn ready(address: SocketAddr) -> Endpoint {
    Endpoint { id: id(address), state: EndpointState::Ready }
}

/// A VIP port whose endpoints have equal shares and are not checked.
pub(crate) fn vip(address: SocketAddr, endpoints: &[SocketAddr]) -> DesiredVip {
    let settings = Settings {
        health: HealthSettings { check: None, ..HealthSettings::default() },
        lease_policy: LeasePolicy::Keep,
        drain_seconds: 60,
        ..Settings::default()
    };
    DesiredVip {
        balance: balance::Desired {
            vip: tcp(address),
            endpoints: endpoints.iter().copied().map(ready).collect(),
            weights: BTreeMap::new(),
            settings,
        },
        options: Options::default(),
        gateways: BTreeSet::new(),
        service: String::new(),
    }
}

pub(crate) fn desired(vips: &[DesiredVip]) -> Desired {
    Desired { vips: vips.to_vec(), leases: BTreeMap::new() }
}

/// Applies and expects that everything is served.
pub(crate) async fn apply(proxy: &Proxy, vips: &[DesiredVip]) {
    let Report { not_served } = proxy.apply(desired(vips)).await;
    assert!(not_served.is_empty(), "{not_served:?}");
}

/// What happened at the endpoint at `address`.
pub(crate) fn at(stats: &VipStats, address: SocketAddr) -> EndpointStats {
    stats.endpoints.get(&id(address)).copied().unwrap_or_default()
}

/// Waits until the counters of a TCP port are as wanted.
pub(crate) async fn stats_until(
    proxy: &Proxy,
    address: SocketAddr,
    wanted: impl FnMut(&VipStats) -> bool,
) -> VipStats {
    stats_of(proxy, tcp(address), wanted).await
}

/// Waits until the counters of a VIP port are as wanted.
pub(crate) async fn stats_of(
    proxy: &Proxy,
    port: VipPort,
    mut wanted: impl FnMut(&VipStats) -> bool,
) -> VipStats {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let stats = proxy.stats().await.remove(&port).unwrap_or_default();
            if wanted(&stats) {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    });
    match waited.await {
        Ok(stats) => stats,
        Err(_) => panic!("not within {PATIENCE:?}: {:?}", proxy.stats().await),
    }
}

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}

/// Somebody who answers; gone when dropped, with all connections.
pub(crate) struct Answerer {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Answerer {
    /// Serves every connection with `serve`.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                connections.spawn(serve(socket));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, accepted, task }
    }

    /// Sends back what it gets, ends when the client does.
    pub(crate) async fn echo() -> Self {
        Self::start(|mut socket| async move {
            let (mut reader, mut writer) = socket.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        })
        .await
    }

    /// Takes all that the client sends, then answers with how much that was.
    pub(crate) async fn counting() -> Self {
        Self::start(|mut socket| async move {
            let mut all = Vec::new();
            if socket.read_to_end(&mut all).await.is_ok() {
                let _ = socket.write_all(all.len().to_string().as_bytes()).await;
            }
        })
        .await
    }

    pub(crate) fn n_accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends `bytes` through a connection and expects them back.
pub(crate) async fn echoes(connection: &mut TcpStream, bytes: &[u8]) {
    connection.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    soon(connection.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, bytes);
}

/// Connects to `address`; the connection has an endpoint once something came back.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    soon(TcpStream::connect(address)).await.unwrap()
}

/// Connects as another client, by an address of loopback.
pub(crate) async fn connect_from(client: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    soon(socket.connect(address)).await.unwrap()
}

/// Waits for the end of a connection and tells whether it was a reset.
pub(crate) async fn is_reset(connection: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match soon(connection.read_to_end(&mut rest)).await {
        Ok(_) => false,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("neither end nor reset: {error}"),
    }
}

/// Tells whether a connection to `address` is reset before anything came. It may be so fast that connecting fails.
pub(crate) async fn is_turned_away(address: SocketAddr) -> bool {
    match soon(TcpStream::connect(address)).await {
        Ok(mut connection) => is_reset(&mut connection).await,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
