//! Which connections of a client go to the same endpoint.

use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::{EndpointId, SlotTable};

/// Seed of the hash of connections; every balancer must have the same.
const FLOW_SEED: u64 = 0x53_74_6f_6c_6f_73_00_03;

/// Seconds without a connection after which a client is free again, unless the service says otherwise.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 10_800;

/// Whether a client stays with its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Affinity {
    /// Every connection is spread anew.
    #[default]
    None,
    /// A client stays with its endpoint as long as the table gives it the same one. Needs no memory, and all balancers
    /// agree.
    #[serde(rename = "ClientIP")]
    ClientIp,
    /// A client stays with its endpoint as long as that can be used, until it has made no connection for a while.
    #[serde(rename = "StrictClientIP", rename_all = "camelCase")]
    StrictClientIp {
        /// For how many seconds a client without connections is remembered.
        timeout_seconds: u32,
    },
}

impl Affinity {
    /// Returns the hash by which a connection is looked up in the table.
    #[must_use]
    pub fn hash(self, client: SocketAddr) -> u64 {
        match self {
            Self::None => hash(client.ip(), client.port()),
            Self::ClientIp | Self::StrictClientIp { .. } => hash(client.ip(), 0),
        }
    }
}

fn hash(address: IpAddr, port: u16) -> u64 {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&address.octets());
    bytes[16..].copy_from_slice(&port.to_be_bytes());
    XxHash64::oneshot(FLOW_SEED, &bytes)
}

/// The endpoint that a client stays with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Until when, unless the client makes another connection.
    pub until: Timestamp,
}

/// Decides which endpoint takes a connection under strict affinity, and what to remember of the client. None if no
/// endpoint can be used.
#[must_use]
pub fn stick(
    table: &SlotTable,
    remembered: Option<&Sticky>,
    client: IpAddr,
    timeout_seconds: u32,
    now: Timestamp,
) -> Option<Sticky> {
    let usable = |sticky: &&Sticky| {
        now < sticky.until && table.endpoints().binary_search(&sticky.endpoint).is_ok()
    };
    let endpoint = match remembered.filter(usable) {
        Some(sticky) => &sticky.endpoint,
        None => table.pick(hash(client, 0))?,
    };
    let until = now + SignedDuration::from_secs(timeout_seconds.into());
    Some(Sticky { endpoint: endpoint.clone(), until })
}
