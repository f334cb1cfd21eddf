//! Finalizers and events of the objects of this controller.

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use stolos_api::network::names::{event, finalizer};
use stolos_controller::Write;
use stolos_core::event::{Event, Severity};

use super::act::{Act, MANAGER, Object};
use crate::event::Report;

/// Finalizers that this controller puts on objects.
const OURS: [&str; 3] =
    [finalizer::METRICS, finalizer::TRAFFIC_MANAGER_PROFILE, finalizer::TRAFFIC_MANAGER_BACKEND];

/// Returns the write after which an object has a finalizer; nothing if it has it.
pub(super) fn adopted<K>(object: &K, finalizer: &str) -> Option<Act>
where
    K: Resource + Clone + Into<Object>,
{
    if object.finalizers().iter().any(|one| one == finalizer) {
        return None;
    }
    let mut object = object.clone();
    object.finalizers_mut().push(finalizer.to_owned());
    Some(Act::Write(Write::Replace(object.into())))
}

/// Returns the write after which an object has none of our finalizers; nothing if that is so.
pub(super) fn released<K>(object: &K) -> Option<Act>
where
    K: Resource + Clone + Into<Object>,
{
    let is_ours = |one: &String| OURS.contains(&one.as_str());
    if !object.finalizers().iter().any(is_ours) {
        return None;
    }
    let mut object = object.clone();
    object.finalizers_mut().retain(|one| !is_ours(one));
    Some(Act::Write(Write::Replace(object.into())))
}

/// Returns the creation of an event about an object. `index` tells equal events of one moment apart.
pub(super) fn event<K>(object: &K, told: &Event, index: usize, now: Timestamp) -> Object
where
    K: Resource<DynamicType = ()>,
{
    let report = Report {
        component: MANAGER,
        type_: told.severity.as_str(),
        reason: told.reason.to_owned(),
        message: told.message.clone(),
    };
    crate::event::event(object, report, index, now).into()
}

/// What people are told when something is gone at the provider.
pub(super) fn deleted(what: &str) -> Event {
    Event { severity: Severity::Normal, reason: event::DELETED, message: format!("deleted {what}") }
}

/// What people are told when the provider refuses.
pub(super) fn refused(message: &str) -> Event {
    Event {
        severity: Severity::Warning,
        reason: event::AZURE_API_ERROR,
        message: message.to_owned(),
    }
}
