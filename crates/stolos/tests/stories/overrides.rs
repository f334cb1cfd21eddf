//! Overrides and the limits of a rollout, with manifests as KubeFleet's users write them, on both backends.

use serde_json::Value;

use crate::backend::Fleet;
use crate::kubectl::Kubectl;

const MEMBERS: [&str; 3] = ["member-1", "member-2", "member-3"];

const PLACEMENT: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourcePlacement
metadata:
  name: shop
spec:
  resourceSelectors:
  - group: ""
    version: v1
    kind: Namespace
    name: shop
  policy:
    placementType: PickAll
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 1
      maxSurge: 1
      unavailablePeriodSeconds: 1
"#;

const OVERRIDES: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourceOverride
metadata:
  name: team
spec:
  placement:
    name: shop
  clusterResourceSelectors:
  - group: ""
    version: v1
    kind: Namespace
    name: shop
  policy:
    overrideRules:
    - clusterSelector:
        clusterSelectorTerms: []
      jsonPatchOverrides:
      - op: add
        path: /metadata/annotations
        value:
          {"example.com/on": "${MEMBER-CLUSTER-NAME}"}
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourceOverride
metadata:
  name: settings
  namespace: shop
spec:
  placement:
    name: shop
  resourceSelectors:
  - group: ""
    version: v1
    kind: ConfigMap
    name: settings
  policy:
    overrideRules:
    - clusterSelector:
        clusterSelectorTerms:
        - labelSelector:
            matchLabels:
              kubernetes-fleet.io/member-name: member-2
      jsonPatchOverrides:
      - op: replace
        path: /data/colour
        value: green
    - clusterSelector:
        clusterSelectorTerms:
        - labelSelector:
            matchLabels:
              kubernetes-fleet.io/member-name: member-3
      overrideType: Delete
"#;

#[test]
fn members_get_their_own_variants_and_lose_them_with_the_override_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    variants(&fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn overrides_and_limits_of_a_rollout_hold_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(3) else { return };
    variants(&fleet);
    clean(&fleet);
    misfit(&fleet);
    clean(&fleet);
    bad_version(&fleet);
    clean(&fleet);
    precedence(&fleet);
}

/// Takes everything away that a chapter made.
fn clean(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["delete", "crp", "--all", "--timeout=60s"]);
    hub.run(&["delete", "clusterresourceoverrides", "--all", "--timeout=60s"]);
    hub.run(&["delete", "namespace", "shop", "--timeout=60s"]);
    for name in MEMBERS {
        fleet.kubectl(name).wait_gone(&["namespace", "shop"]);
    }
}

fn sources(hub: &Kubectl) {
    hub.run(&["create", "namespace", "shop"]);
    hub.run(&["-n", "shop", "create", "configmap", "settings", "--from-literal=colour=blue"]);
}

fn has_colour(member: &Kubectl, colour: &str) {
    member.wait_for(
        &format!("the colour is {colour}"),
        &["-n", "shop", "configmap", "settings"],
        |map| map["data"]["colour"] == colour,
    );
}

