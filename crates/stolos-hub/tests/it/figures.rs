//! What `/metrics` of the hub says about update runs.

use std::time::Duration;

use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::update::{Gate, State, UpdateRun};

use crate::updatable::{FLEET, Fleet, NAMESPACE};

/// Series whose names and labels begin so, in the order in which they are printed.
fn series(fleet: &Fleet, prefix: &str) -> Vec<String> {
    let text = fleet.metrics.render();
    let of_fleet = format!("namespace=\"{NAMESPACE}\",fleet=\"{FLEET}\",");
    let lines = text.lines().map(|line| line.replace(&of_fleet, ""));
    lines.filter(|line| line.starts_with(prefix)).collect()
}

/// Waits until the series that begin so are these: the controller may learn of its own write later than our watch.
async fn told(fleet: &Fleet, prefix: &str, want: &[&str]) {
    let reached = async {
        while series(fleet, prefix) != want {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
    assert!(reached.is_ok(), "{prefix}: {:#?} are not {want:#?}", series(fleet, prefix));
}

fn is(run: &UpdateRun, state: State) -> bool {
    run.status.as_ref().is_some_and(|status| status.status.state == state)
}

#[tokio::test]
async fn a_run_is_told_in_figures_until_it_is_deleted() {
    let fleet = Fleet::start(&[("m1", "canary"), ("m2", "prod"), ("m3", "prod")]).await;
    fleet.control();
    let stages = json!([
        {"name": "first", "groups": [{"name": "canary"}]},
        {
            "name": "second", "groups": [{"name": "prod"}], "afterStageWaitInSeconds": 1,
            "beforeGates": [{"type": "Approval", "displayName": "go ahead"}],
        },
    ]);
    fleet.run("weekly", "1.34.1", stages).await;
    let run = fleet.until("weekly", |run: &UpdateRun| is(run, State::Pending)).await;
    told(&fleet, "stolos_update_runs{", &["stolos_update_runs{state=\"Pending\"} 1"]).await;
    told(
        &fleet,
        "stolos_update_run_members{",
        &[
            "stolos_update_run_members{run=\"weekly\",state=\"Completed\"} 1",
            "stolos_update_run_members{run=\"weekly\",state=\"NotStarted\"} 2",
        ],
    )
    .await;
    told(
        &fleet,
        "stolos_update_run_stages{",
        &[
            "stolos_update_run_stages{run=\"weekly\",state=\"Completed\"} 1",
            "stolos_update_run_stages{run=\"weekly\",state=\"Pending\"} 1",
        ],
    )
    .await;
    let status = &run.status.as_ref().unwrap().stages[1];
    let id = status.before_gates[0].gate_id.as_deref().unwrap();
    let gate = fleet.until(id, |_: &Gate| true).await;
    let place = format!(
        "{{run=\"weekly\",stage=\"second\",group=\"\",timing=\"Before\",type=\"Approval\",gate=\"{id}\"}}"
    );
    let pending = format!("stolos_update_gate_pending_timestamp_seconds{place}");
    let created = gate.metadata.creation_timestamp.as_ref().unwrap().0.as_second();
    told(&fleet, &pending, &[&format!("{pending} {created}")]).await;
    told(
        &fleet,
        "stolos_update_member_attempts_total",
        &["stolos_update_member_attempts_total{type=\"Full\"} 1"],
    )
    .await;

    fleet.patch::<Gate>(id, json!({"spec": {"state": "Completed"}})).await.unwrap();
    fleet.until("weekly", |run: &UpdateRun| is(run, State::Completed)).await;
    told(&fleet, "stolos_update_runs{", &["stolos_update_runs{state=\"Completed\"} 1"]).await;
    told(
        &fleet,
        "stolos_update_run_members{",
        &["stolos_update_run_members{run=\"weekly\",state=\"Completed\"} 3"],
    )
    .await;
    told(&fleet, "stolos_update_gate_pending_timestamp", &[]).await;
    told(&fleet, "stolos_update_wait_end", &[]).await;
    let count = "stolos_update_gate_wait_seconds_count{type=\"Approval\"}";
    told(&fleet, count, &[&format!("{count} 1")]).await;
    let count = "stolos_update_member_duration_seconds_count{type=\"Full\",outcome=\"Completed\"}";
    told(&fleet, count, &[&format!("{count} 3")]).await;
    assert_eq!(
        series(&fleet, "stolos_update_run_start_timestamp_seconds{run=\"weekly\"}").len(),
        1
    );
    let rounds = fleet.metrics.render();
    assert!(rounds.contains("fleet_workload_reconcile_total{controller=\"update-run\""));

    let api = fleet.api::<UpdateRun>();
    let run = api.get("local.weekly").await.unwrap();
    api.delete("local.weekly", &DeleteParams::default()).await.unwrap();
    let gone = conditions::is_deleted(run.metadata.uid.as_deref().unwrap());
    await_condition(api, "local.weekly", gone).await.unwrap();
    told(&fleet, "stolos_update_runs{", &[]).await;
    assert!(!fleet.metrics.render().contains("run=\"weekly\""), "{}", fleet.metrics.render());
    told(&fleet, count, &[&format!("{count} 3")]).await;
}

#[tokio::test]
async fn members_that_wait_or_fail_are_counted_by_the_code_of_the_reason() {
    let fleet = Fleet::start(&[("m1", "all"), ("m2", "all")]).await;
    fleet.control();
    // Two minors at once: nobody may skip one.
    fleet.run("far", "1.36.0", serde_json::Value::Null).await;
    fleet.until("far", |run: &UpdateRun| is(run, State::Failed)).await;
    told(
        &fleet,
        "stolos_update_member_failures_total",
        &["stolos_update_member_failures_total{code=\"MinorSkipNotAllowed\"} 1"],
    )
    .await;
    let spec = json!({"spec": {"maintenanceWindows": {"kubernetes": {
        "schedule": {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Monday"}},
        "startTime": "00:00", "durationHours": 4, "startDate": "2999-01-01",
    }}}});
    fleet.patch::<FleetMember>("m1", spec).await.unwrap();
    fleet.run("near", "1.34.1", serde_json::Value::Null).await;
    let waits = |run: &UpdateRun| {
        let text = serde_json::to_string(&run.status).unwrap();
        text.contains("MaintenanceWindowNotOpen") && is(run, State::Pending)
    };
    fleet.until("near", waits).await;
    told(
        &fleet,
        "stolos_update_run_pending_members{run=\"near\"",
        &["stolos_update_run_pending_members{run=\"near\",code=\"MaintenanceWindowNotOpen\"} 1"],
    )
    .await;
}
