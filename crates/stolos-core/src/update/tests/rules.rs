//! Rules that no history of its own tells: one test for each. `docs/reference/update-rules.md` names them.

use serde_json::{Value, json};
use stolos_api::update::SkipTargetType::{Group, Member, Stage};
use stolos_api::update::{
    GateState, MemberStatus, RequestedGateState, RunState, StageStatus, State, UpdateRunStatus,
};

use super::player::{Act, Player, cluster, named};
use crate::update::cluster::{Cluster, Inspection, Offer};
use crate::update::states::members;
use crate::update::{Run, plan};

const TWO_GROUPS: &[(&str, &[&str])] = &[("canary", &["c1"]), ("prod", &["p1", "p2"])];

fn played(mut player: Player) -> Player {
    while player.step(|_, _, _| ()) {}
    player
}

fn status(player: &Player) -> &UpdateRunStatus {
    player.status.as_ref().unwrap()
}

fn stage(player: &Player, index: usize) -> &StageStatus {
    &status(player).stages[index]
}

fn member<'a>(player: &'a Player, name: &str) -> &'a MemberStatus {
    let mut all = status(player).stages.iter().flat_map(members);
    all.find(|member| member.name == name).unwrap()
}

/// Lines of a history, without the indentation that depends on how long it is.
fn told(history: &str, words: &[&str]) -> Vec<String> {
    let lines = history.lines().map(str::trim_start);
    let about = |line: &&str| words.iter().any(|word| line.contains(word));
    lines.filter(about).map(str::to_owned).collect()
}

fn cluster_of(player: &mut Player, name: &str, change: impl FnOnce(&mut Cluster)) {
    let member = player.observed.members.get_mut(name).unwrap();
    let Inspection::Known(cluster) = &mut member.cluster else { panic!("{name} is not known") };
    change(cluster);
}

fn window(player: &mut Player, name: &str, opens: &str) {
    let member = player.observed.members.get_mut(name).unwrap();
    member.windows.kubernetes = serde_json::from_value(json!({
        "schedule": {"daily": {"intervalDays": 1}}, "durationHours": 1, "startTime": opens,
    }))
    .unwrap();
}

#[test]
fn a_stage_without_groups_is_one_group_with_the_stages_concurrency() {
    let stages =
        json!([{"name": "all", "memberSelector": {"byLabel": "tier"}, "maxConcurrency": "2"}]);
    let groups: &[(&str, &[&str])] = &[("prod", &["p1", "p2", "p3", "p4"])];
    let mut player = Player::new(groups, &stages);
    for name in ["p1", "p2", "p3"] {
        let member = player.observed.members.get_mut(name).unwrap();
        member.labels.insert("tier".into(), "gold".into());
    }
    player.step(|_, _, _| ());
    let group = &stage(&player, 0).groups[0];
    assert_eq!((group.name.as_str(), group.max_concurrency, group.members.len()), ("all", 2, 3));
    assert_eq!(named(status(&player), State::Running), ["p1".into(), "p2".into()].into());
}

#[test]
fn defaults_and_percentages_are_resolved_when_the_members_are_fixed() {
    let stages = json!([
        {"name": "a", "groups": [{"name": "canary"}]},
        {"name": "b", "maxConcurrency": "30%", "maxAllowedFailures": "25%",
         "groups": [{"name": "prod", "maxConcurrency": "15%", "maxAllowedFailures": "1%"}]},
    ]);
    let groups: &[(&str, &[&str])] =
        &[("canary", &["c1"]), ("prod", &["p1", "p2", "p3", "p4", "p5", "p6", "p7"])];
    let mut player = Player::new(groups, &stages);
    player.spec.state = RunState::Initialize;
    player.step(|_, _, _| ());
    let limits = |index: usize| {
        let stage = stage(&player, index);
        let group = &stage.groups[0];
        [
            stage.max_concurrency,
            stage.max_allowed_failures,
            group.max_concurrency,
            group.max_allowed_failures,
        ]
    };
    assert_eq!((limits(0), limits(1)), ([50, 0, 1, 0], [2, 2, 1, 1]));
}

