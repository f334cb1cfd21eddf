//! Histories: what happens when, for each rule that people see.

use serde_json::{Value, json};
use stolos_api::update::SkipTargetType::{AfterStageWait, Group, Member, Stage};
use stolos_api::update::{RunState, State};

use super::player::{Act, Player, cluster};
use crate::update::cluster::{Inspection, Power};
use crate::update::{code, version::Version};

const TWO_GROUPS: &[(&str, &[&str])] = &[("canary", &["c1"]), ("prod", &["p1", "p2"])];

fn canary_then_prod() -> Value {
    json!([
        {"name": "first", "groups": [{"name": "canary"}]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ])
}

/// Keeps the lines about members and the run.
fn brief(history: &str) -> String {
    let keep = |line: &&str| line.contains(" member ") || line.contains(" run ");
    history.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn stages_go_one_after_another_and_members_of_a_group_too() {
    insta::assert_snapshot!(Player::new(TWO_GROUPS, &canary_then_prod()).play(), @r"
    0 run Running
    0 stage first Running
    0 group canary Running
    0 member c1 Running
    1 stage first Completed
    1 group canary Completed
    1 member c1 Completed
    1 stage second Running
    1 group prod Running
    1 member p1 Running
    2 member p1 Completed
    2 member p2 Running
    3 run Completed
    3 stage second Completed
    3 group prod Completed
    3 member p2 Completed
    ");
}

#[test]
fn without_a_strategy_members_are_updated_one_by_one() {
    insta::assert_snapshot!(brief(&Player::new(TWO_GROUPS, &Value::Null).play()), @r"
    0 run Running
    0 member c1 Running
    1 member c1 Completed
    1 member p1 Running
    2 member p1 Completed
    2 member p2 Running
    3 run Completed
    3 member p2 Completed
    ");
}

#[test]
fn groups_of_a_stage_share_its_budget_in_turn() {
    let stages = json!([{"name": "all", "maxConcurrency": "3", "groups": [
        {"name": "a", "maxConcurrency": "2"}, {"name": "b", "maxConcurrency": "100%"},
    ]}]);
    let groups: &[(&str, &[&str])] = &[("a", &["a1", "a2", "a3"]), ("b", &["b1", "b2", "b3"])];
    let player = Player::new(groups, &stages).takes("a1", 5);
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Running
    0 member a1 Running
    0 member a2 Running
    0 member b1 Running
    1 member a2 Completed
    1 member a3 Running
    1 member b1 Completed
    1 member b2 Running
    2 member a3 Completed
    2 member b2 Completed
    2 member b3 Running
    3 member b3 Completed
    5 run Completed
    5 member a1 Completed
    ");
}

#[test]
fn the_next_stage_waits_for_the_wait_of_the_stage_before() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 60},
        {"name": "second", "groups": [{"name": "prod"}], "afterStageWaitInSeconds": 5},
    ]);
    insta::assert_snapshot!(Player::new(TWO_GROUPS, &stages).play(), @r"
     0 run Running
     0 stage first Running
     0 group canary Running
     0 member c1 Running
     1 wait first Running
     1 group canary Completed
     1 member c1 Completed
    61 stage first Completed
    61 wait first Completed
    61 stage second Running
    61 group prod Running
    61 member p1 Running
    62 member p1 Completed
    62 member p2 Running
    63 wait second Running
    63 group prod Completed
    63 member p2 Completed
    68 run Completed
    68 stage second Completed
    68 wait second Completed
    ");
}

#[test]
fn the_first_failure_ends_scheduling_and_members_in_flight_finish() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}, {"name": "prod", "maxConcurrency": "2"}]},
    ]);
    let groups: &[(&str, &[&str])] = &[("canary", &["c1", "c2"]), ("prod", &["p1", "p2", "p3"])];
    let player = Player::new(groups, &stages).fails("c1", 1).takes("p1", 3).takes("p2", 4);
    insta::assert_snapshot!(player.play(), @r"
    0 run Running
    0 stage first Running
    0 group canary Running
    0 group prod Running
    0 member c1 Running
    0 member p1 Running
    0 member p2 Running
    1 run Stopping
    1 stage first Stopping
    1 group canary Failed
    1 group prod Stopping
    1 member c1 Failed
    3 member p1 Completed
    4 run Failed
    4 stage first Failed
    4 group prod Stopped
    4 member p2 Completed
    ");
}

