//! Members that are put back after a gate has failed, by hubs that are killed at any write.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use stolos_api::update::{MemberStatus, State, UpdateRun};

use crate::updatable::Fleet;

const SCRIPT: &str = "simulated-cluster";

/// Says in the script of a member that its version can be taken back.
async fn allow(fleet: &Fleet, name: &str) {
    let api = Api::<ConfigMap>::namespaced(fleet.member(name), "kube-system");
    await_condition(api.clone(), SCRIPT, |map: Option<&ConfigMap>| map.is_some()).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"versionRollback": "true"}}));
    api.patch(SCRIPT, &PatchParams::default(), &patch).await.unwrap();
}

fn members(run: &UpdateRun) -> Vec<&MemberStatus> {
    let stages = run.status.iter().flat_map(|status| &status.stages);
    stages.flat_map(|stage| &stage.groups).flat_map(|group| &group.members).collect()
}

#[tokio::test]
async fn members_go_back_once_wherever_the_hub_is_killed() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "canary"), ("m3", "prod")]).await;
    for name in ["m1", "m2"] {
        allow(&fleet, name).await;
    }
    // No ConfigMap is healthy.
    let check = json!({"name": "never", "cel": {
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "kube-system", "expression": "false",
    }});
    let gate = json!({"type": "HealthCheck", "displayName": "health", "healthCheck": {
        "checks": [check], "deadlineSeconds": 2, "onFailure": "Rollback",
    }});
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterGates": [gate]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    fleet.run("weekly", "1.34.1", stages).await;
    let has_failed = |run: &UpdateRun| {
        run.status.as_ref().is_some_and(|status| status.status.state == State::Failed)
    };
    let failed = async || drop(fleet.until("weekly", has_failed).await);
    fleet.control_mortals(failed).await;
    let run = fleet.until("weekly", has_failed).await;
    for member in &members(&run)[..2] {
        let code = member.status.error.as_ref().map(|error| error.code.as_str());
        assert_eq!((code, member.attempt), (Some("RolledBack"), 1), "{member:?}");
    }
    assert_eq!(members(&run)[2].attempt, 0, "nothing begins behind the gate");
    let nodes = fleet.nodes().await;
    let as_wanted = |node: &String| {
        node.ends_with(if node.starts_with("m3-") { " v1.33.0 0" } else { " v1.33.0 2" })
    };
    assert!(nodes.iter().all(as_wanted), "there and back, each once: {nodes:?}");
}