#[test]
fn a_group_is_done_once_its_after_gates_are_completed() {
    let stages = json!([{"name": "first", "groups": [
        {"name": "canary", "afterGates": [{"type": "Approval", "displayName": "checked"}]},
        {"name": "prod"},
    ]}]);
    let player = Player::new(TWO_GROUPS, &stages).takes("p1", 4).at(9, Act::Approve);
    assert_eq!(
        told(&player.play(), &["group canary", "gate", "run", "member p2"]),
        [
            "0 run Running",
            "0 group canary Running",
            "1 gate checked Pending",
            "1 group canary Pending",
            "4 member p2 Running",
            "5 run Pending",
            "5 member p2 Completed",
            "9 run Completed",
            "9 gate checked Completed",
            "9 group canary Completed",
        ]
    );
}

#[test]
fn gates_of_one_place_open_at_once_and_all_must_be_completed() {
    let gate = |name: &str| json!({"type": "Approval", "displayName": name});
    let stages = json!([{
        "name": "first", "groups": [{"name": "canary"}], "beforeGates": [gate("one"), gate("two")],
    }]);
    let approve_one = |observed: &mut crate::update::Observed, _| {
        for gate in observed.gates.values_mut() {
            if gate.spec.display_name.as_deref() == Some("one") {
                gate.spec.state = RequestedGateState::Completed;
            }
        }
    };
    let player =
        Player::new(TWO_GROUPS, &stages).at(5, Act::Change(approve_one)).at(9, Act::Approve);
    assert_eq!(
        told(&player.play(), &["gate", "member"]),
        [
            "0 gate one Pending",
            "0 gate two Pending",
            "5 gate one Completed",
            "9 gate two Completed",
            "9 member c1 Running",
            "10 member c1 Completed",
        ]
    );
}

#[test]
fn what_stands_behind_a_gate_has_not_begun_and_gates_exist_from_the_arrival_on() {
    let gate = json!([{"type": "Approval", "displayName": "go"}]);
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "beforeGates": gate},
        {"name": "second", "groups": [{"name": "prod"}], "beforeGates": gate},
    ]);
    let mut player = Player::new(TWO_GROUPS, &stages);
    player.step(|_, _, _| ());
    let run = status(&player);
    assert_eq!(run.status.state, State::Pending);
    assert!(run.status.start_time.is_some());
    let (first, second) = (stage(&player, 0), stage(&player, 1));
    assert_eq!(first.status.state, State::Pending);
    assert_eq!(
        (&first.status.start_time, &first.before_gates[0].status.start_time),
        (&None, &None)
    );
    assert_eq!(first.groups[0].status.state, State::NotStarted);
    assert_eq!(first.before_gates[0].status.state, State::Pending);
    assert!(first.before_gates[0].gate_id.is_some());
    assert_eq!(second.before_gates[0].status.state, State::NotStarted);
    assert_eq!(second.before_gates[0].gate_id, None);
    assert_eq!(player.observed.gates.len(), 1);
}

fn scheduled() -> Value {
    json!([{
        "name": "first", "groups": [{"name": "canary"}],
        "beforeGates": [{"type": "ScheduledStart", "displayName": "night", "scheduledStartConfiguration":
            {"startDay": "Wednesday", "startTime": "10:01", "utcOffset": "+00:00"}}],
    }])
}

#[test]
fn a_scheduled_start_can_be_completed_early() {
    let player = Player::new(TWO_GROUPS, &scheduled()).at(5, Act::Approve);
    assert_eq!(
        told(&player.play(), &["gate", "member"]),
        [
            "0 gate night Pending",
            "5 gate night Completed",
            "5 member c1 Running",
            "6 member c1 Completed"
        ]
    );
}

#[test]
fn a_scheduled_start_and_a_window_must_both_allow() {
    let mut player = Player::new(TWO_GROUPS, &scheduled());
    window(&mut player, "c1", "10:02");
    assert_eq!(
        told(&player.play(), &["gate", "member"]),
        [
            "0 gate night Pending",
            "60 gate night Completed",
            "60 member c1 Pending",
            "120 member c1 Running",
            "121 member c1 Completed",
        ]
    );
}

