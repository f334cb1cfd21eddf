//! An update run through its stages, on both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::wait_until;

#[test]
fn the_canary_is_updated_before_the_rest_embedded() {
    let Some(mut fleet) = Fleet::embedded(3) else { return };
    story(&mut fleet);
}

#[test]
fn the_canary_is_updated_before_the_rest_kubernetes() {
    let Some(mut fleet) = Fleet::kubernetes(2) else { return };
    story(&mut fleet);
}

fn run(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "UpdateRun",
        "metadata": { "name": format!("local.{name}"), "namespace": "default" },
        "spec": {
            "fleetName": "local", "state": "Run",
            "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": version } },
            "strategy": { "stages": [
                { "name": "first", "groups": [{ "name": "canary" }] },
                { "name": "rest", "groups": [{ "name": "europe" }, { "name": "world" }] },
            ] },
        },
    })
}

fn state(run: &Value) -> &str {
    run["status"]["status"]["state"].as_str().unwrap_or_default()
}

fn versions(fleet: &Fleet, member: &str) -> Vec<(String, String)> {
    let nodes = fleet.kubectl(member).get(&["nodes"]).expect("nodes can be listed");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    nodes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| {
            (
                text(&node["status"]["nodeInfo"]["kubeletVersion"]),
                text(&node["metadata"]["annotations"]["sim.stolos.dev/upgrades"]),
            )
        })
        .collect()
}

fn story(fleet: &mut Fleet) {
    let hub = fleet.kubectl("hub");
    hub.apply(&run("june", "1.35.0").to_string());
    if let Fleet::Processes(processes) = fleet {
        hub.wait_for("the first stage begins", &["updaterun", "local.june"], |run| {
            let first = &run["status"]["stages"][0]["status"]["state"];
            first == "Running" || first == "Completed"
        });
        processes.kill("hub");
        processes.start_hub(&[]);
    }
    let fleet = &*fleet;
    let last = if matches!(fleet, Fleet::Embedded(_)) { "member-3" } else { "member-2" };
    wait_until("the second stage begins", || {
        // The member first: what it had when the run says that its stage has not begun is from before.
        let before = versions(fleet, last);
        let run = hub.get(&["updaterun", "local.june"]).expect("the run is there");
        let second = &run["status"]["stages"][1]["status"]["state"];
        if second == "NotStarted" {
            let waits = before.iter().all(|(version, _)| version == "v1.34.1");
            assert!(waits, "nobody overtakes the canary");
        }
        if second == "Running" || second == "Completed" { Ok(()) } else { Err(run) }
    });
    assert!(
        versions(fleet, "member-1").iter().all(|(version, _)| version == "v1.35.0"),
        "the canary came first"
    );
    let done = hub.wait_for("the run ends", &["updaterun", "local.june"], |run| {
        matches!(state(run), "Completed" | "Failed")
    });
    assert_eq!(state(&done), "Completed", "{}", done["status"]);
    for member in ["member-1", last] {
        for (version, upgrades) in versions(fleet, member) {
            assert_eq!((version.as_str(), upgrades.as_str()), ("v1.35.0", "1"), "{member}");
        }
    }
}

#[test]
fn a_run_survives_a_kill_without_updating_anybody_twice() {
    let Some(Fleet::Embedded(mut up)) = Fleet::embedded_with(3, "1s") else { return };
    let hub = up.kubectl("hub");
    hub.apply(&run("july", "1.35.0").to_string());
    hub.wait_for("the run is under way", &["updaterun", "local.july"], |run| {
        run["status"]["stages"][0]["status"]["state"] == "Running"
    });
    up.kill();
    up.restart();
    let fleet = Fleet::Embedded(up);
    let done = fleet.kubectl("hub").wait_for("the run ends", &["updaterun", "local.july"], |run| {
        matches!(state(run), "Completed" | "Failed")
    });
    assert_eq!(state(&done), "Completed", "{}", done["status"]);
    for member in ["member-1", "member-2", "member-3"] {
        for (version, upgrades) in versions(&fleet, member) {
            assert_eq!((version.as_str(), upgrades.as_str()), ("v1.35.0", "1"), "{member}");
        }
    }
}

#[test]
fn the_command_line_creates_stops_skips_and_shows_runs() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    let stages = "first:canary@60s;rest:europe,world";
    for line in [
        "updaterun create august --node-image-only --members member-1",
        "updaterun update august --kubernetes-version 1.35.0 --all-members --stages",
    ] {
        let mut line: Vec<&str> = line.split(' ').collect();
        line.extend((line[1] == "update").then_some(stages));
        let done = fleet.stolos(&line);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let begun = fleet.stolos(&["updaterun", "start", "august"]);
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let hub = fleet.kubectl("hub");
    hub.wait_for("the wait after the first stage begins", &["updaterun", "local.august"], |run| {
        run["status"]["stages"][0]["afterStageWaitStatus"]["status"]["state"] == "Running"
    });
    let stopped = fleet.stolos(&["updaterun", "stop", "august"]);
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    hub.wait_for("the run is stopped", &["updaterun", "local.august"], |run| {
        state(run) == "Stopped"
    });
    assert!(versions(&fleet, "member-3").iter().all(|(version, _)| version == "v1.34.1"));
    let skipped = fleet.stolos(&["updaterun", "skip", "august", "--after-stage-wait", "first"]);
    assert!(skipped.status.success(), "{}", String::from_utf8_lossy(&skipped.stderr));
    let other = fleet.stolos(&["updaterun", "update", "august", "--kubernetes-version", "1.36.0"]);
    let refused = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(1), "{refused}");
    assert!(refused.contains("its goal cannot be changed"), "{refused}");
    let policy = fleet.stolos(&["updaterun", "update", "august", "--on-busy", "fail"]);
    assert!(policy.status.success(), "{}", String::from_utf8_lossy(&policy.stderr));
    let started = fleet.stolos(&["updaterun", "start", "august"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let watched = fleet.stolos(&["updaterun", "watch", "august"]);
    assert_eq!(watched.status.code(), Some(0), "{}", String::from_utf8_lossy(&watched.stderr));
    let shown = fleet.stolos(&["updaterun", "show", "august"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("Completed") && shown.lines().all(|line| line.chars().count() <= 100),
        "{shown}"
    );
}
