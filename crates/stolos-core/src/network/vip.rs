//! Which endpoints are behind which VIP port, from what other members tell (networking-dataplane 6).
//!
//! What other members tell is not trusted: an address that could lead back into this cluster's nodes or to a cloud's
//! metadata is refused, and there is a bound on how many endpoints a member can add.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stolos_api::network::names::{DEFAULT_WEIGHT, annotation, gateway};
use stolos_api::network::{EndpointSliceImport, Protocol, ServicePort};

use super::balance::{Desired, Endpoint, EndpointId, EndpointState, Settings, VipPort};
use super::gateway::Tls;
use super::keys;
use super::pool::Pool;

/// Endpoints of one member behind one VIP port; a slot table has place for about four times as many.
pub const MAX_ENDPOINTS_PER_CLUSTER: usize = 1_000;

/// A service of the fleet as it is to be served.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Addresses that clients connect to.
    pub addresses: &'a [IpAddr],
    /// Its ports.
    pub ports: &'a [ServicePort],
    /// Endpoints of all members.
    pub slices: &'a [EndpointSliceImport],
    /// How connections are spread, and endpoints watched.
    pub settings: &'a Settings,
}

/// Which addresses members may not export.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Whether loopback addresses are fine, because all clusters are on this machine.
    pub allows_loopback: bool,
    /// Addresses of this cluster's nodes.
    pub nodes: BTreeSet<IpAddr>,
    /// Addresses that this cluster gives to services: an endpoint there would lead back into its own data plane.
    pub pool: Option<Pool>,
    /// This cluster, whose own gateway may be at one of its nodes.
    pub cluster: String,
}

/// The VIP ports of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    /// Every VIP port, also one without endpoints.
    pub ports: Vec<Desired>,
    /// Endpoints that are gateways and ask for TLS.
    pub gateways: BTreeSet<EndpointId>,
    /// What was not taken over, by member: the first such thing of each.
    pub refused: BTreeMap<String, Refusal>,
}

/// What of a member was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an address of version 4 or 6 of the internet protocol.
    #[error("endpoint address `{0}` is not an IP address")]
    NotAnAddress(String),
    /// An address that no other cluster can have.
    #[error("endpoint address {address} is {kind}; pods have routable addresses")]
    NotRoutable {
        /// The address.
        address: IpAddr,
        /// What kind of address it is.
        kind: &'static str,
    },
    /// Not a port.
    #[error("endpoint port {0} is not between 1 and 65535")]
    NotAPort(i32),
    /// More endpoints than a member may add.
    #[error("more than {MAX_ENDPOINTS_PER_CLUSTER} endpoints; the others get no connections")]
    TooMany,
}

/// Decides which endpoints are behind which VIP port. An endpoint belongs to a port of the service by the name of the
/// port and its protocol.
#[must_use]
pub fn vips(service: &Service<'_>, guard: &Guard) -> Vips {
    let mut vips = Vips::default();
    for port in service.ports {
        let Ok(number) = u16::try_from(port.port) else { continue };
        let endpoints = endpoints(service.slices, port, guard, &mut vips);
        let weights = weights(service.slices);
        vips.ports.extend(service.addresses.iter().map(|address| Desired {
            vip: VipPort { address: *address, protocol: port.protocol, port: number },
            endpoints: endpoints.clone(),
            weights: weights.clone(),
            settings: service.settings.clone(),
        }));
    }
    vips
}

/// Returns the weight that each member has; of slices that disagree, the largest, so that a copy on its way does not
/// stop a member.
fn weights(slices: &[EndpointSliceImport]) -> BTreeMap<String, u32> {
    let mut weights = BTreeMap::new();
    for slice in slices {
        let told = keys::annotation(&slice.metadata, annotation::WEIGHT);
        let weight = told.and_then(|told| told.parse().ok()).unwrap_or(DEFAULT_WEIGHT);
        let weight = u32::try_from(weight).unwrap_or_default();
        let known: &mut u32 = weights.entry(cluster(slice).to_owned()).or_default();
        *known = weight.max(*known);
    }
    weights
}

fn cluster(slice: &EndpointSliceImport) -> &str {
    &slice.spec.endpoint_slice_reference.cluster_id
}