#[test]
fn a_run_whose_stages_are_all_skipped_is_skipped_for_good() {
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    let mut player = Player::new(TWO_GROUPS, &stages).at(5, Act::Restart);
    let both = json!([{"type": "Stage", "name": "first"}, {"type": "Stage", "name": "second"}]);
    player.spec.skip = serde_json::from_value(both).unwrap();
    let player = played(player);
    assert_eq!(status(&player).status.state, State::Skipped);
    assert!(player.begun.is_empty());
}

#[test]
fn a_skip_reaches_neither_what_runs_nor_what_has_ended() {
    let stages = json!([{"name": "first", "groups": [{"name": "canary"}, {"name": "prod"}]}]);
    let player = Player::new(TWO_GROUPS, &stages)
        .takes("p1", 3)
        .at(1, Act::Skip(Group, "prod"))
        .at(2, Act::Skip(Member, "c1"));
    let player = played(player);
    assert_eq!(named(status(&player), State::Completed), ["c1".into(), "p1".into()].into());
    let skipped = member(&player, "p2");
    assert_eq!(skipped.status.state, State::Skipped);
    assert_eq!(skipped.message.as_deref(), Some("skipped by request."));
    assert_eq!(skipped.reason.as_deref(), Some("SkippedByRequest"));
    let second = skipped.status.completed_time.as_ref().unwrap().0.to_string();
    assert_eq!(second, "2026-03-04T10:00:01Z", "at once");
}

#[test]
fn a_skip_works_before_the_start() {
    let mut player = Player::new(TWO_GROUPS, &Value::Null);
    player.spec.state = RunState::Initialize;
    player.spec.skip = serde_json::from_value(json!([{"type": "Member", "name": "p1"}])).unwrap();
    player.step(|_, _, _| ());
    assert_eq!(member(&player, "p1").status.state, State::Skipped);
    player.spec.state = RunState::Run;
    let player = played(player);
    assert_eq!(named(status(&player), State::Completed), ["c1".into(), "p2".into()].into());
}

