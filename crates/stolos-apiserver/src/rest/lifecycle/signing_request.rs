//! Certificate signing requests: who asked is recorded when one is made, and each part of the status has its own door.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Part;
use crate::auth::UserInfo;
use crate::registry::Resource;
use crate::rest::meta;

/// Tells whether a resource is that of signing requests.
#[must_use]
pub(crate) fn is_signing_request(resource: &Resource) -> bool {
    !resource.custom && &*resource.storage == "certificatesigningrequests.certificates.k8s.io"
}

/// Records the user who makes a request; what a client says about that is not taken.
pub(crate) fn record_requester(request: &mut Value, user: &UserInfo) {
    let Some(spec) = request.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    if let Ok(Value::Object(known)) = serde_json::to_value(user) {
        spec.extend(known);
    }
}

/// Keeps what an update through this door may not touch, and dates the conditions that it brings.
pub(crate) fn prepare_update(part: Part, current: &Value, new: &mut Value, now: Timestamp) {
    new["spec"] = current["spec"].clone();
    match part {
        Part::Approval => {
            let conditions = new["status"]["conditions"].take();
            let mut status = current["status"].as_object().cloned().unwrap_or_default();
            status.remove("conditions");
            if conditions.is_array() {
                status.insert("conditions".to_owned(), conditions);
            }
            new["status"] = status.into();
        }
        Part::Status => keep_decisions(current, new),
        Part::Main | Part::Whole | Part::Finalize => return,
    }
    date_conditions(current, new, now);
}

/// Puts back the decisions as they were, unless one is added or removed, which validation refuses.
fn keep_decisions(current: &Value, new: &mut Value) {
    for type_ in ["Approved", "Denied"] {
        let before: Vec<Value> = of_type(current, type_).cloned().collect();
        let after = conditions_mut(new).filter(|condition| condition["type"] == type_);
        let after: Vec<&mut Value> = after.collect();
        if before.len() == after.len() {
            after.into_iter().zip(before).for_each(|(after, before)| *after = before);
        }
    }
}

fn date_conditions(current: &Value, new: &mut Value, now: Timestamp) {
    let now: Value = meta::seconds(now).into();
    for condition in conditions_mut(new) {
        let known = of_type(current, condition["type"].as_str().unwrap_or_default())
            .find(|before| before["status"] == condition["status"])
            .map(|before| before["lastTransitionTime"].clone());
        let fields = condition.as_object_mut().expect("the iterator yields objects");
        fill_time(fields, "lastUpdateTime", &now);
        fill_time(
            fields,
            "lastTransitionTime",
            &known.filter(Value::is_string).unwrap_or(now.clone()),
        );
    }
}

fn fill_time(fields: &mut Map<String, Value>, field: &str, time: &Value) {
    if fields.get(field).is_none_or(Value::is_null) {
        fields.insert(field.to_owned(), time.clone());
    }
}

fn conditions_mut(request: &mut Value) -> impl Iterator<Item = &mut Value> {
    let list = request.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    list.into_iter().flatten().filter(|condition| condition.is_object())
}

fn of_type<'a>(request: &'a Value, type_: &'a str) -> impl Iterator<Item = &'a Value> {
    let list = request["status"]["conditions"].as_array();
    list.into_iter().flatten().filter(move |condition| condition["type"] == type_)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn request(conditions: Value, certificate: &str) -> Value {
        json!({"spec": {"request": "r"}, "status": {"conditions": conditions, "certificate": certificate}})
    }

    fn condition(type_: &str, message: &str) -> Value {
        json!({"type": type_, "status": "True", "message": message, "lastTransitionTime": "t", "lastUpdateTime": "t"})
    }

    #[test]
    fn the_requester_is_the_user_and_nobody_else() {
        let mut request =
            json!({"spec": {"request": "r", "username": "admin", "groups": ["system:masters"]}});
        record_requester(&mut request, &UserInfo::authenticated("ann", &["dev"]));
        let want =
            json!({"request": "r", "username": "ann", "groups": ["dev", "system:authenticated"]});
        assert_eq!(request["spec"], want);
    }

    #[test]
    fn approval_writes_conditions_alone_and_dates_them() {
        let mut new = request(json!([{"type": "Approved", "status": "True"}]), "forged");
        new["spec"]["request"] = json!("other");
        prepare_update(Part::Approval, &request(json!([]), ""), &mut new, now());
        assert_eq!(new["spec"]["request"], "r");
        assert_eq!(new["status"]["certificate"], "");
        assert_eq!(new["status"]["conditions"][0]["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!(new["status"]["conditions"][0]["lastUpdateTime"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn the_status_door_leaves_decisions_as_they_are() {
        let current = request(json!([condition("Approved", "by ann")]), "");
        let mut new =
            request(json!([condition("Approved", "by me"), condition("Failed", "x")]), "cert");
        prepare_update(Part::Status, &current, &mut new, now());
        assert_eq!(new["status"]["conditions"][0]["message"], "by ann");
        assert_eq!(new["status"]["conditions"][1]["message"], "x");
        assert_eq!(new["status"]["certificate"], "cert");
    }
}