fn endpoints(
    slices: &[EndpointSliceImport],
    port: &ServicePort,
    guard: &Guard,
    vips: &mut Vips,
) -> Vec<Endpoint> {
    let Vips { ports: _, gateways, refused } = vips;
    let mut found: BTreeMap<&str, BTreeSet<EndpointId>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| !keys::is_deleting(&slice.metadata)) {
        let cluster = cluster(slice);
        let is_gateway = asks_for_tls(slice);
        // Datagrams are not encrypted, and must not go where only encrypted connections are taken.
        if is_gateway && port.protocol != Protocol::Tcp {
            continue;
        }
        let ids = found.entry(cluster).or_default();
        for candidate in candidates(slice, port, guard) {
            let is_full = ids.len() >= MAX_ENDPOINTS_PER_CLUSTER;
            match candidate {
                Ok(id) if !is_full || ids.contains(&id) => {
                    if is_gateway {
                        gateways.insert(id.clone());
                    }
                    ids.insert(id);
                }
                Ok(_) => drop(refused.entry(cluster.to_owned()).or_insert(Refusal::TooMany)),
                Err(refusal) => drop(refused.entry(cluster.to_owned()).or_insert(refusal)),
            }
        }
    }
    let ready = |id| Endpoint { id, state: EndpointState::Ready };
    found.into_values().flatten().map(ready).collect()
}

fn asks_for_tls(slice: &EndpointSliceImport) -> bool {
    Tls::of_mark(keys::annotation(&slice.metadata, gateway::TLS)) == Some(Tls::Require)
}

/// Returns the endpoints of a slice for a port of the service, or what is wrong with them.
fn candidates<'a>(
    slice: &'a EndpointSliceImport,
    port: &ServicePort,
    guard: &'a Guard,
) -> impl Iterator<Item = Result<EndpointId, Refusal>> + 'a {
    let is_it = |one: &&k8s_openapi::api::discovery::v1::EndpointPort| {
        one.name.as_deref().unwrap_or_default() == port.name
            && Protocol::parse(one.protocol.as_deref().unwrap_or_default()) == Some(port.protocol)
    };
    let number = slice.spec.ports.iter().find(is_it).and_then(|one| one.port);
    let addresses = slice.spec.endpoints.iter().filter_map(|endpoint| endpoint.addresses.first());
    number.into_iter().flat_map(move |number| {
        addresses.clone().map(move |address| {
            let port = u16::try_from(number).ok().filter(|port| *port > 0);
            let port = port.ok_or(Refusal::NotAPort(number))?;
            let address = routable(address, cluster(slice), guard)?;
            Ok(EndpointId { cluster: cluster(slice).to_owned(), address, port })
        })
    })
}

/// Reads the address of an endpoint of another cluster, if it can be one.
pub(super) fn routable(text: &str, cluster: &str, guard: &Guard) -> Result<IpAddr, Refusal> {
    let address: IpAddr = text.parse().map_err(|_| Refusal::NotAnAddress(text.to_owned()))?;
    // An address of version 4 in the clothes of version 6 leads to the same place.
    let address = address.to_canonical();
    let kind = match address {
        _ if address.is_loopback() && !guard.allows_loopback => Some("a loopback address"),
        _ if address.is_unspecified() => Some("no host's address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_link_local() => {
            Some("link-local, where clouds keep their metadata")
        }
        IpAddr::V4(v4) if v4.is_broadcast() => Some("a broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        _ if is_cloud_metadata(address) => Some("where clouds keep their metadata"),
        _ if guard.pool.is_some_and(|pool| pool.contains(address)) => {
            Some("one that this cluster gives to services")
        }
        _ if guard.nodes.contains(&address) && guard.cluster != cluster => {
            Some("that of a node of this cluster")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    match kind {
        None => Ok(address),
        Some(kind) => Err(Refusal::NotRoutable { address, kind }),
    }
}

/// Tells whether instances of a cloud find their metadata there, or its own agents, beside the link-local
/// `169.254.169.254` of most: Amazon (`fd00:ec2::254` and what is beside it), Google, Azure and Alibaba.
fn is_cloud_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => [[168, 63, 129, 16], [100, 100, 100, 200]].contains(&v4.octets()),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            segments[..6] == [0xfd00, 0xec2, 0, 0, 0, 0]
                || segments == [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        }
    }
}
