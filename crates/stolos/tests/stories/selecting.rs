//! What a placement selects and how it is kept on the hub, on both backends.

use serde_json::{Value, json};

use crate::backend::{Backend, Fleet, Processes};
use crate::kubectl::Kubectl;
use crate::look::{cluster, complete_on, conditions, nowhere, says, says_on};

#[test]
fn selectors_of_every_form_select_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    forms(&fleet);
}

#[test]
fn selectors_that_cannot_be_are_told_until_they_can_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    wrong(&fleet);
}

#[test]
fn what_the_hub_makes_by_itself_is_not_placed_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    own_objects(&fleet);
}

#[test]
fn snapshots_are_split_by_size_and_old_ones_go_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    snapshots(&fleet);
}

#[test]
fn wrapped_objects_are_placed_and_wrong_ones_told_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    wrapped(&fleet);
}

#[test]
fn the_status_is_in_the_namespace_as_long_as_both_are_embedded() {
    let Some(fleet) = Fleet::embedded(1) else { return };
    status_copy(&fleet);
}

#[test]
fn changes_are_collected_as_long_as_the_hub_is_told_embedded() {
    let Some(fleet) = Processes::start(Backend::Embedded, 1) else { return };
    options(fleet);
}

/// A fleet of real API servers takes long to start, so one is for all.
#[test]
fn selected_objects_are_noted_and_placed_kubernetes() {
    let Some(fleet) = Fleet::kubernetes(1) else { return };
    forms(&fleet);
    wrong(&fleet);
    own_objects(&fleet);
    snapshots(&fleet);
    wrapped(&fleet);
    status_copy(&fleet);
    if let Fleet::Processes(processes) = fleet {
        options(processes);
    }
}

const ON: [&str; 1] = ["member-1"];

/// Applies a placement with these selectors, one on a line.
fn select(hub: &Kubectl, name: &str, selectors: &str) {
    select_with(hub, name, selectors, "");
}

fn select_with(hub: &Kubectl, name: &str, selectors: &str, more: &str) {
    let selectors: String =
        selectors.lines().map(|line| format!("  - {{{}}}\n", line.trim())).collect();
    hub.apply(&format!(
        r"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourcePlacement
metadata: {{name: {name}}}
spec:
  resourceSelectors:
{selectors}
  strategy: {{rollingUpdate: {{maxUnavailable: 100%, unavailablePeriodSeconds: 1}}}}
{more}
"
    ));
}

