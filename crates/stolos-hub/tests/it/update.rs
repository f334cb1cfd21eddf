//! Update runs, end to end.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, MemberStatus, State, UpdateRun, UpdateStrategy};

use crate::updatable::{FLEET, Fleet};

fn canary_then_prod() -> Value {
    json!([
        {"name": "first", "groups": [{"name": "canary"}], "afterStageWaitInSeconds": 1},
        {"name": "second", "groups": [{"name": "prod", "maxConcurrency": "2"}]},
    ])
}

fn state(run: &UpdateRun) -> State {
    run.status.as_ref().map(|status| status.status.state).unwrap_or_default()
}

fn members(run: &UpdateRun) -> Vec<MemberStatus> {
    let stages = run.status.as_ref().unwrap().stages.iter();
    stages.flat_map(|stage| &stage.groups).flat_map(|group| group.members.clone()).collect()
}

fn times(run: &UpdateRun, name: &str) -> (jiff::Timestamp, jiff::Timestamp) {
    let members = members(run);
    let status = &members.iter().find(|member| member.name == name).unwrap().status;
    (status.start_time.as_ref().unwrap().0, status.completed_time.as_ref().unwrap().0)
}

#[tokio::test]
async fn a_run_upgrades_nodes_stage_by_stage() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "prod"), ("m3", "prod")]).await;
    fleet.control();
    fleet.run("weekly", "1.34.1", canary_then_prod()).await;
    let run = fleet.until("weekly", |run: &UpdateRun| state(run) == State::Completed).await;
    assert_eq!(
        fleet.nodes().await,
        [
            "m1-node-1 v1.34.1 1",
            "m1-node-2 v1.34.1 1",
            "m2-node-1 v1.34.1 1",
            "m2-node-2 v1.34.1 1",
            "m3-node-1 v1.34.1 1",
            "m3-node-2 v1.34.1 1",
        ]
    );
    let (canary, prod) = (times(&run, "m1"), (times(&run, "m2"), times(&run, "m3")));
    let wait = prod.0.0.duration_since(canary.1);
    assert!(wait >= jiff::SignedDuration::from_secs(1), "the wait took {wait:?}");
    assert!(prod.0.0 < prod.1.1 && prod.1.0 < prod.0.1, "m2 and m3 go side by side");
    assert_eq!(run.status.unwrap().progress.as_deref(), Some("3/3"));
    let free = |member: &FleetMember| {
        let status = member.status.as_ref();
        status.is_some_and(|s| {
            s.update_lease.is_none() && s.kubernetes_version.as_deref() == Some("1.34.1")
        })
    };
    fleet.until("m2", free).await;
}

#[tokio::test]
async fn a_run_survives_being_killed_anywhere_and_upgrades_no_node_twice() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "prod"), ("m3", "prod")]).await;
    fleet.run("weekly", "1.34.1", canary_then_prod()).await;
    let is_completed = |run: &UpdateRun| state(run) == State::Completed;
    let completed = async || drop(fleet.until("weekly", is_completed).await);
    fleet.control_mortals(completed).await;
    let run = fleet.until("weekly", is_completed).await;
    assert!(members(&run).iter().all(|member| member.attempt == 1));
    let nodes = fleet.nodes().await;
    assert!(nodes.iter().all(|node| node.ends_with(" v1.34.1 1")), "{nodes:?}");
}

#[tokio::test]
async fn two_runs_never_update_one_member_at_a_time() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all")]).await;
    fleet.control();
    fleet.run("one", "1.33.5", Value::Null).await;
    fleet.run("two", "1.34.1", Value::Null).await;
    let one = fleet.until("one", |run: &UpdateRun| state(run) == State::Completed).await;
    let two = fleet.until("two", |run: &UpdateRun| state(run) == State::Completed).await;
    for name in ["m1", "m2"] {
        let updated = |run: &UpdateRun| {
            let done =
                members(run).iter().any(|m| m.name == name && m.status.state == State::Completed);
            done.then(|| times(run, name))
        };
        if let (Some(one), Some(two)) = (updated(&one), updated(&two)) {
            assert!(one.1 <= two.0 || two.1 <= one.0, "{name}: {one:?} {two:?}");
        }
    }
    assert!(fleet.nodes().await.iter().all(|node| node.contains(" v1.34.1 ")));
}

