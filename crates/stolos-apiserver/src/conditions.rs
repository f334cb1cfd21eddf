//! `status.conditions` as controllers write them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rest::meta;

/// Sets a condition of an object. The transition time moves only when the status changes.
pub(crate) fn set(
    object: &mut Value,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    let conditions = &mut object["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let list = conditions.as_array_mut().expect("made an array");
    let known = list.iter().position(|condition| condition["type"] == type_);
    let since = known.map(|at| &list[at]).filter(|old| old["status"] == status);
    let since =
        since.map_or_else(|| json!(meta::seconds(now)), |old| old["lastTransitionTime"].clone());
    let condition = json!({
        "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    match known {
        Some(at) => list[at] = condition,
        None => list.push(condition),
    }
}

/// Removes a condition.
pub(crate) fn remove(object: &mut Value, type_: &str) {
    if let Some(list) = object["status"]["conditions"].as_array_mut() {
        list.retain(|condition| condition["type"] != type_);
    }
}

/// Tells whether a condition is true.
pub(crate) fn is_true(object: &Value, type_: &str) -> bool {
    let list = object["status"]["conditions"].as_array().into_iter().flatten();
    list.into_iter().any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (first, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut object = json!({});
        set(&mut object, "Ready", "False", "A", "a", first.parse().unwrap());
        set(&mut object, "Ready", "False", "B", "b", later.parse().unwrap());
        let conditions = &object["status"]["conditions"];
        assert_eq!(
            (&conditions[0]["reason"], &conditions[0]["lastTransitionTime"]),
            (&json!("B"), &json!(first))
        );
        set(&mut object, "Ready", "True", "C", "c", later.parse().unwrap());
        assert_eq!(object["status"]["conditions"][0]["lastTransitionTime"], later);
        assert!(is_true(&object, "Ready"));
        remove(&mut object, "Ready");
        assert!(!is_true(&object, "Ready"));
    }
}
