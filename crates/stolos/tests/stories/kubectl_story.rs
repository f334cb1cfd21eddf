//! What users do with kubectl, on hub and members alike.

use crate::backend::Up;
use crate::kubectl::Kubectl;

#[test]
fn kubectl_works_on_the_hub() {
    let Some(up) = Up::start(1) else { return };
    everyday(&up.kubectl("hub"));
}

#[test]
fn kubectl_works_on_a_member() {
    let Some(up) = Up::start(1) else { return };
    let member = up.kubectl("member-1");
    everyday(&member);
    workloads(&member);
}

#[test]
fn a_custom_resource_lives_and_goes_with_its_definition() {
    let Some(up) = Up::start(1) else { return };
    let hub = up.kubectl("hub");
    hub.apply(WIDGETS);
    hub.run(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=30s"]);
    let sloppy = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 3, unknown: 1}\n";
    let refused = hub.with_input(&["apply", "-f", "-"], sloppy);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown field \"spec.unknown\""));
    assert!(hub.with_input(&["apply", "--validate=ignore", "-f", "-"], sloppy).status.success());
    let widget = hub.get(&["widget", "a"]).expect("the widget is there");
    assert_eq!(
        widget["spec"],
        serde_json::json!({ "size": 3, "colour": "red" }),
        "pruned and defaulted"
    );
    let table = hub.run(&["get", "wd"]);
    assert!(table.contains("SIZE") && table.contains('3'), "{table}");
    assert!(hub.run(&["explain", "widget.spec.size"]).contains("How large it is"));
    let refused =
        hub.fail(&["patch", "widget", "a", "--type=merge", "-p", r#"{"spec":{"size":0}}"#]);
    assert!(refused.contains("spec.size: Invalid value: 0"), "{refused}");
    hub.run(&["scale", "widget/a", "--replicas=5"]);
    assert_eq!(hub.get(&["widget", "a"]).expect("it is there")["spec"]["size"], 5);
    hub.run(&["delete", "crd", "widgets.example.com", "--timeout=30s"]);
    // kubectl may still believe what it read before; either way there are none.
    let gone = hub.fail(&["get", "widgets"]);
    assert!(gone.contains("doesn't have a resource type") || gone.contains("NotFound"), "{gone}");
}

const WIDGETS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 1, description: How large it is}
              colour: {type: string, default: red}
          status:
            type: object
            properties:
              size: {type: integer}
";

fn everyday(kubectl: &Kubectl) {
    kubectl.run(&["create", "namespace", "shop"]);
    let inside = |args: &[&str]| kubectl.run(&[&["-n", "shop"], args].concat());

    inside(&["create", "configmap", "settings", "--from-literal=colour=blue"]);
    inside(&["label", "configmap", "settings", "tier=front"]);
    inside(&["annotate", "configmap", "settings", "note=hello"]);
    assert!(
        inside(&["get", "configmaps", "-l", "tier=front", "-o", "name"])
            .contains("configmap/settings")
    );
    assert!(inside(&["get", "configmap", "settings", "-o", "yaml"]).contains("colour: blue"));
    assert!(inside(&["describe", "configmap", "settings"]).contains("colour"));

    for (kind, patch) in [
        ("merge", r#"{"data":{"a":"1"}}"#),
        ("strategic", r#"{"data":{"b":"2"}}"#),
        ("json", r#"[{"op":"add","path":"/data/c","value":"3"}]"#),
    ] {
        inside(&["patch", "configmap", "settings", "--type", kind, "-p", patch]);
    }
    let data =
        kubectl.get(&["-n", "shop", "configmap", "settings"]).expect("it is there")["data"].clone();
    assert_eq!(data, serde_json::json!({ "colour": "blue", "a": "1", "b": "2", "c": "3" }));

    server_side_apply(kubectl);
    client_side_apply(kubectl);

    for n in 0..7 {
        inside(&["create", "configmap", &format!("page-{n}")]);
    }
    let paged = inside(&["get", "configmaps", "--chunk-size=2", "-o", "name"]);
    assert_eq!(paged.lines().filter(|line| line.contains("page-")).count(), 7);

    assert!(kubectl.run(&["api-resources"]).contains("deployments"));
    assert!(kubectl.run(&["explain", "deployment.spec.replicas"]).contains("integer"));
    assert_eq!(kubectl.run(&["auth", "can-i", "create", "pods"]).trim(), "yes");
    assert!(kubectl.run(&["get", "--raw", "/version"]).contains("\"minor\""));
    inside(&["get", "events"]);

    finalizers(kubectl);
    kubectl.run(&["delete", "namespace", "shop", "--timeout=30s"]);
    assert!(kubectl.get(&["-n", "shop", "configmap", "settings"]).is_none());
}

fn server_side_apply(kubectl: &Kubectl) {
    let manifest = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owned, namespace: shop}}\ndata: {{k: {value}}}\n"
        )
    };
    let apply = |manager: &str, value: &str, force: bool| {
        let manager = format!("--field-manager={manager}");
        let force = if force { &["--force-conflicts"][..] } else { &[] };
        let args = [&["apply", "--server-side", &manager, "-f", "-"], force].concat();
        kubectl.with_input(&args, &manifest(value))
    };
    assert!(apply("first", "a", false).status.success());
    let conflict = apply("second", "b", false);
    let stderr = String::from_utf8_lossy(&conflict.stderr);
    assert!(stderr.contains("conflict with \"first\"") && stderr.contains(".data.k"), "{stderr}");
    assert!(apply("second", "b", true).status.success());
}