/// Returns what a placement says it selected, as `Kind namespace/name`.
fn selected(placement: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let written = |object: &Value| {
        let (kind, name) = (text(&object["kind"]), text(&object["name"]));
        match object["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        }
    };
    let objects = placement["status"]["selectedResources"].as_array().into_iter().flatten();
    objects.map(written).collect()
}

/// Waits until a placement selects just these and has placed them.
fn selects(hub: &Kubectl, name: &str, want: &[&str]) -> Value {
    hub.wait_for(&format!("{name} selects {want:?}"), &["crp", name], |found| {
        selected(found) == want
    });
    let found = complete_on(hub, &["crp", name], &ON);
    assert_eq!(selected(&found), want);
    found
}

fn role(hub: &Kubectl, name: &str, label: &str) {
    hub.run(&["create", "clusterrole", name, "--verb=get", "--resource=configmaps"]);
    hub.run(&["label", "clusterrole", name, label]);
}

fn forms(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let cluster_role = "group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole";

    // By label: objects come and go with the label; nothing at all is a selection too.
    role(&hub, "by-label-b", "form=label");
    select(
        &hub,
        "labels",
        &format!("{cluster_role}, labelSelector: {{matchLabels: {{form: label}}}}"),
    );
    selects(&hub, "labels", &["ClusterRole by-label-b"]);
    role(&hub, "by-label-a", "form=label");
    let found = selects(&hub, "labels", &["ClusterRole by-label-a", "ClusterRole by-label-b"]);
    assert!(member.get(&["clusterrole", "by-label-a"]).is_some());
    assert_ne!(found["status"]["observedResourceIndex"], "0");
    hub.run(&["label", "clusterrole", "by-label-a", "by-label-b", "form-"]);
    selects(&hub, "labels", &[]);
    for name in ["by-label-a", "by-label-b"] {
        member.wait_gone(&["clusterrole", name]);
    }

    // Namespaces by label, with what is in them, in the order of kinds and names.
    for name in ["form-a", "form-b"] {
        hub.run(&["create", "namespace", name]);
        hub.run(&["label", "namespace", name, "form=namespace"]);
        hub.run(&["-n", name, "create", "configmap", "settings", "--from-literal=k=v"]);
    }
    hub.run(&["-n", "form-a", "create", "service", "clusterip", "web", "--tcp=80"]);
    hub.run(&["-n", "form-a", "create", "secret", "generic", "key", "--from-literal=k=v"]);
    hub.run(&["-n", "form-a", "create", "role", "reader", "--verb=get", "--resource=secrets"]);
    select(
        &hub,
        "namespaces",
        r#"group: "", version: v1, kind: Namespace, labelSelector: {matchLabels: {form: namespace}}"#,
    );
    selects(
        &hub,
        "namespaces",
        &[
            "Namespace form-a",
            "Namespace form-b",
            "Secret form-a/key",
            "ConfigMap form-a/settings",
            "ConfigMap form-b/settings",
            "Role form-a/reader",
            "Service form-a/web",
        ],
    );
    // A Service gets an address of the member's own.
    let service = member.get(&["-n", "form-a", "service", "web"]).expect("it is placed");
    assert!(service["spec"]["clusterIP"].is_string(), "{service}");
    hub.run(&["-n", "form-a", "delete", "secret", "key"]);
    member.wait_gone(&["-n", "form-a", "secret", "key"]);
    hub.run(&["delete", "crp", "namespaces", "--timeout=60s"]);
    member.wait_gone(&["namespace", "form-a"]);

    // A namespace with some of its content, and something of the cluster beside it.
    role(&hub, "form-reader", "form=beside");
    select(
        &hub,
        "chosen",
        &format!(
            r#"group: "", version: v1, kind: Namespace, name: form-a, selectionScope: NamespaceWithResourceSelectors
group: "", version: v1, kind: ConfigMap, name: settings
{cluster_role}, name: form-reader"#
        ),
    );
    selects(
        &hub,
        "chosen",
        &["Namespace form-a", "ConfigMap form-a/settings", "ClusterRole form-reader"],
    );
    assert!(member.get(&["-n", "form-a", "service", "web"]).is_none());
    assert!(member.get(&["-n", "form-b", "configmap", "settings"]).is_none());

    // Every object of a kind.
    for name in ["first", "second"] {
        hub.apply(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\nspec: {{controller: example.com/{name}}}\n"
        ));
    }
    select(&hub, "kinds", "group: networking.k8s.io, version: v1, kind: IngressClass");
    selects(&hub, "kinds", &["IngressClass first", "IngressClass second"]);
    assert!(member.get(&["ingressclass", "second"]).is_some());
    hub.run(&["delete", "crp", "kinds", "--timeout=60s"]);
}

const INVALID: &str = "Scheduled=False/InvalidResourceSelectors";

