//! Members that are put back after a gate has failed: histories, and random worlds.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use stolos_api::update::{MemberStatus, State, UpdateRunStatus};

use super::player::{Act, Player, named};
use crate::update::cluster::{Cluster, Inspection, Member, Offer, Restorable};
use crate::update::invariants::{self, Planned};
use crate::update::probe::{Found, record};
use crate::update::states::members;
use crate::update::{Observed, Plan};

const BEFORE: &str = "u-1.0";
const AFTER: &str = "u-2.0";

/// A run that brings node images to `u-2.0`: two members behind a gate that puts them back, and one after it.
fn run() -> Player {
    let gate = json!({"type": "HealthCheck", "displayName": "health", "healthCheck": {
        "checks": [{"name": "errors", "prometheus": {"url": "http://p", "query": "up"}}],
        "deadlineSeconds": 100, "onFailure": "Rollback",
    }});
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary", "maxConcurrency": "1"}], "afterGates": [gate]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    let groups: &[(&str, &[&str])] = &[("canary", &["c1", "c2"]), ("prod", &["p1"])];
    let mut player = Player::new(groups, &stages);
    player.spec.managed_cluster_update = serde_json::from_value(json!({
        "upgrade": {"type": "NodeImageOnly"},
        "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": AFTER}]},
    }))
    .unwrap();
    for member in player.observed.members.values_mut() {
        let Inspection::Known(cluster) = &mut member.cluster else { unreachable!() };
        cluster.pools[0].image = Some(BEFORE.parse().unwrap());
        cluster.restorable = Restorable { versions: false, images: Offer::Anything };
    }
    player
}

fn known<'a>(observed: &'a mut Observed, name: &str) -> &'a mut Cluster {
    match observed.members.get_mut(name) {
        Some(Member { cluster: Inspection::Known(cluster), .. }) => cluster,
        _ => panic!("{name} is not known"),
    }
}

fn report(observed: &mut Observed, now: Timestamp, found: Found) {
    let found = [(("errors".to_owned(), None), found)].into();
    for gate in observed.gates.values_mut() {
        gate.status.get_or_insert_default().checks = record(&[], &found, now);
    }
}

fn healthy(observed: &mut Observed, now: Timestamp) {
    report(observed, now, Found::passing());
}

fn unhealthy(observed: &mut Observed, now: Timestamp) {
    report(observed, now, Found { message: None, ..Found::failing("") });
}

/// Plays to the end; every plan keeps the invariants, and planning again changes nothing.
fn played(mut player: Player) -> Player {
    while player.step_and(check, settled) {}
    player
}

fn check(player: &Player, before: Option<&UpdateRunStatus>, plan: &Plan) {
    let run = player.run();
    let planned = Planned { run: &run, before, observed: &player.observed, plan, now: player.now };
    invariants::check(&planned).unwrap_or_else(|violation| panic!("{violation}"));
    for start in plan.start.iter().filter(|start| start.target.rollback) {
        assert_eq!(image_of(player, &start.member), AFTER, "{} has moved on", start.member);
    }
}

fn settled(player: &Player) {
    let again = player.plan();
    assert_eq!(Some(&again.status), player.status.as_ref());
    assert!(again.start.is_empty() && again.release.is_empty() && again.events.is_empty());
}

fn member<'a>(player: &'a Player, name: &str) -> &'a MemberStatus {
    let mut all = player.status.as_ref().unwrap().stages.iter().flat_map(members);
    all.find(|member| member.name == name).unwrap()
}

fn image_of(player: &Player, name: &str) -> String {
    match &player.observed.members[name].cluster {
        Inspection::Known(cluster) => cluster.pools[0].image.as_ref().unwrap().to_string(),
        Inspection::Unknown(reason) => reason.clone(),
    }
}

/// Returns who was put back, in order.
fn put_back(player: &Player) -> Vec<&str> {
    player.put_back.iter().map(|(name, _)| name.as_str()).collect()
}

fn left_as_it_is(player: &Player, name: &str) -> String {
    let rollback = member(player, name).rollback.as_ref().unwrap();
    let error = rollback.status.error.as_ref().unwrap();
    format!("{:?} {}: {}", rollback.status.state, error.code, error.message)
}

