//! The message about an event: a CloudEvent in the structured JSON form.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use stolos_api::update::{EventSubscription, EventType, Told};
use stolos_core::notify::Delivery;

/// Larger messages are refused by many receivers; a run of some thousand members is larger than this.
const MAX_OBJECT_BYTES: usize = 256 * 1024;

/// Returns the type of a CloudEvent.
fn type_of(event: EventType) -> &'static str {
    match event {
        EventType::GateCreated => "dev.stolos.fleet.gate.created",
        EventType::GateUpdated => "dev.stolos.fleet.gate.updated",
        EventType::GateDeleted => "dev.stolos.fleet.gate.deleted",
        EventType::UpdateRunCreated => "dev.stolos.fleet.updaterun.created",
        EventType::UpdateRunUpdated => "dev.stolos.fleet.updaterun.updated",
        EventType::UpdateRunDeleted => "dev.stolos.fleet.updaterun.deleted",
    }
}

/// Returns the message. `object` is absent when the object is gone.
pub(super) fn message(
    subscription: &EventSubscription,
    delivery: &Delivery,
    object: Option<Value>,
    now: Timestamp,
) -> Value {
    let Told { kind, name, uid, state, .. } = &delivery.told;
    let namespace = subscription.metadata.namespace.as_deref().unwrap_or_default();
    let fleet = &subscription.spec.fleet_name;
    let data = object.unwrap_or_else(|| {
        json!({
            "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
        })
    });
    json!({
        "specversion": "1.0",
        "id": delivery.event_id,
        "type": type_of(delivery.event),
        "source": format!("/apis/fleet.stolos.dev/v1alpha1/namespaces/{namespace}/fleets/{fleet}"),
        "subject": format!("{kind}/{name}"),
        "time": now.to_string(),
        "datacontenttype": "application/json",
        "state": state,
        "data": data,
    })
}

/// Returns an object as clients see it; one that is too large goes without its stages.
pub(super) fn object<K: Serialize>(object: &K) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    if value.to_string().len() > MAX_OBJECT_BYTES
        && let Some(status) = value.get_mut("status").and_then(Value::as_object_mut)
    {
        status.remove("stages");
    }
    Some(value)
}
