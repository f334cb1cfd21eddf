//! The command line for placements and members, as a user types it.

use std::process::Output;

use serde_json::Value;

use crate::backend::Fleet;

const MANIFEST: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata: {name: shop}
spec:
  resourceSelectors: [{group: "", version: v1, kind: Namespace, name: shop}]
  policy: {placementType: PickN, numberOfClusters: 2}
  strategy: {type: RollingUpdate, rollingUpdate: {unavailablePeriodSeconds: 1}}
"#;

#[test]
fn a_user_plans_places_looks_and_rolls_back_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    story(&fleet);
}

#[test]
fn a_user_plans_places_looks_and_rolls_back_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    story(&fleet);
}

fn out(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).expect("stolos prints UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).expect("stolos prints JSON")
}

/// Tells how a command failed: its code and what it said.
fn failure(output: &Output) -> (Option<i32>, String) {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "a line is too long: {line}");
    }
}

fn story(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "shop"]);
    hub.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("shop.yaml");
    std::fs::write(&path, MANIFEST).expect("the file is written");
    let path = path.display().to_string();

    // A taint keeps a member out of the plan, which writes nothing.
    out(&fleet.stolos(&["member", "taint", "member-3", "maintenance=july:NoSchedule"]));
    let plan = json(&fleet.stolos(&["plan", "placement", "-f", &path, "-o", "json"]));
    let clusters: Vec<_> = plan["clusters"].as_array().into_iter().flatten().collect();
    assert_eq!(
        clusters.iter().map(|c| &c["cluster"]).collect::<Vec<_>>(),
        ["member-1", "member-2"]
    );
    assert!(clusters.iter().all(|cluster| cluster["step"] == "Place"), "{plan}");
    let why = plan["notPicked"][0]["reason"].to_string();
    assert!(why.contains("maintenance=july:NoSchedule"), "{why}");
    let shown = out(&fleet.stolos(&["plan", "placement", "-f", &path]));
    fits(&shown);
    assert!(shown.contains("Nothing was written."), "{shown}");
    assert!(hub.get(&["crp", "shop"]).is_none(), "nothing was written");
    let (code, message) = failure(&fleet.stolos(&["explain", "placement", "shop"]));
    assert_eq!(code, Some(1));
    assert!(message.contains("there is no ClusterResourcePlacement `shop`"), "{message}");

    // What the plan said is what happens.
    hub.apply(MANIFEST);
    let seen = fleet.stolos(&["placement", "watch", "shop", "--timeout", "60s"]);
    fits(&out(&seen));
    let explained = json(&fleet.stolos(&["explain", "placement", "shop", "-o", "json"]));
    assert_eq!(explained["complete"], true, "{explained}");
    let names: Vec<_> = explained["clusters"].as_array().into_iter().flatten().collect();
    assert_eq!(names.iter().map(|c| &c["cluster"]).collect::<Vec<_>>(), ["member-1", "member-2"]);
    let listed = out(&fleet.stolos(&["placement", "list"]));
    assert!(
        listed.lines().any(|line| line.starts_with("shop ") && line.contains("Complete")),
        "{listed}"
    );
    fits(&out(&fleet.stolos(&["placement", "show", "shop"])));
    let plan = json(&fleet.stolos(&["plan", "placement", "-f", &path, "-o", "json"]));
    let steps: Vec<_> = plan["clusters"].as_array().into_iter().flatten().collect();
    assert!(
        steps.iter().all(|cluster| cluster["step"] == "Keep"),
        "a plan of what is there: {plan}"
    );
    assert_eq!(plan["isNewSnapshot"], false, "{plan}");

    // A change that nobody wanted is taken back; what came later stays.
    let settings = ["-n", "shop", "configmap", "settings"];
    let patch = r#"{"data":{"colour":"red","size":"big"}}"#;
    hub.run(&["-n", "shop", "patch", "configmap", "settings", "--type=merge", "-p", patch]);
    hub.run(&["-n", "shop", "create", "configmap", "later"]);
    let member = fleet.kubectl("member-1");
    member.wait_for("the change arrives", &settings, |map| map["data"]["size"] == "big");
    let (code, message) = failure(&fleet.stolos(&["placement", "rollback", "shop", "--to", "99"]));
    assert_eq!(code, Some(1));
    assert!(message.contains("hint: it has 0, 1"), "{message}");
    out(&fleet.stolos(&["placement", "rollback", "shop", "--to", "0", "--dry-run"]));
    assert_eq!(hub.get(&settings).expect("it is there")["data"]["colour"], "red");
    out(&fleet.stolos(&["placement", "rollback", "shop", "--to", "0"]));
    let restored = hub.get(&settings).expect("it is there");
    assert_eq!(restored["data"], serde_json::json!({"colour": "blue"}));
    member.wait_for("it is taken back", &settings, |map| {
        map["data"] == serde_json::json!({"colour": "blue"})
    });
    assert!(hub.get(&["-n", "shop", "configmap", "later"]).is_some(), "what came later stays");
    let history = json(&fleet.stolos(&["placement", "history", "shop", "-o", "json"]));
    let indices: Vec<_> =
        history.as_array().into_iter().flatten().map(|r| r["index"].as_u64()).collect();
    assert!(indices.len() >= 3 && indices.is_sorted_by(|a, b| a > b), "{history}");

    members(fleet);
    namespaced(fleet);
}

