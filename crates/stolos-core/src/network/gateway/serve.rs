//! What a data plane serves at the entries of its member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::names::{condition as type_, reason};
use stolos_api::network::{Protocol, ServiceExport};

use super::super::balance::{Desired, Endpoint, EndpointId, EndpointState, Settings, VipPort};
use super::super::keys;
use super::super::serve::Problem;
use super::super::vip::MAX_ENDPOINTS_PER_CLUSTER;
use super::{Entry, EntryPort};
use crate::condition;

/// What the ports of an entry lead to.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The member.
    pub cluster: &'a str,
    /// The slices of the Service.
    pub slices: &'a [&'a EndpointSlice],
    /// Addresses at which the data plane listens, if not at those that other members connect to.
    pub listen: &'a [IpAddr],
}

/// Returns the ports of an entry with the pods behind them.
#[must_use]
pub fn vips(entry: &Entry, source: &Source<'_>) -> Vec<Desired> {
    let told = entry.addresses.iter().copied().map(IpAddr::from);
    let addresses: BTreeSet<IpAddr> = if source.listen.is_empty() {
        told.collect()
    } else {
        source.listen.iter().copied().collect()
    };
    let of_port = |port: &EntryPort| {
        let endpoints = endpoints(port, source);
        let vip = |address: &IpAddr| Desired {
            vip: VipPort { address: *address, protocol: port.protocol, port: port.port },
            endpoints: endpoints.clone(),
            weights: BTreeMap::new(),
            settings: Settings::default(),
        };
        addresses.iter().map(vip).collect::<Vec<_>>()
    };
    entry.ports.iter().flat_map(of_port).collect()
}

/// Returns the conditions of an export with what became of its entry, if that changes them.
#[must_use]
pub fn report(
    export: &ServiceExport,
    ports: &[VipPort],
    not_served: &BTreeMap<VipPort, Problem>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let old = export.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    let say = |status, reason, message: &str| {
        let generation = export.metadata.generation.unwrap_or(0);
        condition::new(type_::SERVED, status, reason, message, generation, now)
    };
    let failed: Vec<_> = ports.iter().filter_map(|port| not_served.get(port)).collect();
    let served = match &*failed {
        [] if ports.is_empty() => return None,
        [] => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let message = format!("connections of other members are taken at {}", ports.join(", "));
            say("True", reason::SERVED, &message)
        }
        [first, ..] => {
            let messages: Vec<_> = failed.iter().map(|problem| &*problem.message).collect();
            say("False", first.reason, &messages.join("; "))
        }
    };
    keys::is_news(old, &served).then(|| {
        let mut conditions = old.to_vec();
        condition::set(&mut conditions, served);
        conditions
    })
}

fn endpoints(port: &EntryPort, source: &Source<'_>) -> Vec<Endpoint> {
    let found = source.slices.iter().filter(|slice| !keys::is_deleting(&slice.metadata));
    let found = found.flat_map(|slice| {
        let is_it = |one: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            let protocol = one.protocol.as_deref().unwrap_or_default();
            one.name.as_deref().unwrap_or_default() == port.name
                && Protocol::parse(protocol) == Some(port.protocol)
        };
        let number = slice.ports.iter().flatten().find(is_it).and_then(|one| one.port);
        let number = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
        let endpoints = number.map(|port| slice.endpoints.iter().map(move |one| (port, one)));
        endpoints.into_iter().flatten()
    });
    let endpoint = |(port, one): (u16, &SliceEndpoint)| {
        let address = one.addresses.first()?.parse().ok()?;
        let id = EndpointId { cluster: source.cluster.to_owned(), address, port };
        Some((id, state(one)?))
    };
    // Of two slices that tell of the same pod, the one that says that it is ready is the newer one.
    let mut all: BTreeMap<EndpointId, EndpointState> = BTreeMap::new();
    for (id, state) in found.filter_map(endpoint) {
        let known = all.entry(id).or_insert(state);
        *known = state.min(*known);
    }
    let all = all.into_iter().take(MAX_ENDPOINTS_PER_CLUSTER);
    all.map(|(id, state)| Endpoint { id, state }).collect()
}

/// Returns whether a pod takes connections; nothing if it does not.
fn state(endpoint: &SliceEndpoint) -> Option<EndpointState> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    if conditions.ready != Some(false) {
        return Some(EndpointState::Ready);
    }
    let ends = conditions.terminating == Some(true) && conditions.serving == Some(true);
    ends.then_some(EndpointState::Terminating)
}
