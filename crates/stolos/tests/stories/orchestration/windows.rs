//! A maintenance window that is closed, and opened by an edit.

use serde_json::{Value, json};

use super::{into_group, member_of, n_requests, nodes, run_state, state, wait_for};
use crate::backend::Fleet;
use crate::fleet_cli::ok;

#[test]
fn a_closed_window_is_waited_for_until_somebody_opens_it_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    story(&fleet);
}

#[test]
fn a_closed_window_is_waited_for_until_somebody_opens_it_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    story(&fleet);
}

fn set_window(fleet: &Fleet, window: &Value) {
    let patch = json!({ "spec": { "maintenanceWindows": { "kubernetes": window } } }).to_string();
    let line = ["patch", "fleetmember", "local.member-1", "--type", "merge", "-p", &patch];
    fleet.kubectl("hub").run(&line);
}

fn story(fleet: &Fleet) {
    into_group(fleet, "member-1", "all");
    into_group(fleet, "member-2", "all");
    // Closed for a century, so that only the edit can be what opens it.
    set_window(
        fleet,
        &json!({
            "schedule": { "daily": { "intervalDays": 1 } }, "durationHours": 1,
            "startDate": "2126-01-01", "startTime": "03:30", "utcOffset": "+02:00",
        }),
    );
    let create = ["updaterun", "create", "june", "--kubernetes-version", "1.35.0", "--start"];
    ok(fleet, &[&create[..], &["--stages", "only:all"]].concat());

    let waiting = wait_for(fleet, "the window is waited for", "june", |run| {
        state(member_of(run, "member-1")) == "Pending"
            && state(member_of(run, "member-2")) == "Completed"
    });
    assert_eq!(nodes(fleet, "member-2").version, "v1.35.0", "nobody else is held up");
    let error = &member_of(&waiting, "member-1")["status"]["error"];
    assert_eq!(error["code"], "MaintenanceWindowNotOpen");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("it opens at 2126-01-01T01:30:00Z"), "{message}");
    let shown = ok(fleet, &["updaterun", "show", "june"]);
    assert!(shown.contains("2126-01-01"), "the next opening is shown: {shown}");
    assert_eq!(n_requests(fleet, "member-1"), 0, "nothing begins outside of the window");
    assert_eq!(nodes(fleet, "member-1").version, "v1.34.1");

    set_window(fleet, &json!({ "startDate": null, "startTime": "00:00", "durationHours": 24 }));
    let done = wait_for(fleet, "the run has ended", "june", |run| {
        matches!(run_state(run), "Completed" | "Failed")
    });
    assert_eq!(run_state(&done), "Completed", "{}", done["status"]);
    let seen = nodes(fleet, "member-1");
    assert_eq!((seen.version.as_str(), seen.upgrades.as_str()), ("v1.35.0", "1"));
    assert_eq!(n_requests(fleet, "member-1"), 1);
}