#[test]
fn members_behind_a_failed_gate_go_back_one_after_the_other_and_the_run_fails() {
    let player = played(run().at(5, Act::Change(unhealthy)));
    insta::assert_snapshot!(player.history, @r"
      0 run Running
      0 stage first Running
      0 group canary Running
      0 member c1 Running
      1 member c1 Completed
      1 member c2 Running
      2 run Pending
      2 stage first Pending
      2 gate health Pending
      2 group canary Completed
      2 member c2 Completed
    102 run Stopping
    102 stage first Stopping
    102 gate health Failed
    102 group canary Stopping
    102 member c1 Running
    103 member c1 Failed
    103 member c2 Running
    104 run Failed
    104 stage first Failed
    104 group canary Failed
    104 member c2 Failed
    ");
    assert_eq!(put_back(&player), ["c1", "c2"]);
    assert!(player.put_back.iter().all(|(_, target)| target.node_images == [BEFORE]));
    assert_eq!(image_of(&player, "c1"), BEFORE);
    assert!(!player.begun.contains_key("p1"));
    let error = member(&player, "c1").status.error.as_ref().unwrap();
    insta::assert_snapshot!(format!("{}: {}", error.code, error.message), @"RolledBack: put back to u-1.0, as gate `health` has failed");
    let error = player.status.as_ref().unwrap().status.error.as_ref().unwrap();
    insta::assert_snapshot!(format!("{}: {}", error.code, error.message), @"HealthCheckFailed: health was not reached in time: check `errors` fails");
}

#[test]
fn a_restart_brings_members_that_were_put_back_to_the_goal_again() {
    let player =
        run().at(5, Act::Change(unhealthy)).at(200, Act::Restart).at(210, Act::Change(healthy));
    let player = played(player);
    assert_eq!(
        player.status.as_ref().unwrap().status.state,
        State::Completed,
        "{}",
        player.history
    );
    assert_eq!(player.begun["c1"], 2);
    assert_eq!(put_back(&player), ["c1", "c2"]);
    assert_eq!(image_of(&player, "c2"), AFTER);
    assert_eq!(member(&player, "c1").previous.as_ref().unwrap().node_images, [BEFORE]);
}

#[test]
fn a_stop_keeps_members_from_going_back_until_the_run_goes_on() {
    let player = run().at(5, Act::Change(unhealthy)).at(103, Act::Stop).at(300, Act::Run);
    let mut stopped = run().at(5, Act::Change(unhealthy)).at(103, Act::Stop);
    while stopped.step_and(check, settled) {}
    assert_eq!(put_back(&stopped), ["c1"], "what has begun comes to its end");
    assert_eq!(stopped.status.as_ref().unwrap().status.state, State::Stopped);
    let player = played(player);
    assert_eq!(put_back(&player), ["c1", "c2"]);
    assert_eq!(player.status.as_ref().unwrap().status.state, State::Failed);
}

#[test]
fn a_member_that_has_moved_on_or_that_the_run_did_not_update_stays_as_it_is() {
    let mut player = run().at(5, Act::Change(unhealthy)).at(
        50,
        Act::Change(|observed, _| {
            known(observed, "c1").pools[0].image = Some("u-3.0".parse().unwrap());
        }),
    );
    known(&mut player.observed, "c2").pools[0].image = Some(AFTER.parse().unwrap());
    let player = played(player);
    assert_eq!(put_back(&player), Vec::<&str>::new());
    insta::assert_snapshot!(left_as_it_is(&player, "c1"), @"Skipped ClusterChanged: the cluster has changed since: pool `pool` has image u-3.0, not u-2.0");
    assert_eq!(member(&player, "c2").rollback, None);
    assert_eq!(image_of(&player, "c2"), AFTER);
}

#[test]
fn where_nobody_can_go_back_the_run_waits_for_somebody() {
    let stuck = || {
        let mut player = run().at(5, Act::Change(unhealthy));
        for name in ["c1", "c2"] {
            known(&mut player.observed, name).restorable = Restorable::nothing();
        }
        player
    };
    let player = played(stuck());
    let status = player.status.as_ref().unwrap();
    assert_eq!(status.status.state, State::Pending);
    let error = status.stages[0].after_gates[0].status.error.as_ref().unwrap();
    insta::assert_snapshot!(error.message, @"health was not reached in time: check `errors` fails; no member can be put back: `c1`: image u-1.0 is not among those that the cluster's provider can take it back to; `c2`: image u-1.0 is not among those that the cluster's provider can take it back to; complete the gate to go on");
    insta::assert_snapshot!(left_as_it_is(&player, "c1"), @"Skipped RollbackNotSupported: image u-1.0 is not among those that the cluster's provider can take it back to");
    let player = played(stuck().at(300, Act::Approve));
    assert_eq!(player.status.as_ref().unwrap().status.state, State::Completed);
    assert_eq!(put_back(&player), Vec::<&str>::new());
}

#[test]
fn kubernetes_versions_go_back_only_where_the_provider_can_do_that() {
    let with = |versions: bool| {
        let mut player = run().at(5, Act::Change(unhealthy));
        player.spec.managed_cluster_update = serde_json::from_value(json!({
            "upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"},
            "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": AFTER}]},
        }))
        .unwrap();
        for name in ["c1", "c2"] {
            known(&mut player.observed, name).restorable.versions = versions;
        }
        played(player)
    };
    let back = with(true);
    assert_eq!(put_back(&back), ["c1", "c2"]);
    let (_, target) = &back.put_back[0];
    assert_eq!(target.kubernetes_version.as_deref(), Some("1.33.0"));
    assert_eq!(target.node_images, [BEFORE]);
    insta::assert_snapshot!(left_as_it_is(&with(false), "c1"), @"Skipped RollbackNotSupported: Kubernetes 1.34.1 is not taken back to 1.33.0: the cluster's provider cannot do that");
}

