//! Who may be in a fleet, how big strategies may be, and what becomes of those that are refused.

use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use stolos_api::cluster::fleet::{Fleet as FleetObject, FleetMember};
use stolos_api::update::{State, UpdateRun};
use stolos_core::cluster::fleet::MemberLimits;
use stolos_core::update::StrategyLimits;

use crate::updatable::{FLEET, Fleet, options};

/// Runs the controller of fleets and creates fleets without a hub.
async fn make_fleets(fleet: &Fleet, limits: MemberLimits, names: &[&str]) {
    tokio::spawn(stolos_hub::cluster::fleet::run(fleet.hub.clone(), limits, options()));
    for name in names {
        let object = json!({"metadata": {"name": name}, "spec": {}});
        let object: FleetObject = serde_json::from_value(object).unwrap();
        fleet.api().create(&PostParams::default(), &object).await.unwrap();
    }
}

fn is_told(reason: &str) -> impl Fn(&FleetMember) -> bool {
    move |member| {
        let status = member.status.as_ref();
        status.is_some_and(|status| {
            status.conditions.iter().any(|c| c.type_ == "Joined" && c.reason == reason)
        })
    }
}

fn is(run: &UpdateRun, state: State) -> bool {
    run.status.as_ref().is_some_and(|status| status.status.state == state)
}

#[tokio::test]
async fn a_full_fleet_takes_the_next_member_when_a_place_is_free_and_leaves_its_cluster_alone_before()
 {
    let mut fleet = Fleet::start(&[("m1", "all")]).await;
    let limits = MemberLimits { hubful: None, hubless: Some(1) };
    make_fleets(&fleet, limits, &[FLEET]).await;
    fleet.until("m1", is_told("Joined")).await;
    fleet.join("m2", "all").await;
    fleet.until("m2", is_told("FleetMemberLimitExceeded")).await;
    fleet.control();
    fleet.run("weekly", "1.34.1", Value::Null).await;
    let run = fleet.until("weekly", |run: &UpdateRun| is(run, State::Completed)).await;
    assert_eq!(run.status.unwrap().progress.as_deref(), Some("1/1"));
    assert!(fleet.nodes().await.contains(&"m2-node-1 v1.33.0 0".to_owned()));
    fleet.api::<FleetMember>().delete("local.m1", &DeleteParams::default()).await.unwrap();
    fleet.until("m2", is_told("Joined")).await;
}

#[tokio::test]
async fn a_member_whose_cluster_another_fleet_has_is_in_no_run() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    make_fleets(&fleet, MemberLimits::default(), &[FLEET, "other"]).await;
    fleet.until("m1", is_told("Joined")).await;
    let member = json!({"metadata": {"name": "other.mine"}, "spec": {
        "fleetName": "other", "cluster": {"simulated": {"kubeconfigSecret": {"name": "m1"}}},
    }});
    let member: FleetMember = serde_json::from_value(member).unwrap();
    fleet.api().create(&PostParams::default(), &member).await.unwrap();
    let api = fleet.api::<FleetMember>();
    let refused = |member: Option<&FleetMember>| {
        member.is_some_and(is_told("ClusterAlreadyJoinedAnotherFleet"))
    };
    await_condition(api, "other.mine", refused).await.unwrap();
    fleet.control();
    let run: UpdateRun =
        serde_json::from_value(json!({"metadata": {"name": "other.weekly"}, "spec": {
            "fleetName": "other", "state": "Run",
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
        }}))
        .unwrap();
    fleet.api().create(&PostParams::default(), &run).await.unwrap();
    let skipped = |run: Option<&UpdateRun>| run.is_some_and(|run| is(run, State::Skipped));
    await_condition(fleet.api(), "other.weekly", skipped).await.unwrap();
    let nodes = fleet.nodes().await;
    assert!(nodes.iter().all(|node| node.ends_with(" v1.33.0 0")), "{nodes:?}");
}

#[tokio::test]
async fn automatic_labels_choose_members_of_runs_too() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all")]).await;
    make_fleets(&fleet, MemberLimits::default(), &[FLEET]).await;
    for name in ["m1", "m2"] {
        fleet.until(name, is_told("Joined")).await;
    }
    fleet.control();
    let selector = json!({"byLabel": "fleet.azure.com/member-name=m2"});
    let stages = json!([{"name": "x", "memberSelector": selector}]);
    fleet.run("weekly", "1.34.1", stages).await;
    let run = fleet.until("weekly", |run: &UpdateRun| is(run, State::Completed)).await;
    let group = &run.status.unwrap().stages[0].groups[0];
    let names: Vec<&str> = group.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["m2"]);
}

#[tokio::test]
async fn a_run_whose_strategy_is_too_big_for_the_hub_says_so_and_does_not_start() {
    let fleet = Fleet::start(&[("m1", "a")]).await;
    fleet.control_within(StrategyLimits { stages: 1, ..StrategyLimits::default() });
    let stages =
        json!([{"name": "x", "groups": [{"name": "a"}]}, {"name": "y", "groups": [{"name": "b"}]}]);
    fleet.run("weekly", "1.34.1", stages).await;
    let told = |run: &UpdateRun| {
        let error = run.status.as_ref().and_then(|status| status.status.error.as_ref());
        error.is_some_and(|error| {
            error.code == "InvalidUpdateRun"
                && error.message
                    == "spec.strategy.stages has 2 entries, but must have 1 to 1 entries (the hub runs with --max-stages)"
        })
    };
    let run = fleet.until("weekly", told).await;
    assert!(is(&run, State::NotStarted));
    fleet.run("small", "1.34.1", json!([{"name": "x", "groups": [{"name": "a"}]}])).await;
    fleet.until("small", |run: &UpdateRun| is(run, State::Completed)).await;
}