fn variants(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let members = MEMBERS.map(|name| fleet.kubectl(name));
    sources(&hub);
    hub.apply(OVERRIDES);
    hub.apply(PLACEMENT);
    has_colour(&members[0], "blue");
    has_colour(&members[1], "green");
    let placed = available(&hub, 3);
    for (member, name) in members.iter().zip(MEMBERS) {
        let namespace = member.get(&["namespace", "shop"]).expect("it is placed");
        assert_eq!(namespace["metadata"]["annotations"]["example.com/on"], name);
    }
    assert!(members[2].get(&["-n", "shop", "configmap", "settings"]).is_none(), "it is left out");
    for cluster in placed["status"]["placementStatuses"].as_array().into_iter().flatten() {
        assert_eq!(cluster["applicableClusterResourceOverrides"][0], "team-0", "{cluster}");
    }

    // A plan of what is there already changes nothing.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.display().to_string()
    };
    let (shop, overrides) = (write("shop.yaml", PLACEMENT), write("overrides.yaml", OVERRIDES));
    let plan = fleet.stolos(&["plan", "placement", "-f", &shop, "-f", &overrides, "-o", "json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("stolos prints JSON");
    let clusters: Vec<_> = plan["clusters"].as_array().into_iter().flatten().collect();
    assert!(clusters.len() == 3 && clusters.iter().all(|c| c["step"] == "Keep"), "{plan}");
    let forms = |index: usize| {
        let objects = clusters[index]["objects"].as_array().into_iter().flatten();
        objects.map(|object| object["form"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(forms(0), ["Overridden", "Overridden"], "{plan}");
    assert_eq!(forms(2), ["Overridden", "LeftOut"], "{plan}");

    // Only the object that the override is for comes back, and nothing else changes.
    hub.run(&["-n", "shop", "delete", "resourceoverride", "settings", "--timeout=60s"]);
    for member in &members {
        has_colour(member, "blue");
    }
    available(&hub, 3);
    let left = hub.run(&["-n", "shop", "get", "resourceoverridesnapshots", "-o", "name"]);
    assert_eq!(left, "", "no snapshot of a deleted override stays");
}

#[test]
fn an_override_that_does_not_fit_stops_its_member_alone_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    misfit(&fleet);
}

fn misfit(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    sources(&hub);
    hub.apply(&OVERRIDES.replace("/data/colour", "/data/size"));
    hub.apply(PLACEMENT);
    has_colour(&fleet.kubectl("member-1"), "blue");
    let placed = hub.wait_for("the override is told to fail", &["crp", "shop"], |placement| {
        condition(placement, "member-2", "Overridden")["reason"] == "OverriddenFailed"
    });
    let message = condition(&placed, "member-2", "Overridden")["message"].to_string();
    assert!(
        message.contains("ConfigMap `shop/settings`") && message.contains("/data/size"),
        "{message}"
    );
    assert!(fleet.kubectl("member-2").get(&["namespace", "shop"]).is_none(), "nothing half-way");
    let answer = fleet.stolos(&["explain", "placement", "shop", "--cluster", "member-2"]);
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("`/data/size` does not exist"), "{answer}");
    hub.apply(OVERRIDES);
    has_colour(&fleet.kubectl("member-2"), "green");
    available(&hub, 3);
}

#[test]
fn a_bad_version_reaches_one_member_and_the_good_one_all_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    bad_version(&fleet);
}

fn bad_version(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    let members = MEMBERS.map(|name| fleet.kubectl(name));
    sources(&hub);
    hub.run(&["-n", "shop", "create", "deployment", "web", "--image=web:1"]);
    hub.apply(PLACEMENT);
    available(&hub, 3);
    let image = |member: &Kubectl| {
        let found = member.get(&["-n", "shop", "deployment", "web"]).expect("it is placed");
        found["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    // The simulated kubelets keep pods with this annotation from becoming ready.
    let version = |image: &str, fails: Value| {
        let template = serde_json::json!({
            "metadata": {"annotations": {"sim.stolos.dev/fail": fails}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        });
        let patch = serde_json::json!({"spec": {"template": template}}).to_string();
        hub.run(&["-n", "shop", "patch", "deployment", "web", "-p", &patch]);
    };
    version("web:2", "ImagePullBackOff".into());
    let stuck = hub.wait_for("the rollout stops", &["crp", "shop"], |placement| {
        let reasons = MEMBERS.map(|name| {
            let (started, available) = (
                condition(placement, name, "RolloutStarted"),
                condition(placement, name, "Available"),
            );
            (started["reason"].clone(), available["reason"].clone())
        });
        let waiting =
            reasons.iter().filter(|(started, _)| started == "RolloutNotStartedYet").count();
        let failing = reasons.iter().filter(|(_, seen)| seen == "NotAllWorkAreAvailable").count();
        (waiting, failing) == (2, 1)
    });
    let on_new = members.iter().filter(|member| image(member) == "web:2").count();
    assert_eq!(on_new, 1, "one may be unavailable: {}", stuck["status"]);
    let answer = fleet.stolos(&["explain", "placement", "shop"]);
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(
        answer.contains("maxUnavailable") && answer.contains("not available yet: `member-"),
        "{answer}"
    );

    version("web:3", Value::Null);
    available(&hub, 3);
    for member in &members {
        member.wait_for(
            "the good version arrives",
            &["-n", "shop", "deployment", "web"],
            |found| found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:3",
        );
    }
}

#[test]
fn the_nearer_override_wins_and_reaches_into_envelopes_embedded() {
    let Some(fleet) = Fleet::embedded(3) else { return };
    precedence(&fleet);
}

/// One override of the namespace, one of an object in it and of one in an envelope, with a label of the member; and one that
/// is for another placement.
const LAYERS: &str = r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ClusterResourceOverride
metadata: {name: layers}
spec:
  placement: {name: shop}
  clusterResourceSelectors: [{group: "", version: v1, kind: Namespace, name: shop}]
  policy:
    overrideRules:
    - clusterSelector: {clusterSelectorTerms: []}
      jsonPatchOverrides:
      - {op: add, path: /metadata/annotations, value: {"example.com/layer": "cluster", "example.com/by": "cluster"}}
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourceOverride
metadata: {name: layers, namespace: shop}
spec:
  placement: {name: shop}
  resourceSelectors:
  - {group: "", version: v1, kind: ConfigMap, name: settings}
  - {group: "", version: v1, kind: ConfigMap, name: wrapped}
  policy:
    overrideRules:
    - clusterSelector: {clusterSelectorTerms: []}
      jsonPatchOverrides:
      - {op: replace, path: /metadata/annotations/example.com~1layer, value: namespace}
      - {op: add, path: /data/zone, value: "${MEMBER-CLUSTER-LABEL-KEY-zone}"}
---
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourceOverride
metadata: {name: own, namespace: shop}
spec:
  placement: {name: shop, scope: Namespaced}
  resourceSelectors: [{group: "", version: v1, kind: ConfigMap, name: apart}]
  policy:
    overrideRules:
    - clusterSelector: {clusterSelectorTerms: []}
      jsonPatchOverrides: [{op: replace, path: /data/k, value: changed}]
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceEnvelope
metadata: {name: box, namespace: shop}
data:
  wrapped.yaml: {apiVersion: v1, kind: ConfigMap, metadata: {name: wrapped, namespace: shop}, data: {k: v}}
"#;

fn precedence(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    sources(&hub);
    for name in ["apart", "common"] {
        hub.run(&["-n", "shop", "create", "configmap", name, "--from-literal=k=v"]);
    }
    for (member, zone) in [("member-1", "a"), ("member-2", "b")] {
        hub.run(&["label", "membercluster", member, &format!("zone={zone}"), "--overwrite"]);
    }
    hub.apply(LAYERS);
    hub.apply(PLACEMENT);
    // The third member has no such label.
    let placed = hub.wait_for("the missing label is told", &["crp", "shop"], |placement| {
        condition(placement, "member-3", "Overridden")["reason"] == "OverriddenFailed"
    });
    let message = condition(&placed, "member-3", "Overridden")["message"].to_string();
    assert!(message.contains("zone"), "{message}");
    hub.run(&["label", "membercluster", "member-3", "zone=c"]);
    available(&hub, 3);
    for (name, zone) in MEMBERS.into_iter().zip(["a", "b", "c"]) {
        let member = fleet.kubectl(name);
        for map in ["settings", "wrapped"] {
            let found = member.get(&["-n", "shop", "configmap", map]).expect("it is placed");
            let annotations = &found["metadata"]["annotations"];
            assert_eq!(
                (&found["data"]["zone"], &annotations["example.com/layer"]),
                (&zone.into(), &"namespace".into()),
                "{map} on {name}"
            );
            assert_eq!(annotations["example.com/by"], "cluster", "{map} on {name}");
        }
        let apart = member.get(&["-n", "shop", "configmap", "apart"]).expect("it is placed");
        assert_eq!(apart["data"]["k"], "v", "that override is not for this placement");
    }

    // One that is for every placement takes effect with the next rollout.
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourceOverride
metadata: {name: everywhere, namespace: shop}
spec:
  resourceSelectors: [{group: "", version: v1, kind: ConfigMap, name: common}]
  policy:
    overrideRules:
    - clusterSelector:
        clusterSelectorTerms: [{labelSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [b]}]}}]
      jsonPatchOverrides: [{op: replace, path: /data/k, value: everywhere}]
"#,
    );
    hub.run(&["-n", "shop", "create", "configmap", "later", "--from-literal=k=v"]);
    for (name, want) in MEMBERS.into_iter().zip(["everywhere", "v", "everywhere"]) {
        let member = fleet.kubectl(name);
        member.wait_for("the rollout arrives", &["-n", "shop", "configmap", "later"], |map| {
            !map.is_null()
        });
        member.wait_for(
            "the override is in force",
            &["-n", "shop", "configmap", "common"],
            |map| map["data"]["k"] == want,
        );
    }
    available(&hub, 3);

    // The owner of the namespace has overrides of his own placement, which has a name of its own.
    let patch = r#"[{"op":"replace","path":"/spec/resourceSelectors/0/selectionScope","value":"NamespaceOnly"}]"#;
    hub.run(&["patch", "crp", "shop", "--type=json", "-p", patch]);
    hub.run(&["-n", "shop", "delete", "resourceoverride", "everywhere", "layers", "--timeout=60s"]);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1
kind: ResourcePlacement
metadata: {name: shop, namespace: shop}
spec:
  resourceSelectors: [{group: "", version: v1, kind: ConfigMap, name: apart}]
  policy: {placementType: PickFixed, clusterNames: [member-2]}
"#,
    );
    let member = fleet.kubectl("member-2");
    member.wait_for("his override is in force", &["-n", "shop", "configmap", "apart"], |map| {
        map["data"]["k"] == "changed"
    });
    let placed = hub.wait_for("it is told", &["-n", "shop", "rp", "shop"], |placement| {
        condition(placement, "member-2", "Available")["status"] == "True"
    });
    assert_eq!(
        placed["status"]["placementStatuses"][0]["applicableResourceOverrides"],
        serde_json::json!([{"name": "own-0", "namespace": "shop"}])
    );
}

/// Returns a condition of a member in the status of a placement.
fn condition(placement: &Value, member: &str, type_: &str) -> Value {
    let clusters = placement["status"]["placementStatuses"].as_array().cloned().unwrap_or_default();
    let cluster = clusters.into_iter().find(|cluster| cluster["clusterName"] == member);
    let conditions = cluster.and_then(|cluster| cluster["conditions"].as_array().cloned());
    let mut conditions = conditions.unwrap_or_default().into_iter();
    conditions.find(|condition| condition["type"] == type_).unwrap_or_default()
}

/// Waits until a placement is available on so many members at its present generation, with its latest snapshot.
fn available(hub: &Kubectl, n: usize) -> Value {
    hub.wait_for(
        &format!("the placement is available on {n} members"),
        &["crp", "shop"],
        |placement| {
            let done = MEMBERS.iter().filter(|name| {
                let found = condition(placement, name, "Available");
                found["status"] == "True"
                    && found["observedGeneration"] == placement["metadata"]["generation"]
            });
            done.count() == n
        },
    )
}
