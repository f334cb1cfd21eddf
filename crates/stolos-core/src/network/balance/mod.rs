//! Which endpoint takes a connection to a VIP port, and what becomes of connections to the others.
//!
//! [`plan`] decides for one VIP port at a time. All data planes read the same plan: the one that programs the kernel
//! writes its [`SlotTable`] into a map, the one in user space looks its connections up in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
pub use stolos_api::network::Protocol;

mod access;
pub mod affinity;
pub mod drain;
pub mod health;
pub mod lease;
mod plan;
mod settings;
mod slots;
#[cfg(test)]
mod tests;

pub use access::Access;
pub use affinity::Affinity;
pub use drain::Cut;
pub use health::{Check, Evidence, Health, HealthSettings};
pub use lease::{Lease, LeasePolicy};
pub use plan::plan;
pub use settings::{Locality, Settings};
pub use slots::{SIZES, SlotTable, Weighted};

/// Where clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipPort {
    /// Address.
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

impl fmt::Display for VipPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol.as_str())
    }
}

/// An endpoint of a cluster. The order is that in which slot tables list endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointId {
    /// Name of the member.
    pub cluster: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl EndpointId {
    /// Returns where to connect to.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.socket(), self.cluster)
    }
}

/// What the cluster of an endpoint says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndpointState {
    /// It takes connections.
    Ready,
    /// It ends soon, and still takes connections.
    Terminating,
}

/// An endpoint and what its cluster says of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub id: EndpointId,
    /// What its cluster says of it.
    pub state: EndpointState,
}

/// A VIP port as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// Where clients connect to.
    pub vip: VipPort,
    /// The endpoints, in any order.
    pub endpoints: Vec<Endpoint>,
    /// Share of the traffic that each cluster gets, relative to the others; that of an absent cluster is 1.
    pub weights: BTreeMap<String, u32>,
    /// How connections are spread, and endpoints watched.
    pub settings: Settings,
}

/// What is known besides what is desired.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Endpoints that have been checked, or whose connections failed.
    pub health: BTreeMap<EndpointId, Health>,
    /// When clusters were last heard of; a cluster that has never sent a lease is absent.
    pub leases: BTreeMap<String, Lease>,
    /// Endpoints that the last plan routed to.
    pub routed: BTreeSet<EndpointId>,
    /// Endpoints that get no new connections, and until when the old ones may go on, by the last plan.
    pub draining: BTreeMap<EndpointId, Timestamp>,
}

/// What to do with a VIP port. Carried out, `routed` and `draining` are part of what is observed next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which endpoint takes which share of the connections.
    pub table: SlotTable,
    /// How the table came about.
    pub routing: Routing,
    /// Every desired endpoint and why it gets connections or not.
    pub endpoints: BTreeMap<EndpointId, Standing>,
    /// Endpoints that must be checked, and why.
    pub checks: BTreeMap<EndpointId, CheckReason>,
    /// Endpoints that get no new connections, and until when the old ones may go on.
    pub draining: BTreeMap<EndpointId, Timestamp>,
    /// Endpoints whose connections end at once, and why.
    pub cut: BTreeMap<EndpointId, Cut>,
    /// When the plan changes by itself.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Returns the endpoints that get connections.
    #[must_use]
    pub fn routed(&self) -> BTreeSet<EndpointId> {
        self.table.endpoints().iter().cloned().collect()
    }
}

/// Which endpoints of a VIP port get connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Those that are ready and not down.
    Ready,
    /// Those that terminate but still serve, because no other can be used.
    Terminating,
    /// All, because all are down and a wrong judgement would stop the service.
    FailOpen,
    /// None.
    Nothing,
}

/// Why an endpoint gets connections, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// It gets its share.
    Used,
    /// It gets a part of its share, because it has recovered a short time ago.
    Ramping,
    /// It is down but gets its share, because all are.
    FailOpen,
    /// It terminates, and others can be used.
    Terminating,
    /// Checks or connections failed.
    Down,
    /// Its cluster has weight 0.
    ZeroWeight,
    /// Its cluster has not been heard of, and the policy is to drop such clusters.
    LeaseExpired,
    /// Its share is too small for a slot.
    TooSmall,
}

impl Standing {
    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "Used",
            Self::Ramping => "Ramping",
            Self::FailOpen => "FailOpen",
            Self::Terminating => "Terminating",
            Self::Down => "Down",
            Self::ZeroWeight => "ZeroWeight",
            Self::LeaseExpired => "LeaseExpired",
            Self::TooSmall => "TooSmall",
        }
    }
}

/// Why an endpoint must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckReason {
    /// The service asks for checks.
    Configured,
    /// Nobody else says whether its cluster still lives.
    ClusterSilent,
    /// It is down, and only a check finds out when it is up again.
    Down,
}
