//! The same node images in three regions, by a strategy that two runs follow and an approval.

use serde_json::{Value, json};

use super::{into_group, n_requests, nodes, publish, run_state, state, wait_for};
use crate::backend::Fleet;
use crate::fleet_cli::{file, ok};

const OCTOBER: &str = "StolosLinux-202610.1.0";
const NOVEMBER: &str = "StolosLinux-202611.1.0";
const DECEMBER: &str = "StolosLinux-202612.1.0";
const JANUARY: &str = "StolosLinux-202701.1.0";

#[test]
fn three_regions_get_the_newest_image_that_all_have_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    story(&fleet);
}

#[test]
fn three_regions_get_the_newest_image_that_all_have_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    story(&fleet);
}

fn story(fleet: &Fleet) {
    into_group(fleet, "member-2", "europe");
    into_group(fleet, "member-3", "world");
    make_strategy(fleet);
    publish(fleet, "member-1", "zone-west", &[OCTOBER, NOVEMBER, DECEMBER]);
    publish(fleet, "member-2", "zone-north", &[OCTOBER, NOVEMBER]);
    publish(fleet, "member-3", "zone-east", &[OCTOBER, NOVEMBER, JANUARY]);

    start(fleet, "november");
    let waiting = wait_at_the_gate(fleet, "november");
    assert_eq!(chosen(&waiting), &json!([{ "version": NOVEMBER }]));
    assert_eq!(nodes(fleet, "member-1").image, NOVEMBER, "the canary does not wait");
    for member in ["member-2", "member-3"] {
        assert_eq!(n_requests(fleet, member), 0, "{member} waits for the approval");
    }
    // What is published in the meantime is for the next run: this one has chosen.
    publish(fleet, "member-1", "zone-west-2", &[NOVEMBER, DECEMBER]);
    publish(fleet, "member-2", "zone-north-2", &[NOVEMBER, DECEMBER, JANUARY]);
    publish(fleet, "member-3", "zone-east-2", &[NOVEMBER, DECEMBER]);
    ok(fleet, &["gate", "approve", "--run", "november"]);
    ends_everywhere_with(fleet, "november", NOVEMBER, "1");

    // The same strategy again, approved by kubectl this time.
    start(fleet, "december");
    let waiting = wait_at_the_gate(fleet, "december");
    assert_eq!(chosen(&waiting), &json!([{ "version": DECEMBER }]));
    let gate = &waiting["status"]["stages"][1]["beforeGates"][0]["gateId"];
    let gate = format!("local.{}", gate.as_str().expect("the gate has a name"));
    let approval = json!({ "spec": { "state": "Completed" } }).to_string();
    let hub = fleet.kubectl("hub");
    hub.run(&["patch", "gate", &gate, "--type", "merge", "-p", &approval]);
    ends_everywhere_with(fleet, "december", DECEMBER, "2");
    assert!(hub.get(&["updatestrategy", "local.rings"]).is_some(), "it waits for the next run");
}

fn make_strategy(fleet: &Fleet) {
    let rings = file(&json!({ "stages": [
        { "name": "canary", "groups": [{ "name": "canary" }] },
        {
            "name": "rest", "groups": [{ "name": "europe" }, { "name": "world" }],
            "beforeGates": [{ "displayName": "go ahead", "type": "Approval" }],
        },
    ]}));
    let path = rings.path().to_str().expect("a path");
    ok(fleet, &["strategy", "create", "rings", "-f", path]);
}

fn start(fleet: &Fleet, run: &str) {
    let create = ["updaterun", "create", run, "--node-image-only", "--node-image", "consistent"];
    ok(fleet, &[&create[..], &["--strategy", "rings", "--start"]].concat());
}

fn wait_at_the_gate(fleet: &Fleet, run: &str) -> Value {
    wait_for(fleet, "the approval is waited for", run, |run| {
        state(&run["status"]["stages"][1]["beforeGates"][0]) == "Pending"
    })
}

fn chosen(run: &Value) -> &Value {
    &run["status"]["nodeImageSelection"]["selectedNodeImageVersions"]
}

fn ends_everywhere_with(fleet: &Fleet, run: &str, image: &str, upgrades: &str) {
    ok(fleet, &["updaterun", "watch", run]);
    let done = wait_for(fleet, "the run has ended", run, |run| run_state(run) == "Completed");
    assert_eq!(chosen(&done), &json!([{ "version": image }]));
    assert_eq!(done["status"]["strategyName"], "rings");
    for member in ["member-1", "member-2", "member-3"] {
        let seen = nodes(fleet, member);
        assert_eq!((seen.image.as_str(), seen.upgrades.as_str()), (image, upgrades), "{member}");
        assert_eq!(seen.version, "v1.34.1", "Kubernetes is left alone");
    }
}