#[test]
fn tolerated_failures_do_not_hold_up_the_run() {
    let stages = json!([
        {"name": "first", "maxAllowedFailures": "1", "groups": [{"name": "prod", "maxAllowedFailures": "50%"}]},
    ]);
    let player = Player::new(TWO_GROUPS, &stages).fails("p1", 1);
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Running
    0 member p1 Running
    1 member p1 Failed
    1 member p2 Running
    2 run Completed
    2 member p2 Completed
    ");
}

#[test]
fn a_restart_tries_failed_members_again_and_nothing_else() {
    let player = Player::new(TWO_GROUPS, &canary_then_prod()).fails("p1", 1).at(10, Act::Restart);
    insta::assert_snapshot!(brief(&player.play()), @r"
     0 run Running
     0 member c1 Running
     1 member c1 Completed
     1 member p1 Running
     2 run Failed
     2 member p1 Failed
    10 run Running
    10 member p1 Running
    11 member p1 Completed
    11 member p2 Running
    12 run Completed
    12 member p2 Completed
    ");
}

#[test]
fn a_stop_lets_members_in_flight_finish_and_a_start_continues() {
    let player = Player::new(TWO_GROUPS, &canary_then_prod())
        .takes("c1", 3)
        .takes("p1", 10)
        .at(5, Act::Stop)
        .at(20, Act::Run);
    insta::assert_snapshot!(player.play(), @r"
     0 run Running
     0 stage first Running
     0 group canary Running
     0 member c1 Running
     3 stage first Completed
     3 group canary Completed
     3 member c1 Completed
     3 stage second Running
     3 group prod Running
     3 member p1 Running
     5 run Stopping
     5 stage second Stopping
     5 group prod Stopping
     5 member p2 Stopped
    13 run Stopped
    13 stage second Stopped
    13 group prod Stopped
    13 member p1 Completed
    20 run Running
    20 stage second Running
    20 group prod Running
    20 member p2 Running
    21 run Completed
    21 stage second Completed
    21 group prod Completed
    21 member p2 Completed
    ");
}

#[test]
fn skipped_members_groups_stages_and_waits_are_left_out() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 600},
        {"name": "second", "groups": [{"name": "prod", "beforeGates": [{"type": "Approval", "displayName": "go"}]}]},
        {"name": "third", "groups": [{"name": "rest"}]},
    ]);
    let groups: &[(&str, &[&str])] =
        &[("canary", &["c1"]), ("prod", &["p1", "p2"]), ("rest", &["r1", "r2"])];
    let player = Player::new(groups, &stages)
        .at(0, Act::Skip(Member, "r1"))
        .at(3, Act::Skip(AfterStageWait, "first"))
        .at(7, Act::Skip(Group, "prod"));
    insta::assert_snapshot!(player.play(), @r"
    0 run Running
    0 stage first Running
    0 group canary Running
    0 member c1 Running
    0 member r1 Skipped
    1 wait first Running
    1 group canary Completed
    1 member c1 Completed
    3 run Pending
    3 stage first Completed
    3 wait first Skipped
    3 stage second Pending
    3 gate go Pending
    3 group prod Pending
    7 run Running
    7 stage second Skipped
    7 gate go Skipped
    7 group prod Skipped
    7 member p1 Skipped
    7 member p2 Skipped
    7 stage third Running
    7 group rest Running
    7 member r2 Running
    8 run Completed
    8 stage third Completed
    8 group rest Completed
    8 member r2 Completed
    ");
}

#[test]
fn a_skipped_stage_ends_its_wait_and_its_gates() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 600,
         "beforeGates": [{"type": "Approval", "displayName": "go"}]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    let player = Player::new(TWO_GROUPS, &stages).at(5, Act::Skip(Stage, "first"));
    insta::assert_snapshot!(player.play(), @r"
    0 run Pending
    0 stage first Pending
    0 gate go Pending
    5 run Running
    5 stage first Skipped
    5 wait first Skipped
    5 gate go Skipped
    5 group canary Skipped
    5 member c1 Skipped
    5 stage second Running
    5 group prod Running
    5 member p1 Running
    6 member p1 Completed
    6 member p2 Running
    7 run Completed
    7 stage second Completed
    7 group prod Completed
    7 member p2 Completed
    ");
}