/// The same for the owner of a namespace, who places some of what is in it; and what programs read of each command.
fn namespaced(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let selector = r#"[{"op":"add","path":"/spec/resourceSelectors/0/selectionScope","value":"NamespaceOnly"}]"#;
    hub.run(&["patch", "crp", "shop", "--type=json", "-p", selector]);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourcePlacement
metadata: {name: content, namespace: shop}
spec:
  resourceSelectors: [{group: "", version: v1, kind: ConfigMap, name: settings}]
  policy: {placementType: PickFixed, clusterNames: [member-2]}
"#,
    );
    let run = |args: &[&str]| fleet.stolos(&[args, &["-n", "shop"]].concat());
    let watched = out(&run(&["placement", "watch", "content", "--timeout", "60s", "-o", "json"]));
    let last: Value =
        serde_json::from_str(watched.lines().last().expect("a line")).expect("a line is JSON");
    assert_eq!((&last["namespace"], &last["placement"]), (&"shop".into(), &"content".into()));
    assert!(last["standing"].as_str().is_some_and(|told| told.starts_with("Complete")), "{last}");
    assert_eq!(out(&run(&["placement", "list", "-o", "name"])), "shop/content\n");
    let listed = json(&run(&["placement", "list", "-o", "json"]));
    assert_eq!(listed["items"][0]["kind"], "ResourcePlacement");
    let shown = json(&run(&["placement", "show", "content", "-o", "json"]));
    assert_eq!(shown["status"]["selectedResources"][0]["name"], "settings");
    fits(&out(&run(&["placement", "show", "content"])));
    let explained = json(&run(&["explain", "placement", "content", "-o", "json"]));
    assert_eq!(
        (&explained["complete"], &explained["notPicked"]),
        (&true.into(), &Value::Array(vec![]))
    );

    // Another one cannot have what this one has, and it is told why.
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourcePlacement
metadata: {name: other, namespace: shop}
spec: {resourceSelectors: [{group: "", version: v1, kind: ConfigMap, name: settings}]}
"#,
    );
    let owner = explained["clusters"][0]["cluster"].as_str().expect("a name").to_owned();
    hub.wait_for("it is refused", &["-n", "shop", "rp", "other"], |found| {
        crate::look::conditions_on(found, &owner)
            .last()
            .is_some_and(|last| last.starts_with("Applied=False"))
    });
    let told = run(&["explain", "placement", "other", "--cluster", &owner]);
    fits(&out(&told));
    assert!(out(&told).contains("shop.content-work"), "{}", out(&told));
    hub.run(&["-n", "shop", "delete", "rp", "other", "--timeout=60s"]);

    let settings = ["-n", "shop", "configmap", "settings"];
    let patch = r#"{"data":{"colour":"yellow"}}"#;
    hub.run(&["-n", "shop", "patch", "configmap", "settings", "--type=merge", "-p", patch]);
    hub.wait_for("the change is noted", &["-n", "shop", "rp", "content"], |found| {
        found["status"]["observedResourceIndex"] == "1"
    });
    let (_, message) = failure(&run(&["placement", "rollback", "content", "--to", "9"]));
    assert!(
        message.contains("hint: it has 0, 1; `stolos placement history content -n shop`"),
        "{message}"
    );
    let plan =
        json(&run(&["placement", "rollback", "content", "--to", "0", "--dry-run", "-o", "json"]));
    assert_eq!((&plan["dryRun"], &plan["changed"][0]["name"]), (&true.into(), &"settings".into()));
    out(&run(&["placement", "rollback", "content", "--to", "0"]));
    let member = fleet.kubectl(&owner);
    member.wait_for("it is taken back", &settings, |map| map["data"]["colour"] == "blue");
    out(&run(&["placement", "watch", "content", "--timeout", "60s"]));
    let history = json(&run(&["placement", "history", "content", "-o", "json"]));
    assert_eq!(
        (&history[0]["latest"], &history[0]["clusters"][0]),
        (&true.into(), &owner.as_str().into())
    );
    let (code, message) = failure(&run(&["placement", "show", "nothing"]));
    assert_eq!(code, Some(1));
    assert!(message.contains("hint: the ResourcePlacements are `content`"), "{message}");

    for args in [
        &["member", "list"][..],
        &["member", "show", "member-1"],
        &["updaterun", "list"],
        &["placement", "list"],
        &["placement", "history", "shop"],
        &["placement", "rollback", "shop", "--to", "0", "--dry-run"],
    ] {
        assert!(!json(&fleet.stolos(&[args, &["-o", "json"]].concat())).is_null(), "{args:?}");
        for format in ["yaml", "name"] {
            out(&fleet.stolos(&[args, &["-o", format]].concat()));
        }
    }
    for args in [
        &["member", "label", "member-1", "json=yes"][..],
        &["member", "taint", "member-1", "json=yes:NoSchedule"],
        &["member", "taint", "member-1", "json-"],
    ] {
        let member = json(&fleet.stolos(&[args, &["-o", "json"]].concat()));
        assert_eq!(member["metadata"]["labels"]["json"], "yes", "{args:?}");
    }
}

