//! Services that a member exports to the clusterset, on the member.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::network::clusterset::{
    ExportedEndpoint, ExportedService, ExportedServiceSpec, ExportedSlice,
};
use stolos_api::network::mcs::{ServiceExport, ServiceExportSpec, condition as type_, reason};
use stolos_api::network::names::clusterset;
use stolos_api::validation::{is_label_value, is_qualified_name};

use super::resolve::first;
use super::{alone, slices_say_the_same, valid_condition};
use crate::condition;
use crate::network::{keys, revision};

/// Most endpoints that a member exports of one Service.
pub const MAX_ENDPOINTS: usize = 1_000;

/// Most bytes of exported labels and annotations together. Kubernetes allows 262144 for the annotations of an object, which
/// has others as well.
const MAX_METADATA: usize = 128 * 1024;

/// What a decision about a ServiceExport reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The ServiceExport.
    pub export: &'a ServiceExport,
    /// The Service of the same name.
    pub service: Option<&'a Service>,
    /// The EndpointSlices of the Service.
    pub slices: &'a [&'a EndpointSlice],
    /// What stands for the export on the hub.
    pub stored: Option<&'a ExportedService>,
    /// Whether the member leaves the fleet.
    pub leaves: bool,
}

/// What to do about a ServiceExport.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is to stand for it on the hub.
    pub hub: Hub,
    /// Its conditions, if they are others than it has.
    pub conditions: Option<Vec<Condition>>,
}

/// What is to stand for an export on the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum Hub {
    /// What is there.
    Unchanged,
    /// Nothing.
    Absent,
    /// This.
    Present(Box<ExportedServiceSpec>),
}

/// Decides what to do about a ServiceExport.
#[must_use]
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let metadata = &observed.export.metadata;
    let key = keys::key(metadata);
    let generation = metadata.generation.unwrap_or(0);
    let told = |ready: (&str, &str, String)| {
        let (status, reason, message) = ready;
        condition::new(type_::READY, status, reason, &message, generation, now)
    };
    let valid = validity(observed, &key, generation, now);
    if valid.status != "True" {
        let ready = told(("False", reason::PENDING, "the export is not valid".to_owned()));
        let hub = if observed.stored.is_some() { Hub::Absent } else { Hub::Unchanged };
        return Plan { hub, conditions: changed(observed.export, vec![valid, ready], None) };
    }
    if observed.leaves {
        let ready = told(("False", reason::PENDING, "the cluster leaves the fleet".to_owned()));
        let conditions = changed(observed.export, vec![valid, ready], None);
        return Plan { hub: Hub::Unchanged, conditions };
    }
    let spec = spec(observed);
    let n_endpoints: usize = observed.slices.iter().map(|slice| slice.endpoints.len()).sum();
    let stored = observed.stored.filter(|stored| !keys::is_deleting(&stored.metadata));
    let own = stored.filter(|stored| stored.spec.export_uid == spec.export_uid);
    let conflict = own.and_then(|own| of_hub(own, generation));
    let ready = told(match conflict {
        None => ("False", reason::PENDING, "the hub has not answered yet".to_owned()),
        Some(_) if n_endpoints > MAX_ENDPOINTS => {
            let message = format!(
                "service {key} is exported with {MAX_ENDPOINTS} of its {n_endpoints} endpoints, \
                 which is the most that a cluster can export"
            );
            ("True", reason::EXPORTED, message)
        }
        Some(_) => ("True", reason::EXPORTED, format!("service {key} is exported")),
    });
    let is_stored = stored.is_some_and(|stored| says_the_same(&stored.spec, &spec));
    // One that is being deleted must be gone before there can be another.
    let must_wait = observed.stored.is_some() && stored.is_none();
    let hub = if is_stored || must_wait { Hub::Unchanged } else { Hub::Present(Box::new(spec)) };
    let known = || condition::find(conditions_of(observed.export), type_::CONFLICT).cloned();
    let conflict = conflict.or_else(known);
    Plan { hub, conditions: changed(observed.export, vec![valid, ready], conflict) }
}

/// Returns what the hub says about conflicts, as a condition of the ServiceExport.
fn of_hub(own: &ExportedService, generation: i64) -> Option<Condition> {
    let conditions = &own.status.as_ref()?.conditions;
    let told = condition::find(conditions, type_::CONFLICT)?;
    Some(Condition { observed_generation: Some(generation), ..told.clone() })
}

