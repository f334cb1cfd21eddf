use serde_json::{Value, json};

use super::*;

fn defaulted(api_version: &str, kind: &str, object: &Value) -> Value {
    let mut once = object.clone();
    default_object(&GroupVersion::parse(api_version), kind, &mut once);
    let mut twice = once.clone();
    default_object(&GroupVersion::parse(api_version), kind, &mut twice);
    assert_eq!(once, twice, "{kind}");
    once
}

#[test]
fn a_deployment_gets_what_kube_apiserver_gives() {
    let object = json!({
        "metadata": {"name": "x", "creationTimestamp": null},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                "readinessProbe": {"httpGet": {"port": 80}}}],
                "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "s"}}]}}},
    });
    assert_eq!(
        defaulted("apps/v1", "Deployment", &object),
        json!({
            "metadata": {"name": "x"},
            "spec": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                    "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Always",
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                        "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                            "failureThreshold": 3}}],
                    "volumes": [{"name": "v", "emptyDir": {}},
                        {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}}]}}},
        })
    );
}

#[test]
fn kinds_get_their_defaults() {
    for (api_version, kind, object, pointer, want) in [
        (
            "v1",
            "Secret",
            json!({"stringData": {"a": "hi"}}),
            "",
            json!({"type": "Opaque", "data": {"a": "aGk="}}),
        ),
        (
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80}]}}),
            "/spec",
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        ),
        (
            "v1",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1"}}}]}}),
            "/spec/containers/0/resources/requests",
            json!({"cpu": "1"}),
        ),
        (
            "v1",
            "Namespace",
            json!({"metadata": {"name": "x"}}),
            "/metadata/labels",
            json!({"kubernetes.io/metadata.name": "x"}),
        ),
        ("v1", "ConfigMap", json!({"data": {"a": null}}), "", json!({"data": {"a": ""}})),
        (
            "batch/v1",
            "Job",
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}}),
            "/metadata/labels",
            json!({"a": "b"}),
        ),
        ("batch/v1", "Job", json!({"spec": {"parallelism": 2}}), "/spec/completions", json!(null)),
        ("batch/v1", "CronJob", json!({"spec": {}}), "/spec/failedJobsHistoryLimit", json!(1)),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"},
                {"kind": "ServiceAccount", "name": "s"}]}),
            "",
            json!({"roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
                "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"},
                {"kind": "ServiceAccount", "name": "s"}]}),
        ),
        (
            "v1",
            "PersistentVolumeClaim",
            json!({}),
            "",
            json!({"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
        ),
        (
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"ports": [{"port": 1}]}),
            "/ports/0",
            json!({"name": "", "port": 1, "protocol": "TCP"}),
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"renewTime": null}}),
            "",
            json!({"spec": {}}),
        ),
        (
            "apps/v1",
            "ControllerRevision",
            json!({"data": {"a": null}}),
            "",
            json!({"data": {"a": null}}),
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "Foo"}}}),
            "/spec",
            json!({"names": {"kind": "Foo", "listKind": "FooList", "singular": "foo"}, "conversion": {"strategy": "None"}}),
        ),
    ] {
        let got = defaulted(api_version, kind, &object);
        assert_eq!(got.pointer(pointer).cloned().unwrap_or_default(), want, "{kind}");
    }
}

#[test]
fn values_of_the_wrong_type_are_left_for_validation() {
    for known in super::super::KINDS {
        for object in [
            json!({"spec": 1, "metadata": []}),
            json!({"spec": {"template": 3, "ports": {}}}),
            json!(1),
        ] {
            let gv = GroupVersion::new(known.group, known.version);
            let mut object = object;
            default_object(&gv, known.kind, &mut object);
        }
    }
}
