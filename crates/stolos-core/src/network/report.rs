//! What a member is told by the hub, and what it asks of it (networking 6.4, 6.6, 6.7).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::names::{condition as type_, event, finalizer, reason};
use stolos_api::network::{
    ExportedObjectReference, GROUP, InternalServiceExport, InternalServiceImport,
    InternalServiceImportSpec, ServiceExport, ServiceImport, ServiceImportStatus,
};

use super::keys;
use crate::condition;
use crate::event::Event;

/// What becomes of the member's object, or of the hub's.
#[derive(Clone, Debug, PartialEq)]
pub enum Report<T> {
    /// Nothing.
    Unchanged,
    /// The member's object gets this.
    Set(T),
    /// The hub's object has outlived the member's and is to be deleted.
    DeleteInternal,
}

/// What a ServiceExport is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whether it conflicts.
    pub conflict: Condition,
    /// What people should be told.
    pub event: Event,
}

/// Decides what a ServiceExport is told of its conflicts.
///
/// A verdict about an older Service of the same name is not told: `service_uid` is the present one's.
#[must_use]
pub fn conflict(
    internal: &InternalServiceExport,
    export: Option<&ServiceExport>,
    service_uid: Option<&str>,
    now: Timestamp,
) -> Report<Told> {
    if keys::is_deleting(&internal.metadata) {
        return Report::Unchanged;
    }
    let Some(export) = export else { return Report::DeleteInternal };
    if !is_exported(export) {
        return Report::Unchanged;
    }
    let told = internal.status.as_ref().map(|status| status.conditions.as_slice());
    let verdict = condition::find(told.unwrap_or_default(), type_::CONFLICT);
    let reference = &internal.spec.service_reference;
    let Some(verdict) = verdict.filter(|_| service_uid == Some(&reference.uid)) else {
        return Report::Unchanged;
    };
    let generation = export.metadata.generation.unwrap_or(0);
    let Condition { status, reason, message, .. } = verdict;
    let conflict = condition::new(type_::CONFLICT, status, reason, message, generation, now);
    let known = export.status.as_ref().map(|status| status.conditions.as_slice());
    if !keys::is_news(known.unwrap_or_default(), &conflict) {
        return Report::Unchanged;
    }
    let event = match conflict.status.as_str() {
        "True" => Event::warning(event::CONFLICT_FOUND, message),
        "False" => Event::normal(event::NO_CONFLICT_FOUND, message),
        _ => Event::warning(reason::NAMESPACE_NOT_FOUND, message),
    };
    Report::Set(Told { conflict, event })
}

/// Tells whether a ServiceExport has not been withdrawn: a late verdict must not make its slices look accepted.
fn is_exported(export: &ServiceExport) -> bool {
    let known = export.status.as_ref().map(|status| status.conditions.as_slice());
    let valid = condition::find(known.unwrap_or_default(), type_::VALID);
    valid.is_some_and(|valid| valid.status == "True")
        && super::export::weight(&export.metadata) != Ok(0)
        && !keys::is_deleting(&export.metadata)
}

/// Decides what the ServiceImport of a member says. What the hub has not decided yet changes nothing; what it took back
/// does.
#[must_use]
pub fn import(
    internal: &InternalServiceImport,
    import: Option<&ServiceImport>,
) -> Report<ServiceImportStatus> {
    let Some(import) = import else {
        let leaving = keys::is_deleting(&internal.metadata);
        return if leaving { Report::Unchanged } else { Report::DeleteInternal };
    };
    let told = internal.status.clone().unwrap_or_default();
    let known = import.status.clone().unwrap_or_default();
    if told == known { Report::Unchanged } else { Report::Set(told) }
}

/// What to do with the ServiceImport of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Nothing.
    Unchanged,
    /// Add the finalizer, then ask the hub with this.
    Present(Box<InternalServiceImportSpec>),
    /// Delete the InternalServiceImport, then the finalizer once it is gone.
    Withdraw {
        /// Whether the cleanup finalizer is to be there.
        finalizer: bool,
    },
}

/// Decides what a member asks of the hub for a ServiceImport of its own.
#[must_use]
pub fn ask(cluster: &str, import: &ServiceImport, internal: Option<&InternalServiceImport>) -> Ask {
    let metadata = &import.metadata;
    let has_finalizer = keys::has_finalizer(metadata, finalizer::SERVICE_IMPORT);
    if keys::is_deleting(metadata) {
        return Ask::Withdraw { finalizer: has_finalizer && internal.is_some() };
    }
    let reference = ExportedObjectReference {
        cluster_id: cluster.to_owned(),
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "ServiceImport".to_owned(),
        namespace: keys::namespace(metadata).to_owned(),
        name: keys::name(metadata).to_owned(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        uid: metadata.uid.clone().unwrap_or_default(),
        namespaced_name: keys::key(metadata),
        exported_since: metadata.creation_timestamp.clone(),
    };
    // Our own writes to the status move the resource version, and the hub has no use for it.
    let is_asked = internal.is_some_and(|internal| {
        let stored = &internal.spec.service_import_reference;
        stored.uid == reference.uid && stored.generation == reference.generation
    });
    if is_asked && has_finalizer {
        return Ask::Unchanged;
    }
    Ask::Present(Box::new(InternalServiceImportSpec { service_import_reference: reference }))
}
