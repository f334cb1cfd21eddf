//! Whether a Service of a member is exported, on the member (networking 6.1).
//!
//! Unlike upstream, a ServiceExport that is withdrawn says nothing about conflicts any more, so that its slices are
//! withdrawn with it; this is how weight 0 takes a cluster out at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use stolos_api::network::names::{
    DEFAULT_WEIGHT, MAX_WEIGHT, annotation, condition as type_, event, finalizer, reason,
};
use stolos_api::network::{
    ExportedObjectReference, InternalServiceExport, InternalServiceExportSpec, ServiceExport,
};

use super::keys::{self, exported_port};
use super::stamp::stamp;
use super::traffic::PublicAddress;
use crate::condition;
use crate::event::Event;

/// What a decision about a ServiceExport reads.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Name of the member.
    pub cluster: &'a str,
    /// The ServiceExport.
    pub export: &'a ServiceExport,
    /// The Service of the same name.
    pub service: Option<&'a Service>,
    /// The InternalServiceExport that stands for the Service on the hub.
    pub internal: Option<&'a InternalServiceExport>,
    /// What is known of the public address of the Service; None if nobody balances by DNS.
    pub address: Option<&'a PublicAddress>,
}

/// What to do with a ServiceExport, in this order: finalizer, conditions, annotations, the hub's object; when the export is
/// withdrawn, the finalizer comes last.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whether the cleanup finalizer is to be there.
    pub finalizer: bool,
    /// Annotations to write, which say since when this version of the Service is exported.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What is to be on the hub.
    pub internal: Internal,
    /// The conditions, if they say something else than before.
    pub conditions: Option<Vec<Condition>>,
    /// What people should be told.
    pub events: Vec<Event>,
}

/// What is to be on the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum Internal {
    /// What is there.
    Unchanged,
    /// Nothing: delete what is there.
    Absent,
    /// This.
    Present(Box<InternalServiceExportSpec>),
}

/// Decides what to do with a ServiceExport.
#[must_use]
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let metadata = &observed.export.metadata;
    if keys::is_deleting(metadata) {
        let finalizer =
            keys::has_finalizer(metadata, finalizer::SERVICE_EXPORT) && observed.internal.is_some();
        let internal = if finalizer { Internal::Absent } else { Internal::Unchanged };
        return Plan {
            finalizer,
            annotations: None,
            internal,
            conditions: None,
            events: Vec::new(),
        };
    }
    match judge(observed) {
        Verdict::Refused { reason, event, message } => {
            let valid = verdict(metadata, "False", reason, &message, now);
            withdraw(observed, valid, Event::warning(event, message))
        }
        Verdict::ZeroWeight(message) => {
            let valid = verdict(metadata, "True", reason::SERVICE_IS_VALID, &message, now);
            withdraw(observed, valid, Event::normal(reason::SERVICE_IS_VALID, message))
        }
        Verdict::WeightUnreadable(message) => {
            let reason = reason::INVALID_WEIGHT_ANNOTATION;
            let valid = verdict(metadata, "False", reason, &message, now);
            Plan {
                finalizer: keys::has_finalizer(metadata, finalizer::SERVICE_EXPORT),
                annotations: None,
                internal: Internal::Unchanged,
                conditions: changed(observed.export, &[valid], false),
                events: vec![Event::warning(reason, message)],
            }
        }
        Verdict::Valid(service, weight) => export(observed, service, weight, now),
    }
}

/// Whether a Service can be exported.
enum Verdict<'a> {
    /// There is none, or not of a type that can.
    Refused { reason: &'static str, event: &'static str, message: String },
    /// It can, but takes no traffic.
    ZeroWeight(String),
    /// It is not known with which weight. What is exported stays.
    WeightUnreadable(String),
    /// It can, with this weight.
    Valid(&'a Service, i64),
}

fn judge<'a>(observed: &Observed<'a>) -> Verdict<'a> {
    let metadata = &observed.export.metadata;
    let key = keys::key(metadata);
    let service = observed.service.filter(|service| !keys::is_deleting(&service.metadata));
    let Some(service) = service else {
        return Verdict::Refused {
            reason: reason::SERVICE_NOT_FOUND,
            event: reason::SERVICE_NOT_FOUND,
            message: format!("service {key} is not found"),
        };
    };
    if !is_eligible(service) {
        return Verdict::Refused {
            reason: reason::SERVICE_INELIGIBLE,
            event: event::SERVICE_NOT_ELIGIBLE,
            message: format!("service {key} is not eligible for export"),
        };
    }
    match weight(metadata) {
        Err(error) => Verdict::WeightUnreadable(format!(
            "serviceExport {key} has an invalid weight annotation, err = {error}"
        )),
        Ok(0) => Verdict::ZeroWeight(format!("exported service {key} with 0 weight")),
        Ok(weight) => Verdict::Valid(service, weight),
    }
}

/// Tells whether a Service has endpoints behind an address of its own.
fn is_eligible(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName") && spec.cluster_ip.as_deref() != Some("None")
    })
}