#[tokio::test]
async fn a_gate_waits_for_an_approval_and_goes_with_its_run() {
    let fleet = Fleet::start(&[("m1", "canary")]).await;
    fleet.control();
    let stages = json!([{
        "name": "first", "groups": [{"name": "canary"}],
        "beforeGates": [{"type": "Approval", "displayName": "go ahead"}],
    }]);
    fleet.run("weekly", "1.34.1", stages).await;
    let run = fleet.until("weekly", |run: &UpdateRun| state(run) == State::Pending).await;
    let id = run.status.as_ref().unwrap().stages[0].before_gates[0].gate_id.clone().unwrap();
    fleet.until(&id, |gate: &Gate| gate.status.is_some()).await;
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));

    let approve = json!({"spec": {"state": "Completed"}});
    fleet.patch::<Gate>(&id, approve).await.unwrap();
    let run = fleet.until("weekly", |run: &UpdateRun| state(run) == State::Completed).await;
    let reopen = json!({"spec": {"state": "Pending"}});
    let refused = fleet.patch::<Gate>(&id, reopen).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be closed again"), "{refused}");

    let name = run.name_any();
    let runs = fleet.api::<UpdateRun>();
    runs.delete(&name, &DeleteParams::default()).await.unwrap();
    await_condition(runs, &name, conditions::is_deleted(&run.uid().unwrap())).await.unwrap();
    let gate = format!("{FLEET}.{id}");
    let gone = |gate: Option<&Gate>| gate.is_none();
    await_condition(fleet.api::<Gate>(), &gate, gone).await.unwrap();
}

#[tokio::test]
async fn a_stopped_run_begins_nothing_new_and_goes_on_when_started() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all"), ("m3", "all")]).await;
    fleet.control();
    fleet.run("weekly", "1.34.1", Value::Null).await;
    let begun =
        |run: &UpdateRun| run.status.as_ref().is_some_and(|s| s.status.start_time.is_some());
    fleet.until("weekly", begun).await;
    fleet.patch::<UpdateRun>("weekly", json!({"spec": {"state": "Stop"}})).await.unwrap();
    let stopped = fleet.until("weekly", |run: &UpdateRun| state(run) == State::Stopped).await;
    let left = members(&stopped).iter().filter(|m| m.status.state == State::Stopped).count();
    assert!(left > 0, "{stopped:#?}");
    let skip = json!({"spec": {"skip": [{"type": "Member", "name": "m3"}], "state": "Run"}});
    fleet.patch::<UpdateRun>("weekly", skip).await.unwrap();
    let run = fleet.until("weekly", |run: &UpdateRun| state(run) == State::Completed).await;
    assert_eq!(members(&run)[2].status.state, State::Skipped);
    let nodes = fleet.nodes().await;
    assert_eq!(nodes.iter().filter(|node| node.ends_with(" v1.34.1 1")).count(), 4, "{nodes:?}");
}

#[tokio::test]
async fn a_run_copies_its_strategy_and_follows_the_copy() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "prod")]).await;
    fleet.control();
    let spec = json!({"spec": {
        "fleetName": FLEET, "strategyName": "weekly", "state": "Initialize",
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
    }});
    fleet.create_ours::<UpdateRun>("UpdateRun", "run", spec).await.unwrap();
    let waits = |run: &UpdateRun| run.status.as_ref().is_some_and(|s| s.status.error.is_some());
    fleet.until("run", waits).await;
    let strategy = json!({"spec": {
        "fleetName": FLEET, "strategy": {"stages": [{"name": "only", "groups": [{"name": "prod"}]}]},
    }});
    fleet.create_ours::<UpdateStrategy>("UpdateStrategy", "weekly", strategy).await.unwrap();
    fleet
        .until("run", |run: &UpdateRun| run.status.as_ref().is_some_and(|s| s.strategy.is_some()))
        .await;
    let name = format!("{FLEET}.weekly");
    fleet.api::<UpdateStrategy>().delete(&name, &DeleteParams::default()).await.unwrap();
    fleet.patch::<UpdateRun>("run", json!({"spec": {"state": "Run"}})).await.unwrap();
    let run = fleet.until("run", |run: &UpdateRun| state(run) == State::Completed).await;
    assert_eq!(members(&run).iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["m2"]);
}