#[test]
fn a_stage_counts_the_failures_of_all_its_groups() {
    let stages = json!([{"name": "first", "maxAllowedFailures": "1", "groups": [
        {"name": "canary", "maxAllowedFailures": "100%"}, {"name": "prod", "maxAllowedFailures": "100%"},
    ]}]);
    let player = Player::new(TWO_GROUPS, &stages).fails("c1", 1).fails("p1", 1).takes("p1", 2);
    let player = played(player);
    let run = status(&player);
    assert_eq!((run.status.state, run.failure_count), (State::Failed, 2));
    let error = run.status.error.as_ref().unwrap();
    assert_eq!(error.code, "FailureThresholdExceeded");
    assert_eq!(error.message, "stage `first`: 2 failed, 1 allowed: c1, p1");
    let first = stage(&player, 0);
    assert_eq!((first.status.state, first.failure_count), (State::Failed, 2));
    assert_eq!(first.groups.iter().map(|group| group.failure_count).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(first.groups[0].status.state, State::Completed, "it tolerates its own");
    assert!(!player.begun.contains_key("p2"));
}

#[test]
fn a_run_that_tolerated_failures_is_completed_and_counts_them() {
    let stages = json!([{"name": "first", "maxAllowedFailures": "1", "groups": [
        {"name": "canary", "maxAllowedFailures": "1"},
    ]}]);
    let player = played(Player::new(TWO_GROUPS, &stages).fails("c1", 1));
    let run = status(&player);
    assert_eq!((run.status.state, run.failure_count), (State::Completed, 1));
    assert_eq!(stage(&player, 0).groups[0].status.state, State::Completed, "all of them failed");
    let error = member(&player, "c1").status.error.as_ref().unwrap();
    assert_eq!((error.code.as_str(), error.details[0].code.as_str()), ("UpgradeFailed", "Boom"));
}

#[test]
fn a_window_that_closes_does_not_interrupt_an_upgrade() {
    let mut player = Player::new(TWO_GROUPS, &Value::Null).takes("c1", 7200);
    window(&mut player, "c1", "09:30");
    let told = told(&player.play(), &["member c1"]);
    assert_eq!(told, ["0 member c1 Running", "7200 member c1 Completed"]);
}

#[test]
fn windows_that_open_soon_go_before_members_without_and_closed_ones_last() {
    let groups: &[(&str, &[&str])] = &[("prod", &["a", "b", "c"])];
    let mut player = Player::new(groups, &Value::Null);
    window(&mut player, "a", "22:00");
    window(&mut player, "c", "13:59");
    player.step(|_, _, _| ());
    let states = ["a", "b", "c"].map(|name| member(&player, name).status.state);
    assert_eq!(states, [State::NotStarted, State::Running, State::Pending], "c was asked before b");
}

/// A run over node images, on clusters with one pool of this image that can have these.
fn images(selection: &Value, clusters: &[(&'static str, &str, &[&str])]) -> Player {
    let names: Vec<&'static str> = clusters.iter().map(|(name, ..)| *name).collect();
    let mut player = Player::new(&[("prod", names.as_slice())], &Value::Null);
    player.spec.managed_cluster_update = serde_json::from_value(json!({
        "upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": selection,
    }))
    .unwrap();
    for (name, image, offered) in clusters {
        cluster_of(&mut player, name, |cluster| {
            cluster.pools[0].image = Some(image.parse().unwrap());
            let offered = offered.iter().map(|image| image.parse().unwrap());
            cluster.images = Offer::These(offered.collect());
        });
    }
    player
}

#[test]
fn the_window_that_counts_is_that_of_what_is_upgraded() {
    let clusters: &[(&'static str, &str, &[&str])] = &[("m", "u-1.0", &["u-1.0", "u-2.0"])];
    let mut player = images(&json!({"type": "Latest"}), clusters);
    window(&mut player, "m", "22:00");
    player.step(|_, _, _| ());
    assert_eq!(member(&player, "m").status.state, State::Running, "that of versions is closed");
    let mut player = images(&json!({"type": "Latest"}), clusters);
    window(&mut player, "m", "22:00");
    let windows = &mut player.observed.members.get_mut("m").unwrap().windows;
    windows.node_image = windows.kubernetes.take();
    player.step(|_, _, _| ());
    let error = member(&player, "m").status.error.as_ref().unwrap();
    assert_eq!(error.code, "MaintenanceWindowNotOpen");
}

#[test]
fn consistent_images_are_shown_before_the_start_and_fixed_with_it() {
    let mut player = images(
        &json!({"type": "Consistent"}),
        &[("a", "u-1.0", &["u-1.0", "u-2.0", "u-3.0"]), ("b", "u-1.0", &["u-1.0", "u-2.0"])],
    );
    let chosen = |player: &Player| -> Vec<String> {
        let images = status(player).node_image_selection.iter();
        let images = images.flat_map(|chosen| &chosen.selected_node_image_versions);
        images.map(|image| image.version.clone()).collect()
    };
    player.spec.state = RunState::Initialize;
    player.step(|_, _, _| ());
    assert_eq!(chosen(&player), ["u-2.0"]);
    player.spec.state = RunState::Run;
    player.step(|_, _, _| ());
    let all = || Offer::These(["u-2.0", "u-3.0"].map(|image| image.parse().unwrap()).into());
    cluster_of(&mut player, "b", |cluster| cluster.images = all());
    let player = played(player);
    assert_eq!(chosen(&player), ["u-2.0"]);
    let target = member(&player, "b").target.as_ref().unwrap();
    assert_eq!(target.node_images, ["u-2.0"]);
}

#[test]
fn latest_is_the_newest_image_of_each_members_region() {
    let mut player = images(
        &json!({"type": "Latest"}),
        &[("a", "u-1.0", &["u-1.0", "u-3.0"]), ("b", "u-1.0", &["u-1.0", "u-2.0"])],
    );
    player.step(|_, _, _| ());
    let player = played(player);
    let targets = ["a", "b"].map(|name| member(&player, name).target.clone().unwrap().node_images);
    assert_eq!(targets, [["u-3.0"], ["u-2.0"]]);
}

#[test]
fn pools_that_are_ahead_of_the_run_are_left_alone_and_named() {
    let mut player = images(
        &json!({"type": "Custom", "customNodeImageVersions": [{"version": "u-2.0"}]}),
        &[("m", "u-1.0", &["u-1.0", "u-2.0", "u-3.0"])],
    );
    cluster_of(&mut player, "m", |cluster| {
        let mut ahead = cluster.pools[0].clone();
        (ahead.name, ahead.image) = ("win".into(), Some("u-3.0".parse().unwrap()));
        cluster.pools.push(ahead);
    });
    player.step(|_, _, _| ());
    assert_eq!(
        member(&player, "m").message.as_deref(),
        Some(
            "Skipped upgrade of following agent pool(s): current node image version \"u-3.0\" of agent pool \"win\" \
             is already at or ahead of target upgrade version \"u-2.0\"."
        )
    );
}

#[test]
fn a_member_waits_for_a_version_and_begins_when_it_arrives() {
    let arrive = |observed: &mut crate::update::Observed, _| {
        observed.members.get_mut("c1").unwrap().cluster = Inspection::Known(cluster("1.33.0"));
    };
    let mut player = Player::new(TWO_GROUPS, &Value::Null).at(30, Act::Change(arrive));
    cluster_of(&mut player, "c1", |cluster| {
        cluster.versions = Offer::These(vec!["1.33.0".parse().unwrap()]);
    });
    player.step(|_, _, _| ());
    let waits = member(&player, "c1");
    let error = waits.status.error.as_ref().unwrap();
    assert_eq!(error.code, "KubernetesVersionNotAvailable");
    let prefix = "set member: c1 to Pending due to failed validation err: ";
    assert_eq!(waits.message, Some(format!("{prefix}{}", error.message)));
    let player = played(player);
    assert_eq!(
        told(&player.history, &["member c1"]),
        ["0 member c1 Pending", "30 member c1 Running", "31 member c1 Completed"]
    );
}

#[test]
fn a_member_of_another_run_is_pending_with_the_holders_name() {
    let mut player = Player::new(TWO_GROUPS, &Value::Null).at(0, Act::Busy("c1"));
    player.step(|_, _, _| ());
    player.status = None;
    player.step(|_, _, _| ());
    let error = member(&player, "c1").status.error.as_ref().unwrap();
    assert_eq!(error.code, "ClusterBusy");
    assert_eq!(error.message, "the cluster is being updated by update run `other`");
}

#[test]
fn a_member_that_left_says_so_by_its_code() {
    let player = played(Player::new(TWO_GROUPS, &Value::Null).at(1, Act::Leave("p2")));
    let left = member(&player, "p2");
    assert_eq!(left.status.state, State::Skipped);
    assert_eq!(left.reason.as_deref(), Some("MemberLeft"));
    assert_eq!(left.status.error.as_ref().unwrap().code, "MemberLeft");
}

#[test]
fn a_run_that_is_deleted_begins_nothing_and_its_members_in_flight_finish() {
    let mut player = Player::new(TWO_GROUPS, &Value::Null).takes("c1", 5);
    player.step(|_, _, _| ());
    let deleting = |player: &Player| {
        plan(&Run { deleting: true, ..player.run() }, &player.observed, player.now)
    };
    // c1 has ended by now; nobody follows.
    let after = deleting(&player);
    assert!(after.start.is_empty());
    assert_eq!(named(&after.status, State::Running), [].into());
    assert_eq!(after.status.status.state, State::Stopped);
    assert_eq!(after.release, ["c1"]);
}

#[test]
fn gates_of_what_is_skipped_are_closed_as_skipped() {
    let stages = json!([{
        "name": "first", "groups": [{"name": "canary"}],
        "beforeGates": [{"type": "Approval", "displayName": "go"}],
    }]);
    let player = played(Player::new(TWO_GROUPS, &stages).at(5, Act::Skip(Stage, "first")));
    let gate = player.observed.gates.values().next().unwrap();
    assert_eq!(gate.status.as_ref().unwrap().state, GateState::Skipped);
}
