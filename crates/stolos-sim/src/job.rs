//! Jobs: run pods until enough of them have succeeded.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::action::Action;
use crate::kubelet::{is_active, is_ready, phase};
use crate::meta::{controlled_by, is_deleting, suffix, time, uid};
use crate::replica_set::pod;
use crate::world::World;

/// Decides what a Job needs.
pub(crate) fn decide(world: &World, job: &Job, now: Timestamp) -> Vec<Action> {
    let Some(spec) = &job.spec else { return Vec::new() };
    let pods: Vec<&Arc<Pod>> = world.pods.owned_by(uid(&job.metadata)).collect();
    let succeeded = pods.iter().filter(|pod| phase(pod) == "Succeeded").count();
    let failed = pods.iter().filter(|pod| phase(pod) == "Failed").count();
    let active: Vec<&Arc<Pod>> = pods.iter().copied().filter(|pod| is_active(pod)).collect();
    let number =
        |value: Option<i32>, default| value.map_or(default, |n| usize::try_from(n).unwrap_or(0));
    let parallelism = number(spec.parallelism, 1);
    // Without completions, one success ends a work queue (Job documentation).
    let completions = number(spec.completions, 1);
    let finished = is_finished(job);
    let suspended = spec.suspend == Some(true);
    let mut actions = Vec::new();
    if !is_deleting(&job.metadata) && !finished && !suspended && succeeded < completions {
        let wanted = parallelism.min(completions - succeeded);
        let missing = wanted.saturating_sub(active.len());
        actions.extend((0..missing).map(|n| create(job, pods.len() + n)));
    }
    if suspended {
        actions.extend(active.iter().map(|pod| Action::Delete(Pod::clone(pod).into())));
    }
    actions.extend(report(job, &active, (succeeded, failed, completions), now));
    actions
}

fn is_finished(job: &Job) -> bool {
    let conditions =
        job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions
        .iter()
        .any(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

fn create(job: &Job, number: usize) -> Action {
    let spec = job.spec.as_ref().expect("the caller has read the spec");
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let pod_name = format!("{name}-{}", suffix(&format!("{}/{number}", uid(&job.metadata))));
    let mut pod = pod(&pod_name, &job.metadata, &spec.template, controlled_by(job));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert("batch.kubernetes.io/job-name".to_owned(), name.to_owned());
    labels.insert("batch.kubernetes.io/controller-uid".to_owned(), uid(&job.metadata).to_owned());
    Action::Create(pod.into())
}

fn report(
    job: &Job,
    active: &[&Arc<Pod>],
    counts: (usize, usize, usize),
    now: Timestamp,
) -> Option<Action> {
    let (succeeded, failed, completions) = counts;
    let mut status = json!({
        "active": active.len(),
        "ready": active.iter().filter(|pod| is_ready(pod)).count(),
        "succeeded": succeeded,
        "failed": failed,
    });
    let old = serde_json::to_value(&job.status).expect("a status serialises");
    let started = old["startTime"].clone();
    status["startTime"] = if started.is_null() { json!(time(now)) } else { started };
    if succeeded >= completions {
        let done = old["completionTime"].clone();
        status["completionTime"] = if done.is_null() { json!(time(now)) } else { done };
        status["conditions"] = conditions(&old, now);
    }
    let same = status
        .as_object()?
        .iter()
        .all(|(field, value)| &old[field] == value || (old[field].is_null() && *value == json!(0)));
    (!same).then(|| Action::MergeStatus { target: job.clone().into(), status })
}

/// A Job that has met its success criteria, then is complete.
fn conditions(old: &Value, now: Timestamp) -> Value {
    if old["conditions"].as_array().is_some_and(|list| !list.is_empty()) {
        return old["conditions"].clone();
    }
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": time(now), "lastTransitionTime": time(now),
        })
    };
    json!([condition("SuccessCriteriaMet"), condition("Complete")])
}
