//! What the data plane did, as Prometheus reads it (networking-dataplane.md, section 6.9).

use std::net::SocketAddr;

use stolos_controller::metrics::{Family, Labels, Registry};
use stolos_dataplane::{EndpointFigures, Figures, VipFigures};

const VIP_ACTIVE: Family = Family::gauge(
    "stolos_vip_active_connections",
    "Connections or flows that are open at a VIP port",
);
const VIP_CONNECTIONS: Family = Family::counter(
    "stolos_vip_connections_total",
    "Connections or flows at a VIP port, by what became of them",
);
const ACTIVE: Family = Family::gauge(
    "stolos_endpoint_active_connections",
    "Connections or flows that an endpoint of a VIP port has",
);
const CONNECTIONS: Family = Family::counter(
    "stolos_endpoint_connections_total",
    "Connections or flows that an endpoint of a VIP port got",
);
const FAILURES: Family = Family::counter(
    "stolos_endpoint_connect_failures_total",
    "Connections that an endpoint of a VIP port did not answer",
);
const RESETS: Family = Family::counter(
    "stolos_endpoint_resets_total",
    "Connections that an endpoint of a VIP port reset",
);
const BYTES: Family = Family::counter(
    "stolos_endpoint_bytes_total",
    "Bytes that went through connections to an endpoint of a VIP port, by who sent them",
);
const STANDING: Family = Family::gauge(
    "stolos_endpoint_standing",
    "1 for why an endpoint of a VIP port gets connections, or does not",
);

const FAMILIES: [Family; 8] =
    [VIP_ACTIVE, VIP_CONNECTIONS, ACTIVE, CONNECTIONS, FAILURES, RESETS, BYTES, STANDING];

/// Returns figures as Prometheus reads them.
#[must_use]
pub fn render(figures: &Figures) -> String {
    let registry = Registry::new(&FAMILIES);
    for vip in &figures.vips {
        let of_vip: Labels = vec![("service", vip.service.clone()), ("vip", vip.vip.to_string())];
        registry.set(&VIP_ACTIVE, of_vip.clone(), number(vip.active));
        for (result, count) in results(vip) {
            registry.set(&VIP_CONNECTIONS, with(&of_vip, "result", result), count);
        }
        for endpoint in &vip.endpoints {
            of_endpoint(&registry, &of_vip, endpoint);
        }
    }
    registry.render()
}

fn results(vip: &VipFigures) -> [(&'static str, f64); 4] {
    [
        ("accepted", number(vip.accepted)),
        ("refused", number(vip.refused)),
        ("unserved", number(vip.unserved)),
        ("malformed", number(vip.malformed)),
    ]
}

fn of_endpoint(registry: &Registry, of_vip: &Labels, endpoint: &EndpointFigures) {
    let EndpointFigures { cluster, address, port, standing, counts } = endpoint;
    let labels = with(of_vip, "cluster", cluster);
    let labels = with(&labels, "endpoint", &SocketAddr::new(*address, *port).to_string());
    registry.set(&ACTIVE, labels.clone(), number(counts.active));
    registry.set(&CONNECTIONS, labels.clone(), number(counts.connections));
    registry.set(&FAILURES, labels.clone(), number(counts.connect_failures));
    registry.set(&RESETS, labels.clone(), number(counts.resets));
    registry.set(&BYTES, with(&labels, "from", "client"), number(counts.bytes_from_clients));
    registry.set(&BYTES, with(&labels, "from", "endpoint"), number(counts.bytes_from_endpoint));
    if let Some(standing) = standing {
        registry.set(&STANDING, with(&labels, "standing", standing.as_str()), 1.0);
    }
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(name, value.to_owned())]).collect()
}

/// Prometheus counts in floating point, which is exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "so many connections or bytes do not matter singly")]
fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_endpoint_has_its_series() {
        let figures: Figures = serde_json::from_value(json!({"vips": [{
            "address": "192.0.2.1", "protocol": "TCP", "port": 80, "service": "fleet-system/app-web",
            "active": 2, "accepted": 7, "refused": 0, "unserved": 1, "malformed": 0,
            "endpoints": [{
                "cluster": "east", "address": "10.0.0.1", "port": 8080, "standing": "Down",
                "active": 2, "connections": 6, "connectFailures": 3, "resets": 0,
                "bytesFromClients": 10, "bytesFromEndpoint": 20,
            }],
            "departed": {
                "active": 0, "connections": 0, "connectFailures": 0, "resets": 0,
                "bytesFromClients": 0, "bytesFromEndpoint": 0,
            },
        }]}))
        .unwrap();
        let text = render(&figures);
        let vip = r#"service="fleet-system/app-web",vip="192.0.2.1:80/TCP""#;
        let endpoint = format!(r#"{vip},cluster="east",endpoint="10.0.0.1:8080""#);
        for line in [
            format!(r#"stolos_vip_connections_total{{{vip},result="unserved"}} 1"#),
            format!("stolos_endpoint_connections_total{{{endpoint}}} 6"),
            format!(r#"stolos_endpoint_bytes_total{{{endpoint},from="endpoint"}} 20"#),
            format!(r#"stolos_endpoint_standing{{{endpoint},standing="Down"}} 1"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
