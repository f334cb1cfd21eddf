//! What a service of the clusterset is, by the standard (KEP-1645, Constraints and Conflict Resolution).
//!
//! Where clusters disagree, the export that has been there for the longest wins, and all are told. Other than Azure's,
//! the standard keeps the clusters that disagree: ports are merged, and headless Services can be exported.
//!
//! On a member, [`export`] decides what the hub is told, and [`import`] what a service looks like there; on the hub,
//! [`resolve`] decides what members are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::clusterset::ExportedSlice;
use stolos_api::network::mcs::{
    ServiceExportSpec, ServiceImportSpec, ServicePort, condition as type_, reason,
};
use stolos_api::network::{ClusterStatus, ServiceImportType};

use super::keys;
use crate::condition;

pub mod export;
pub mod import;
pub mod resolve;

/// What one cluster exports.
#[derive(Clone, Copy, Debug)]
pub struct Constituent<'a> {
    /// Name of the member.
    pub cluster: &'a str,
    /// When its ServiceExport was made.
    pub created: Timestamp,
    /// What the ServiceExport adds.
    pub export: &'a ServiceExportSpec,
    /// What the service would be if no other cluster exported it.
    pub service: &'a ServiceImportSpec,
}

/// A service of the clusterset.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The spec of its ServiceImports, without addresses.
    pub spec: ServiceImportSpec,
    /// Labels of its ServiceImports.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its ServiceImports.
    pub annotations: BTreeMap<String, String>,
    /// The clusters that export it, the oldest first.
    pub clusters: Vec<ClusterStatus>,
    /// In what they disagree.
    pub conflicts: Vec<Conflict>,
}

/// Something in which clusters disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Reason of the condition.
    pub reason: &'static str,
    /// What is different.
    pub what: &'static str,
    /// Clusters that have it differently from the oldest.
    pub clusters: Vec<String>,
}

/// Decides what a service is, from all valid exports of it. None without any.
#[must_use]
pub fn merge(constituents: &[Constituent<'_>]) -> Option<Merged> {
    let mut sorted: Vec<_> = constituents.iter().collect();
    sorted.sort_by_key(|one| (one.created, one.cluster));
    let oldest = *sorted.first()?;
    let ports = merged_ports(&sorted);
    let cluster = |one: &&Constituent<'_>| ClusterStatus { cluster: one.cluster.to_owned() };
    Some(Merged {
        conflicts: conflicts(oldest, &sorted, &ports),
        spec: ServiceImportSpec { ports, ips: Vec::new(), ..oldest.service.clone() },
        labels: oldest.export.exported_labels.clone(),
        annotations: oldest.export.exported_annotations.clone(),
        clusters: sorted.iter().map(cluster).collect(),
    })
}

const CLIENT_IP: &str = "ClientIP";

fn import_type(service: &ServiceSpec) -> ServiceImportType {
    if service.cluster_ip.as_deref() == Some("None") {
        ServiceImportType::Headless
    } else {
        ServiceImportType::ClusterSetIp
    }
}

fn ports(service: &ServiceSpec) -> Vec<ServicePort> {
    let ports = service.ports.iter().flatten();
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
        port: port.port,
    };
    let mut ports: Vec<_> = ports.map(port).collect();
    ports.sort_by(|a, b| (&a.protocol, a.port).cmp(&(&b.protocol, b.port)));
    ports
}

/// Returns what a service is if only this Service is exported.
#[must_use]
pub fn alone(service: &ServiceSpec) -> ServiceImportSpec {
    let affinity = service.session_affinity.as_deref().unwrap_or("None");
    let config = service.session_affinity_config.clone();
    let type_ = import_type(service);
    let families = service.ip_families.clone().unwrap_or_default();
    // A headless Service without a selector is of both versions of the internet protocol, whatever its endpoints are.
    let has_selector = service.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    let tells_families = type_ == ServiceImportType::ClusterSetIp || has_selector;
    ServiceImportSpec {
        ports: ports(service),
        ips: Vec::new(),
        ip_families: if tells_families { families } else { Vec::new() },
        type_,
        session_affinity: affinity.to_owned(),
        session_affinity_config: config.filter(|_| affinity == CLIENT_IP),
        internal_traffic_policy: service.internal_traffic_policy.clone(),
        traffic_distribution: service.traffic_distribution.clone(),
    }
}

