//! What a story reads in the status of a placement.

use serde_json::Value;

use crate::kubectl::Kubectl;

/// The steps of a placement that applies.
const STEPS: [&str; 6] =
    ["Scheduled", "RolloutStarted", "Overridden", "WorkSynchronized", "Applied", "Available"];

/// Returns a condition as `Type=Status/Reason`, without the kind before the type; nothing of an earlier generation.
fn written(condition: &Value, generation: &Value) -> Option<String> {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let type_ = text("type").trim_start_matches("Cluster").trim_start_matches("ResourcePlacement");
    (&condition["observedGeneration"] == generation)
        .then(|| format!("{type_}={}/{}", text("status"), text("reason")))
}

fn all_written(conditions: &Value, generation: &Value) -> Vec<String> {
    let conditions = conditions.as_array().into_iter().flatten();
    conditions.filter_map(|condition| written(condition, generation)).collect()
}

/// Returns the conditions of a placement at its present generation, as `Type=Status/Reason`.
pub(crate) fn conditions(placement: &Value) -> Vec<String> {
    all_written(&placement["status"]["conditions"], &placement["metadata"]["generation"])
}

/// Returns what a placement says of a member.
pub(crate) fn cluster<'a>(placement: &'a Value, member: &str) -> &'a Value {
    let clusters = placement["status"]["placementStatuses"].as_array();
    clusters
        .and_then(|clusters| clusters.iter().find(|cluster| cluster["clusterName"] == member))
        .unwrap_or(&Value::Null)
}

/// Returns the conditions of a member in a placement at its present generation, as `Type=Status/Reason`.
pub(crate) fn conditions_on(placement: &Value, member: &str) -> Vec<String> {
    all_written(&cluster(placement, member)["conditions"], &placement["metadata"]["generation"])
}

/// Returns the names of the members that a placement selected, in order.
pub(crate) fn clusters(placement: &Value) -> Vec<&str> {
    let clusters = placement["status"]["placementStatuses"].as_array().into_iter().flatten();
    let mut names: Vec<_> =
        clusters.filter_map(|cluster| cluster["clusterName"].as_str()).collect();
    names.sort_unstable();
    names
}

/// Waits until a placement says this last of itself, at its present generation.
pub(crate) fn says(hub: &Kubectl, placement: &[&str], want: &str) -> Value {
    hub.wait_for(&format!("{placement:?} says {want}"), placement, |found| {
        conditions(found).last().is_some_and(|last| last == want)
    })
}

/// Waits until a placement says this last of a member, at its present generation; returns what it says of the member.
pub(crate) fn says_on(hub: &Kubectl, placement: &[&str], member: &str, want: &str) -> Value {
    let found =
        hub.wait_for(&format!("{placement:?} says {want} on {member}"), placement, |found| {
            conditions_on(found, member).last().is_some_and(|last| last == want)
        });
    cluster(&found, member).clone()
}

/// Waits until every step of a placement is done at its present generation, on just these members. Fulfilled or not, the
/// rest of a policy does not matter.
pub(crate) fn complete_on(hub: &Kubectl, placement: &[&str], members: &[&str]) -> Value {
    let what = format!("{placement:?} is complete on {members:?}");
    hub.wait_for(&what, placement, |found| {
        let done = conditions(found);
        let is_done = |step: &&str| {
            let at_all = if *step == "Scheduled" { "=" } else { "=True" };
            done.iter().any(|condition| condition.starts_with(&format!("{step}{at_all}")))
        };
        clusters(found) == members && STEPS.iter().all(is_done)
    })
}

/// Waits until a placement wants nothing on any member, and says nothing but that.
pub(crate) fn nowhere(hub: &Kubectl, placement: &[&str], want: &str) -> Value {
    hub.wait_for(&format!("{placement:?} says {want} alone"), placement, |found| {
        found["status"]["conditions"].as_array().map_or(0, Vec::len) == 1
            && conditions(found) == [want]
            && clusters(found).is_empty()
    })
}
