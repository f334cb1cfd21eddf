//! Which clusters export a service, on the hub: conflicts and the status of the ServiceImport (networking 5.1, 5.2).
//!
//! The export that has been there for the longest wins (KEP-1645, Constraints and Conflict Resolution); upstream takes
//! the first of its cache. Ports are compared by protocol and number, whatever their order; where the pods listen is the
//! own business of each cluster. The status is decided anew each time, so it is never empty while a cluster exports
//! the service.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::names::{condition as type_, event, reason};
use stolos_api::network::{
    ClusterStatus, InternalServiceExport, Protocol, ServiceImport, ServiceImportStatus,
    ServiceImportType, ServicePort,
};

use super::keys;
use crate::condition;
use crate::event::Event;

/// What to do with a service, in this order: finalizers, the ServiceImport, conditions, finalizers to drop.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is to become of the ServiceImport.
    pub import: Import,
    /// Every export, by namespace and name.
    pub exports: BTreeMap<(String, String), Export>,
    /// What people should be told of the ServiceImport.
    pub events: Vec<Event>,
}

/// What is to become of a ServiceImport.
#[derive(Clone, Debug, PartialEq)]
pub enum Import {
    /// Nothing.
    Unchanged,
    /// It is to have this status; it is created if it does not exist.
    Present(Box<ServiceImportStatus>),
    /// It is to go, because no cluster exports the service. Its status is emptied first: those who import it must
    /// withdraw before it is gone.
    Absent,
}

/// What is to become of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// How it stands.
    pub standing: Standing,
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// The condition about conflicts, if it says something else than before.
    pub condition: Option<Condition>,
}

/// How an export stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part in the service.
    Accepted,
    /// An older export has other ports.
    Conflicts,
    /// It is being withdrawn.
    Leaving,
    /// It speaks for another member than the one in whose namespace it is.
    NotItsOwn,
}

/// Decides what a service is, from all its exports. `key` is the `<namespace>/<name>` of the service.
#[must_use]
pub fn plan(
    key: &str,
    exports: &[InternalServiceExport],
    import: Option<&ServiceImport>,
    now: Timestamp,
) -> Plan {
    let mut live: Vec<_> = exports.iter().filter(|export| standing(export).is_none()).collect();
    live.sort_by(|a, b| age(a).cmp(&age(b)));
    let winner = live.first().map(|oldest| ports(oldest));
    let agrees = |export: &InternalServiceExport| winner.as_ref() == Some(&ports(export));
    let status = live.first().map(|oldest| ServiceImportStatus {
        type_: Some(ServiceImportType::ClusterSetIp),
        ports: oldest.spec.ports.clone(),
        clusters: live
            .iter()
            .filter(|export| agrees(export))
            .map(|export| cluster(export))
            .collect(),
        ..ServiceImportStatus::default()
    });
    let (import, events) = imported(key, import, status);
    let decide = |export: &InternalServiceExport| {
        let accepted = if agrees(export) { Standing::Accepted } else { Standing::Conflicts };
        let standing = standing(export).unwrap_or(accepted);
        let place =
            (keys::namespace(&export.metadata).to_owned(), keys::name(&export.metadata).to_owned());
        let finalizer = matches!(standing, Standing::Accepted | Standing::Conflicts);
        (place, Export { standing, finalizer, condition: told(key, export, standing, now) })
    };
    Plan { import, exports: exports.iter().map(decide).collect(), events }
}

/// Returns how an export stands that does not take part in the decision.
fn standing(export: &InternalServiceExport) -> Option<Standing> {
    let member = keys::member_of(keys::namespace(&export.metadata));
    if keys::is_deleting(&export.metadata) {
        Some(Standing::Leaving)
    } else if member != Some(&export.spec.service_reference.cluster_id) {
        Some(Standing::NotItsOwn)
    } else {
        None
    }
}

