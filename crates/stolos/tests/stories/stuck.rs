//! A rollout of a ResourcePlacement that does not come to an end, and what `stolos explain` says of it, on both backends.

use serde_json::{Value, json};

use crate::backend::Fleet;
use crate::kubectl::Kubectl;
use crate::look::{cluster, complete_on, conditions_on, says};

#[test]
fn a_rollout_in_a_namespace_that_is_stuck_is_explained_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    story(&fleet);
}

#[test]
fn a_rollout_in_a_namespace_that_is_stuck_is_explained_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    story(&fleet);
}

const MEMBERS: [&str; 3] = ["member-1", "member-2", "member-3"];
const WEB: [&str; 4] = ["-n", "team", "rp", "web"];

const PLACEMENTS: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {name: team}
spec:
  resourceSelectors:
  - {group: "", version: v1, kind: Namespace, name: team, selectionScope: NamespaceOnly}
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: web, namespace: team}
spec:
  resourceSelectors:
  - {group: apps, version: v1, kind: Deployment, name: web}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 1, maxSurge: 1, unavailablePeriodSeconds: 1}
"#;

fn story(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "team"]);
    deploy(&hub, "web:1", None);
    hub.apply(PLACEMENTS);
    complete_on(&hub, &["crp", "team"], &MEMBERS);
    complete_on(&hub, &WEB, &MEMBERS);
    let told = explained(fleet, &[]);
    assert!(told.starts_with("ResourcePlacement team/web: 1 object of snapshot 0"), "{told}");
    assert!(told.contains("in place on 3 clusters"), "{told}");

    // The second version never starts: it reaches one member, and the others wait for that.
    deploy(&hub, "web:2", Some("ImagePullBackOff"));
    let stuck = hub.wait_for("the rollout stops", &WEB, |found| {
        let last = MEMBERS.map(|name| conditions_on(found, name).last().cloned());
        let count = |want: &str| last.iter().flatten().filter(|last| *last == want).count();
        count("RolloutStarted=False/RolloutNotStartedYet") == 2
            && count("Available=False/NotAllWorkAreAvailable") == 1
    });
    says(&hub, &WEB, "RolloutStarted=False/RolloutNotStartedYet");
    let fails = |name: &&str| !cluster(&stuck, name)["failedPlacements"].is_null();
    let failing = MEMBERS.into_iter().find(fails).expect("one fails");
    let waiting: Vec<&str> = MEMBERS.into_iter().filter(|name| *name != failing).collect();
    for name in &waiting {
        assert_eq!(image(&fleet.kubectl(name)), "web:1", "{name} keeps what works");
    }
    is_told(fleet, failing, &waiting);

    // Once the version is right, all get it.
    deploy(&hub, "web:3", None);
    hub.wait_for("the third version is everywhere", &WEB, |found| {
        found["status"]["observedResourceIndex"] == "2"
            && crate::look::conditions(found)
                .last()
                .is_some_and(|last| last == "Available=True/ResourceAvailable")
    });
    for name in MEMBERS {
        assert_eq!(image(&fleet.kubectl(name)), "web:3", "{name}");
    }
    let told = explained(fleet, &[]);
    assert!(told.contains("of snapshot 2 in place on 3 clusters"), "{told}");
    assert_eq!(explained(fleet, &["-o", "name"]), "team/web\n");
}

/// Whoever asks is told the object that stands in the way, and whom the others wait for.
fn is_told(fleet: &Fleet, failing: &str, waiting: &[&str]) {
    let told = explained(fleet, &[]);
    assert!(told.starts_with("ResourcePlacement team/web: 0 clusters done, 3 not."), "{told}");
    let paragraph = |name: &str| {
        let found = told.split("\n\n").find(|part| part.starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is not in\n{told}")).to_owned()
    };
    let about = paragraph(failing);
    assert!(about.starts_with(&format!("{failing} at Available: ")), "{about}");
    assert!(about.contains("Deployment `team/web`"), "{about}");
    for name in waiting {
        let about = paragraph(name);
        assert!(about.starts_with(&format!("{name} at RolloutStarted: ")), "{about}");
        assert!(about.contains(failing), "it is told whom it waits for: {about}");
    }
    let alone = explained(fleet, &["--cluster", failing]);
    assert!(alone.contains("Deployment `team/web`"), "{alone}");
    assert!(waiting.iter().all(|name| !alone.contains(&format!("{name} at"))), "{alone}");
    let data: Value = serde_json::from_str(&explained(fleet, &["-o", "json"])).expect("JSON");
    assert_eq!(data["complete"], false);
    assert_eq!((&data["namespace"], &data["placement"]), (&json!("team"), &json!("web")));
    let steps: Vec<_> = data["clusters"].as_array().expect("a list").iter().collect();
    assert_eq!(steps.iter().filter(|cluster| cluster["step"] == "RolloutStarted").count(), 2);
    assert_eq!(explained(fleet, &["-o", "name"]), "team/web\n");
}

fn explained(fleet: &Fleet, options: &[&str]) -> String {
    let args = [&["explain", "placement", "web", "-n", "team"], options].concat();
    let output = fleet.stolos(&args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

fn deploy(hub: &Kubectl, image: &str, fails: Option<&str>) {
    let mut template = json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": image }] },
    });
    if let Some(reason) = fails {
        template["metadata"]["annotations"] = json!({ "sim.stolos.dev/fail": reason });
    }
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "team" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template },
    });
    hub.apply(&deployment.to_string());
}

fn image(member: &Kubectl) -> String {
    let found = member.get(&["-n", "team", "deployment", "web"]).expect("it is placed");
    let image = found["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
    image.expect("an image").to_owned()
}
