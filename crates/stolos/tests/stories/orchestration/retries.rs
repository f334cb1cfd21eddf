//! A failure that stops a run, and the run that makes up for it with the same images.

use serde_json::json;

use super::{
    into_group, member_of, n_requests, nodes, publish, run_state, script, state, wait_for,
};
use crate::backend::Fleet;
use crate::fleet_cli::{ends, ok};

const OCTOBER: &str = "StolosLinux-202610.1.0";
const NOVEMBER: &str = "StolosLinux-202611.1.0";
const DECEMBER: &str = "StolosLinux-202612.1.0";

#[test]
fn a_failure_stops_the_run_and_a_retry_keeps_the_images_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    story(&fleet);
}

#[test]
fn a_failure_stops_the_run_and_a_retry_keeps_the_images_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    story(&fleet);
}

fn story(fleet: &Fleet) {
    into_group(fleet, "member-2", "europe");
    into_group(fleet, "member-3", "world");
    let members = ["member-1", "member-2", "member-3"];
    for member in members {
        publish(fleet, member, "before", &[OCTOBER, NOVEMBER]);
    }
    script(fleet, "member-2", &json!({ "failAttempts": "1" }));

    let create = ["updaterun", "create", "june", "--kubernetes-version", "1.35.0", "--start"];
    let rules = ["--node-image", "consistent", "--stages", "a:canary;b:europe;c:world"];
    ok(fleet, &[&create[..], &rules].concat());
    ends(fleet, &["updaterun", "watch", "june"], 3);
    it_failed(fleet);

    // The fleet becomes uniform although there is something newer.
    for member in members {
        publish(fleet, member, "after", &[OCTOBER, NOVEMBER, DECEMBER]);
    }
    let told = ok(fleet, &["updaterun", "retry", "june", "--start", "--wait"]);
    let retry =
        wait_for(fleet, "the retry is done", "june-retry-1", |run| run_state(run) == "Completed");
    assert_eq!(retry["spec"]["members"], json!(["member-2", "member-3"]), "{told}");
    let images = &retry["spec"]["managedClusterUpdate"]["nodeImageSelection"];
    assert_eq!(images["customNodeImageVersions"], json!([{ "version": NOVEMBER }]));
    for (member, requests) in members.iter().zip([1, 2, 1]) {
        let seen = nodes(fleet, member);
        assert_eq!((seen.version.as_str(), seen.image.as_str()), ("v1.35.0", NOVEMBER), "{member}");
        assert_eq!(seen.upgrades, "1", "no node of {member} is upgraded twice");
        assert_eq!(n_requests(fleet, member), requests, "{member}");
    }
    let nobody = ends(fleet, &["updaterun", "retry", "june-retry-1"], 1);
    assert!(nobody.contains("has left no member behind"), "{nobody}");
}

fn it_failed(fleet: &Fleet) {
    let failed = wait_for(fleet, "the run has failed", "june", |run| run_state(run) == "Failed");
    assert_eq!(failed["status"]["failureCount"], 1);
    assert_eq!(state(member_of(&failed, "member-1")), "Completed");
    let member = member_of(&failed, "member-2");
    assert_eq!(state(member), "Failed");
    let message = member["status"]["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the script lets upgrade 1 fail"), "{member}");
    let shown = ok(fleet, &["updaterun", "show", "june"]);
    assert!(shown.contains("the script lets upgrade 1 fail"), "{shown}");
    assert_eq!(n_requests(fleet, "member-3"), 0, "nothing begins after the failure");
    assert_eq!(nodes(fleet, "member-3").version, "v1.34.1");
}