/// Returns the weight that a ServiceExport asks for.
///
/// # Errors
///
/// If the annotation is not a whole number between 0 and 1000.
pub fn weight(metadata: &ObjectMeta) -> Result<i64, String> {
    let Some(text) = keys::annotation(metadata, annotation::WEIGHT) else {
        return Ok(DEFAULT_WEIGHT);
    };
    let wanted =
        format!("`{}` must be a whole number between 0 and {MAX_WEIGHT}", annotation::WEIGHT);
    let weight: i64 = text.parse().map_err(|_| format!("{wanted}, not `{text}`"))?;
    if (0..=MAX_WEIGHT).contains(&weight) {
        Ok(weight)
    } else {
        Err(format!("{wanted}, not {weight}"))
    }
}

/// Withdraws an export. The finalizer stays until the hub's object is gone.
fn withdraw(observed: &Observed<'_>, valid: Condition, event: Event) -> Plan {
    let conditions = changed(observed.export, &[valid], true);
    let events = if conditions.is_some() { vec![event] } else { Vec::new() };
    Plan {
        finalizer: keys::has_finalizer(&observed.export.metadata, finalizer::SERVICE_EXPORT)
            && observed.internal.is_some(),
        annotations: None,
        internal: if observed.internal.is_some() { Internal::Absent } else { Internal::Unchanged },
        conditions,
        events,
    }
}

fn export(observed: &Observed<'_>, service: &Service, weight: i64, now: Timestamp) -> Plan {
    let metadata = &observed.export.metadata;
    let key = keys::key(metadata);
    let message = format!("service {key} is valid for export");
    let mut events = Vec::new();
    let valid = verdict(metadata, "True", reason::SERVICE_IS_VALID, &message, now);
    let old = conditions_of(observed.export);
    if keys::is_news(old, &valid) {
        events.push(Event::normal(event::VALID_SERVICE_EXPORT, message));
    }
    let mut conditions = vec![valid];
    if condition::find(old, type_::CONFLICT).is_none() {
        let message = format!("service {key} is pending export conflict resolution");
        let (reason, generation) =
            (reason::PENDING_CONFLICT_RESOLUTION, metadata.generation.unwrap_or(0));
        conditions.push(condition::new(
            type_::CONFLICT,
            "Unknown",
            reason,
            &message,
            generation,
            now,
        ));
        events.push(Event::normal(event::PENDING_EXPORT_CONFLICT_RESOLUTION, message));
    }
    let version = service.metadata.resource_version.as_deref().unwrap_or_default();
    let stamp = stamp(metadata, annotation::LAST_SEEN_RESOURCE_VERSION, version, now);
    Plan {
        finalizer: true,
        annotations: stamp.annotations,
        internal: internal(observed, service, weight, stamp.since),
        conditions: changed(observed.export, &conditions, false),
        events,
    }
}

/// Decides what is to be on the hub for a valid export. What stands for an older Service of the same name goes first:
/// only with it the hub forgets what it knew of that.
fn internal(observed: &Observed<'_>, service: &Service, weight: i64, since: Timestamp) -> Internal {
    let stored = observed.internal;
    if stored.is_some_and(|stored| keys::is_deleting(&stored.metadata)) {
        return Internal::Unchanged;
    }
    let is_older = |stored: &InternalServiceExport| {
        Some(&stored.spec.service_reference.uid) != service.metadata.uid.as_ref()
    };
    if stored.is_some_and(is_older) {
        return Internal::Absent;
    }
    let mut spec =
        stored.map_or_else(InternalServiceExportSpec::default, |stored| stored.spec.clone());
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    spec.ports = ports.iter().map(exported_port).collect();
    spec.service_reference = service_reference(observed.cluster, service, since);
    spec.weight = Some(weight);
    let type_ = service.spec.as_ref().and_then(|spec| spec.type_.clone());
    spec.type_ = type_.unwrap_or_else(|| "ClusterIP".to_owned());
    let address = observed.address.cloned().unwrap_or_default();
    spec.is_dns_label_configured = address.has_dns_label;
    spec.is_internal_load_balancer = address.is_internal;
    spec.public_ip_resource_id = address.resource_id;
    if stored.is_some_and(|stored| stored.spec == spec) {
        return Internal::Unchanged;
    }
    Internal::Present(Box::new(spec))
}

/// Names a Service as it is now.
fn service_reference(
    cluster: &str,
    service: &Service,
    since: Timestamp,
) -> ExportedObjectReference {
    let metadata = &service.metadata;
    ExportedObjectReference {
        cluster_id: cluster.to_owned(),
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: keys::namespace(metadata).to_owned(),
        name: keys::name(metadata).to_owned(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        uid: metadata.uid.clone().unwrap_or_default(),
        namespaced_name: keys::key(metadata),
        exported_since: Some(Time(since)),
    }
}

fn verdict(
    metadata: &ObjectMeta,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Condition {
    condition::new(type_::VALID, status, reason, message, metadata.generation.unwrap_or(0), now)
}

fn conditions_of(export: &ServiceExport) -> &[Condition] {
    export.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// Returns the conditions with new ones, and without that about conflicts when the export is withdrawn, if that changes
/// them.
fn changed(export: &ServiceExport, new: &[Condition], withdrawn: bool) -> Option<Vec<Condition>> {
    let old = conditions_of(export);
    let mut conditions = old.to_vec();
    conditions.retain(|condition| !(withdrawn && condition.type_ == type_::CONFLICT));
    let mut has_news = conditions.len() != old.len();
    for condition in new {
        has_news |= keys::is_news(old, condition);
        condition::set(&mut conditions, condition.clone());
    }
    has_news.then_some(conditions)
}
