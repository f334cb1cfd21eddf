//! Tables as clients see them: cells by kind, then the parts around them.

use serde_json::json;

use super::*;
use crate::registry::Registry;

fn now() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

fn cells(group: &str, kind: &str, object: &Value) -> Value {
    (builtin::find(group, kind).cells)(object, now()).into()
}

/// Puts a name and the age of one hour and five minutes on an object.
fn named(mut object: Value) -> Value {
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = "2026-01-10T10:55:00Z".into();
    object
}

const AGE: &str = "65m";

/// Returns ready, status and restarts.
fn pod_cells(pod: Value) -> (String, String, String) {
    let cells = cells("", "Pod", &named(pod));
    let text = |index: usize| cells[index].as_str().unwrap().to_owned();
    (text(1), text(2), text(3))
}

fn assert_pod(pod: Value, ready: &str, status: &str, restarts: &str) {
    assert_eq!(pod_cells(pod), (ready.to_owned(), status.to_owned(), restarts.to_owned()));
}

#[test]
fn a_running_pod_shows_ready_containers_and_its_last_restart() {
    let pod = json!({
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.7"}], "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-10T11:57:55Z"}}},
            {"name": "b", "ready": false, "restartCount": 1, "state": {"running": {}}},
        ]},
    });
    let want =
        json!(["x", "1/2", "Running", "3 (2m5s ago)", AGE, "10.0.0.7", "n1", "<none>", "<none>"]);
    assert_eq!(cells("", "Pod", &named(pod)), want);
}

#[test]
fn a_pending_pod_without_containers_shows_its_phase() {
    assert_pod(
        json!({"spec": {"containers": [{}]}, "status": {"phase": "Pending"}}),
        "0/1",
        "Pending",
        "0",
    );
}

#[test]
fn a_gated_pod_says_so() {
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    let pod =
        json!({"spec": {"containers": [{}]}, "status": {"phase": "Pending", "conditions": gated}});
    assert_pod(pod, "0/1", "SchedulingGated", "0");
}

#[test]
fn a_crash_loop_shows_the_reason_of_the_container() {
    let pod = json!({"spec": {"containers": [{}]}, "status": {"phase": "Running", "containerStatuses": [
        {"restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
    ]}});
    assert_pod(pod, "0/1", "CrashLoopBackOff", "7");
}

#[test]
fn containers_that_ended_show_reason_signal_or_exit_code() {
    let ended = |terminated: Value| {
        json!({"spec": {"containers": [{}]}, "status": {"phase": "Succeeded", "containerStatuses": [
            {"restartCount": 0, "state": {"terminated": terminated}},
        ]}})
    };
    assert_pod(ended(json!({"exitCode": 0, "reason": "Completed"})), "0/1", "Completed", "0");
    assert_pod(ended(json!({"exitCode": 3})), "0/1", "ExitCode:3", "0");
    assert_pod(ended(json!({"exitCode": 137, "signal": 9})), "0/1", "Signal:9", "0");
}

#[test]
fn a_pod_with_a_completed_and_a_running_container_runs() {
    let pod = |ready: &str| {
        json!({"spec": {"containers": [{}, {}]}, "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"restartCount": 0, "ready": true, "state": {"running": {}}},
            ],
        }})
    };
    assert_pod(pod("True"), "1/2", "Running", "0");
    assert_pod(pod("False"), "1/2", "NotReady", "0");
}

