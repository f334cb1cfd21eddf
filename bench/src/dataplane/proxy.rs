//! The proxy of the data plane as a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::bail;
use stolos_core::network::balance::{
    self, Endpoint, EndpointId, EndpointState, HealthSettings, LeasePolicy, Protocol, Settings,
    VipPort,
};
use stolos_dataplane::{Config, DataPlane as _, Desired, DesiredVip, Options, Proxy};

use super::network::ENDPOINTS;
use super::paths::{BULK, WEB};

/// Arguments of the proxy.
#[derive(clap::Args)]
pub(crate) struct ProxyArgs {
    /// Where it serves
    address: IpAddr,
}

/// Threads of every proxy: one for each core.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Serves until killed.
pub(crate) async fn run(args: &ProxyArgs) -> anyhow::Result<()> {
    let proxy = Proxy::start(&Config { workers: workers(), ..Config::default() })?;
    let vips = vec![vip(args.address, WEB, ENDPOINTS), vip(args.address, BULK, 1)];
    let report = proxy.apply(Desired { vips, leases: BTreeMap::new() }).await;
    if let Some(error) = report.not_served.into_values().next() {
        bail!(error);
    }
    std::future::pending().await
}

fn vip(address: IpAddr, port: u16, n_endpoints: u8) -> DesiredVip {
    let endpoint = |n: u8| {
        let address = Ipv4Addr::new(10, 10, n, 2).into();
        let id = EndpointId { cluster: format!("member-{n}"), address, port };
        Endpoint { id, state: EndpointState::Ready }
    };
    let settings = Settings {
        // As the others, which check nothing here.
        health: HealthSettings { check: None, ..HealthSettings::default() },
        lease_policy: LeasePolicy::Keep,
        ..Settings::default()
    };
    let balance = balance::Desired {
        vip: VipPort { address, protocol: Protocol::Tcp, port },
        endpoints: (0..n_endpoints).map(endpoint).collect(),
        weights: BTreeMap::new(),
        settings,
    };
    DesiredVip {
        balance,
        options: Options::default(),
        gateways: BTreeSet::new(),
        service: String::new(),
    }
}
