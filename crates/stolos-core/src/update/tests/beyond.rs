//! Histories of what Azure's runs do not have, and of what they have in preview: windows, policies, thresholds, health.

use jiff::Timestamp;
use serde_json::{Value, json};
use stolos_api::update::{MemberAction, MemberPolicy, MemberStatus, PreflightCheck, State};

use super::player::{Act, Player, cluster};
use crate::update::cluster::{Finding, Hold, Inspection, Power, RequestedApi};
use crate::update::probe::{Found, record};
use crate::update::states::members;
use crate::update::{Observed, retry};

const PROD: &[(&str, &[&str])] = &[("prod", &["p1", "p2", "p3"])];

/// Keeps the lines about members and the run.
fn brief(history: &str) -> String {
    let keep = |line: &&str| line.contains(" member ") || line.contains(" run ");
    history.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

fn prod(more: Value) -> Value {
    let mut group = json!({"name": "prod"});
    group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([{"name": "first", "groups": [group], "maxAllowedFailures": "100%"}])
}

/// A daily window of an hour. Plays begin at 10:00:00.
fn window(player: &mut Player, member: &str, opens: &str) {
    let member = player.observed.members.get_mut(member).unwrap();
    member.windows = serde_json::from_value(json!({"kubernetes": {
        "schedule": {"daily": {"intervalDays": 1}}, "durationHours": 1, "startTime": opens,
    }}))
    .unwrap();
}

fn played(mut player: Player) -> Player {
    while player.step(|_, _, _| ()) {}
    player
}

fn member<'a>(player: &'a Player, name: &str) -> &'a MemberStatus {
    let mut all = player.status.as_ref().unwrap().stages.iter().flat_map(members);
    all.find(|member| member.name == name).unwrap()
}

