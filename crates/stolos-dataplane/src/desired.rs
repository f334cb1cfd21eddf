//! What a data plane is asked to do: the model's VIP ports, and what only a proxy does with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use stolos_core::network::balance::{self, EndpointId, Lease, VipPort};

/// Everything that a data plane serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// The VIP ports; each comes once.
    pub vips: Vec<DesiredVip>,
    /// When the clusters of endpoints were last heard of.
    pub leases: BTreeMap<String, Lease>,
}

/// A VIP port, where its connections go, and how the proxy treats them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredVip {
    /// Where connections go.
    pub balance: balance::Desired,
    /// How they are treated on the way.
    #[serde(default)]
    pub options: Options,
    /// Endpoints that are gateways of other members: connected to by TLS, with certificates on both sides.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gateways: BTreeSet<EndpointId>,
    /// Which service it is of, in the words of whoever asks for it; the data plane only repeats it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
}

/// How a proxy treats the connections of a VIP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Whether endpoints are told of the client by a PROXY header of version 2.
    pub send_proxy_protocol: bool,
    /// Whether clients must begin with a PROXY header of version 2, as gateways do.
    pub accept_proxy_protocol: bool,
    /// Whether this is a gateway: clients are data planes of other members, which connect by TLS and show a certificate.
    pub is_gateway: bool,
    /// Connections or flows at once; one more is reset or dropped.
    pub max_connections: u32,
}

impl Default for Options {
    fn default() -> Self {
        // No bound of its own: that of the whole data plane holds.
        let max_connections = u32::MAX;
        Self {
            send_proxy_protocol: false,
            accept_proxy_protocol: false,
            is_gateway: false,
            max_connections,
        }
    }
}

/// Returns where clients of a VIP port connect to.
pub(crate) fn socket(port: &VipPort) -> SocketAddr {
    SocketAddr::new(port.address, port.port)
}
