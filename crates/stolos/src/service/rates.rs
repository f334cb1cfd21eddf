//! Rates from two states of the figures of a data plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use stolos_core::network::balance::Standing;
use stolos_dataplane::{Counts, EndpointFigures, Figures, VipFigures};

/// What a service gets at a VIP port.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceRates {
    /// The member that imports the service.
    pub(super) importer: String,
    /// `<namespace>/<name>` of the derived Service.
    pub(super) service: String,
    /// The VIP port.
    pub(super) vip: String,
    /// Connections that found no endpoint, a second.
    pub(super) unserved: f64,
    #[serde(flatten)]
    pub(super) rates: Rates,
    pub(super) clusters: Vec<ClusterRates>,
}

/// What the endpoints of a cluster get.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterRates {
    pub(super) cluster: String,
    #[serde(flatten)]
    pub(super) rates: Rates,
    pub(super) endpoints: Vec<EndpointRates>,
}

/// What an endpoint gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointRates {
    pub(super) endpoint: SocketAddr,
    /// None: it only ends its connections.
    pub(super) standing: Option<Standing>,
    #[serde(flatten)]
    pub(super) rates: Rates,
}

/// Figures a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rates {
    /// Connections that are there.
    pub(super) active: usize,
    /// New ones a second.
    pub(super) connections: f64,
    /// Bytes a second that clients sent.
    pub(super) from_clients: f64,
    /// Bytes a second that endpoints sent.
    pub(super) from_endpoints: f64,
    /// Connections a second that were not answered or were reset.
    pub(super) failures: f64,
}

impl Rates {
    fn between(before: Counts, after: Counts, seconds: f64) -> Self {
        let rate = |before: u64, after: u64| per_second(after.saturating_sub(before), seconds);
        Self {
            active: after.active,
            connections: rate(before.connections, after.connections),
            from_clients: rate(before.bytes_from_clients, after.bytes_from_clients),
            from_endpoints: rate(before.bytes_from_endpoint, after.bytes_from_endpoint),
            failures: rate(
                before.connect_failures + before.resets,
                after.connect_failures + after.resets,
            ),
        }
    }

    fn add(&mut self, other: Self) {
        self.active += other.active;
        self.connections += other.connections;
        self.from_clients += other.from_clients;
        self.from_endpoints += other.from_endpoints;
        self.failures += other.failures;
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Returns what happened a second between two states of a data plane, the busiest service first. What is new counts from
/// nothing; a data plane that began anew counts from nothing too.
pub(super) fn between(
    importer: &str,
    before: &Figures,
    after: &Figures,
    seconds: f64,
) -> Vec<ServiceRates> {
    let known: BTreeMap<_, _> = before.vips.iter().map(|vip| (vip.vip, vip)).collect();
    let rates = after.vips.iter().map(|vip| {
        let before = known.get(&vip.vip).filter(|before| before.accepted <= vip.accepted);
        of_vip(importer, before.copied(), vip, seconds)
    });
    let mut rates: Vec<_> = rates.collect();
    rates.sort_by(|a, b| {
        let busier = b.rates.connections.total_cmp(&a.rates.connections);
        busier.then_with(|| (&a.service, &a.vip).cmp(&(&b.service, &b.vip)))
    });
    rates
}

fn of_vip(
    importer: &str,
    before: Option<&VipFigures>,
    after: &VipFigures,
    seconds: f64,
) -> ServiceRates {
    let place = |endpoint: &EndpointFigures| {
        (endpoint.cluster.clone(), SocketAddr::new(endpoint.address, endpoint.port))
    };
    let known = before.iter().flat_map(|before| &before.endpoints);
    let known: BTreeMap<_, _> = known.map(|endpoint| (place(endpoint), endpoint.counts)).collect();
    let mut clusters: BTreeMap<String, ClusterRates> = BTreeMap::new();
    let mut all = Rates::default();
    for endpoint in &after.endpoints {
        let counted = known.get(&place(endpoint)).copied().unwrap_or_default();
        let rates = Rates::between(counted, endpoint.counts, seconds);
        let cluster = clusters.entry(endpoint.cluster.clone()).or_insert_with(|| ClusterRates {
            cluster: endpoint.cluster.clone(),
            rates: Rates::default(),
            endpoints: Vec::new(),
        });
        cluster.rates.add(rates);
        all.add(rates);
        let (_, socket) = place(endpoint);
        let standing = endpoint.standing;
        cluster.endpoints.push(EndpointRates { endpoint: socket, standing, rates });
    }
    let unserved = before.map_or(0, |before| before.unserved);
    ServiceRates {
        importer: importer.to_owned(),
        service: after.service.clone(),
        vip: after.vip.to_string(),
        unserved: per_second(after.unserved.saturating_sub(unserved), seconds),
        rates: all,
        clusters: clusters.into_values().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures(connections: [u64; 3], unserved: u64) -> Figures {
        let endpoint = |cluster: &str, n: u8, connections: u64| {
            json!({
                "cluster": cluster, "address": format!("10.0.0.{n}"), "port": 80, "standing": "Used",
                "active": 1, "connections": connections, "connectFailures": 0, "resets": 0,
                "bytesFromClients": connections * 10, "bytesFromEndpoint": connections * 1_000,
            })
        };
        let [a, b, c] = connections;
        let nothing = json!({
            "active": 0, "connections": 0, "connectFailures": 0, "resets": 0,
            "bytesFromClients": 0, "bytesFromEndpoint": 0,
        });
        let vip = json!({
            "address": "192.0.2.1", "protocol": "TCP", "port": 80, "service": "fleet-system/app-web",
            "active": 3, "accepted": a + b + c, "refused": 0, "unserved": unserved, "malformed": 0,
            "endpoints": [endpoint("east", 1, a), endpoint("east", 2, b), endpoint("west", 3, c)],
            "departed": nothing,
        });
        serde_json::from_value(json!({ "vips": [vip] })).unwrap()
    }

    #[test]
    fn rates_are_differences_by_cluster_and_endpoint() {
        let (before, after) = (figures([10, 10, 100], 1), figures([14, 12, 120], 3));
        let rates = between("here", &before, &after, 2.0);
        assert_eq!((rates[0].rates.connections, rates[0].unserved), (13.0, 1.0));
        let shown: Vec<_> = rates[0]
            .clusters
            .iter()
            .map(|one| (one.cluster.as_str(), one.rates.connections, one.endpoints.len()))
            .collect();
        assert_eq!(shown, [("east", 3.0, 2), ("west", 10.0, 1)]);
        assert_eq!(format!("{}", rates[0].clusters[1].rates.from_endpoints), "10000");
    }

    #[test]
    fn a_data_plane_that_began_anew_counts_from_nothing() {
        let rates = between("here", &figures([10, 10, 100], 9), &figures([2, 0, 0], 0), 1.0);
        assert_eq!((rates[0].rates.connections, rates[0].unserved), (2.0, 0.0));
    }
}
