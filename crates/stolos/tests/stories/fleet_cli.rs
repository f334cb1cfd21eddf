//! Fleets, members, strategies and gates by the command line alone, on both backends.

use std::io::Write;
use std::process::Output;

use serde_json::{Value, json};

use crate::backend::Fleet;

#[test]
fn a_fleet_is_made_updated_and_taken_apart_by_the_command_line_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    story(&fleet);
}

#[test]
fn a_fleet_is_made_updated_and_taken_apart_by_the_command_line_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    story(&fleet);
}

#[test]
fn a_member_without_an_agent_leaves_by_force_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    forced(&fleet);
}

#[test]
fn a_member_without_an_agent_leaves_by_force_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(1) else { return };
    forced(&fleet);
}

#[test]
fn what_a_stopped_run_left_behind_is_retried_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    retried(&fleet);
}

#[test]
fn what_a_stopped_run_left_behind_is_retried_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    retried(&fleet);
}

/// Runs a command line that works; returns what it printed.
pub(crate) fn ok(fleet: &Fleet, line: &[&str]) -> String {
    let output = fleet.stolos(line);
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Runs a command line that ends with this code; returns what it says about it.
pub(crate) fn ends(fleet: &Fleet, line: &[&str], code: i32) -> String {
    let Output { status, stderr, .. } = fleet.stolos(line);
    let stderr = String::from_utf8(stderr).expect("it prints text");
    assert_eq!(status.code(), Some(code), "{line:?}: {stderr}");
    stderr
}

pub(crate) fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= 100)
}

fn story(fleet: &Fleet) {
    members_move(fleet);
    strategies_are_checked(fleet);
    profiles_come_and_go(fleet);
    gates_are_approved(fleet);
    the_fleet_goes(fleet);
}

fn members_move(fleet: &Fleet) {
    ok(fleet, &["fleet", "create", "edge"]);
    let twice = ends(fleet, &["fleet", "create", "edge"], 1);
    assert!(twice.contains("fleet `edge` exists already"), "{twice}");

    // A cluster is in at most one fleet; who waits is told at once.
    let join = ["member", "join", "shop", "--fleet", "edge", "--simulated=member-2-kubeconfig"];
    let refused = ends(fleet, &[&join[..], &["--group", "shops", "--wait"]].concat(), 1);
    assert!(refused.contains("member `shop` cannot join"), "{refused}");
    assert!(refused.contains("`local.member-2`"), "{refused}");

    let gone = ok(fleet, &["member", "leave", "member-2", "--timeout", "60s"]);
    assert!(gone.contains("member `member-2` has left"), "{gone}");
    let hub = fleet.kubectl("hub");
    hub.wait_for("the cluster has moved", &["fleetmember", "edge.shop"], |member| {
        let conditions = member["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Joined" && c["status"] == "True")
            && !member["status"]["kubernetesVersion"].is_null()
    });
    ok(
        fleet,
        &[
            "member",
            "update",
            "shop",
            "--fleet",
            "edge",
            "--group",
            "canary",
            "--label",
            "tier=gold",
        ],
    );
    let window = ["member", "update", "shop", "--fleet", "edge", "--window"];
    ok(fleet, &[&window[..], &["every 2 weeks saturday 22:00+01:00/6h"]].concat());
    let shown = ok(fleet, &["member", "show", "shop", "--fleet", "edge"]);
    let window = "window     node images: every 2 weeks saturday 22:00+01:00/6h";
    assert!(shown.contains(window), "{shown}");
    let calendar = ok(fleet, &["calendar", "--fleet", "edge", "--days", "1"]);
    assert!(calendar.contains("maintenance window for node images begins"), "{calendar}");
    ok(fleet, &["member", "update", "shop", "--fleet", "edge", "--no-windows"]);
    let label =
        ["member", "update", "shop", "--fleet", "edge", "--label", "fleet.azure.com/location=here"];
    assert!(ends(fleet, &label, 1).contains("is set by the fleet itself"));
    let listed = ok(fleet, &["member", "list", "--fleet", "edge", "-l", "tier=gold"]);
    assert!(listed.contains("shop") && listed.contains("Joined") && is_narrow(&listed), "{listed}");
    let listed = ok(fleet, &["member", "list", "--fleet", "edge", "-l", "tier=lead", "-o", "name"]);
    assert_eq!(listed, "");
    let shown = ok(fleet, &["member", "show", "shop", "--fleet", "edge"]);
    assert!(shown.contains("group      canary") && is_narrow(&shown), "{shown}");
    let shown = ok(fleet, &["fleet", "show", "edge"]);
    assert!(shown.contains("members    1 Joined") && is_narrow(&shown), "{shown}");

    let hubless = ends(fleet, &["fleet", "update", "edge", "--hub"], 1);
    assert!(hubless.contains("add --allow-hub-upgrade"), "{hubless}");
    let edge = hub.get(&["fleets", "edge"]).expect("the fleet is there");
    assert!(edge["spec"]["hub"].is_null(), "a refused request changes nothing");
    ok(fleet, &["fleet", "update", "edge", "--label", "owner=shops"]);
    assert!(ok(fleet, &["fleet", "list", "-A"]).contains("owner=shops"));
}