#[test]
fn open_windows_go_first_and_closed_ones_are_waited_for() {
    let mut player = Player::new(PROD, &prod(json!({})));
    window(&mut player, "p1", "10:01");
    window(&mut player, "p3", "09:30");
    insta::assert_snapshot!(brief(&player.play()), @r"
     0 run Running
     0 member p3 Running
     1 member p1 Pending
     1 member p2 Running
     1 member p3 Completed
     2 run Pending
     2 member p2 Completed
    60 run Running
    60 member p1 Running
    61 run Completed
    61 member p1 Completed
    ");
}

#[test]
fn a_closed_window_is_told_with_its_next_opening() {
    let mut player = Player::new(PROD, &prod(json!({"maxConcurrency": "3"})));
    window(&mut player, "p1", "22:00");
    player.step(|_, _, _| ());
    let error = member(&player, "p1").status.error.as_ref().unwrap();
    assert_eq!(error.code, "MaintenanceWindowNotOpen");
    insta::assert_snapshot!(error.message, @"the maintenance window is closed; it opens at 2026-03-04T22:00:00Z");
}

#[test]
fn the_window_of_the_member_counts_and_not_that_of_the_provider() {
    let mut player = Player::new(PROD, &prod(json!({})));
    window(&mut player, "p1", "10:00");
    let mut known = cluster("1.33.0");
    known.windows = player.observed.members["p1"].windows.clone();
    known.windows.kubernetes.as_mut().unwrap().start_time = "22:00".into();
    player.observed.members.get_mut("p1").unwrap().cluster = Inspection::Known(known.clone());
    player.observed.members.get_mut("p2").unwrap().cluster = Inspection::Known(known);
    player.step(|_, _, _| ());
    assert_eq!(member(&player, "p1").status.state, State::Running);
    player.now = "2026-03-04T10:00:01Z".parse().unwrap();
    let player = played(player);
    // p2 has waited for the window of its provider.
    assert_eq!(
        member(&player, "p2").status.start_time.as_ref().unwrap().0.to_string(),
        "2026-03-04T22:00:00Z"
    );
}

#[test]
fn a_member_at_the_target_does_not_wait_for_its_window() {
    let mut player = Player::new(PROD, &prod(json!({})));
    window(&mut player, "p1", "22:00");
    player.observed.members.get_mut("p1").unwrap().cluster = Inspection::Known(cluster("1.34.1"));
    let player = played(player);
    assert_eq!(member(&player, "p1").status.state, State::Skipped);
    assert_eq!(member(&player, "p1").reason.as_deref(), Some("AtTarget"));
}

fn kept(policy: MemberPolicy) -> Player {
    let mut player = Player::new(PROD, &prod(json!({"maxAllowedFailures": "100%"})));
    let mut stopped = cluster("1.33.0");
    stopped.power = Power::Stopped;
    let mut busy = cluster("1.33.0");
    busy.hold = Some(Hold::busy("somebody scales it"));
    for (name, seen) in [
        ("p1", Inspection::Known(stopped)),
        ("p2", Inspection::Known(busy)),
        ("p3", Inspection::Unknown("no answer".into())),
    ] {
        player.observed.members.get_mut(name).unwrap().cluster = seen;
    }
    player.spec.member_policy = Some(policy);
    played(player)
}

#[test]
fn policies_say_what_becomes_of_members_that_cannot_be_updated() {
    let all = |action| MemberPolicy {
        on_stopped: Some(action),
        on_busy: Some(action),
        on_unreachable: Some(action),
    };
    for (policy, want) in [
        (
            MemberPolicy::default(),
            "p1 Skipped ClusterStopped, p2 Pending ClusterBusy, p3 Pending ClusterNotReachable",
        ),
        (
            all(MemberAction::Skip),
            "p1 Skipped ClusterStopped, p2 Skipped ClusterBusy, p3 Skipped ClusterNotReachable",
        ),
        (
            all(MemberAction::Wait),
            "p1 Pending ClusterStopped, p2 Pending ClusterBusy, p3 Pending ClusterNotReachable",
        ),
        (
            all(MemberAction::Fail),
            "p1 Failed ClusterStopped, p2 Failed ClusterBusy, p3 Failed ClusterNotReachable",
        ),
    ] {
        let player = kept(policy);
        let told: Vec<String> = ["p1", "p2", "p3"]
            .map(|name| {
                let MemberStatus { status, reason, .. } = member(&player, name);
                let code = status.error.as_ref().map(|error| error.code.clone());
                format!("{name} {:?} {}", status.state, code.or(reason.clone()).unwrap())
            })
            .into();
        assert_eq!(told.join(", "), want);
    }
}

#[test]
fn too_few_successes_end_the_run_as_soon_as_they_are_out_of_reach() {
    let group = json!({"minSuccesses": "60%", "maxAllowedFailures": "100%"});
    let player = Player::new(PROD, &prod(group)).fails("p1", 1).fails("p2", 1);
    let player = played(player);
    insta::assert_snapshot!(brief(&player.history), @r"
    0 run Running
    0 member p1 Running
    1 member p1 Failed
    1 member p2 Running
    2 run Failed
    2 member p2 Failed
    ");
    let status = player.status.unwrap();
    let error = status.status.error.unwrap();
    assert_eq!(error.code, "SuccessThresholdNotMet");
    insta::assert_snapshot!(error.message, @"group `prod`: 0 members are at the goal, 2 are needed and cannot be reached");
}

#[test]
fn members_at_the_target_count_as_successes_and_skipped_ones_are_not_asked_for() {
    let group = json!({"minSuccesses": "100%", "maxAllowedFailures": "100%"});
    let mut player = Player::new(PROD, &prod(group.clone()));
    player.spec.skip = serde_json::from_value(json!([{"type": "Member", "name": "p2"}])).unwrap();
    player.observed.members.get_mut("p1").unwrap().cluster = Inspection::Known(cluster("1.34.1"));
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Running
    0 member p1 Skipped
    0 member p2 Skipped
    0 member p3 Running
    1 run Completed
    1 member p3 Completed
    ");
    // One that is left out because it is stopped is asked for.
    let mut player = Player::new(PROD, &prod(group));
    let mut stopped = cluster("1.33.0");
    stopped.power = Power::Stopped;
    player.observed.members.get_mut("p1").unwrap().cluster = Inspection::Known(stopped);
    insta::assert_snapshot!(brief(&player.play()), @r"
    0 run Failed
    0 member p1 Skipped
    ");
}

#[test]
fn preflight_checks_hold_a_member_back_with_the_reason() {
    let mut player = Player::new(PROD, &prod(json!({})));
    player.spec.preflight = vec![PreflightCheck::NodesReady, PreflightCheck::PodDisruptionBudgets];
    let passes = |check| Finding::new(check, None);
    for (name, seen) in &mut player.observed.members {
        seen.preflight = vec![
            passes(PreflightCheck::NodesReady),
            Finding::new(
                PreflightCheck::PodDisruptionBudgets,
                (name == "p2").then(|| "`web/web` allows no disruption".into()),
            ),
        ];
    }
    player.observed.members.get_mut("p3").unwrap().preflight.pop();
    let player = played(player);
    assert_eq!(member(&player, "p1").status.state, State::Completed);
    let told = ["p2", "p3"].map(|name| {
        let error = member(&player, name).status.error.as_ref().unwrap();
        format!("{}: {}", error.code, error.message)
    });
    insta::assert_snapshot!(told.join("\n"), @r"
    PreflightFailed: PodDisruptionBudgets: `web/web` allows no disruption
    PreflightFailed: PodDisruptionBudgets: not looked at yet
    ");
}

#[test]
fn an_api_that_is_asked_for_holds_a_member_back_from_versions_without_it() {
    let mut player = Player::new(PROD, &prod(json!({"maxConcurrency": "100%"})));
    player.spec.preflight = vec![PreflightCheck::DeprecatedApis];
    for (name, removed_in) in [("p1", "1.34"), ("p2", "1.35")] {
        let api = RequestedApi {
            name: "g.io/v1beta1 widgets".into(),
            removed_in: removed_in.parse().unwrap(),
        };
        let mut finding = Finding::new(PreflightCheck::DeprecatedApis, None);
        finding.requested = vec![api];
        player.observed.members.get_mut(name).unwrap().preflight = vec![finding];
    }
    let unread = Finding::new(PreflightCheck::DeprecatedApis, Some("403 Forbidden".into()));
    player.observed.members.get_mut("p3").unwrap().preflight = vec![unread];
    let mut images = Player::new(PROD, &Value::Null);
    images.spec.preflight.clone_from(&player.spec.preflight);
    images.observed = player.observed.clone();
    let player = played(player);
    assert_eq!(member(&player, "p2").status.state, State::Completed);
    let told = ["p1", "p3"].map(|name| {
        let error = member(&player, name).status.error.as_ref().unwrap();
        format!("{}: {}", error.code, error.message)
    });
    insta::assert_snapshot!(told.join("\n"), @r"
    PreflightFailed: DeprecatedApis: `g.io/v1beta1 widgets` is asked for, and gone in 1.34
    PreflightFailed: DeprecatedApis: 403 Forbidden
    ");

    let goal = json!({"upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": "u-2.0"}]}});
    images.spec.managed_cluster_update = serde_json::from_value(goal).unwrap();
    for seen in images.observed.members.values_mut() {
        let Inspection::Known(cluster) = &mut seen.cluster else { unreachable!() };
        cluster.pools[0].image = Some("u-1.0".parse().unwrap());
    }
    let images = played(images);
    assert_eq!(images.begun.len(), 3, "no API goes away with a node image");
}

fn report(observed: &mut Observed, now: Timestamp, found: Found) {
    let found = [(("errors".to_owned(), None), found)].into();
    for gate in observed.gates.values_mut() {
        let status = gate.status.get_or_insert_default();
        status.checks = record(&[], &found, now);
    }
}

fn healthy(observed: &mut Observed, now: Timestamp) {
    report(observed, now, Found::passing());
}

fn unhealthy(observed: &mut Observed, now: Timestamp) {
    report(observed, now, Found { message: None, ..Found::failing("") });
}

fn with_health_gate(on_failure: &str) -> Player {
    let groups: &[(&str, &[&str])] = &[("canary", &["c1"]), ("prod", &["p1"])];
    let gate = json!({"type": "HealthCheck", "displayName": "health", "healthCheck": {
        "checks": [{"name": "errors", "prometheus": {"url": "http://p", "query": "up"}}],
        "stableForSeconds": 10, "deadlineSeconds": 100, "onFailure": on_failure,
    }});
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterGates": [gate]},
        {"name": "second", "groups": [{"name": "prod"}]},
    ]);
    Player::new(groups, &stages)
}

