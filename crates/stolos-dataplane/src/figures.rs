//! What happened at the VIP ports, in a form that programs read.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stolos_core::network::balance::{Standing, VipPort};

use crate::plane::{DataPlane, EndpointStats, VipStats};

/// What happened at all VIP ports so far. Counts begin with the data plane and only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The VIP ports, in the order of their addresses.
    pub vips: Vec<VipFigures>,
}

/// What happened at a VIP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipFigures {
    /// Where clients connect to.
    #[serde(flatten)]
    pub vip: VipPort,
    /// Which service the port is of: `<namespace>/<name>` of the derived Service.
    pub service: String,
    /// Connections or flows that are there.
    pub active: usize,
    /// Those that were taken.
    pub accepted: u64,
    /// Those turned away because as many as allowed were there, or their client may not connect.
    pub refused: u64,
    /// Those that found no endpoint that answers.
    pub unserved: u64,
    /// Those that did not begin with the PROXY header that the port asks for.
    pub malformed: u64,
    /// Its endpoints, those included that only end their connections.
    pub endpoints: Vec<EndpointFigures>,
    /// What happened at endpoints that are gone.
    pub departed: Counts,
}

/// What happened at an endpoint of a VIP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointFigures {
    /// Member that it is of.
    pub cluster: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Whether it gets connections, and why not. None for one that only ends those that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What is counted of endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Connections or flows that are there.
    pub active: usize,
    /// Those that were given to it.
    pub connections: u64,
    /// Those that it did not get because it did not answer.
    pub connect_failures: u64,
    /// Those that it reset.
    pub resets: u64,
    /// Bytes that clients sent to it.
    pub bytes_from_clients: u64,
    /// Bytes that it sent to clients.
    pub bytes_from_endpoint: u64,
}

impl Figures {
    /// Asks a data plane.
    pub async fn of(plane: &impl DataPlane) -> Self {
        let stats = plane.stats().await;
        Self { vips: stats.into_iter().map(|(vip, stats)| VipFigures::new(vip, stats)).collect() }
    }
}

impl VipFigures {
    fn new(vip: VipPort, stats: VipStats) -> Self {
        let endpoints = stats.endpoints.into_iter().map(|(id, stats)| EndpointFigures {
            cluster: id.cluster,
            address: id.address,
            port: id.port,
            standing: stats.standing,
            counts: stats.into(),
        });
        Self {
            vip,
            service: stats.service,
            active: stats.active,
            accepted: stats.accepted,
            refused: stats.refused,
            unserved: stats.unserved,
            malformed: stats.malformed,
            endpoints: endpoints.collect(),
            departed: stats.departed.into(),
        }
    }
}

impl From<EndpointStats> for Counts {
    fn from(stats: EndpointStats) -> Self {
        Self {
            active: stats.active,
            connections: stats.connections,
            connect_failures: stats.connect_failures,
            resets: stats.resets,
            bytes_from_clients: stats.bytes_from_clients,
            bytes_from_endpoint: stats.bytes_from_endpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stolos_core::network::balance::{EndpointId, Protocol};

    use super::*;

    #[test]
    fn figures_are_read_as_they_were_written() {
        let vip =
            VipPort { address: "192.0.2.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
        let id = EndpointId {
            cluster: "east".to_owned(),
            address: "10.0.0.1".parse().unwrap(),
            port: 8080,
        };
        let used = EndpointStats {
            standing: Some(Standing::ZeroWeight),
            connections: 3,
            ..EndpointStats::default()
        };
        let stats = VipStats {
            service: "fleet-system/app-web".to_owned(),
            accepted: 3,
            endpoints: BTreeMap::from([(id, used)]),
            ..VipStats::default()
        };
        let figures = Figures { vips: vec![VipFigures::new(vip, stats)] };
        let text = serde_json::to_value(&figures).unwrap();
        assert_eq!(text["vips"][0]["protocol"], "TCP");
        assert_eq!(text["vips"][0]["endpoints"][0]["standing"], "ZeroWeight");
        assert_eq!(serde_json::from_value::<Figures>(text).unwrap(), figures);
    }
}
