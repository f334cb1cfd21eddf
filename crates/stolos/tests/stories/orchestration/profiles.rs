//! An auto-upgrade profile that acts when a version is published.

use serde_json::{Value, json};

use super::{get_run, members, n_requests, nodes};
use crate::backend::Fleet;
use crate::fleet_cli::ok;

#[test]
fn a_profile_updates_its_fleet_when_a_version_is_published_embedded() {
    let Some(fleet) = Fleet::embedded(2) else { return };
    story(&fleet);
}

#[test]
fn a_profile_updates_its_fleet_when_a_version_is_published_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(2) else { return };
    story(&fleet);
}

/// Writes the catalogue as it shall be.
fn publish(fleet: &Fleet, versions: &Value) {
    let catalogue = json!({
        "apiVersion": "fleet.stolos.dev/v1alpha1", "kind": "VersionCatalogue",
        "metadata": { "name": "versions", "namespace": "default" },
        "spec": { "kubernetesVersions": versions },
    });
    fleet.kubectl("hub").apply(&catalogue.to_string());
}

fn is_true(profile: &Value, condition: &str) -> bool {
    let mut conditions = profile["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == condition && c["status"] == "True")
}

fn wait_until_up_to_date(fleet: &Fleet, target: &str) -> Value {
    let what = format!("everybody is at {target}");
    let hub = fleet.kubectl("hub");
    hub.wait_for(&what, &["autoupgradeprofile", "local.rapid"], |profile| {
        profile["status"]["target"] == json!([target]) && is_true(profile, "UpToDate")
    })
}

fn story(fleet: &Fleet) {
    ok(fleet, &["strategy", "create", "rings", "--stages", "first:canary;rest:europe"]);
    publish(fleet, &json!([{ "version": "1.34.1" }]));
    let create = ["autoupgrade", "create", "rapid", "--channel", "rapid", "--strategy", "rings"];
    ok(fleet, &create);
    wait_until_up_to_date(fleet, "1.34.1");
    assert_eq!(ok(fleet, &["updaterun", "list", "-o", "name"]), "", "there is nothing to do");

    publish(
        fleet,
        &json!([
            { "version": "1.34.1" },
            { "version": "1.34.4" },
            { "version": "1.35.0", "preview": true },
            { "version": "1.35.1", "published": "2126-01-01T00:00:00Z" },
        ]),
    );
    let profile = wait_until_up_to_date(fleet, "1.34.4");
    let run = profile["status"]["lastTriggerUpdateRun"].as_str().expect("a run was made");
    let names = ok(fleet, &["updaterun", "list", "-o", "name"]);
    assert_eq!(names, format!("{run}\n"), "one run for one publication");
    ok(fleet, &["updaterun", "watch", run]);
    let run = get_run(fleet, run);
    assert_eq!(members(&run).count(), 2);
    assert_eq!(run["status"]["strategyName"], "rings");
    for member in ["member-1", "member-2"] {
        let seen = nodes(fleet, member);
        assert_eq!((seen.version.as_str(), seen.upgrades.as_str()), ("v1.34.4", "1"), "{member}");
        assert_eq!(n_requests(fleet, member), 1, "{member}");
    }
    let listed = ok(fleet, &["autoupgrade", "list"]);
    assert!(listed.contains("rapid") && listed.contains("1.34.4"), "{listed}");
}