fn validity(observed: &Observed<'_>, key: &str, generation: i64, now: Timestamp) -> Condition {
    let no = |reason: &str, message: &str| {
        condition::new(type_::VALID, "False", reason, message, generation, now)
    };
    let derived = |service: &Service| {
        keys::label(&service.metadata, clusterset::MANAGED_BY) == Some(clusterset::MANAGER)
    };
    if observed.service.is_some_and(derived) {
        let message = format!("service {key} is one of the clusterset already");
        return no(reason::INVALID_SERVICE_TYPE, &message);
    }
    if let Some(wrong) = unfit(&observed.export.spec) {
        return no(reason::INVALID_EXPORTED_METADATA, &wrong);
    }
    valid_condition(key, observed.service, generation, now)
}

/// Returns what no label or annotation can be, and what would be right.
fn unfit(export: &ServiceExportSpec) -> Option<String> {
    let ServiceExportSpec { exported_annotations, exported_labels } = export;
    let keys = |field, map: &std::collections::BTreeMap<String, String>| {
        let wrong = map.keys().find(|key| !is_qualified_name(key))?.clone();
        Some(format!("spec.{field}: `{wrong}` is not a qualified name such as `example.com/name`"))
    };
    let value = || {
        let (key, value) = exported_labels.iter().find(|(_, value)| !is_label_value(value))?;
        Some(format!(
            "spec.exportedLabels[{key}]: `{value}` is not a label value, which is at most 63 \
             letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
        ))
    };
    let size: usize = exported_annotations
        .iter()
        .chain(exported_labels)
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let large = || {
        Some(format!("spec: labels and annotations have {size} bytes, at most {MAX_METADATA} fit"))
            .filter(|_| size > MAX_METADATA)
    };
    keys("exportedLabels", exported_labels)
        .or_else(|| keys("exportedAnnotations", exported_annotations))
        .or_else(value)
        .or_else(large)
}

fn spec(observed: &Observed<'_>) -> ExportedServiceSpec {
    let metadata = &observed.export.metadata;
    let service = observed.service.and_then(|service| service.spec.as_ref());
    let mut slices: Vec<_> = observed.slices.iter().filter_map(|slice| exported(slice)).collect();
    slices.sort_by(|a, b| a.name.cmp(&b.name));
    ExportedServiceSpec {
        export_uid: metadata.uid.clone().unwrap_or_default(),
        exported_since: metadata.creation_timestamp.clone(),
        export: observed.export.spec.clone(),
        service: service.map(alone).unwrap_or_default(),
        slices: first(&slices, MAX_ENDPOINTS),
    }
}

/// Returns a slice as it is exported; nothing if it is on its way out or has no IP addresses.
fn exported(slice: &EndpointSlice) -> Option<ExportedSlice> {
    if keys::is_deleting(&slice.metadata) || !["IPv4", "IPv6"].contains(&&*slice.address_type) {
        return None;
    }
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        ExportedEndpoint {
            addresses: endpoint.addresses.iter().take(1).cloned().collect(),
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
            hostname: endpoint.hostname.clone(),
            zone: endpoint.zone.clone(),
        }
    });
    Some(ExportedSlice {
        name: keys::name(&slice.metadata).to_owned(),
        revision: Some(revision::of(&slice.metadata)),
        address_type: slice.address_type.clone(),
        ports: slice.ports.clone().unwrap_or_default(),
        endpoints: endpoints.collect(),
    })
}

/// Tells whether an export says the same as another, of whatever states of its slices that was made.
fn says_the_same(a: &ExportedServiceSpec, b: &ExportedServiceSpec) -> bool {
    let ExportedServiceSpec { export_uid, exported_since, export, service, slices } = a;
    *export_uid == b.export_uid
        && *exported_since == b.exported_since
        && *export == b.export
        && *service == b.service
        && slices_say_the_same(slices, &b.slices)
}

/// Tells whether the hub has been told of a later state of a slice than a list shows.
#[must_use]
pub fn is_outdated(shown: &EndpointSlice, told: &ExportedSlice) -> bool {
    let shown = revision::of(&shown.metadata);
    told.revision.as_ref().is_some_and(|told| revision::is_before(&shown, told))
}

fn conditions_of(export: &ServiceExport) -> &[Condition] {
    export.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// Returns the conditions with these in place of those of their types, if that changes them. Without a condition about
/// conflicts there is none.
fn changed(
    export: &ServiceExport,
    new: Vec<Condition>,
    conflict: Option<Condition>,
) -> Option<Vec<Condition>> {
    let old = conditions_of(export);
    let mut conditions = old.to_vec();
    conditions.retain(|one| one.type_ != type_::CONFLICT || conflict.is_some());
    let mut has_news = conditions.len() != old.len();
    for condition in new.into_iter().chain(conflict) {
        has_news |= keys::is_news(old, &condition);
        condition::set(&mut conditions, condition);
    }
    has_news.then_some(conditions)
}