pub(crate) fn file(value: &Value) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
    file.write_all(value.to_string().as_bytes()).expect("it can be written");
    file
}

fn strategies_are_checked(fleet: &Fleet) {
    let wrong = file(&json!({ "stages": [
        { "name": "Canary", "groups": [{ "name": "canary" }], "maxConcurrency": "0" },
        { "name": "rest", "groups": [{ "name": "canary" }], "waits": 3 },
    ]}));
    let wrong = wrong.path().to_str().expect("a path");
    let create = ["strategy", "create", "rings", "--fleet", "edge", "--stages", wrong];
    let refused = ends(fleet, &create, 1);
    for field in [
        "spec.strategy.stages[0].name",
        "spec.strategy.stages[0].maxConcurrency",
        "spec.strategy.stages[1].groups[0].name",
        "spec.strategy.stages[1].waits",
    ] {
        assert!(refused.contains(field), "{field} is not named: {refused}");
    }
    let hub = fleet.kubectl("hub");
    assert!(hub.get(&["updatestrategies", "edge.rings"]).is_none(), "nothing was written");

    let create = ["strategy", "create", "rings", "--fleet", "edge", "--stages", "canary@1s"];
    ok(fleet, &create);
    let right = file(&json!({ "stages": [{
        "name": "first", "groups": [{ "name": "canary" }],
        "beforeGates": [{ "displayName": "go ahead", "type": "Approval" }],
    }]}));
    let right = right.path().to_str().expect("a path");
    ok(fleet, &["strategy", "update", "rings", "--fleet", "edge", "-f", right]);
    let shown = ok(fleet, &["strategy", "show", "rings", "--fleet", "edge"]);
    assert!(shown.contains("gate before: go ahead (approval)") && is_narrow(&shown), "{shown}");
    assert!(ok(fleet, &["strategy", "list", "--fleet", "edge"]).contains("first"));
    // What is shown can be made again.
    let yaml = ok(fleet, &["strategy", "show", "rings", "--fleet", "edge", "-o", "json"]);
    let copy = file(&serde_json::from_str(&yaml).expect("it is JSON"));
    let copy = copy.path().to_str().expect("a path");
    ok(fleet, &["strategy", "create", "copy", "--fleet", "edge", "-f", copy]);
    ok(fleet, &["strategy", "delete", "copy", "--fleet", "edge"]);
    assert!(hub.get(&["updatestrategies", "edge.copy"]).is_none());
}

