//! Small things that several decisions of this wing share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use stolos_api::cluster::names::MEMBER_NAMESPACE_PREFIX;
use stolos_api::network::ServicePort;

use crate::condition;

/// Returns `<namespace>/<name>` of an object.
pub(super) fn key(metadata: &ObjectMeta) -> String {
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

pub(super) fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

pub(super) fn is_deleting(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

pub(super) fn has_finalizer(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|one| one == finalizer)
}

pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Returns the member whose namespace on the hub this is.
pub(super) fn member_of(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(MEMBER_NAMESPACE_PREFIX).filter(|member| !member.is_empty())
}

/// Tells whether a condition says something else than before: messages count, times do not.
pub(super) fn is_news(conditions: &[Condition], new: &Condition) -> bool {
    condition::find(conditions, &new.type_).is_none_or(|old| {
        old.status != new.status
            || old.reason != new.reason
            || old.message != new.message
            || old.observed_generation < new.observed_generation
    })
}

/// Returns a port of a Service as the fleet tells it.
pub(super) fn exported_port(port: &k8s_openapi::api::core::v1::ServicePort) -> ServicePort {
    let protocol = port.protocol.as_deref().unwrap_or_default();
    ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: stolos_api::network::Protocol::parse(protocol).unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
        port: port.port,
        target_port: port.target_port.clone(),
    }
}
