//! Tests of the model, and what they share.

mod decisions;
mod properties;
mod tables;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{Desired, Endpoint, EndpointId, EndpointState, Protocol, Settings, VipPort, Weighted};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// The endpoint of this number in a cluster.
fn id(cluster: &str, n: u16) -> EndpointId {
    let [high, low] = n.to_be_bytes();
    EndpointId {
        cluster: cluster.into(),
        address: Ipv4Addr::new(10, 1, high, low).into(),
        port: 8080,
    }
}

/// This many endpoints of a cluster with the same weight each.
fn equal(cluster: &str, n: u16) -> Vec<Weighted> {
    (0..n).map(|n| Weighted { id: id(cluster, n), weight: 1_000 }).collect()
}

fn ready(id: EndpointId) -> Endpoint {
    Endpoint { id, state: EndpointState::Ready }
}

fn terminating(id: EndpointId) -> Endpoint {
    Endpoint { id, state: EndpointState::Terminating }
}

fn desired(endpoints: Vec<Endpoint>, weights: &[(&str, u32)]) -> Desired {
    Desired {
        vip: VipPort {
            address: Ipv4Addr::new(10, 96, 0, 1).into(),
            protocol: Protocol::Tcp,
            port: 80,
        },
        endpoints,
        weights: weights.iter().map(|(cluster, weight)| ((*cluster).into(), *weight)).collect(),
        settings: Settings::default(),
    }
}

/// Slots of each cluster.
fn by_cluster(table: &super::SlotTable) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for endpoint in table.slots() {
        *counts.entry(endpoint.cluster.clone()).or_default() += 1;
    }
    counts
}
