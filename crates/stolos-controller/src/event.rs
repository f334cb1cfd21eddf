//! Kubernetes Events: what happened to an object, for people.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};

/// Namespace of events about objects that have none.
const DEFAULT_NAMESPACE: &str = "default";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the controller that says so.
    pub component: &'static str,
    /// `Normal` or `Warning`.
    pub type_: &'static str,
    /// `CamelCase`.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// Returns an event about an object. `index` tells equal events of one moment apart.
#[must_use]
pub fn event<K>(object: &K, report: Report, index: usize, now: Timestamp) -> Event
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let moment = Time(now);
    // Controllers may speak of one object at one moment, and a clock may stand still.
    let mut identity = DefaultHasher::new();
    (object.uid(), &report.reason, &report.message, index, now.as_microsecond())
        .hash(&mut identity);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", object.name_any(), identity.finish())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(object.name_any()),
            namespace: object.namespace(),
            uid: object.uid(),
            resource_version: object.resource_version(),
            ..ObjectReference::default()
        },
        type_: Some(report.type_.to_owned()),
        reason: Some(report.reason),
        message: Some(report.message),
        count: Some(1),
        first_timestamp: Some(moment.clone()),
        last_timestamp: Some(moment),
        reporting_component: Some(report.component.to_owned()),
        source: Some(EventSource { component: Some(report.component.to_owned()), host: None }),
        ..Event::default()
    }
}