fn profiles_come_and_go(fleet: &Fleet) {
    let create = ["autoupgrade", "create", "images", "--fleet", "edge", "--channel", "node-image"];
    let wrong = ends(fleet, &[&create[..], &["--kubernetes-version", "1.35"]].concat(), 1);
    assert!(wrong.contains("spec.targetKubernetesVersion"), "{wrong}");
    ok(fleet, &[&create[..], &["--strategy", "rings", "--disabled"]].concat());
    let listed = ok(fleet, &["autoupgrade", "list", "--fleet", "edge"]);
    assert!(listed.contains("NodeImage") && listed.contains("Disabled"), "{listed}");
    assert!(is_narrow(&listed), "{listed}");
    let shown = ok(fleet, &["autoupgrade", "show", "images", "--fleet", "edge"]);
    assert!(shown.contains("sequence   strategy rings") && is_narrow(&shown), "{shown}");
    let named = ends(fleet, &["strategy", "delete", "rings", "--fleet", "edge"], 1);
    assert!(named.contains("auto-upgrade profile `images` names"), "{named}");
    ok(fleet, &["autoupgrade", "update", "images", "--fleet", "edge", "--no-strategy"]);
    ok(fleet, &["autoupgrade", "delete", "images", "--fleet", "edge"]);
    let hub = fleet.kubectl("hub");
    assert!(hub.get(&["autoupgradeprofiles", "edge.images"]).is_none());
}

fn gates_are_approved(fleet: &Fleet) {
    let run = ["updaterun", "create", "july", "--fleet", "edge", "--kubernetes-version", "1.35.0"];
    ok(fleet, &[&run[..], &["--strategy", "rings"]].concat());
    let plan = ok(fleet, &["plan", "updaterun", "july", "--fleet", "edge"]);
    assert!(plan.contains("reach      1 of 1 member") && is_narrow(&plan), "{plan}");
    assert!(plan.contains("gate before: go ahead") && plan.contains("1.35.0"), "{plan}");
    let early = ends(fleet, &["updaterun", "retry", "july", "--fleet", "edge"], 1);
    assert!(early.contains("has not been started"), "{early}");
    ok(fleet, &["updaterun", "start", "july", "--fleet", "edge"]);
    let hub = fleet.kubectl("hub");
    hub.wait_for("the run waits", &["updaterun", "edge.july"], |run| {
        run["status"]["stages"][0]["beforeGates"][0]["status"]["state"] == "Pending"
    });
    let calendar = ok(fleet, &["calendar", "--fleet", "edge", "-o", "wide"]);
    assert!(
        calendar.contains("update run july") && calendar.contains("upgrades shop"),
        "{calendar}"
    );
    let listed = ok(fleet, &["gate", "list", "--fleet", "edge", "--pending"]);
    assert!(listed.contains("before first") && is_narrow(&listed), "{listed}");
    let names = ok(fleet, &["gate", "list", "--fleet", "edge", "-o", "name"]);
    let gate = names.trim();
    let shown = ok(fleet, &["gate", "show", gate, "--fleet", "edge"]);
    assert!(shown.contains(&format!("`stolos gate approve {gate}`")), "{shown}");
    // A name that is wrong approves none of the others.
    let none = ends(fleet, &["gate", "approve", gate, "nothing", "--fleet", "edge"], 1);
    assert!(none.contains("there is no gate `nothing`"), "{none}");
    let found = hub.get(&["gates", &format!("edge.{gate}")]).expect("the gate is there");
    assert_eq!(found["spec"]["state"], "Pending");

    ok(fleet, &["gate", "approve", "--run", "july", "--fleet", "edge"]);
    let watched = fleet.stolos(&["updaterun", "watch", "july", "--fleet", "edge"]);
    assert!(watched.status.success(), "{}", String::from_utf8_lossy(&watched.stderr));
    let nobody = ends(fleet, &["updaterun", "retry", "july", "--fleet", "edge"], 1);
    assert!(nobody.contains("has left no member behind"), "{nobody}");
    let again = ends(fleet, &["gate", "approve", gate, "--fleet", "edge"], 1);
    assert!(again.contains("is Completed, not pending"), "{again}");
    let none = ends(fleet, &["gate", "approve", "--run", "july", "--fleet", "edge"], 1);
    assert!(none.contains("update run `july` waits for no gate"), "{none}");
}