#[test]
fn gates_hold_back_what_they_stand_before() {
    let stages = json!([{
        "name": "first",
        "beforeGates": [{"type": "Approval", "displayName": "before"}],
        "afterGates": [{"type": "Approval", "displayName": "after"}],
        "afterStageWaitInSeconds": 5,
        "groups": [
            {"name": "canary"},
            {"name": "prod", "beforeGates": [{"type": "Approval", "displayName": "prod"}]},
        ],
    }]);
    let player = Player::new(TWO_GROUPS, &stages)
        .at(10, Act::Approve)
        .at(20, Act::Approve)
        .at(30, Act::Approve);
    insta::assert_snapshot!(player.play(), @r"
     0 run Pending
     0 stage first Pending
     0 gate before Pending
    10 run Running
    10 stage first Running
    10 gate before Completed
    10 gate prod Pending
    10 group canary Running
    10 group prod Pending
    10 member c1 Running
    11 run Pending
    11 stage first Pending
    11 group canary Completed
    11 member c1 Completed
    20 run Running
    20 stage first Running
    20 gate prod Completed
    20 group prod Running
    20 member p1 Running
    21 member p1 Completed
    21 member p2 Running
    22 run Pending
    22 stage first Pending
    22 wait first Running
    22 gate after Pending
    22 group prod Completed
    22 member p2 Completed
    27 wait first Completed
    30 run Completed
    30 stage first Completed
    30 gate after Completed
    ");
}

#[test]
fn a_scheduled_start_completes_by_itself() {
    let stages = json!([{
        "name": "first",
        "beforeGates": [{"type": "ScheduledStart", "displayName": "night", "scheduledStartConfiguration":
            {"startDay": "Wednesday", "startTime": "10:01", "utcOffset": "+00:00"}}],
        "groups": [{"name": "canary"}],
    }]);
    insta::assert_snapshot!(Player::new(TWO_GROUPS, &stages).play(), @r"
     0 run Pending
     0 stage first Pending
     0 gate night Pending
    60 run Running
    60 stage first Running
    60 gate night Completed
    60 group canary Running
    60 member c1 Running
    61 run Completed
    61 stage first Completed
    61 group canary Completed
    61 member c1 Completed
    ");
}

#[test]
fn a_stop_at_a_gate_and_a_start_after_the_approval_go_on() {
    let stages = json!([{
        "name": "first", "groups": [{"name": "canary"}],
        "beforeGates": [{"type": "Approval", "displayName": "go"}],
    }]);
    let player =
        Player::new(TWO_GROUPS, &stages).at(5, Act::Stop).at(6, Act::Approve).at(7, Act::Run);
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Pending
    5 run Stopped
    7 run Running
    7 member c1 Running
    8 run Completed
    8 member c1 Completed
    ");
}

#[test]
fn a_pending_member_does_not_hold_up_its_group() {
    let player =
        Player::new(TWO_GROUPS, &canary_then_prod()).at(0, Act::Busy("p1")).at(10, Act::Free("p1"));
    insta::assert_snapshot!(brief(&player.play()), @r"
     0 run Running
     0 member c1 Running
     1 member c1 Completed
     1 member p1 Pending
     1 member p2 Running
     2 run Pending
     2 member p2 Completed
    10 run Running
    10 member p1 Running
    11 run Completed
    11 member p1 Completed
    ");
}

#[test]
fn a_member_that_leaves_ends_as_skipped() {
    let player = Player::new(TWO_GROUPS, &canary_then_prod()).at(1, Act::Leave("p2"));
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Running
    0 member c1 Running
    1 member c1 Completed
    1 member p1 Running
    1 member p2 Skipped
    2 run Completed
    2 member p1 Completed
    ");
}

#[test]
fn members_at_the_target_or_stopped_are_skipped_and_empty_groups_end_with_the_start() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}, {"name": "empty", "beforeGates": [{"type": "Approval", "displayName": "never"}]}]},
        {"name": "void", "groups": [{"name": "nobody"}], "afterStageWaitInSeconds": 600},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    let mut player = Player::new(TWO_GROUPS, &stages);
    player.observed.members.get_mut("p1").unwrap().cluster = Inspection::Known(cluster("1.34.1"));
    let mut stopped = cluster("1.33.0");
    stopped.power = Power::Stopped;
    player.observed.members.get_mut("p2").unwrap().cluster = Inspection::Known(stopped);
    insta::assert_snapshot!(player.play(), @r"
    0 run Running
    0 stage first Running
    0 group canary Running
    0 group empty Skipped
    0 member c1 Running
    0 stage void Skipped
    0 wait void Skipped
    0 group nobody Skipped
    1 run Completed
    1 stage first Completed
    1 group canary Completed
    1 member c1 Completed
    1 stage second Skipped
    1 group prod Skipped
    1 member p1 Skipped
    1 member p2 Skipped
    ");
}

