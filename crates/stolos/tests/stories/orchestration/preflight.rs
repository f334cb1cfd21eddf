//! A run that asks members for the APIs that their users ask for, on both backends: their metrics are read and understood.

use serde_json::json;

use super::{nodes, run_state, wait_for};
use crate::backend::Fleet;
use crate::fleet_cli::ends;

#[test]
fn a_run_reads_which_apis_members_were_asked_for_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    story(&fleet);
}

#[test]
fn a_run_reads_which_apis_members_were_asked_for_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(1) else { return };
    story(&fleet);
}

fn story(fleet: &Fleet) {
    // Endpoints are deprecated without an end: no version is without them.
    let member = fleet.kubectl("member-1");
    member.run(&["get", "endpoints", "-A"]);
    let metrics = member.run(&["get", "--raw", "/metrics"]);
    let series = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\"";
    assert!(metrics.contains(series), "the metrics tell what was asked for");

    let run = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "UpdateRun",
        "metadata": { "name": "local.checked", "namespace": "default" },
        "spec": {
            "fleetName": "local", "state": "Run",
            "preflight": ["NodesReady", "PodDisruptionBudgets", "DeprecatedApis"],
            "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": "1.35.0" } },
        },
    });
    fleet.kubectl("hub").apply(&run.to_string());
    ends(fleet, &["updaterun", "watch", "checked"], 0);
    wait_for(fleet, "the run is completed", "checked", |run| run_state(run) == "Completed");
    assert_eq!(nodes(fleet, "member-1").version, "v1.35.0");
}
