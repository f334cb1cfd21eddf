use serde_json::{Value, json};

use super::super::complete_object;
use super::*;

fn texts(api_version: &str, kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let gv = GroupVersion::parse(api_version);
    let complete = |object: &Value| {
        let mut object = object.clone();
        complete_object(&gv, kind, &mut object);
        object
    };
    let old = old.map(complete);
    let causes = validate(&gv, kind, &complete(new), old.as_ref());
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn deployment() -> Value {
    json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// Sets a value at a JSON pointer; null removes.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    if value.is_null() {
        parent.as_object_mut().unwrap().remove(field);
    } else {
        parent[field] = value;
    }
    object
}

#[test]
fn deployments_are_checked_with_the_texts_of_kube_apiserver() {
    assert_eq!(texts("apps/v1", "Deployment", &deployment(), None), [] as [&str; 0]);
    for (pointer, value, want) in [
        (
            "/spec/replicas",
            json!("x"),
            r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ),
        (
            "/spec/replicas",
            json!(-1),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "/spec/selector",
            json!({}),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            "/spec/selector/matchLabels",
            json!({"a": "c"}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            "/spec/strategy",
            json!({"type": "Sideways"}),
            r#"spec.strategy.type: Unsupported value: "Sideways": supported values: "Recreate", "RollingUpdate""#,
        ),
        (
            "/spec/template/spec/containers",
            json!([]),
            "spec.template.spec.containers: Required value",
        ),
        (
            "/spec/template/spec/containers",
            json!([{"name": "c"}]),
            "spec.template.spec.containers[0].image: Required value",
        ),
        (
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
        ),
        (
            "/spec/template/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/v"}]),
            r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v""#,
        ),
        (
            "/spec/template/spec/containers/0/resources",
            json!({"limits": {"cpu": "many"}}),
            "spec.template.spec.containers[0].resources.limits.cpu: Invalid value: \"many\": \
             spec.template.spec.containers[0].resources.limits.cpu in body must be of type quantity: \"many\"",
        ),
    ] {
        let broken = with(deployment(), pointer, value);
        assert_eq!(texts("apps/v1", "Deployment", &broken, None), [want]);
    }
    let empty = [
        "spec.selector: Required value",
        "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        "spec.template.spec.containers: Required value",
    ];
    assert_eq!(texts("apps/v1", "Deployment", &json!({}), None), empty);
}

#[test]
fn kinds_are_checked_for_what_clients_commonly_get_wrong() {
    for (api_version, kind, object, want) in [
        ("v1", "Service", json!({"spec": {}}), "spec.ports: Required value"),
        ("v1", "Service", json!({"spec": {"clusterIP": "None"}}), ""),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 70000, "targetPort": 1}]}}),
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "v1",
            "Secret",
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            "data[tls.key]: Required value",
        ),
        (
            "v1",
            "Secret",
            json!({"data": {"a": "no base64!"}}),
            r#"data.a: Invalid value: "no base64!": data.a in body must be of type byte: "no base64!""#,
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]}),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "x"}}),
            r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}}),
            "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
        ),
        ("v1", "ConfigMap", json!({"data": {"ok.key": "v"}}), ""),
        ("v1", "Event", json!({"involvedObject": {}, "metadata": {}, "eventTime": null}), ""),
        (
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"renewTime": "2026-01-01T00:00:00.000001Z"}}),
            "",
        ),
        (
            "v1",
            "Node",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"nodeInfo": {}}}),
            "",
        ),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4"}), ""),
        (
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}),
            "",
        ),
    ] {
        let got = texts(api_version, kind, &object, None);
        let want: &[&str] = if want.is_empty() { &[] } else { &[want] };
        assert_eq!(got, want, "{kind}");
    }
}

#[test]
fn immutable_fields_stay() {
    let job = json!({"spec": {"completions": 1, "template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}});
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let secret = json!({"immutable": true, "data": {"a": "aGk="}});
    for (api_version, kind, old, pointer, value, want) in [
        (
            "apps/v1",
            "Deployment",
            with(deployment(), "/spec/template/metadata/labels/x", json!("y")),
            "/spec/selector/matchLabels",
            json!({"x": "y"}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"x\":\"y\"}}: field is immutable",
        ),
        ("apps/v1", "Deployment", deployment(), "/spec/replicas", json!(3), ""),
        (
            "v1",
            "Secret",
            secret.clone(),
            "/data",
            json!({}),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "v1",
            "Secret",
            secret,
            "/type",
            json!("x"),
            "type: Invalid value: \"x\": field is immutable",
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"clusterIPs": ["10.0.0.1"], "ports": [{"port": 1}]}}),
            "/spec/clusterIPs",
            json!(["10.0.0.2"]),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",
        ),
        ("batch/v1", "Job", job.clone(), "/spec/parallelism", json!(3), ""),
        ("v1", "Pod", pod.clone(), "/spec/nodeName", json!("n"), ""),
        ("v1", "Pod", pod.clone(), "/spec/containers/0/image", json!("j"), ""),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "a"}}),
            "/roleRef/name",
            json!("b"),
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"b\"}: \
             cannot change roleRef",
        ),
    ] {
        let new = with(old.clone(), pointer, value);
        let got = texts(api_version, kind, &new, Some(&old));
        let want: &[&str] = if want.is_empty() { &[] } else { &[want] };
        assert_eq!(got, want, "{kind}{pointer}");
    }
    let changed = with(job.clone(), "/spec/template/spec/containers/0/image", json!("j"));
    assert!(texts("batch/v1", "Job", &changed, Some(&job))[0].ends_with(": field is immutable"));
    let renamed = with(pod.clone(), "/spec/containers/0/name", json!("d"));
    assert!(
        texts("v1", "Pod", &renamed, Some(&pod))[0]
            .starts_with("spec: Forbidden: pod updates may not")
    );
}

#[test]
fn anything_can_be_validated() {
    for known in super::super::KINDS {
        let gv = GroupVersion::new(known.group, known.version);
        for object in [
            json!({}),
            json!({"spec": {}, "status": {}}),
            json!({"spec": 1, "rules": {}, "data": []}),
        ] {
            let mut object = object;
            complete_object(&gv, known.kind, &mut object);
            let _ = validate(&gv, known.kind, &object, Some(&object));
        }
    }
}