/// Returns the ports of all clusters; one that has the name or the number of an older cluster's is left out, and so is one
/// beside which there can be no other, because it has no name.
fn merged_ports(sorted: &[&Constituent<'_>]) -> Vec<ServicePort> {
    let mut merged: Vec<ServicePort> = Vec::new();
    for port in sorted.iter().flat_map(|one| &one.service.ports) {
        let collides = |other: &ServicePort| {
            other.name == port.name
                || other.name.is_empty()
                || port.name.is_empty()
                || (&other.protocol, other.port) == (&port.protocol, port.port)
        };
        if !merged.iter().any(collides) {
            merged.push(port.clone());
        }
    }
    merged
}

/// A property that all clusters should have alike.
type Differs = fn(&Constituent<'_>, &Constituent<'_>) -> bool;

const PROPERTIES: [(&str, &str, Differs); 8] = [
    (reason::TYPE_CONFLICT, "type", |a, b| a.service.type_ != b.service.type_),
    (reason::SESSION_AFFINITY_CONFLICT, "session affinity", |a, b| {
        a.service.session_affinity != b.service.session_affinity
    }),
    (reason::SESSION_AFFINITY_CONFIG_CONFLICT, "time-out of the session affinity", |a, b| {
        a.service.session_affinity_config != b.service.session_affinity_config
    }),
    (reason::INTERNAL_TRAFFIC_POLICY_CONFLICT, "internal traffic policy", |a, b| {
        a.service.internal_traffic_policy != b.service.internal_traffic_policy
    }),
    (reason::TRAFFIC_DISTRIBUTION_CONFLICT, "traffic distribution", |a, b| {
        a.service.traffic_distribution != b.service.traffic_distribution
    }),
    (reason::IP_FAMILY_CONFLICT, "address families", |a, b| {
        let (a, b) = (&a.service.ip_families, &b.service.ip_families);
        // One without any does not say.
        !a.is_empty() && !b.is_empty() && a != b
    }),
    (reason::LABELS_CONFLICT, "exported labels", |a, b| {
        a.export.exported_labels != b.export.exported_labels
    }),
    (reason::ANNOTATIONS_CONFLICT, "exported annotations", |a, b| {
        a.export.exported_annotations != b.export.exported_annotations
    }),
];

fn conflicts(
    oldest: &Constituent<'_>,
    sorted: &[&Constituent<'_>],
    ports: &[ServicePort],
) -> Vec<Conflict> {
    let conflict = |reason, what, differs: &dyn Fn(&Constituent<'_>) -> bool| {
        let clusters = sorted.iter().filter(|one| differs(one));
        let clusters: Vec<_> = clusters.map(|one| one.cluster.to_owned()).collect();
        (!clusters.is_empty()).then_some(Conflict { reason, what, clusters })
    };
    // A port that only some clusters have is in no conflict with anything: the service has the ports of all.
    let lost = |one: &Constituent<'_>| one.service.ports.iter().any(|port| !ports.contains(port));
    let of_ports = conflict(reason::PORT_CONFLICT, "ports", &lost);
    let others = PROPERTIES.into_iter().filter_map(|(reason, what, differs)| {
        conflict(reason, what, &|one: &Constituent<'_>| differs(oldest, one))
    });
    of_ports.into_iter().chain(others).collect()
}

/// Returns the condition about conflicts, which all clusters are told. Several reasons are joined by commas.
#[must_use]
pub fn conflict_condition(merged: &Merged, generation: i64, now: Timestamp) -> Condition {
    if merged.conflicts.is_empty() {
        let message = "all clusters export the service alike";
        let reason = reason::NO_CONFLICTS;
        return condition::new(type_::CONFLICT, "False", reason, message, generation, now);
    }
    let reasons: Vec<_> = merged.conflicts.iter().map(|conflict| conflict.reason).collect();
    let oldest = merged.clusters.first().map_or("", |one| one.cluster.as_str());
    let told = merged.conflicts.iter().map(|conflict| {
        let clusters = listed(&conflict.clusters);
        format!("{} of {clusters} differ from those of {oldest}", conflict.what)
    });
    let message = format!("{}; the oldest export wins", told.collect::<Vec<_>>().join("; "));
    condition::new(type_::CONFLICT, "True", &reasons.join(","), &message, generation, now)
}

/// Clusters that a message names; a condition has room for so many times all properties.
const MAX_NAMED: usize = 10;

/// Lists clusters, the first of them by name.
fn listed(clusters: &[String]) -> String {
    match clusters.len().checked_sub(MAX_NAMED) {
        None | Some(0) => clusters.join(", "),
        Some(more) => format!("{} and {more} others", clusters[..MAX_NAMED].join(", ")),
    }
}

/// Tells whether slices say the same as others, of whatever states they were made.
fn slices_say_the_same(a: &[ExportedSlice], b: &[ExportedSlice]) -> bool {
    let same = |(a, b): (&ExportedSlice, &ExportedSlice)| {
        let ExportedSlice { name, revision: _, address_type, ports, endpoints } = a;
        *name == b.name
            && *address_type == b.address_type
            && *ports == b.ports
            && *endpoints == b.endpoints
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Returns the condition that says whether a Service can be exported.
#[must_use]
pub fn valid_condition(
    key: &str,
    service: Option<&Service>,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let service = service.filter(|service| !keys::is_deleting(&service.metadata));
    let spec = service.and_then(|service| service.spec.as_ref());
    let (status, reason, message) = match spec {
        None => ("False", reason::NO_SERVICE, format!("service {key} is not found")),
        Some(spec) if spec.type_.as_deref() == Some("ExternalName") => {
            let message =
                format!("service {key} is of type ExternalName, which cannot be exported");
            ("False", reason::INVALID_SERVICE_TYPE, message)
        }
        Some(_) => ("True", reason::VALID, format!("service {key} can be exported")),
    };
    condition::new(type_::VALID, status, reason, &message, generation, now)
}