#[test]
fn a_health_gate_passes_by_itself_once_health_is_stable() {
    let player = with_health_gate("Pause")
        .at(5, Act::Change(healthy))
        .at(8, Act::Change(unhealthy))
        .at(20, Act::Change(healthy));
    insta::assert_snapshot!(player.play(), @r"
     0 run Running
     0 stage first Running
     0 group canary Running
     0 member c1 Running
     1 run Pending
     1 stage first Pending
     1 gate health Pending
     1 group canary Completed
     1 member c1 Completed
    30 run Running
    30 stage first Completed
    30 gate health Completed
    30 stage second Running
    30 group prod Running
    30 member p1 Running
    31 run Completed
    31 stage second Completed
    31 group prod Completed
    31 member p1 Completed
    ");
}

#[test]
fn a_health_gate_pauses_at_its_deadline_until_somebody_completes_it() {
    let player = with_health_gate("Pause").at(5, Act::Change(unhealthy)).at(300, Act::Approve);
    let mut at_deadline = with_health_gate("Pause").at(5, Act::Change(unhealthy));
    while at_deadline.step(|_, _, _| ()) {}
    let status = at_deadline.status.unwrap();
    let gate = &status.stages[0].after_gates[0];
    assert_eq!((status.status.state, gate.status.state), (State::Pending, State::Pending));
    insta::assert_snapshot!(gate.status.error.as_ref().unwrap().message, @"health was not reached in time: check `errors` fails; complete the gate to go on");
    insta::assert_snapshot!(brief(&player.play()), @r"
      0 run Running
      0 member c1 Running
      1 run Pending
      1 member c1 Completed
    300 run Running
    300 member p1 Running
    301 run Completed
    301 member p1 Completed
    ");
}

#[test]
fn a_health_gate_fails_the_run_and_looks_anew_after_a_restart() {
    let player = with_health_gate("Fail")
        .at(5, Act::Change(unhealthy))
        .at(200, Act::Restart)
        .at(210, Act::Change(healthy));
    let player = played(player);
    insta::assert_snapshot!(player.history, @r"
      0 run Running
      0 stage first Running
      0 group canary Running
      0 member c1 Running
      1 run Pending
      1 stage first Pending
      1 gate health Pending
      1 group canary Completed
      1 member c1 Completed
    101 run Failed
    101 stage first Failed
    101 gate health Failed
    200 run Pending
    200 stage first Pending
    200 gate health Pending
    220 run Running
    220 stage first Completed
    220 gate health Completed
    220 stage second Running
    220 group prod Running
    220 member p1 Running
    221 run Completed
    221 stage second Completed
    221 group prod Completed
    221 member p1 Completed
    ");
}

#[test]
fn a_run_that_is_stopped_while_it_waits_at_a_gate_is_stopped_until_it_is_started() {
    for (place, timing, of_group) in [
        ("stage", "beforeGates", State::NotStarted),
        ("stage", "afterGates", State::Completed),
        ("group", "beforeGates", State::Pending),
        ("group", "afterGates", State::Stopped),
    ] {
        let mut group = json!({"name": "prod", "maxConcurrency": "100%"});
        let mut stage = json!({"name": "first"});
        let gates = json!([{"type": "Approval"}]);
        if place == "stage" {
            stage[timing] = gates
        } else {
            group[timing] = gates
        }
        stage["groups"] = json!([group]);
        let waits = || Player::new(PROD, &json!([stage])).at(5, Act::Stop);
        let stopped = played(waits());
        let status = stopped.status.as_ref().unwrap();
        let stage_status = &status.stages[0];
        let states = (status.status.state, stage_status.status.state);
        assert_eq!(states, (State::Stopped, State::Stopped), "{place} {timing}");
        assert_eq!(stage_status.groups[0].status.state, of_group, "{place} {timing}");
        // Completing the gate does not start the run again.
        let approved = played(waits().at(10, Act::Approve));
        assert_eq!(approved.status.unwrap().status.state, State::Stopped, "{place} {timing}");
        let started = played(waits().at(10, Act::Approve).at(20, Act::Run));
        assert_eq!(started.status.unwrap().status.state, State::Completed, "{place} {timing}");
    }
}

#[test]
fn a_member_remembers_what_it_was() {
    let group = json!({"maxAllowedFailures": "100%"});
    let player = played(Player::new(PROD, &prod(group)).fails("p1", 1));
    for name in ["p1", "p2"] {
        let previous = member(&player, name).previous.as_ref().unwrap();
        assert_eq!(previous.kubernetes_version, "1.33.0");
    }
}

#[test]
fn a_run_over_listed_members_leaves_the_others_alone() {
    let mut player = Player::new(PROD, &prod(json!({})));
    player.spec.members = vec!["p1".into(), "p3".into(), "nobody".into()];
    let player = played(player);
    let status = player.status.unwrap();
    assert_eq!(status.progress.as_deref(), Some("2/2"));
    assert_eq!(status.warnings, ["members names `nobody`, which the fleet does not have"]);
    assert!(!player.begun.contains_key("p2"));
}

#[test]
fn a_retry_is_a_run_over_what_failed_with_the_same_images() {
    let group = json!({"maxAllowedFailures": "100%", "maxConcurrency": "3", "minSuccesses": "1"});
    let mut first = Player::new(PROD, &prod(group)).fails("p1", 1);
    first.observed.members.get_mut("p3").unwrap().cluster = Inspection::Known(cluster("1.34.1"));
    let mut first = played(first);
    let status = first.status.as_mut().unwrap();
    status.node_image_selection = serde_json::from_value(json!({
        "selectedNodeImageVersions": [{"version": "u-2.0"}],
    }))
    .unwrap();
    let next = retry(&first.spec, first.status.as_ref().unwrap()).unwrap();
    assert_eq!(next.members, ["p1"]);
    let update = serde_json::to_value(&next.managed_cluster_update).unwrap();
    assert_eq!(
        update,
        json!({
            "upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"},
            "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": "u-2.0"}]},
        })
    );
    let mut second = Player::new(PROD, &Value::Null);
    second.spec = next;
    second.spec.state = stolos_api::update::RunState::Run;
    let second = played(second);
    let status = second.status.as_ref().unwrap();
    assert_eq!((status.status.state, status.progress.as_deref()), (State::Completed, Some("1/1")));
    assert_eq!(retry(&second.spec, status), None);
}
