//! The same rules on real kinds.

use super::*;
use crate::patch;
use crate::schema::builtin::kind;

fn world(group: &str, version: &str, name: &str) -> World {
    let schema = kind(group, version, name).expect("a built-in kind");
    World { schema, reset: ResetFields::status(), api_version: "apps/v1", ..World::new() }
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default", "labels": { "app": "web" } },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "containers": [{
                        "name": "web",
                        "image": "web:1",
                        "args": ["--port", "80"],
                        "env": [{ "name": "A", "value": "1" }],
                        "ports": [{ "containerPort": 80 }],
                        "resources": { "limits": { "cpu": "1" } },
                    }],
                    "tolerations": [{ "key": "k", "operator": "Exists" }],
                    "volumes": [{ "name": "tmp", "emptyDir": {} }],
                },
            },
        },
    })
}

#[test]
fn a_deployment_is_owned_by_its_topology() {
    let mut world = world("apps", "v1", "Deployment");
    world.try_apply_object("kubectl", &deployment(), false).expect("created");
    let want = json!({
        "f:metadata": { "f:labels": { "f:app": {} } },
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": { "f:labels": { "f:app": {} } },
                "f:spec": {
                    "f:containers": {
                        "k:{\"name\":\"web\"}": {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:args": {},
                            "f:env": { "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} } },
                            "f:ports": {
                                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} },
                            },
                            "f:resources": { "f:limits": { "f:cpu": {} } },
                        },
                    },
                    "f:tolerations": {},
                    "f:volumes": { "k:{\"name\":\"tmp\"}": { ".": {}, "f:name": {}, "f:emptyDir": {} } },
                },
            },
        },
    });
    assert_eq!(world.entry("kubectl")["fieldsV1"], want);
}

#[test]
fn an_autoscaler_takes_replicas_through_the_scale_subresource() {
    let mut world = world("apps", "v1", "Deployment");
    let mut config = deployment();
    config["spec"].as_object_mut().expect("an object").remove("replicas");
    world.try_apply_object("kubectl", &config, false).expect("created");
    world.subresource = "scale";
    world.update_object("hpa", |new| new["spec"]["replicas"] = json!(5));
    world.subresource = "";
    assert_eq!(world.entry("hpa")["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    assert_eq!(world.try_apply_object("kubectl", &config, false), Ok(false));
    let conflict =
        world.try_apply_object("kubectl", &deployment(), false).expect_err("replicas are owned");
    assert_eq!(
        conflict.to_string(),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

/// Pitfall: the keys of strategic merge are not those of apply.
#[test]
fn service_ports_are_told_apart_by_protocol_when_applied_and_by_port_when_patched() {
    let mut world = world("", "v1", "Service");
    let ports = |ports: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "dns" }, "spec": { "ports": ports } });
    let both = ports(json!([
        { "name": "tcp", "port": 53, "protocol": "TCP" },
        { "name": "udp", "port": 53, "protocol": "UDP" },
    ]));
    world.try_apply_object("one", &both, false).expect("created");
    let udp = ports(json!([{ "port": 53, "protocol": "UDP", "targetPort": 5353 }]));
    world.try_apply_object("two", &udp, false).expect("no conflict");
    assert_eq!(world.spec()["ports"][0].get("targetPort"), None);
    assert_eq!(world.spec()["ports"][1]["targetPort"], 5353);

    let change = json!({ "spec": { "ports": [{ "port": 53, "targetPort": "dns" }] } });
    let patched = patch::strategic(&world.schema, &both, &change).expect("valid");
    assert_eq!(patched["spec"]["ports"][0]["targetPort"], "dns");
    assert_eq!(patched["spec"]["ports"][1].get("targetPort"), None);
}

#[test]
fn kubectl_edits_of_a_deployment_merge_strategically() {
    let schema = kind("apps", "v1", "Deployment").expect("a built-in kind");
    let change = json!({
        "metadata": { "labels": { "app": null } },
        "spec": {
            "strategy": { "$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null },
            "template": { "spec": {
                "$setElementOrder/containers": [{ "name": "proxy" }, { "name": "web" }],
                "containers": [
                    { "name": "web", "image": "web:2", "env": [{ "name": "A", "$patch": "delete" }], "args": ["x"] },
                    { "name": "proxy", "image": "proxy:1" },
                ],
                "volumes": [{ "name": "tmp", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/tmp" } }],
                "tolerations": null,
            } },
        },
    });
    let patched = patch::strategic(&schema, &deployment(), &change).expect("valid");
    assert_eq!(patched["metadata"]["labels"], json!({}));
    assert_eq!(patched["spec"]["strategy"], json!({ "type": "Recreate" }));
    let want = json!({
        "containers": [
            { "name": "proxy", "image": "proxy:1" },
            {
                "name": "web",
                "image": "web:2",
                "args": ["x"],
                "env": [],
                "ports": [{ "containerPort": 80 }],
                "resources": { "limits": { "cpu": "1" } },
            },
        ],
        "volumes": [{ "name": "tmp", "hostPath": { "path": "/tmp" } }],
    });
    assert_eq!(patched["spec"]["template"]["spec"], want);
}

#[test]
fn conditions_of_a_pod_belong_to_whoever_writes_each() {
    let mut world = world("", "v1", "Pod");
    world.api_version = "v1";
    world.update_object("kubectl-run", |new| {
        new["spec"] = json!({ "containers": [{ "name": "c", "image": "i" }] });
    });
    (world.reset, world.subresource) = (ResetFields::all_but_status(), "status");
    let condition = |type_: &str| json!({ "type": type_, "status": "True" });
    world.update_object("kubelet", |new| {
        new["status"] = json!({ "conditions": [condition("Ready")] })
    });
    let config = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" },
        "status": { "conditions": [condition("Gate")] } });
    world.try_apply_object("gate", &config, false).expect("another condition");
    assert_eq!(
        world.live()["status"]["conditions"],
        json!([condition("Ready"), condition("Gate")])
    );
    assert_eq!(world.entries().len(), 3);
    let config = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } });
    world.try_apply_object("gate", &config, false).expect("its own condition");
    assert_eq!(world.live()["status"]["conditions"], json!([condition("Ready")]));
}