/// Orders exports by age; of two that were made in the same second, the cluster decides.
fn age(export: &InternalServiceExport) -> (Timestamp, &str) {
    let created = export.metadata.creation_timestamp.as_ref().map(|at| at.0);
    (created.unwrap_or(Timestamp::MAX), &export.spec.service_reference.cluster_id)
}

/// What two exports must have in common.
fn ports(export: &InternalServiceExport) -> BTreeMap<(Protocol, i32), (&str, Option<&str>)> {
    let of = |port: &'_ ServicePort| (port.protocol, port.port);
    let ports = export.spec.ports.iter();
    ports.map(|port| (of(port), (port.name.as_str(), port.app_protocol.as_deref()))).collect()
}

fn cluster(export: &InternalServiceExport) -> ClusterStatus {
    ClusterStatus { cluster: export.spec.service_reference.cluster_id.clone() }
}

fn imported(
    key: &str,
    import: Option<&ServiceImport>,
    status: Option<ServiceImportStatus>,
) -> (Import, Vec<Event>) {
    let current = import.and_then(|import| import.status.as_ref());
    match status {
        None if import.is_none_or(|import| keys::is_deleting(&import.metadata)) => {
            let emptied = current.is_none_or(|current| *current == ServiceImportStatus::default());
            (if emptied { Import::Unchanged } else { Import::Absent }, Vec::new())
        }
        None => {
            let message = format!("no cluster exports service {key}");
            (Import::Absent, vec![Event::normal(event::NO_EXPORTED_SERVICE, message)])
        }
        Some(status) if current == Some(&status) => (Import::Unchanged, Vec::new()),
        Some(status) => {
            let clusters: Vec<_> = status.clusters.iter().map(|one| one.cluster.as_str()).collect();
            let message = format!("service {key} is exported by {}", clusters.join(", "));
            let event = Event::normal(event::SUCCESSFUL_UPDATE_STATUS, message);
            (Import::Present(Box::new(status)), vec![event])
        }
    }
}

/// Returns what an export is told of whose service the hub lacks the namespace, if it has not been told yet. A verdict that
/// is there stays.
#[must_use]
pub fn homeless(key: &str, export: &InternalServiceExport, now: Timestamp) -> Option<Condition> {
    let old = export.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is_judged =
        condition::find(old, type_::CONFLICT).is_some_and(|old| old.status != "Unknown");
    if is_judged || standing(export).is_some() {
        return None;
    }
    let (namespace, _) = key.split_once('/')?;
    let message = format!(
        "service {key} waits: the hub has no namespace `{namespace}`; to share the service, create it there"
    );
    let generation = export.metadata.generation.unwrap_or(0);
    let reason = reason::NAMESPACE_NOT_FOUND;
    let told = condition::new(type_::CONFLICT, "Unknown", reason, &message, generation, now);
    keys::is_news(old, &told).then_some(told)
}

/// Returns what an export is told, if it has not been told yet.
fn told(
    key: &str,
    export: &InternalServiceExport,
    standing: Standing,
    now: Timestamp,
) -> Option<Condition> {
    let (status, reason, message) = match standing {
        Standing::Leaving => return None,
        Standing::Accepted => (
            "False",
            reason::NO_CONFLICT_FOUND,
            format!("service {key} is exported without conflict"),
        ),
        Standing::Conflicts => (
            "True",
            reason::CONFLICT_FOUND,
            format!("service {key} is in conflict with other exported services"),
        ),
        Standing::NotItsOwn => (
            "True",
            reason::CONFLICT_FOUND,
            format!(
                "spec.serviceReference.clusterId must be the member of namespace {}, not `{}`",
                keys::namespace(&export.metadata),
                export.spec.service_reference.cluster_id
            ),
        ),
    };
    let generation = export.metadata.generation.unwrap_or(0);
    let condition = condition::new(type_::CONFLICT, status, reason, &message, generation, now);
    let old = export.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    keys::is_news(old, &condition).then_some(condition)
}