#[test]
fn init_containers_hold_a_pod_back() {
    let pod = |state: Value| {
        json!({
            "spec": {"containers": [{}], "initContainers": [{"name": "i0"}, {"name": "i1"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "i0", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}},
                {"name": "i1", "restartCount": 2, "state": state},
            ], "containerStatuses": [
                {"restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}},
            ]},
        })
    };
    assert_pod(pod(json!({"running": {}})), "0/1", "Init:1/2", "3");
    assert_pod(pod(json!({"waiting": {"reason": "PodInitializing"}})), "0/1", "Init:1/2", "3");
    assert_pod(
        pod(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        "0/1",
        "Init:CrashLoopBackOff",
        "3",
    );
    assert_pod(
        pod(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
        "0/1",
        "Init:Error",
        "3",
    );
    assert_pod(pod(json!({"terminated": {"exitCode": 2}})), "0/1", "Init:ExitCode:2", "3");
    assert_pod(pod(json!({"terminated": {"exitCode": 0}})), "0/1", "PodInitializing", "0");
}

#[test]
fn sidecars_count_as_containers() {
    let pod = json!({
        "spec": {"containers": [{}], "initContainers": [{"name": "side", "restartPolicy": "Always"}]},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [
                {"name": "side", "restartCount": 4, "started": true, "ready": true, "state": {"running": {}}},
            ],
            "containerStatuses": [{"restartCount": 1, "ready": true, "state": {"running": {}}}],
        },
    });
    assert_pod(pod, "2/2", "Running", "5");
}

#[test]
fn a_deleted_pod_terminates_unless_it_has_finished_or_its_node_is_lost() {
    let pod = |phase: &str, reason: &str| {
        json!({"metadata": {"deletionTimestamp": "2026-01-10T11:59:00Z"},
            "spec": {"containers": [{}]}, "status": {"phase": phase, "reason": reason}})
    };
    assert_pod(pod("Running", ""), "0/1", "Terminating", "0");
    assert_pod(pod("Succeeded", ""), "0/1", "Succeeded", "0");
    assert_pod(pod("Running", "NodeLost"), "0/1", "Unknown", "0");
}

#[test]
fn cells_of_other_kinds() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}]}});
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["z", "b"]}, {"key": "old", "operator": "DoesNotExist"},
    ]});
    let selected = "app=web,!old,tier in (b,z)";
    let cases = [
        (
            ("apps", "Deployment"),
            json!({
                "spec": {"replicas": 3, "template": template, "selector": selector},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            }),
            json!(["x", "1/3", 2, 1, AGE, "a,b", "i:1,i:2", selected]),
        ),
        (
            ("apps", "ReplicaSet"),
            json!({"spec": {"replicas": 3, "template": template, "selector": {}}, "status": {"replicas": 2}}),
            json!(["x", 3, 2, 0, AGE, "a,b", "i:1,i:2", "<none>"]),
        ),
        (
            ("apps", "ControllerRevision"),
            json!({"revision": 4, "metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true},
            ]}}),
            json!(["x", "statefulset.apps/web", 4, AGE]),
        ),
        (
            ("batch", "Job"),
            json!({
                "spec": {"completions": 2, "template": template, "selector": {}},
                "status": {
                    "succeeded": 2, "startTime": "2026-01-10T11:00:00Z", "completionTime": "2026-01-10T11:00:07Z",
                    "conditions": [
                        {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"},
                    ],
                },
            }),
            json!(["x", "Complete", "2/2", "7s", AGE, "a,b", "i:1,i:2", "<none>"]),
        ),
        (
            ("batch", "Job"),
            json!({
                "spec": {"parallelism": 3, "template": template},
                "status": {"startTime": "2026-01-10T11:59:00Z"},
            }),
            json!(["x", "Running", "0/1 of 3", "60s", AGE, "a,b", "i:1,i:2", "<none>"]),
        ),
        (
            ("", "Node"),
            json!({
                "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
                "spec": {"unschedulable": true},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.34.0", "osImage": "Linux"},
                },
            }),
            json!([
                "x",
                "Ready,SchedulingDisabled",
                "edge,worker",
                AGE,
                "v1.34.0",
                "10.0.0.1",
                "<none>",
                "Linux",
                "<unknown>",
                "<unknown>",
            ]),
        ),
        (
            ("", "Service"),
            json!({
                "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "selector": {"app": "web"}, "ports": [
                    {"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
                ]},
                "status": {"loadBalancer": {"ingress": [{"ip": "4.4.4.4"}, {"hostname": "a.example"}]}},
            }),
            json!([
                "x",
                "LoadBalancer",
                "10.96.0.9",
                "4.4.4.4,a.example",
                "80:30080/TCP,53/UDP",
                AGE,
                "app=web"
            ]),
        ),
        (
            ("", "Service"),
            json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9"}}),
            json!(["x", "LoadBalancer", "10.96.0.9", "<pending>", "<none>", AGE, "<none>"]),
        ),
        (
            ("", "Endpoints"),
            json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 443}]}]}),
            json!(["x", "1.1.1.1:80,[fd00::1]:80,1.1.1.1:443 + 1 more...", AGE]),
        ),
        (
            ("discovery.k8s.io", "EndpointSlice"),
            json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "any"}, {}], "endpoints": []}),
            json!(["x", "IPv4", "80,any,*", "<unset>", AGE]),
        ),
        (
            ("networking.k8s.io", "Ingress"),
            json!({"spec": {"rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}], "tls": [{}]}}),
            json!(["x", "<none>", "a,b,c + 1 more...", "", "80, 443", AGE]),
        ),
        (
            ("policy", "PodDisruptionBudget"),
            json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}}),
            json!(["x", "50%", "N/A", 2, AGE]),
        ),
        (
            ("autoscaling", "HorizontalPodAutoscaler"),
            json!({
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 5,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}],
                },
                "status": {"currentReplicas": 2, "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}},
                ]},
            }),
            json!(["x", "Deployment/web", "cpu: 12%/80%", "1", 5, 2, AGE]),
        ),
        (
            ("rbac.authorization.k8s.io", "RoleBinding"),
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
                {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
            ]}),
            json!(["x", "Role/r", AGE, "u", "", "n/s"]),
        ),
        (
            ("", "ResourceQuota"),
            json!({"status": {
                "hard": {"limits.cpu": "4", "pods": 10, "requests.cpu": "2"}, "used": {"pods": "3", "requests.cpu": "1"},
            }}),
            json!(["x", "pods: 3/10, requests.cpu: 1/2", "limits.cpu: 0/4", AGE]),
        ),
        (
            ("", "PersistentVolumeClaim"),
            json!({
                "spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            }),
            json!(["x", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", AGE, "Filesystem"]),
        ),
        (
            ("apiregistration.k8s.io", "APIService"),
            json!({"status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}}),
            json!(["x", "Local", "False (Gone)", AGE]),
        ),
        (
            ("rbac.authorization.k8s.io", "ClusterRole"),
            json!({}),
            json!(["x", "2026-01-10T10:55:00Z"]),
        ),
    ];
    for ((group, kind), object, want) in cases {
        assert_eq!(cells(group, kind, &named(object)), want, "{group}/{kind}");
    }
}

#[test]
fn both_groups_print_events_alike() {
    let core = json!({
        "type": "Normal", "reason": "Pulled", "message": " done \n", "count": 4,
        "firstTimestamp": "2026-01-10T11:00:00Z", "lastTimestamp": "2026-01-10T11:59:30Z",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "source": {"component": "kubelet", "host": "n1"},
    });
    let new = json!({
        "type": "Normal", "reason": "Pulled", "note": "done", "eventTime": "2026-01-10T11:00:00.000000Z",
        "series": {"count": 4, "lastObservedTime": "2026-01-10T11:59:30.123456Z"},
        "regarding": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "reportingController": "kubelet", "reportingInstance": "n1",
    });
    let want = json!([
        "30s",
        "Normal",
        "Pulled",
        "pod/p",
        "spec.containers{a}",
        "kubelet, n1",
        "done",
        "60m",
        4,
        "x"
    ]);
    assert_eq!(cells("", "Event", &named(core)), want);
    let mut series = want;
    series[0] = "29s".into();
    assert_eq!(cells("events.k8s.io", "Event", &named(new)), series);
}

#[test]
fn a_table_carries_what_was_asked_for() {
    let pods = Registry::builtin().resource("", "v1", "pods").unwrap();
    let pod = named(json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Failed"}}));
    let table = |include, with_columns| {
        render(
            &pods,
            std::slice::from_ref(&pod),
            now(),
            include,
            json!({"resourceVersion": "7"}),
            with_columns,
        )
    };

    let full = table(IncludeObject::Metadata, true);
    assert_eq!((&full["kind"], &full["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(full["metadata"], json!({"resourceVersion": "7"}));
    let n_columns = full["columnDefinitions"].as_array().unwrap().len();
    assert_eq!(full["rows"][0]["cells"].as_array().unwrap().len(), n_columns);
    assert_eq!(full["columnDefinitions"][0]["format"], "name");
    assert_eq!(full["columnDefinitions"][5]["priority"], 1);
    assert_eq!(full["rows"][0]["conditions"][0]["reason"], "Failed");
    let metadata = &full["rows"][0]["object"];
    assert_eq!(metadata["kind"], "PartialObjectMetadata");
    assert_eq!(metadata["metadata"]["name"], "x");
    assert_eq!(metadata.get("status"), None);

    let bare = table(IncludeObject::None, false);
    assert_eq!(
        (&bare["columnDefinitions"], &bare["rows"][0]["object"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(table(IncludeObject::Object, false)["rows"][0]["object"], pod);
}

#[test]
fn custom_columns_convert_values_to_their_type() {
    let declared = json!([
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "Ratio", "type": "number", "jsonPath": ".spec.ratio"},
        {"name": "Paused", "type": "boolean", "jsonPath": ".spec.paused"},
        {"name": "Last", "type": "date", "jsonPath": ".status.last"},
        {"name": "Object", "type": "string", "jsonPath": ".spec.labels"},
        {"name": "Missing", "type": "string", "jsonPath": ".status.missing"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.labels"},
        {"name": "Number", "type": "string", "jsonPath": ".spec.replicas"},
    ]);
    let columns = custom_columns(&declared).unwrap();
    assert_eq!(columns[2].priority, 1);
    let object = named(json!({
        "spec": {"replicas": 3, "ratio": 0.5, "paused": false, "labels": {"b": 1, "a": "x"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "last": "2026-01-10T11:59:01Z"},
    }));
    let want = json!(["x", "True", 3, 0.5, false, "59s", r#"{"a":"x","b":1}"#, null, null, "3"]);
    assert_eq!(Value::from(custom::cells(&columns, &object, now())), want);
}

#[test]
fn custom_resources_without_columns_show_their_age() {
    let columns = custom_columns(&Value::Null).unwrap();
    assert_eq!(
        columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["Name", "Age"]
    );
    assert_eq!(Value::from(custom::cells(&columns, &named(json!({})), now())), json!(["x", AGE]));
}

#[test]
fn an_unreadable_column_is_named() {
    let error =
        custom_columns(&json!([{"name": "A", "type": "string", "jsonPath": ".a["}])).unwrap_err();
    assert_eq!(error.to_string(), "column 0 has an unreadable jsonPath `.a[`");
}
