//! Members that lists leave out, or show as they were, while a run is about them.

use jiff::Timestamp;
use serde_json::{Value, json};
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{State, UpdateRun};
use stolos_controller::{Change, Controller, Key, Plan, Write};

use super::Config;
use super::controller::{Item, Updates};
use super::effect::{Effect, Fact, Object};

const NAMESPACE: &str = "fleets";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn key(name: &str) -> Key {
    Key::namespaced(NAMESPACE, &format!("local.{name}"))
}

fn metadata(name: &str, version: u32) -> Value {
    json!({
        "name": format!("local.{name}"), "namespace": NAMESPACE, "uid": name,
        "resourceVersion": version.to_string(), "generation": 1,
        "finalizers": ["fleet.stolos.dev/update-run"],
    })
}

/// A run about the member `m1`, and how it is with it; somebody has asked for a restart.
fn run(state: &str) -> UpdateRun {
    run_about(1, state)
}

/// A run about the members from `m1` on.
fn run_about(n_members: usize, state: &str) -> UpdateRun {
    let status = |state: &str| json!({"state": state, "startTime": "2026-01-01T00:00:00.000000Z"});
    let member = |n| json!({"name": format!("m{n}"), "status": status(state), "clusterResourceId": "simulated://fleets/new"});
    let members: Vec<Value> = (1..=n_members).map(member).collect();
    let group =
        json!({"name": "all", "status": status(state), "members": members, "maxConcurrency": 1});
    let stage =
        json!({"name": "all", "status": status(state), "groups": [group], "maxConcurrency": 1});
    let run = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "UpdateRun", "metadata": metadata("run", 5),
        "spec": {
            "fleetName": "local", "state": "Run", "restarts": 1,
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
            "strategy": {"stages": [{"name": "all", "groups": [{"name": "all"}]}]},
        },
        "status": {"status": status(state), "stages": [stage]},
    });
    serde_json::from_value(run).unwrap()
}

/// The member `m1` with a cluster.
fn member(cluster: &str, version: u32) -> FleetMember {
    let member = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "FleetMember", "metadata": metadata("m1", version),
        "spec": {
            "fleetName": "local", "group": "all",
            "cluster": {"simulated": {"kubeconfigSecret": {"name": cluster}}},
        },
    });
    serde_json::from_value(member).unwrap()
}

/// A controller that knows the run, and of whom a list shows these members.
fn controller(run: UpdateRun, listed: Option<FleetMember>) -> Updates {
    let mut updates = Updates::new(Config::default());
    updates.learn(Change::Applied(run.into()));
    list(&mut updates, listed);
    updates
}

fn list(updates: &mut Updates, listed: Option<FleetMember>) {
    let keys = listed.iter().map(|_| key("m1")).collect();
    if let Some(member) = listed {
        updates.learn(Change::Applied(member.into()));
    }
    updates.learn(Change::Listed { kind: "FleetMember", keys });
}

fn found(updates: &mut Updates, found: Option<FleetMember>) {
    let found = found.map(Box::new);
    let again = updates.learn(Change::Applied(Fact::Sought { member: key("m1"), found }));
    assert!(again.contains(&Item::Run(key("run"))), "the run goes on: {again:?}");
}

fn plan(updates: &Updates) -> Vec<Effect> {
    let plan: Plan<Effect> = updates.plan(&Item::Run(key("run")), now());
    plan.steps.into_iter().flatten().collect()
}

/// How it is with the member by what the plan writes.
fn written(plan: &[Effect]) -> Option<(State, Option<&str>)> {
    plan.iter().find_map(|effect| {
        let Effect::Write(Write::ReplaceStatus(Object::UpdateRun(run))) = effect else {
            return None;
        };
        let member = &run.status.as_ref()?.stages[0].groups[0].members[0];
        Some((member.status.state, member.reason.as_deref()))
    })
}

fn looks(plan: &[Effect]) -> bool {
    matches!(plan, [Effect::Read(member)] if *member == key("m1"))
}

#[test]
fn a_member_that_a_list_leaves_out_is_looked_for_before_it_ends() {
    // Also one that failed: a restart takes it up again.
    for state in ["NotStarted", "Pending", "Running", "Stopped", "Failed"] {
        let mut updates = controller(run(state), None);
        assert!(looks(&plan(&updates)), "{state}");
        found(&mut updates, None);
        assert_eq!(written(&plan(&updates)), Some((State::Skipped, Some("MemberLeft"))), "{state}");
    }
}

#[test]
fn a_member_that_is_there_after_all_does_not_end() {
    let mut updates = controller(run("Failed"), None);
    found(&mut updates, Some(member("new", 3)));
    // Its cluster is to be looked at first.
    assert!(plan(&updates).is_empty());
}

#[test]
fn a_member_that_a_list_shows_with_an_earlier_cluster_does_not_end() {
    for state in ["NotStarted", "Failed"] {
        let mut updates = controller(run(state), Some(member("old", 2)));
        assert!(looks(&plan(&updates)), "{state}");
        found(&mut updates, Some(member("new", 3)));
        assert!(plan(&updates).is_empty(), "{state}");
    }
}

#[test]
fn a_member_whose_name_stands_for_another_cluster_is_looked_for_once() {
    let mut updates = controller(run("NotStarted"), Some(member("other", 6)));
    assert!(looks(&plan(&updates)));
    found(&mut updates, Some(member("other", 6)));
    // Nobody has looked at that cluster yet, and nobody asks for the member again.
    assert!(plan(&updates).is_empty());
    list(&mut updates, Some(member("other", 6)));
    assert!(looks(&plan(&updates)), "a list proves nothing");
}

#[test]
fn a_run_that_everybody_left_looks_for_each_member_once() {
    let n_members = 10_000;
    let mut updates = controller(run_about(n_members, "NotStarted"), None);
    let sought: Vec<Key> = (plan(&updates).iter())
        .filter_map(
            |effect| if let Effect::Read(member) = effect { Some(member.clone()) } else { None },
        )
        .collect();
    assert_eq!(sought.len(), n_members);
    for member in sought {
        updates.learn(Change::Applied(Fact::Sought { member, found: None }));
    }
    assert_eq!(written(&plan(&updates)), Some((State::Skipped, Some("MemberLeft"))));
}
