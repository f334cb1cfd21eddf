//! Two stages, each with two groups, and a wait between them: started, stopped in the middle, started again, completed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    get_run, into_group, member_of, members, n_requests, nodes, run_state, script, state, wait_for,
};
use crate::backend::Fleet;
use crate::fleet_cli::ok;

/// Update groups: the first two make the first stage.
const GROUPS: [&str; 4] = ["north", "south", "east", "west"];

/// Seconds between the stages.
const WAIT: i64 = 10;

/// Long enough to reach into an upgrade while it runs: a member has two nodes.
const NODE_TIME: &str = "4s";

#[test]
fn a_run_is_stopped_in_the_middle_and_completed_later_embedded() {
    let Some(fleet) = Fleet::embedded_with(8, NODE_TIME) else { return };
    story(&fleet, 2);
}

/// Eight real API servers are more than a small machine can carry, so each group has one member here.
#[test]
fn a_run_is_stopped_in_the_middle_and_completed_later_kubernetes() {
    let Some(fleet) = Fleet::kubernetes_with(4, NODE_TIME) else { return };
    story(&fleet, 1);
}

fn story(fleet: &Fleet, per_group: usize) {
    let names: Vec<String> = (1..=4 * per_group).map(|n| format!("member-{n}")).collect();
    let groups: Vec<&[String]> = names.chunks(per_group).collect();
    for (members, group) in groups.iter().zip(GROUPS) {
        for member in *members {
            into_group(fleet, member, group);
        }
    }
    let begun: Vec<&str> = groups[..2].iter().map(|members| members[0].as_str()).collect();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !begun.contains(name)).collect();

    create_and_start(fleet);
    stop_in_the_middle(fleet, &begun, &others);
    go_on(fleet, &names[2 * per_group..]);

    let done = wait_for(fleet, "the run has ended", "june", |run| {
        matches!(run_state(run), "Completed" | "Failed")
    });
    assert_eq!(run_state(&done), "Completed", "{}", done["status"]);
    assert_eq!(members(&done).count(), names.len());
    for name in &names {
        let member = member_of(&done, name);
        assert_eq!((state(member), &member["attempt"]), ("Completed", &json!(1)), "{member}");
        let seen = nodes(fleet, name);
        assert_eq!((seen.version.as_str(), seen.upgrades.as_str()), ("v1.35.0", "1"), "{name}");
        assert_eq!(n_requests(fleet, name), 1, "{name} was asked once");
    }
    let stages = &done["status"]["stages"];
    let waited = at(&stages[1], "startTime") - at(&stages[0]["afterStageWaitStatus"], "startTime");
    assert!(waited.get_seconds() >= WAIT, "the second stage came after {waited}");
    let listed = ok(fleet, &["updaterun", "list"]);
    assert!(listed.contains("june") && listed.contains("Completed"), "{listed}");
}

fn at(part: &Value, field: &str) -> Timestamp {
    let text = part["status"][field].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|error| panic!("{field} of {part}: {error}"))
}

fn create_and_start(fleet: &Fleet) {
    let stages = format!("first:north,south@{WAIT}s;second:east,west");
    let create = ["updaterun", "create", "june", "--kubernetes-version", "1.35.0"];
    ok(fleet, &[&create[..], &["--stages", &stages]].concat());
    let created = wait_for(fleet, "the run is laid out", "june", |run| {
        run["status"]["stages"].as_array().is_some_and(|stages| stages.len() == 2)
    });
    assert_eq!(run_state(&created), "NotStarted");
    ok(fleet, &["updaterun", "start", "june"]);
}

/// The first of each group in the first stage are held at work while the run is stopped.
fn stop_in_the_middle(fleet: &Fleet, begun: &[&str], others: &[&str]) {
    let running = |run: &Value| begun.iter().all(|name| state(member_of(run, name)) == "Running");
    wait_for(fleet, "both groups are at work", "june", running);
    for name in begun {
        script(fleet, name, &json!({ "busyUntil": "2100-01-01T00:00:00Z" }));
    }
    assert!(running(&get_run(fleet, "june")), "they are held before they are through");

    ok(fleet, &["updaterun", "stop", "june"]);
    let stopping =
        wait_for(fleet, "the run is stopping", "june", |run| run_state(run) == "Stopping");
    let at_work =
        |name: &&&str| matches!(state(member_of(&stopping, name)), "Running" | "Stopping");
    assert_eq!(begun.iter().filter(at_work).count(), begun.len(), "{}", stopping["status"]);
    let shown = ok(fleet, &["updaterun", "show", "june"]);
    assert!(shown.contains("Stopping"), "{shown}");

    for name in begun {
        script(fleet, name, &json!({ "busyUntil": null }));
    }
    let stopped = wait_for(fleet, "the run is stopped", "june", |run| run_state(run) == "Stopped");
    for name in begun {
        assert_eq!(state(member_of(&stopped, name)), "Completed", "what runs comes to its end");
        assert_eq!(nodes(fleet, name).version, "v1.35.0", "{name}");
    }
    for name in others {
        let member = member_of(&stopped, name);
        assert!(matches!(state(member), "NotStarted" | "Stopped"), "{member}");
        assert_eq!(n_requests(fleet, name), 0, "nothing begins after the stop");
        assert_eq!(nodes(fleet, name).version, "v1.34.1", "{name}");
    }
}

fn go_on(fleet: &Fleet, second_stage: &[String]) {
    ok(fleet, &["updaterun", "start", "june"]);
    let waiting = wait_for(fleet, "the first stage is through", "june", |run| {
        state(&run["status"]["stages"][0]["afterStageWaitStatus"]) == "Running"
    });
    for name in second_stage {
        let member = member_of(&waiting, name);
        assert!(matches!(state(member), "NotStarted" | "Stopped"), "{member}");
    }
    let shown = ok(fleet, &["updaterun", "show", "june"]);
    assert!(shown.contains(" left"), "how long it still waits: {shown}");
}
