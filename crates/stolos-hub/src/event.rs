//! Kubernetes Events: what happened to an object, for people.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};
use stolos_core::placement::hash;

/// Namespace of events about objects that have none.
const DEFAULT_NAMESPACE: &str = "default";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Name of the controller that says so.
    pub(crate) component: &'static str,
    /// `Normal` or `Warning`.
    pub(crate) type_: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Returns an event about an object. `index` tells equal events of one moment apart.
pub(crate) fn event<K>(object: &K, report: Report, index: usize, now: Timestamp) -> Event
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let moment = Time(now);
    // Controllers may speak of one object at one moment, and a clock may stand still.
    let identity = (object.uid(), &report.reason, &report.message, index, now.as_microsecond());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", object.name_any(), &hash::of(&identity)[..16])),
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