#[test]
fn a_member_that_would_skip_a_minor_fails_the_run() {
    let mut player = Player::new(TWO_GROUPS, &canary_then_prod());
    let mut old = cluster("1.33.0");
    old.control_plane = Version { major: 1, minor: 32, patch: 0 };
    player.observed.members.get_mut("c1").unwrap().cluster = Inspection::Known(old);
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Failed
    0 member c1 Failed
    ");
}

#[test]
fn before_the_start_a_run_shows_its_members_and_follows_the_fleet() {
    let mut player = Player::new(TWO_GROUPS, &canary_then_prod());
    player.spec.state = RunState::Initialize;
    assert!(!player.step(|_, _, _| ()));
    let status = player.status.clone().unwrap();
    assert_eq!(status.status.state, State::NotStarted);
    assert_eq!(status.progress.as_deref(), Some("0/3"));
    player.observed.members.remove("p2");
    player.step(|_, _, _| ());
    assert_eq!(player.status.clone().unwrap().progress.as_deref(), Some("0/2"));
}

#[test]
fn a_member_that_joins_after_the_start_is_not_taken_in() {
    let mut player = Player::new(TWO_GROUPS, &canary_then_prod());
    player.step(|_, _, _| ());
    let mut newcomer = player.observed.members["p1"].clone();
    newcomer.cluster_resource_id = "new".into();
    player.observed.members.insert("p3".into(), newcomer);
    while player.step(|_, _, _| ()) {}
    assert_eq!(player.status.unwrap().progress.as_deref(), Some("3/3"));
}

#[test]
fn a_strategy_is_copied_once() {
    let mut player = Player::new(TWO_GROUPS, &Value::Null);
    player.spec.strategy_name = Some("weekly".into());
    player.spec.state = RunState::Initialize;
    player.step(|_, _, _| ());
    let error = player.status.clone().unwrap().status.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.target.as_deref()),
        (code::STRATEGY_NOT_FOUND, Some("spec.strategyName"))
    );

    player.strategy = Some(serde_json::from_value(json!({"stages": canary_then_prod()})).unwrap());
    player.step(|_, _, _| ());
    assert_eq!(player.status.clone().unwrap().status.error, None);
    player.strategy = None;
    player.spec.state = RunState::Run;
    while player.step(|_, _, _| ()) {}
    let status = player.status.unwrap();
    assert_eq!(status.status.state, State::Completed);
    assert_eq!(status.stages.len(), 2);
}

#[test]
fn a_run_that_is_written_wrong_does_not_start_and_says_why() {
    let stages = json!([{"name": "first", "groups": [{"name": "canary", "maxConcurrency": "9"}]}]);
    let mut player = Player::new(TWO_GROUPS, &stages);
    assert!(!player.step(|_, _, _| ()));
    let status = player.status.unwrap();
    assert_eq!(status.status.state, State::NotStarted);
    let error = status.status.error.unwrap();
    assert_eq!(error.target.as_deref(), Some("spec.strategy.stages[0].groups[0].maxConcurrency"));
    insta::assert_snapshot!(error.message, @"spec.strategy.stages[0].groups[0].maxConcurrency is `9`, but must be at most the number of members in the group, 1");
}

#[test]
fn skipping_what_the_run_does_not_have_is_a_warning() {
    let mut player = Player::new(TWO_GROUPS, &canary_then_prod()).at(0, Act::Skip(Group, "nobody"));
    while player.step(|_, _, _| ()) {}
    insta::assert_snapshot!(player.status.unwrap().warnings.join("\n"), @"skip names Group `nobody`, which the run does not have");
}
