//! A node image that breaks the canary, found by a gate, and the canary put back to the image that it had.

use serde_json::json;

use super::{into_group, member_of, n_requests, nodes, publish, run_state, state, wait_for};
use crate::backend::Fleet;
use crate::fleet_cli::{ends, file, ok};

const OCTOBER: &str = "StolosLinux-202610.1.0";
const NOVEMBER: &str = "StolosLinux-202611.1.0";

#[test]
fn a_canary_goes_back_to_its_image_when_it_is_not_healthy_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    story(&fleet);
}

#[test]
fn a_canary_goes_back_to_its_image_when_it_is_not_healthy_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    story(&fleet);
}

fn story(fleet: &Fleet) {
    into_group(fleet, "member-2", "europe");
    for member in ["member-1", "member-2"] {
        publish(fleet, member, "before", &[OCTOBER, NOVEMBER]);
    }
    let before = nodes(fleet, "member-1").image;
    healthy(fleet, "no");
    make_strategy(fleet);

    let create = ["updaterun", "create", "images", "--node-image-only", "--strategy", "careful"];
    ok(fleet, &[&create[..], &["--node-image", "consistent", "--start"]].concat());
    ends(fleet, &["updaterun", "watch", "images"], 3);
    let failed = wait_for(fleet, "the run has failed", "images", |run| run_state(run) == "Failed");
    let canary = member_of(&failed, "member-1");
    assert_eq!(canary["status"]["error"]["code"], "RolledBack", "{canary}");
    assert_eq!(state(&canary["rollback"]), "Completed");
    assert_eq!(canary["previous"]["nodeImages"], json!([before]));
    let seen = nodes(fleet, "member-1");
    assert_eq!((seen.image.as_str(), seen.upgrades.as_str()), (before.as_str(), "2"));
    assert_eq!(n_requests(fleet, "member-1"), 2, "there and back, each once");
    assert_eq!(n_requests(fleet, "member-2"), 0, "nothing begins behind the gate");
    let shown = ok(fleet, &["updaterun", "show", "images", "-o", "wide"]);
    assert!(
        shown.contains(&format!("put back to {before}, as gate `shop is up` has failed")),
        "{shown}"
    );
    let told = fleet.kubectl("hub").get(&["events", "-A"]).expect("they can be listed");
    let told = told["items"].as_array().cloned().unwrap_or_default();
    assert!(told.iter().any(|event| event["reason"] == "MemberRolledBack"), "{told:?}");

    // Somebody repairs it and starts the run again.
    healthy(fleet, "yes");
    ok(fleet, &["updaterun", "start", "images", "--wait"]);
    for (member, upgrades) in [("member-1", "3"), ("member-2", "1")] {
        let seen = nodes(fleet, member);
        assert_eq!((seen.image.as_str(), seen.upgrades.as_str()), (NOVEMBER, upgrades), "{member}");
    }
}

/// Says on the canary whether it is well. The gate waits for that.
fn healthy(fleet: &Fleet, answer: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shop", "namespace": "default" },
        "data": { "up": answer },
    });
    fleet.kubectl("member-1").apply(&map.to_string());
}

fn make_strategy(fleet: &Fleet) {
    let check = json!({ "name": "up", "cel": {
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "default",
        "expression": "object.metadata.name != 'shop' || object.data.up == 'yes'",
    }});
    let careful = file(&json!({ "stages": [
        {
            "name": "canary", "groups": [{ "name": "canary" }],
            "afterGates": [{ "displayName": "shop is up", "type": "HealthCheck", "healthCheck": {
                "checks": [check], "deadlineSeconds": 8, "onFailure": "Rollback",
            }}],
        },
        { "name": "rest", "groups": [{ "name": "europe" }] },
    ]}));
    let path = careful.path().to_str().expect("a path");
    ok(fleet, &["strategy", "create", "careful", "-f", path]);
}