fn members(fleet: &Fleet) {
    fits(&out(&fleet.stolos(&["member", "list"])));
    fits(&out(&fleet.stolos(&["member", "show", "member-1"])));
    out(&fleet.stolos(&["member", "label", "member-1", "tier=gold"]));
    let gold = out(&fleet.stolos(&["member", "list", "-l", "tier=gold", "-o", "name"]));
    assert_eq!(gold, "member-1\n");
    let (code, message) = failure(&fleet.stolos(&["member", "label", "member-1", "tier=silver"]));
    assert_eq!(code, Some(1));
    assert!(
        message.contains("has label tier=gold already") && message.contains("--overwrite"),
        "{message}"
    );
    out(&fleet.stolos(&["member", "label", "member-1", "tier-"]));
    let (code, message) = failure(&fleet.stolos(&["member", "taint", "member-3", "a=b:NoExecute"]));
    assert_eq!(code, Some(2));
    assert!(message.contains("the only one is NoSchedule"), "{message}");
    out(&fleet.stolos(&["member", "taint", "member-3", "maintenance-"]));
    let (_, message) = failure(&fleet.stolos(&["member", "show", "member-9"]));
    assert!(message.contains("there is no member cluster `member-9`"), "{message}");
}

#[test]
fn watching_ends_with_its_own_code_when_the_time_is_over_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "shop"]);
    hub.apply(&MANIFEST.replace("numberOfClusters: 2", "numberOfClusters: 5"));
    let (code, _) = failure(&fleet.stolos(&["placement", "watch", "shop", "--timeout", "2s"]));
    assert_eq!(code, Some(5));
    let answer = out(&fleet.stolos(&["explain", "placement", "shop"]));
    assert!(answer.contains("the policy asks for more clusters than can be picked"), "{answer}");
}