fn the_fleet_goes(fleet: &Fleet) {
    let refused = ends(fleet, &["fleet", "delete", "edge"], 1);
    assert!(refused.contains("has 1 member: `shop`"), "{refused}");
    let hub = fleet.kubectl("hub");
    let edge = hub.get(&["fleets", "edge"]).expect("a refused request changes nothing");
    assert!(edge["metadata"]["deletionTimestamp"].is_null());
    ok(fleet, &["fleet", "delete", "edge", "--with-members", "--timeout", "60s"]);
    for gone in
        [["fleets", "edge"], ["fleetmember", "edge.shop"], ["updatestrategies", "edge.rings"]]
    {
        assert!(hub.get(&gone).is_none(), "{gone:?} went with its fleet");
    }
    let other = ok(fleet, &["fleet", "list", "-o", "name"]);
    assert_eq!(other, "local\n", "the other fleet is left alone");
    assert!(fleet.kubectl("member-2").get(&["nodes"]).is_some(), "the cluster lives on");
}

/// Nobody can take leave for a member whose agent never was.
fn forced(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let join = ["member", "join", "ghost", "--kubeconfig-secret", "nothing"];
    let warned = fleet.stolos(&join);
    let warning = String::from_utf8_lossy(&warned.stderr).into_owned();
    assert!(
        warned.status.success() && warning.contains("there is no secret `nothing`"),
        "{warning}"
    );
    let internal = ["-n", "fleet-member-ghost", "internalmembercluster", "ghost"];
    hub.wait_for("the agent is waited for", &internal, |found| !found.is_null());

    let late = ends(fleet, &["member", "leave", "ghost", "--timeout", "1s"], 1);
    assert!(late.contains("still leaving: `ghost`") && late.contains("--force"), "{late}");
    assert!(hub.get(&["membercluster", "ghost"]).is_some(), "its agent is waited for");
    let forced = fleet.stolos(&["member", "leave", "ghost", "--force", "--timeout", "60s"]);
    let warning = String::from_utf8_lossy(&forced.stderr).into_owned();
    assert!(forced.status.success(), "{warning}");
    assert!(warning.contains("warning: the agent of `ghost` is not asked"), "{warning}");
    assert!(hub.get(&["fleetmember", "local.ghost"]).is_none());
    hub.wait_gone(&["membercluster", "ghost"]);
    assert!(hub.get(&["fleetmember", "local.member-1"]).is_some(), "the others stay");
}

/// The first stage is through when the run is stopped; only the rest gets another run.
fn retried(fleet: &Fleet) {
    let create = ["updaterun", "create", "may", "--kubernetes-version", "1.35.0", "--start"];
    ok(fleet, &[&create[..], &["--stages", "first:canary@300s;rest:europe,world"]].concat());
    let hub = fleet.kubectl("hub");
    hub.wait_for("the wait after the first stage begins", &["updaterun", "local.may"], |run| {
        run["status"]["stages"][0]["afterStageWaitStatus"]["status"]["state"] == "Running"
    });
    let shown = ok(fleet, &["updaterun", "show", "may"]);
    assert!(shown.contains(" left") && is_narrow(&shown), "{shown}");
    let early = ends(fleet, &["updaterun", "retry", "may"], 1);
    assert!(early.contains("`stolos updaterun stop may --wait` first"), "{early}");
    ok(fleet, &["updaterun", "stop", "may", "--wait"]);
    ok(fleet, &["updaterun", "retry", "may"]);
    // The wait of the first stage belongs to the copied sequence; nobody has to sit through it again.
    ok(fleet, &["updaterun", "skip", "may-retry-1", "--after-stage-wait", "first"]);
    ok(fleet, &["updaterun", "start", "may-retry-1", "--wait"]);
    let retry = hub.get(&["updaterun", "local.may-retry-1"]).expect("the new run is there");
    assert_eq!(retry["spec"]["members"], json!(["member-2"]));
    let nodes = fleet.kubectl("member-1").get(&["nodes"]).expect("nodes can be listed");
    for node in nodes["items"].as_array().into_iter().flatten() {
        let upgrades = &node["metadata"]["annotations"]["sim.stolos.dev/upgrades"];
        assert_eq!(upgrades, "1", "who was at the goal is left alone");
    }
    let second = ok(fleet, &["updaterun", "list", "-o", "name"]);
    assert_eq!(second, "may\nmay-retry-1\n");
}
