//! The proxy in the namespace of the balancer, for tests without a runtime of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use stolos_core::network::balance::{
    self, Endpoint, EndpointId, EndpointState, HealthSettings, LeasePolicy, Protocol, Settings,
    VipPort,
};
use stolos_dataplane::{
    Config, DataPlane as _, Desired, DesiredVip, EndpointStats, Identity, Options, Proxy, VipStats,
};
use tokio::runtime::{Builder, Runtime};

use crate::world::{Space, VIP, World, service};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running proxy.
pub(crate) struct Plane {
    proxy: Proxy,
    runtime: Runtime,
}

impl Plane {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_in(&world.balancer, None)
    }

    /// Starts one that takes over from the one before in this folder.
    pub(crate) fn start_in(space: &Space, folder: Option<&Path>) -> Self {
        let folder = folder.map(Path::to_owned);
        let mut config = Config { workers: 2, folder, ..Config::default() };
        config.timeouts.connect = Duration::from_millis(300);
        let proxy = space.run(|| Proxy::start(&config).unwrap());
        Self { proxy, runtime: Builder::new_current_thread().enable_all().build().unwrap() }
    }

    pub(crate) fn identify(&self, identity: Identity) {
        self.proxy.identify(identity);
    }

    /// Applies and expects that everything is served.
    pub(crate) fn apply(&self, vips: &[DesiredVip]) {
        let desired = Desired { vips: vips.to_vec(), leases: BTreeMap::new() };
        let report = self.runtime.block_on(self.proxy.apply(desired));
        assert!(report.not_served.is_empty(), "{:?}", report.not_served);
    }

    /// Serves what it has until its successor has taken over and its connections have ended.
    pub(crate) fn end_after_successor(self) {
        self.runtime.block_on(async {
            self.proxy.superseded().await;
            self.proxy.drain().await;
        });
    }

    pub(crate) fn stats(&self, port: VipPort) -> VipStats {
        self.runtime.block_on(self.proxy.stats()).remove(&port).unwrap_or_default()
    }

    pub(crate) fn endpoint(&self, port: VipPort, endpoint: u8) -> EndpointStats {
        self.stats(port).endpoints.get(&id(endpoint)).copied().unwrap_or_default()
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn port(protocol: Protocol, number: u16) -> VipPort {
    VipPort { address: VIP.into(), protocol, port: number }
}

pub(crate) fn socket(port: VipPort) -> SocketAddr {
    SocketAddr::new(port.address, port.port)
}

/// Each endpoint is a cluster of its own.
pub(crate) fn id(endpoint: u8) -> EndpointId {
    let address = service(endpoint);
    let cluster = format!("member-{endpoint}");
    EndpointId { cluster, address: address.ip(), port: address.port() }
}

/// A VIP port over these endpoints, which are not checked.
pub(crate) fn vip(port: VipPort, endpoints: &[u8]) -> DesiredVip {
    let ready = |endpoint: &u8| Endpoint { id: id(*endpoint), state: EndpointState::Ready };
    DesiredVip {
        balance: balance::Desired {
            vip: port,
            endpoints: endpoints.iter().map(ready).collect(),
            weights: BTreeMap::new(),
            settings: Settings {
                health: HealthSettings { check: None, ..HealthSettings::default() },
                lease_policy: LeasePolicy::Keep,
                drain_seconds: 60,
                ..Settings::default()
            },
        },
        options: Options::default(),
        gateways: BTreeSet::new(),
        service: String::new(),
    }
}