fn wrong(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    let namespace = r#"group: "", version: v1, kind: Namespace, name: wrong-a"#;
    let told = |what: &str| {
        let found = nowhere(&hub, &["crp", "wrong"], INVALID);
        let message = found["status"]["conditions"][0]["message"].to_string();
        assert!(message.contains(what), "{message}");
    };
    for (selectors, what) in [
        (r#"group: "", version: v1, kind: Namespace, name: fleet-system"#, "fleet-system"),
        (r#"group: "", version: v1, kind: ConfigMap, name: a"#, "ConfigMap"),
        (&format!("{namespace}, selectionScope: NamespaceWithResourceSelectors"), "namespace"),
        ("group: example.com, version: v1, kind: Odd", "Odd"),
    ] {
        select(&hub, "wrong", selectors);
        told(what);
        hub.run(&["delete", "crp", "wrong", "--timeout=60s"]);
    }

    // The same object twice stops the placement where it is, until it is put right.
    hub.run(&["create", "namespace", "wrong-a"]);
    hub.run(&["-n", "wrong-a", "create", "configmap", "settings", "--from-literal=k=v"]);
    select(&hub, "wrong", namespace);
    complete_on(&hub, &["crp", "wrong"], &ON);
    hub.run(&["label", "namespace", "wrong-a", "twice=yes"]);
    let twice = format!(
        "{namespace}\ngroup: \"\", version: v1, kind: Namespace, labelSelector: {{matchLabels: {{twice: \"yes\"}}}}"
    );
    select(&hub, "wrong", &twice);
    hub.wait_for("the repetition is told", &["crp", "wrong"], |found| {
        let first = &found["status"]["conditions"][0];
        first["reason"] == "InvalidResourceSelectors"
            && first["message"]
                .as_str()
                .is_some_and(|text| text.contains("found duplicate resource"))
    });
    assert!(member.get(&["-n", "wrong-a", "configmap", "settings"]).is_some(), "nothing is lost");
    select(&hub, "wrong", namespace);
    complete_on(&hub, &["crp", "wrong"], &ON);

    // A kind that comes to be while the hub runs.
    let definition = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp, listKind: LampList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
    hub.apply(definition);
    hub.apply("apiVersion: example.com/v1\nkind: Lamp\nmetadata: {name: lamp, namespace: wrong-a}\ncolour: red\n");
    // The member does not know the kind yet.
    let said =
        says_on(&hub, &["crp", "wrong"], "member-1", "Applied=False/NotAllWorkHaveBeenApplied");
    assert_eq!(said["failedPlacements"][0]["condition"]["reason"], "DecodingErred");
    select(
        &hub,
        "definitions",
        "group: apiextensions.k8s.io, version: v1, kind: CustomResourceDefinition, name: lamps.example.com",
    );
    complete_on(&hub, &["crp", "wrong"], &ON);
    assert_eq!(
        member.get(&["-n", "wrong-a", "lamp", "lamp"]).expect("it is placed")["colour"],
        "red"
    );
    hub.run(&["delete", "crp", "wrong", "definitions", "--timeout=60s"]);
}

fn own_objects(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    hub.run(&["create", "namespace", "own"]);
    hub.run(&["-n", "own", "create", "deployment", "web", "--image=web:1"]);
    hub.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: own, annotations: {note: kept}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: own}
spec: {containers: [{name: web, image: "web:1"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: own, annotations: {kubernetes.io/service-account.name: default}}
type: kubernetes.io/service-account-token
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: owned
  namespace: own
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: OWNER}]
spec:
  replicas: 0
  selector: {matchLabels: {app: owned}}
  template: {metadata: {labels: {app: owned}}, spec: {containers: [{name: web, image: "web:1"}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-made, namespace: own, labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}
addressType: IPv4
endpoints: []
"#
        .replace("OWNER", owner(&hub).as_str())
        .as_str(),
    );
    select(&hub, "own", r#"group: "", version: v1, kind: Namespace, name: own"#);
    selects(&hub, "own", &["Namespace own", "Service own/web", "Deployment own/web"]);
    let service = member.get(&["-n", "own", "service", "web"]).expect("it is placed");
    assert_eq!(service["metadata"]["annotations"]["note"], "kept");
    assert!(service["metadata"]["labels"].is_null(), "no label is added: {service}");
    let annotations = service["metadata"]["annotations"].as_object().expect("annotations");
    assert!(!annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    hub.run(&["delete", "crp", "own", "--timeout=60s"]);
    priority_classes(&hub, &member);
}

/// The priority classes that every cluster has of its own are not the hub's to place: nobody could ever withdraw them.
fn priority_classes(hub: &Kubectl, member: &Kubectl) {
    hub.run(&["create", "priorityclass", "gold", "--value=1000"]);
    select(hub, "classes", "group: scheduling.k8s.io, version: v1, kind: PriorityClass");
    selects(hub, "classes", &["PriorityClass gold"]);
    assert_eq!(member.get(&["priorityclass", "gold"]).expect("it is placed")["value"], 1000);
    for name in ["system-node-critical", "system-cluster-critical"] {
        assert!(hub.get(&["priorityclass", name]).is_some(), "the hub has it too");
        let class = member.get(&["priorityclass", name]).expect("every cluster has it");
        assert!(class["metadata"]["ownerReferences"].is_null(), "{class}");
    }
    hub.run(&["delete", "crp", "classes", "--timeout=60s"]);
    member.wait_gone(&["appliedwork", "classes-work"]);
    member.wait_gone(&["priorityclass", "gold"]);
    assert!(member.get(&["priorityclass", "system-node-critical"]).is_some());
    hub.run(&["delete", "priorityclass", "gold"]);
}

fn owner(hub: &Kubectl) -> String {
    let found = hub.get(&["-n", "own", "deployment", "web"]).expect("it is there");
    found["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// Returns the names of the resource snapshots of a placement.
fn snapshots_of(hub: &Kubectl, name: &str) -> Vec<String> {
    let label = format!("kubernetes-fleet.io/parent-CRP={name}");
    let found = hub.run(&["get", "clusterresourcesnapshots", "-l", &label, "-o", "name"]);
    let mut names: Vec<_> =
        found.lines().filter_map(|line| line.split('/').nth(1)).map(str::to_owned).collect();
    names.sort();
    names
}

fn snapshots(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    hub.run(&["create", "namespace", "big"]);
    let text = "x".repeat(500 * 1024);
    for index in 0..3 {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("big-{index}"), "namespace": "big"}, "data": {"text": text},
        });
        let output = hub.with_input(&["apply", "--server-side", "-f", "-"], &map.to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    select_with(
        &hub,
        "big",
        r#"group: "", version: v1, kind: Namespace, name: big"#,
        "  revisionHistoryLimit: 2",
    );
    complete_on(&hub, &["crp", "big"], &ON);
    assert_eq!(snapshots_of(&hub, "big"), ["big-0-0", "big-0-1", "big-0-snapshot"]);
    let master = hub.get(&["crs", "big-0-snapshot"]).expect("it is there");
    assert_eq!(
        master["metadata"]["annotations"]["kubernetes-fleet.io/number-of-resource-snapshots"],
        "3"
    );
    let second = hub.get(&["crs", "big-0-1"]).expect("it is there");
    assert_eq!(
        second["metadata"]["annotations"]["kubernetes-fleet.io/subindex-of-resource-snapshot"],
        "1"
    );
    let works = hub.get(&["-n", "fleet-member-member-1", "works"]).expect("they can be listed");
    let works: Vec<_> = works["items"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = works.iter().filter_map(|work| work["metadata"]["name"].as_str()).collect();
    assert!(["big-0", "big-1", "big-work"].iter().all(|name| names.contains(name)), "{names:?}");
    for index in 0..3 {
        assert!(member.get(&["-n", "big", "configmap", &format!("big-{index}")]).is_some());
    }

    // It shrinks: the parts go, and what they brought that is no longer there.
    hub.run(&["-n", "big", "delete", "configmap", "big-1", "big-2"]);
    member.wait_gone(&["-n", "big", "configmap", "big-2"]);
    for colour in ["red", "green", "blue"] {
        hub.run(&["label", "namespace", "big", "--overwrite", &format!("colour={colour}")]);
        member.wait_for("the label arrives", &["namespace", "big"], |namespace| {
            namespace["metadata"]["labels"]["colour"] == colour
        });
    }
    complete_on(&hub, &["crp", "big"], &ON);
    assert!(member.get(&["-n", "big", "configmap", "big-0"]).is_some());
    let kept = snapshots_of(&hub, "big");
    assert_eq!(kept.len(), 2, "as many as the history may have: {kept:?}");
    assert!(!kept.iter().any(|name| name.starts_with("big-0-")), "{kept:?}");

    // Nobody needs a snapshot that is old: the placement stands without it.
    let old = kept[0].clone();
    hub.run(&["delete", "crs", &old]);
    hub.run(&["label", "namespace", "big", "--overwrite", "colour=white"]);
    member.wait_for("the label arrives", &["namespace", "big"], |namespace| {
        namespace["metadata"]["labels"]["colour"] == "white"
    });
    hub.run(&["delete", "crp", "big", "--timeout=60s"]);
    assert_eq!(snapshots_of(&hub, "big"), [] as [&str; 0]);
}

fn wrapped(fleet: &Fleet) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    hub.run(&["create", "namespace", "wrap"]);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ClusterResourceEnvelope
metadata: {name: guards}
data:
  role.yaml:
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata: {name: wrapped}
    rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceEnvelope
metadata: {name: inside, namespace: wrap}
data:
  a.yaml: {apiVersion: v1, kind: ConfigMap, metadata: {name: twice, namespace: wrap}, data: {k: v}}
  b.yaml: {apiVersion: v1, kind: ConfigMap, metadata: {name: twice, namespace: wrap}, data: {k: v}}
  c.yaml: {apiVersion: v1, kind: ConfigMap, metadata: {generateName: many-, namespace: wrap}, data: {k: v}}
  d.yaml: {apiVersion: v1, kind: ConfigMap, metadata: {name: good, namespace: wrap}, data: {k: v}}
"#,
    );
    select(
        &hub,
        "wrap",
        r#"group: "", version: v1, kind: Namespace, name: wrap
group: placement.kubernetes-fleet.io, version: v1beta1, kind: ClusterResourceEnvelope, name: guards"#,
    );
    // At first the namespace is missing there, too.
    hub.wait_for("only the wrong ones fail", &["crp", "wrap"], |placement| {
        let failed = cluster(placement, "member-1")["failedPlacements"].as_array();
        let reason = |failed: &Value| {
            (failed["condition"]["reason"].clone(), failed["envelope"]["name"].clone())
        };
        let mut reasons: Vec<_> = failed.into_iter().flatten().map(reason).collect();
        reasons.sort_by_key(|(reason, _)| reason.to_string());
        let inside = json!("inside");
        reasons == [(json!("Duplicated"), inside.clone()), (json!("FoundGenerateName"), inside)]
    });
    member.wait_for("the good ones are placed", &["-n", "wrap", "configmap", "good"], |map| {
        map["data"]["k"] == "v"
    });
    assert!(member.get(&["clusterrole", "wrapped"]).is_some());
    assert!(hub.get(&["clusterrole", "wrapped"]).is_none(), "on the hub it binds nobody");
    let patch = r#"[{"op":"remove","path":"/data/b.yaml"},{"op":"remove","path":"/data/c.yaml"}]"#;
    hub.run(&["-n", "wrap", "patch", "resourceenvelope", "inside", "--type=json", "-p", patch]);
    complete_on(&hub, &["crp", "wrap"], &ON);

    // An object of another namespace does not belong there, and nothing of the version is sent.
    let patch = r#"{"data":{"e.yaml":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"stray","namespace":"elsewhere"}}}}"#;
    hub.run(&["-n", "wrap", "patch", "resourceenvelope", "inside", "--type=merge", "-p", patch]);
    let said = says_on(&hub, &["crp", "wrap"], "member-1", "WorkSynchronized=False/SyncWorkFailed");
    assert!(said.to_string().contains("`e.yaml`"), "{said}");
    says(&hub, &["crp", "wrap"], "WorkSynchronized=False/WorkNotSynchronizedYet");
    assert!(member.get(&["-n", "wrap", "configmap", "good"]).is_some(), "nothing is lost");
    hub.run(&["-n", "wrap", "delete", "resourceenvelope", "inside"]);
    member.wait_gone(&["-n", "wrap", "configmap", "good"]);
    complete_on(&hub, &["crp", "wrap"], &ON);

    // An envelope can be placed by the owner of the namespace as well.
    let patch = r#"[{"op":"replace","path":"/spec/resourceSelectors/0/selectionScope","value":"NamespaceOnly"}]"#;
    hub.run(&["patch", "crp", "wrap", "--type=json", "-p", patch]);
    hub.apply(
        r#"
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourceEnvelope
metadata: {name: own, namespace: wrap}
data:
  quota.yaml: {apiVersion: v1, kind: ResourceQuota, metadata: {name: small, namespace: wrap}, spec: {hard: {pods: "3"}}}
---
apiVersion: placement.kubernetes-fleet.io/v1beta1
kind: ResourcePlacement
metadata: {name: own, namespace: wrap}
spec:
  resourceSelectors:
  - {group: placement.kubernetes-fleet.io, version: v1beta1, kind: ResourceEnvelope, name: own}
"#,
    );
    complete_on(&hub, &["-n", "wrap", "rp", "own"], &ON);
    assert!(member.get(&["-n", "wrap", "resourcequota", "small"]).is_some());
    hub.run(&["-n", "wrap", "delete", "rp", "own", "--timeout=60s"]);
    member.wait_gone(&["-n", "wrap", "resourcequota", "small"]);
    assert!(member.get(&["namespace", "wrap"]).is_some(), "the other placement keeps it");
}

fn status_copy(fleet: &Fleet) {
    let hub = fleet.kubectl("hub");
    hub.run(&["create", "namespace", "told"]);
    select_with(
        &hub,
        "told",
        r#"group: "", version: v1, kind: Namespace, name: told"#,
        "  statusReportingScope: NamespaceAccessible",
    );
    let copy = ["-n", "told", "clusterresourceplacementstatus", "told"];
    let tells = |index: &str| {
        hub.wait_for(&format!("the copy tells of snapshot {index}"), &copy, |copy| {
            let conditions = copy["sourceStatus"]["conditions"].as_array().map_or(0, Vec::len);
            copy["sourceStatus"]["observedResourceIndex"] == index && conditions == 6
        })
    };
    tells("0");
    complete_on(&hub, &["crp", "told"], &ON);
    hub.wait_for("the copy is told of", &["crp", "told"], |found| {
        conditions(found).contains(&"StatusSynced=True/StatusSyncSucceeded".to_owned())
    });
    hub.run(&["-n", "told", "create", "configmap", "more", "--from-literal=k=v"]);
    let first = tells("1");
    hub.run(&["-n", "told", "delete", "clusterresourceplacementstatus", "told"]);
    let second = tells("1");
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"], "it is made again");
    // To another namespace the placement may not move.
    let patch = r#"[{"op":"replace","path":"/spec/resourceSelectors/0/name","value":"elsewhere"}]"#;
    hub.run(&["patch", "crp", "told", "--type=json", "-p", patch]);
    hub.wait_for("the move is refused", &["crp", "told"], |found| {
        found["status"]["conditions"][0]["reason"] == "InvalidResourceSelectors"
    });
    assert!(fleet.kubectl("member-1").get(&["namespace", "told"]).is_some());
    hub.run(&["delete", "crp", "told", "--timeout=60s"]);
    hub.wait_gone(&copy);
}

/// Starts the hub anew, with delays and exceptions.
fn options(mut fleet: Processes) {
    let (hub, member) = (fleet.kubectl("hub"), fleet.kubectl("member-1"));
    for name in ["slow", "left-alone"] {
        hub.run(&["create", "namespace", name]);
        hub.run(&["label", "namespace", name, "options=yes"]);
        hub.run(&["-n", name, "create", "configmap", "settings", "--from-literal=k=v"]);
        hub.run(&["-n", name, "create", "secret", "generic", "key", "--from-literal=k=v"]);
    }
    fleet.kill("hub");
    fleet.start_hub(&[
        "--resource-snapshot-creation-minimum-interval=6s",
        "--resource-changes-collection-duration=3s",
        "--skipped-propagating-apis=v1/Secret",
        "--skipped-propagating-namespaces=left-alone",
    ]);
    let slow = r#"group: "", version: v1, kind: Namespace, name: slow"#;
    select(&hub, "slow", slow);
    let found = selects(&hub, "slow", &["Namespace slow", "ConfigMap slow/settings"]);
    assert_eq!(found["status"]["observedResourceIndex"], "0");
    select(&hub, "left-alone", &slow.replace("slow", "left-alone"));
    nowhere(&hub, &["crp", "left-alone"], INVALID);

    // Several changes go out together, once they have been collected; until then the status tells of what is placed.
    let maps = ["one", "two", "three"].map(|name| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": "slow" }, "data": { "k": "v" },
        })
    });
    hub.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": maps }).to_string());
    let noted = "kubernetes-fleet.io/next-resource-snapshot-candidate-detection-time";
    let first = hub.wait_for("the change is noted", &["crs", "slow-0-snapshot"], |snapshot| {
        snapshot["metadata"]["annotations"][noted].is_string()
    });
    let told = hub.get(&["crp", "slow"]).expect("it is there");
    if told["status"]["observedResourceIndex"] == "0" {
        assert_eq!(selected(&told), ["Namespace slow", "ConfigMap slow/settings"]);
    }
    member.wait_for("all arrive", &["-n", "slow", "configmap", "three"], |map| !map.is_null());
    complete_on(&hub, &["crp", "slow"], &ON);
    assert_eq!(snapshots_of(&hub, "slow"), ["slow-0-snapshot", "slow-1-snapshot"]);
    let second = hub.get(&["crs", "slow-1-snapshot"]).expect("it is there");
    let made = |snapshot: &Value| {
        let text = snapshot["metadata"]["creationTimestamp"].as_str().expect("a time");
        text.parse::<jiff::Timestamp>().expect("a time")
    };
    let passed = made(&second).duration_since(made(&first)).as_secs();
    assert!(passed >= 5, "only {passed}s passed between the snapshots");
}