#[tokio::test]
async fn a_run_that_is_written_wrong_is_refused_with_the_field() {
    let fleet = Fleet::start(&[]).await;
    let spec = |extra: Value| {
        let mut spec = json!({
            "fleetName": FLEET,
            "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
        });
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({ "spec": spec })
    };
    let stage = |extra: Value| {
        let mut stage = json!({"name": "a", "groups": [{"name": "g"}]});
        for (key, value) in extra.as_object().unwrap() {
            stage[key] = value.clone();
        }
        spec(json!({"strategy": {"stages": [stage]}}))
    };
    for (body, want) in [
        (
            spec(json!({"managedClusterUpdate": {"upgrade": {"type": "Full"}}})),
            "spec.managedClusterUpdate.upgrade.kubernetesVersion: Required value: kubernetesVersion is required",
        ),
        (
            spec(
                json!({"managedClusterUpdate": {"upgrade": {"type": "NodeImageOnly", "kubernetesVersion": "1.34"}}}),
            ),
            "spec.managedClusterUpdate.upgrade.kubernetesVersion: Forbidden: kubernetesVersion is forbidden",
        ),
        (
            spec(
                json!({"managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "latest"}}}),
            ),
            "must be a version such as 1.33.2",
        ),
        (
            spec(
                json!({"strategyName": "x", "strategy": {"stages": [{"name": "a", "groups": [{"name": "g"}]}]}}),
            ),
            "strategy and strategyName cannot both be set",
        ),
        (spec(json!({"strategy": {"stages": []}})), "spec.strategy.stages"),
        (stage(json!({"groups": []})), "a stage needs groups, a memberSelector, or both"),
        (
            stage(json!({"maxConcurrency": "51"})),
            "spec.strategy.stages[0].maxConcurrency: Invalid value: \"string\": must be a number of members from 1 to 50",
        ),
        (stage(json!({"maxAllowedFailures": "-1"})), "spec.strategy.stages[0].maxAllowedFailures"),
        (stage(json!({"name": "A b"})), "spec.strategy.stages[0].name"),
        (
            stage(json!({"afterGates": [{"type": "ScheduledStart", "scheduledStartConfiguration":
                {"startDay": "Monday", "startTime": "08:00", "utcOffset": "+00:00"}}]})),
            "can only be a before gate",
        ),
        (
            stage(json!({"beforeGates": [{"type": "ScheduledStart"}]})),
            "scheduledStartConfiguration is required",
        ),
        (
            stage(json!({"groups": [{"name": "g"}, {"name": "g"}]})),
            "spec.strategy.stages[0].groups[1]: Duplicate value",
        ),
        (
            stage(json!({"minSuccesses": "101%"})),
            "spec.strategy.stages[0].minSuccesses: Invalid value: \"string\": must be a number of members, or a percentage",
        ),
        (stage(json!({"beforeGates": [{"type": "HealthCheck"}]})), "healthCheck is required"),
        (
            stage(
                json!({"beforeGates": [{"type": "HealthCheck", "healthCheck": {"checks": [{"name": "a"}]}}]}),
            ),
            "exactly one of cel and prometheus must be set",
        ),
        (
            spec(json!({"memberPolicy": {"onStopped": "Ignore"}})),
            "spec.memberPolicy.onStopped: Unsupported value: \"Ignore\"",
        ),
        (spec(json!({"preflight": ["NodesReady", "NodesReady"]})), "spec.preflight[1]: Duplicate"),
        (spec(json!({"members": ["m1", "m1"]})), "spec.members[1]: Duplicate"),
        (spec(json!({"fleetName": "other"})), "metadata.name must be `<fleet>.<name>`"),
        (spec(json!({"state": "Start"})), "spec.state: Unsupported value: \"Start\""),
    ] {
        let refused = fleet.create_ours::<UpdateRun>("UpdateRun", "bad", body).await.unwrap_err();
        let kube::Error::Api(status) = &refused else { panic!("{refused:?}") };
        assert_eq!(status.code, 422, "{refused}");
        assert!(status.message.contains(want), "wanted: {want}\n   got: {}", status.message);
    }
    assert_eq!(fleet.api::<UpdateRun>().list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn a_run_with_images_that_contradict_each_other_is_refused() {
    let fleet = Fleet::start(&[]).await;
    for (selection, want) in [
        (json!({"type": "Custom"}), "customNodeImageVersions is required for type Custom"),
        (
            json!({"type": "Latest", "customNodeImageVersions": [{"version": "u-1.0"}]}),
            "forbidden for any other type",
        ),
        (
            json!({"type": "Custom", "customNodeImageVersions": [{"version": "latest"}]}),
            "must be a family, a dash and a version",
        ),
    ] {
        let body = json!({"spec": {"fleetName": FLEET, "managedClusterUpdate": {
            "upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": selection,
        }}});
        let refused = fleet.create_ours::<UpdateRun>("UpdateRun", "bad", body).await.unwrap_err();
        assert!(refused.to_string().contains(want), "wanted: {want}\n   got: {refused}");
    }
}

#[tokio::test]
async fn a_run_is_changed_only_in_ways_that_make_sense() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    let spec = json!({"spec": {
        "fleetName": FLEET, "skip": [{"type": "Member", "name": "m1"}],
        "managedClusterUpdate": {"upgrade": {"type": "Full", "kubernetesVersion": "1.34.1"}},
    }});
    fleet.create_ours::<UpdateRun>("UpdateRun", "run", spec).await.unwrap();
    let refused = async |spec: Value, want: &str| {
        let patch = json!({ "spec": spec });
        let error = fleet.patch::<UpdateRun>("run", patch).await.unwrap_err().to_string();
        assert!(error.contains(want), "wanted: {want}\n   got: {error}");
    };
    refused(json!({"skip": null}), "spec.skip: Forbidden: skip can only be added to").await;
    refused(json!({"skip": [{"type": "Member", "name": "m2"}]}), "spec.skip: Forbidden").await;
    refused(json!({"state": "Stop"}), "a run that was not started cannot be stopped").await;
    refused(json!({"fleetName": "other"}), "spec.fleetName").await;

    fleet.control();
    fleet.patch::<UpdateRun>("run", json!({"spec": {"state": "Run"}})).await.unwrap();
    fleet.until("run", |run: &UpdateRun| state(run) == State::Skipped).await;
    refused(json!({"state": "Initialize"}), "cannot go back to Initialize").await;
    let other = json!({"managedClusterUpdate": {"upgrade": {"kubernetesVersion": "1.35.0"}}});
    refused(other, "spec.managedClusterUpdate: Forbidden").await;
    refused(json!({"strategyName": "other"}), "spec.strategyName: Forbidden").await;
    refused(json!({"members": ["m1"]}), "spec.members: Forbidden").await;
}

#[tokio::test]
async fn a_maintenance_window_that_is_written_wrong_is_refused_with_the_field() {
    let fleet = Fleet::start(&[]).await;
    let member = |extra: Value| {
        let mut window = json!({
            "schedule": {"daily": {"intervalDays": 1}}, "durationHours": 4, "startTime": "22:00",
        });
        for (key, value) in extra.as_object().unwrap() {
            window[key] = value.clone();
        }
        json!({"spec": {
            "fleetName": FLEET, "cluster": {"kubeconfigSecret": {"name": "x"}},
            "maintenanceWindows": {"nodeImage": window},
        }})
    };
    let path = "spec.maintenanceWindows.nodeImage";
    for (extra, want) in [
        (
            json!({"schedule": {}}),
            "exactly one of daily, weekly, absoluteMonthly and relativeMonthly must be set",
        ),
        (
            json!({"schedule": {"daily": {"intervalDays": 1}, "weekly": {"intervalWeeks": 1, "dayOfWeek": "Friday"}}}),
            "exactly one of daily, weekly, absoluteMonthly and relativeMonthly must be set",
        ),
        (
            json!({"schedule": {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Fri"}}}),
            "dayOfWeek: Unsupported value: \"Fri\"",
        ),
        (
            json!({"schedule": {"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 32}}}),
            "dayOfMonth",
        ),
        (json!({"durationHours": 25}), ".durationHours"),
        (json!({"startTime": "9:00"}), "must be a time of day such as 08:30"),
        (json!({"utcOffset": "CET"}), "must be an offset from UTC such as +02:00"),
        (json!({"startDate": "2026/01/01"}), "must be a date such as 2026-03-31"),
        (
            json!({"notAllowedDates": [{"start": "2026-03-02", "end": "2026-03-01"}]}),
            "end must not be before start",
        ),
    ] {
        let body = member(extra);
        let refused =
            fleet.create_ours::<FleetMember>("FleetMember", "bad", body).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(path) && text.contains(want), "wanted: {want}\n   got: {text}");
    }
    let good = member(json!({"utcOffset": "-03:30", "startDate": "2026-03-01"}));
    fleet.create_ours::<FleetMember>("FleetMember", "good", good).await.unwrap();
}