#[test]
fn a_busy_cluster_is_waited_for_and_not_for_ever() {
    let wait = |until: i64| {
        let player = run().at(50, Act::Change(unhealthy)).at(60, Act::Hold("c1", true));
        played(player.at(until, Act::Hold("c1", false)))
    };
    let player = wait(500);
    assert_eq!(put_back(&player), ["c2", "c1"]);
    assert_eq!(player.status.as_ref().unwrap().status.state, State::Failed);
    let player = wait(5_000);
    assert_eq!(put_back(&player), ["c2"]);
    insta::assert_snapshot!(left_as_it_is(&player, "c1"), @"Skipped ClusterBusy: somebody scales it");
    assert_eq!(member(&player, "c1").status.state, State::Completed);
}

#[test]
fn a_provider_that_fails_to_put_a_member_back_is_not_asked_again() {
    let mut player = run().at(5, Act::Change(unhealthy));
    // Until the members are upgraded.
    let upgraded = "2026-03-04T10:00:05Z".parse().unwrap();
    while player.now < upgraded && player.step_and(check, settled) {}
    player.failures.insert("c1".into(), 1);
    let player = played(player);
    assert_eq!(put_back(&player), ["c1", "c2"]);
    let error = member(&player, "c1").status.error.as_ref().unwrap();
    insta::assert_snapshot!(format!("{}: {}", error.code, error.message), @"RollbackFailed: could not be put back after gate `health` failed: it broke");
    assert_eq!(named(player.status.as_ref().unwrap(), State::Failed).len(), 2);
}

fn acts() -> impl Strategy<Value = Act> {
    let name = || (0..3_usize).prop_map(|index| ["c1", "c2", "p1"][index]);
    let moved: fn(&mut Observed, Timestamp) = |observed, _| {
        if let Some(Member { cluster: Inspection::Known(cluster), .. }) =
            observed.members.get_mut("c2")
        {
            cluster.pools[0].image = Some("u-3.0".parse().unwrap());
        }
    };
    prop_oneof![
        Just(Act::Stop),
        Just(Act::Run),
        Just(Act::Run),
        Just(Act::Restart),
        Just(Act::Approve),
        Just(Act::Change(unhealthy)),
        Just(Act::Change(healthy)),
        Just(Act::Change(moved)),
        name().prop_map(Act::Leave),
        (name(), any::<bool>()).prop_map(|(name, hold)| Act::Hold(name, hold)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_only_what_the_run_updated_goes_back_and_once(
        script in prop::collection::vec((0..400_i64, acts()), 0..12),
        failures in prop::collection::vec(0..3_i32, 3),
        at_once in 1..3_usize,
        tolerated in 0..3_usize,
        restorable in prop::collection::vec(any::<bool>(), 2),
    ) {
        let mut player = run();
        let strategy = player.spec.strategy.as_mut().unwrap();
        strategy.stages[0].max_allowed_failures = Some(tolerated.to_string());
        strategy.stages[0].groups[0].max_allowed_failures = Some(tolerated.to_string());
        strategy.stages[0].groups[0].max_concurrency = Some(at_once.to_string());
        for (name, times) in ["c1", "c2", "p1"].iter().zip(failures) {
            player = player.fails(name, times);
        }
        for (name, restorable) in ["c1", "c2"].iter().zip(restorable) {
            if !restorable {
                known(&mut player.observed, name).restorable = Restorable::nothing();
            }
        }
        player.script = script;
        let mut steps = 0;
        while player.step_and(check, settled) {
            steps += 1;
            prop_assert!(steps < 2_000, "the run does not come to rest:\n{}", player.history);
        }
        let status = player.status.as_ref().unwrap();
        for (name, target) in &player.put_back {
            let attempts = (status.stages.iter().flat_map(members))
                .find(|member| member.name == *name)
                .map_or(0, |member| member.attempt);
            let times = put_back(&player).iter().filter(|other| *other == name).count();
            prop_assert!(times <= usize::try_from(attempts).unwrap());
            prop_assert!(player.begun.contains_key(name) && target.node_images == [BEFORE]);
        }
    }
}
