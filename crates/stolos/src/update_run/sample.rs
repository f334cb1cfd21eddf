//! Runs for the tests of this module.

use jiff::Timestamp;
use serde_json::json;
use stolos_api::update::UpdateRun;

/// Returns the moment at which the samples are looked at.
pub(super) fn now() -> Timestamp {
    "2026-06-01T10:05:00Z".parse().unwrap()
}

/// Returns a run whose first stage is done and whose second one is under way.
pub(super) fn half_way() -> UpdateRun {
    let started = |minute: u32| json!(format!("2026-06-01T10:0{minute}:00.000000Z"));
    let status = |state: &str| json!({ "state": state });
    serde_json::from_value(json!({
        "metadata": {
            "name": "local.june", "namespace": "default", "uid": "run", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-06-01T09:55:00Z",
        },
        "spec": {
            "fleetName": "local",
            "state": "Run",
            "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": "1.35.0" } },
            "strategy": { "stages": [
                { "name": "canary", "groups": [{ "name": "canary" }], "afterStageWaitInSeconds": 30 },
                { "name": "prod", "groups": [{ "name": "eu-west" }, { "name": "us" }] },
            ]},
        },
        "status": {
            "observedGeneration": 2,
            "status": { "state": "Running", "startTime": started(0) },
            "progress": "1/4",
            "failureCount": 1,
            "warnings": ["group `asia` has no members"],
            "stages": [
                {
                    "name": "canary", "maxConcurrency": 50,
                    "status": { "state": "Completed", "startTime": started(0), "completedTime": started(2) },
                    "groups": [{
                        "name": "canary", "maxConcurrency": 1, "status": status("Completed"),
                        "members": [{
                            "name": "member-1", "attempt": 1, "operationId": "op-1",
                            "status": { "state": "Completed", "startTime": started(0), "completedTime": started(1) },
                            "target": {
                                "type": "Full", "kubernetesVersion": "1.35.0", "nodeImages": ["StolosLinux-202610.2.0"],
                            },
                            "message": "all nodes are up to date",
                        }],
                    }],
                    "afterStageWaitStatus": { "waitDurationInSeconds": 30, "status": status("Completed") },
                },
                {
                    "name": "prod", "maxConcurrency": 2, "failureCount": 1, "maxAllowedFailures": 1,
                    "status": { "state": "Running", "startTime": started(2) },
                    "beforeGates": [{
                        "displayName": "go ahead", "gateId": "june-prod-before-0", "status": status("Completed"),
                    }],
                    "groups": [
                        {
                            "name": "eu-west", "maxConcurrency": 1, "status": status("Running"),
                            "members": [
                                {
                                    "name": "member-2", "attempt": 1, "operationId": "op-2",
                                    "status": { "state": "Running", "startTime": started(3) },
                                    "target": { "type": "Full", "kubernetesVersion": "1.35.0" },
                                    "message": "upgrading node member-2-node-1 after its neighbours were drained one by one, slowly",
                                },
                                { "name": "member-3", "status": status("NotStarted") },
                            ],
                        },
                        {
                            "name": "us", "maxConcurrency": 1, "failureCount": 1, "maxAllowedFailures": 1,
                            "status": status("Completed"),
                            "members": [{
                                "name": "member-4", "attempt": 1, "operationId": "op-4",
                                "status": {
                                    "state": "Failed", "startTime": started(3), "completedTime": started(4),
                                    "error": { "code": "UpgradeFailed", "message": "quota exceeded" },
                                },
                                "target": { "type": "Full", "kubernetesVersion": "1.35.0" },
                            }],
                        },
                    ],
                },
            ],
        },
    }))
    .unwrap()
}

/// Returns the same run before it was started.
pub(super) fn not_started() -> UpdateRun {
    serde_json::from_value(json!({
        "metadata": { "name": "local.june", "namespace": "default", "uid": "run", "generation": 1 },
        "spec": {
            "fleetName": "local",
            "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": "1.35.0" } },
        },
        "status": {
            "observedGeneration": 1,
            "progress": "0/2",
            "stages": [{ "name": "one-by-one", "maxConcurrency": 1, "groups": [{
                "name": "one-by-one", "maxConcurrency": 1,
                "members": [{ "name": "member-1" }, { "name": "member-2" }],
            }]}],
        },
    }))
    .unwrap()
}

/// Returns a run that the hub cannot start.
pub(super) fn refused() -> UpdateRun {
    let mut run = not_started();
    let status = run.status.as_mut().unwrap();
    status.stages.clear();
    status.status.error = Some(stolos_api::update::ErrorDetail {
        code: "UpdateStrategyNotFound".to_owned(),
        message: "the fleet has no update strategy `rings`".to_owned(),
        ..stolos_api::update::ErrorDetail::default()
    });
    run
}
