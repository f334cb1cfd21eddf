//! Who set which field of a live object, as its server keeps account.

use serde_json::{Map, Value, json};
use stolos_api::placement::names::MEMBER_FIELD_MANAGER;

/// What a server calls whoever wrote before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

fn entries(live: &Value) -> &[Value] {
    let list = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn is_ours(entry: &Value, operation: &str) -> bool {
    entry["manager"] == MEMBER_FIELD_MANAGER
        && entry["operation"] == operation
        && entry.get("subresource").is_none_or(|subresource| subresource == "")
}

/// Tells whether nobody else has a say about an object, so that a conflict could only be with ourselves. Who writes its
/// status only has none.
pub(super) fn must_force(live: &Value) -> bool {
    let counts = |entry: &&Value| entry["subresource"] != "status";
    entries(live).iter().filter(counts).all(|entry| {
        [MEMBER_FIELD_MANAGER, BEFORE_FIRST_APPLY]
            .iter()
            .any(|manager| entry["manager"] == *manager)
    })
}

/// Tells whether we have applied an object server-side.
pub(super) fn applied_before(live: &Value) -> bool {
    entries(live).iter().any(|entry| is_ours(entry, "Apply"))
}

/// Returns the managed fields with what we wrote otherwise counted as applied, when there is such: otherwise the server would
/// never take back a field that a client-side write of ours has set.
pub(super) fn adopt(live: &Value) -> Option<Value> {
    let (written, mut kept): (Vec<Value>, Vec<Value>) =
        entries(live).iter().cloned().partition(|entry| is_ours(entry, "Update"));
    let first = written.first()?;
    let mut applied = kept
        .iter()
        .position(|entry| is_ours(entry, "Apply"))
        .map_or_else(|| first.clone(), |at| kept.remove(at));
    applied["operation"] = json!("Apply");
    for entry in &written {
        if let (Some(into), Some(from)) =
            (applied["fieldsV1"].as_object_mut(), entry["fieldsV1"].as_object())
        {
            unite(into, from);
        }
    }
    kept.push(applied);
    Some(Value::Array(kept))
}

fn unite(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (path, below) in from {
        match (into.get_mut(path).and_then(Value::as_object_mut), below.as_object()) {
            (Some(into), Some(below)) => unite(into, below),
            _ => {
                into.insert(path.clone(), below.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields})
    }

    fn live(entries: Value) -> Value {
        json!({"metadata": {"managedFields": entries}})
    }

    #[test]
    fn writers_of_the_status_have_no_say() {
        let mut status = entry("kube-controller-manager", "Update", json!({}));
        status["subresource"] = json!("status");
        let ours = entry(MEMBER_FIELD_MANAGER, "Update", json!({}));
        assert!(must_force(&live(json!([ours, status]))));
        assert!(!must_force(&live(json!([ours, entry("kubectl-edit", "Update", json!({}))]))));
    }

    #[test]
    fn earlier_writes_count_as_applied() {
        let written =
            entry(MEMBER_FIELD_MANAGER, "Update", json!({"f:data": {"f:a": {}, ".": {}}}));
        let applied = entry(MEMBER_FIELD_MANAGER, "Apply", json!({"f:data": {"f:b": {}}}));
        let other = entry("kubectl", "Update", json!({"f:data": {"f:c": {}}}));
        assert_eq!(
            adopt(&live(json!([written, other, applied]))),
            Some(json!([
                other,
                entry(
                    MEMBER_FIELD_MANAGER,
                    "Apply",
                    json!({"f:data": {"f:a": {}, "f:b": {}, ".": {}}})
                ),
            ]))
        );
        let alone = adopt(&live(json!([written]))).unwrap();
        assert_eq!(alone[0]["operation"], "Apply");
        assert_eq!(adopt(&live(json!([other, applied]))), None, "nothing to do");
    }
}
