//! Histories: what happens when. Numbers are minutes.

use serde_json::json;
use stolos_api::update::{RunState, SkipTarget, SkipTargetType};

use super::player::{Player, cluster, member};
use crate::auto_upgrade::Action;

const FLEET: &[(&str, &str)] = &[("m1", "1.33.0"), ("m2", "1.33.0")];

fn rapid() -> Player {
    let mut player = Player::new(json!({"channel": "Rapid"}), FLEET);
    player.publish(&["1.33.0", "1.33.5"]);
    player
}

#[test]
fn a_profile_brings_members_to_what_is_published_and_then_rests() {
    let mut player = rapid();
    player.play(3);
    player.publish(&["1.33.5", "1.34.1"]);
    player.play(3);
    insta::assert_snapshot!(player.history, @r"
    0 create Full 1.33.5 Run
    0 Completed Full 1.33.5
    3 create Full 1.34.1 Run
    3 Completed Full 1.34.1
    ");
    assert_eq!(player.condition("UpToDate"), "True AtTarget: 2 of 2 members are at the target");
    let status = player.status.unwrap();
    assert_eq!(status.last_trigger_upgrade_versions, ["1.34.1"]);
    assert!(status.last_trigger_update_run.unwrap().starts_with("auto-nightly-rapid-1-34-1-"));
}

#[test]
fn a_member_that_was_missed_is_caught_up() {
    let mut player = rapid();
    player.play(2);
    player.observed.members.insert("late".into(), member("all", cluster("1.33.1")));
    player.play(2);
    insta::assert_snapshot!(player.history, @r"
    0 create Full 1.33.5 Run
    0 Completed Full 1.33.5
    2 create Full 1.33.5 Run
    2 Completed Full 1.33.5
    ");
}

#[test]
fn a_member_too_far_behind_is_left_out_until_it_comes_closer() {
    let mut player = rapid();
    player.publish(&["1.34.1", "1.33.5"]);
    player.observed.members.insert("old".into(), member("all", cluster("1.32.9")));
    player.play(2);
    let told = player.condition("UpToDate");
    assert!(
        told.starts_with("False MembersBehind: 2 of 3 members are at the target; behind: old ("),
        "{told}"
    );
    player.observed.members.insert("old".into(), member("all", cluster("1.33.2")));
    player.play(1);
    insta::assert_snapshot!(player.history, @r"
    0 create Full 1.34.1 Run, without old
    0 Completed Full 1.34.1
    2 create Full 1.34.1 Run
    2 Completed Full 1.34.1
    ");
}

#[test]
fn a_failed_run_is_started_again_after_growing_pauses_and_not_for_ever() {
    let mut player = rapid();
    player.failing.insert("m2".into());
    player.play(200);
    insta::assert_snapshot!(player.history, @r"
    0 create Full 1.33.5 Run
    0 Failed Full 1.33.5
    10 restart Full 1.33.5
    10 Failed Full 1.33.5
    30 restart Full 1.33.5
    30 Failed Full 1.33.5
    70 restart Full 1.33.5
    70 Failed Full 1.33.5
    ");
    assert!(player.condition("Ready").starts_with("False UpdateRunFailed: update run `auto-"));
    player.failing.clear();
    player.publish(&["1.33.6"]);
    player.play(1);
    assert!(player.history.ends_with("Completed Full 1.33.6\n"), "{}", player.history);
}

#[test]
fn a_publication_only_profile_acts_on_publications_after_its_creation() {
    let spec = json!({"channel": "Rapid", "reconcile": "Published"});
    let mut player = Player::new(spec, FLEET);
    player.publish(&["1.33.5"]);
    player.play(2);
    player.publish(&["1.33.5", "1.33.6"]);
    player.play(1);
    player.observed.members.insert("late".into(), member("all", cluster("1.33.1")));
    player.play(2);
    // A version that is withdrawn and published again is not new.
    player.publish(&["1.33.5"]);
    player.play(1);
    player.publish(&["1.33.6"]);
    player.play(1);
    insta::assert_snapshot!(player.history, @r"
    2 create Full 1.33.6 Run
    2 Completed Full 1.33.6
    ");
}

#[test]
fn a_disabled_profile_starts_nothing_but_generates() {
    let mut player = rapid();
    player.spec.disabled = true;
    player.play(2);
    assert_eq!(player.history, "");
    player.spec.generate = 1;
    player.play(2);
    let first = player.status.as_ref().unwrap().generated.clone().unwrap();
    player.spec.generate = 2;
    player.play(2);
    let second = player.status.as_ref().unwrap().generated.clone().unwrap();
    assert_eq!((first.request, second.request), (1, 2));
    assert!(first.update_run.is_some());
    assert_eq!(first.update_run, second.update_run);
    insta::assert_snapshot!(player.history, @"2 create Full 1.33.5 Initialize");
    let run = &player.observed.runs[&first.update_run.unwrap()];
    assert_eq!(run.spec.state, RunState::Initialize);
}

#[test]
fn a_request_that_cannot_be_answered_says_why() {
    let mut player = Player::new(
        json!({"channel": "Rapid", "strategyName": "gone", "disabled": true, "generate": 1}),
        FLEET,
    );
    player.publish(&["1.33.5"]);
    player.play(1);
    let answer = player.status.as_ref().unwrap().generated.clone().unwrap();
    assert_eq!((answer.request, answer.update_run), (1, None));
    assert_eq!(answer.error.unwrap().code, "UpdateStrategyNotFound");
    assert_eq!(player.history, "");
}

#[test]
fn a_profile_without_its_strategy_fails_once_and_goes_on_when_it_is_there() {
    let mut player = rapid();
    player.spec.strategy_name = Some("weekly".into());
    player.play(2);
    let status = player.status.clone().unwrap();
    assert_eq!(status.last_trigger_error.unwrap().code, "UpdateStrategyNotFound");
    let first = status.last_triggered_at;
    player.play(2);
    assert_eq!(player.status.as_ref().unwrap().last_triggered_at, first);
    player.observed.strategy =
        serde_json::from_value(json!({"stages": [{"name": "s", "groups": [{"name": "all"}]}]}))
            .ok();
    player.play(1);
    insta::assert_snapshot!(player.history, @r"
    4 create Full 1.33.5 Run
    4 Completed Full 1.33.5
    ");
}

#[test]
fn members_outside_the_strategy_are_nobodys_business() {
    let mut player = rapid();
    player.spec.strategy_name = Some("weekly".into());
    player.observed.strategy =
        serde_json::from_value(json!({"stages": [{"name": "s", "groups": [{"name": "other"}]}]}))
            .ok();
    player.play(2);
    assert_eq!(player.history, "");
    assert_eq!(player.condition("UpToDate"), "True AtTarget: 0 of 0 members are at the target");
}

#[test]
fn a_member_that_a_person_skipped_stays_as_it_is() {
    let mut player = rapid();
    player.settle();
    let name = player.observed.runs.keys().next().unwrap().clone();
    player.change(&name, |run| {
        let target_type = SkipTargetType::Member;
        run.spec.skip.push(SkipTarget { target_type, name: "m1".into() });
    });
    player.play(60);
    insta::assert_snapshot!(player.history, @r"
    0 create Full 1.33.5 Run
    0 Completed Full 1.33.5
    ");
    let told = player.condition("UpToDate");
    assert_eq!(told, "False MembersBehind: 1 of 2 members are at the target; behind: m1");
}

#[test]
fn control_planes_go_first_and_nodes_follow_after_a_pause_and_behind_a_gate() {
    let split = json!({"waitInSeconds": 300, "beforeNodes": [{"type": "Approval", "displayName": "nodes"}]});
    let mut player = Player::new(json!({"channel": "Rapid", "split": split}), FLEET);
    player.publish(&["1.33.5"]);
    player.play(10);
    insta::assert_snapshot!(player.history, @r"
    0 create ControlPlaneOnly 1.33.5 Run
    0 Completed ControlPlaneOnly 1.33.5
    5 create Full 1.33.5 Run
    5 Completed Full 1.33.5
    ");
    let nodes = player.observed.runs.values().find(|run| run.spec.strategy.is_some()).unwrap();
    let stages = &nodes.spec.strategy.as_ref().unwrap().stages;
    assert_eq!(stages[0].before_gates[0].display_name.as_deref(), Some("nodes"));
    assert_eq!(stages[0].max_concurrency.as_deref(), Some("1"));
}

#[test]
fn nodes_do_not_lag_a_minor_behind_because_the_next_one_came_out() {
    let mut player =
        Player::new(json!({"channel": "Rapid", "split": {"waitInSeconds": 300}}), FLEET);
    player.publish(&["1.33.5"]);
    player.play(2);
    player.publish(&["1.34.0"]);
    player.play(20);
    insta::assert_snapshot!(player.history, @r"
    0 create ControlPlaneOnly 1.33.5 Run
    0 Completed ControlPlaneOnly 1.33.5
    5 create Full 1.33.5 Run
    5 Completed Full 1.33.5
    6 create ControlPlaneOnly 1.34.0 Run
    6 Completed ControlPlaneOnly 1.34.0
    11 create Full 1.34.0 Run
    11 Completed Full 1.34.0
    ");
}

#[test]
fn a_publication_only_profile_splits_too() {
    let spec =
        json!({"channel": "Rapid", "reconcile": "Published", "split": {"waitInSeconds": 120}});
    let mut player = Player::new(spec, FLEET);
    player.publish(&["1.33.0"]);
    player.play(1);
    player.publish(&["1.33.5"]);
    player.play(6);
    insta::assert_snapshot!(player.history, @r"
    1 create ControlPlaneOnly 1.33.5 Run
    1 Completed ControlPlaneOnly 1.33.5
    3 create Full 1.33.5 Run
    3 Completed Full 1.33.5
    ");
}

#[test]
fn an_open_run_is_waited_for() {
    let mut player = rapid();
    assert_eq!(player.settle().len(), 1);
    player.publish(&["1.33.6"]);
    assert_eq!(player.settle(), []);
    assert!(player.condition("Ready").starts_with("True UpdateRunOpen: update run `auto-"));
    player.play(2);
    assert!(player.history.ends_with("Completed Full 1.33.6\n"), "{}", player.history);
}

#[test]
fn old_finished_runs_are_deleted_beyond_the_limit() {
    let mut player = rapid();
    player.spec.history_limit = Some(1);
    for patch in 6..10 {
        player.publish(&[&format!("1.33.{patch}")]);
        player.play(1);
    }
    let deleted: Vec<&str> =
        player.history.lines().filter(|line| line.contains("delete")).collect();
    assert_eq!(deleted, ["2 delete Full 1.33.6", "3 delete Full 1.33.7"]);
    assert_eq!(player.observed.runs.len(), 2);
}

#[test]
fn a_generated_run_is_started_when_it_is_due() {
    let mut player = rapid();
    player.spec.disabled = true;
    player.spec.generate = 1;
    player.play(1);
    player.spec.disabled = false;
    let actions = player.settle();
    assert!(matches!(&actions[..], [Action::Start { .. }]), "{actions:#?}");
}
