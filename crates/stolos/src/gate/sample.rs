//! Gates for the tests of this module.

use jiff::Timestamp;
use serde_json::{Value, json};
use stolos_api::update::Gate;

/// Returns the moment at which the samples are looked at.
pub(super) fn now() -> Timestamp {
    "2026-06-01T10:05:00Z".parse().unwrap()
}

/// Returns a gate before a stage that waits for somebody.
pub(super) fn approval(state: &str) -> Gate {
    gate(
        "june-prod-before-0",
        &json!({ "updateRun": "june", "stage": "prod", "timing": "Before" }),
        state,
    )
}

fn gate(name: &str, target: &Value, state: &str) -> Gate {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("local.{name}"), "namespace": "default",
            "creationTimestamp": "2026-06-01T10:00:00Z",
        },
        "spec": {
            "fleetName": "local", "gateType": "Approval", "displayName": "go ahead", "target": target,
        },
        "status": { "state": state },
    }))
    .unwrap()
}

/// Returns a gate after a stage that waits until its checks pass, for so many seconds.
pub(super) fn health(deadline_seconds: i32) -> Gate {
    let target = json!({ "updateRun": "june", "stage": "prod", "timing": "After" });
    let mut gate = gate("june-prod-after-0", &target, "Pending");
    gate.spec.gate_type = stolos_api::update::GateType::HealthCheck;
    gate.spec.health_check = serde_json::from_value(json!({
        "checks": [{ "name": "web", "prometheus": { "url": "http://prometheus:9090", "query": "up" } }],
        "deadlineSeconds": deadline_seconds,
    }))
    .unwrap();
    gate
}

/// Returns a gate of a group that opens on Friday.
pub(super) fn scheduled() -> Gate {
    let target =
        json!({ "updateRun": "june", "stage": "prod", "group": "europe", "timing": "Before" });
    let mut gate = gate("june-prod-europe-before-0", &target, "Pending");
    gate.spec.gate_type = stolos_api::update::GateType::ScheduledStart;
    gate.spec.display_name = None;
    gate.spec.scheduled_start = serde_json::from_value(json!({
        "startDay": "Friday", "startTime": "08:00", "utcOffset": "+02:00",
        "absoluteStartTime": "2026-06-05T06:00:00.000000Z",
    }))
    .unwrap();
    gate
}