fn client_side_apply(kubectl: &Kubectl) {
    let manifest = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: applied, namespace: shop}}\ndata: {data}\n"
        )
    };
    kubectl.apply(&manifest("{keep: a, drop: b}"));
    let diff = kubectl.with_input(&["diff", "-f", "-"], &manifest("{keep: c}"));
    assert_eq!(diff.status.code(), Some(1), "a difference is exit code 1");
    assert!(String::from_utf8_lossy(&diff.stdout).contains("keep: c"));
    kubectl.apply(&manifest("{keep: c}"));
    let data =
        kubectl.get(&["-n", "shop", "configmap", "applied"]).expect("it is there")["data"].clone();
    assert_eq!(data, serde_json::json!({ "keep": "c" }));
}

fn finalizers(kubectl: &Kubectl) {
    kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, namespace: shop, finalizers: [example.com/hold]}\n");
    kubectl.run(&["-n", "shop", "delete", "configmap", "held", "--wait=false"]);
    let held = kubectl.get(&["-n", "shop", "configmap", "held"]).expect("the finalizer holds it");
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    kubectl.run(&[
        "-n",
        "shop",
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    kubectl.wait_gone(&["-n", "shop", "configmap", "held"]);
}

fn workloads(kubectl: &Kubectl) {
    kubectl.run(&["create", "deployment", "web", "--image=nginx", "--replicas=2"]);
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    kubectl.run(&["expose", "deployment", "web", "--port=80"]);
    kubectl.wait_for("the Service has endpoints", &["endpointslices"], |list| {
        let slices = list["items"].as_array();
        slices.is_some_and(|slices| {
            slices.iter().any(|slice| slice["endpoints"].as_array().is_some_and(|e| e.len() == 2))
        })
    });
    kubectl.run(&["set", "image", "deployment/web", "nginx=nginx:2"]);
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    kubectl.run(&["scale", "deployment/web", "--replicas=1"]);
    kubectl.run(&[
        "wait",
        "--for=jsonpath={.status.availableReplicas}=1",
        "deployment/web",
        "--timeout=30s",
    ]);

    // In the foreground, what a Deployment owns goes first.
    kubectl.run(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=30s"]);
    assert_eq!(kubectl.run(&["get", "replicasets,pods", "-o", "name"]), "");
    kubectl.run(&["create", "deployment", "later", "--image=nginx"]);
    kubectl.run(&["delete", "deployment", "later", "--cascade=background"]);
    kubectl.wait_for("the ReplicaSet is collected", &["replicasets"], |list| {
        list["items"].as_array().is_some_and(Vec::is_empty)
    });
    kubectl.run(&["create", "deployment", "kept", "--image=nginx"]);
    kubectl.wait_for("the ReplicaSet is there", &["replicasets"], |list| {
        list["items"].as_array().is_some_and(|l| l.len() == 1)
    });
    kubectl.run(&["delete", "deployment", "kept", "--cascade=orphan", "--timeout=30s"]);
    let orphans = kubectl.run(&["get", "replicasets", "-o", "name"]);
    assert!(orphans.contains("replicaset.apps/kept-"), "{orphans}");

    kubectl.run(&["create", "job", "once", "--image=busybox"]);
    kubectl.run(&["wait", "--for=condition=complete", "job/once", "--timeout=30s"]);
    kubectl.apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: broken, annotations: {sim.stolos.dev/fail: ImagePullBackOff}}\nspec:\n  selector: {matchLabels: {app: broken}}\n  template:\n    metadata: {labels: {app: broken}}\n    spec: {containers: [{name: c, image: nginx}]}\n");
    kubectl.wait_for("the pod waits", &["pods", "-l", "app=broken"], |list| {
        list["items"][0]["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
            == "ImagePullBackOff"
    });
}
