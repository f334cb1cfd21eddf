//! Every stored kind through the whole of its life, with the smallest object that it takes.

use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use stolos_apiserver::registry::{Registry, Resource};

use crate::harness::Cluster;

/// Returns the smallest object of a kind, without its name.
fn smallest(resource: &Resource) -> Value {
    let selector = json!({"matchLabels": {"a": "b"}});
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let once = json!({"spec": {"restartPolicy": "Never", "containers": pod["containers"]}});
    let claim =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let rule = json!({"apiGroups": ["x.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["xs"]});
    let webhook = json!({"name": "a.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [rule],
        "sideEffects": "None", "admissionReviewVersions": ["v1"]});
    let pod_rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    match resource.kind.as_str() {
        "Pod" => json!({ "spec": pod }),
        "PodTemplate" => json!({ "template": template }),
        "ReplicationController" => json!({"spec": {"selector": {"a": "b"}, "template": template}}),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            json!({"spec": {"selector": selector, "template": template}})
        }
        "ControllerRevision" => json!({"revision": 1, "data": {"a": 1}}),
        "Job" => json!({"spec": {"template": once}}),
        "CronJob" => {
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}}})
        }
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "Event" if resource.group_version.group.is_empty() => {
            json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R"})
        }
        "Event" => {
            json!({"regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R",
            "eventTime": "2026-01-02T03:04:05.000000Z", "action": "A", "type": "Normal",
            "reportingController": "c.io/x", "reportingInstance": "i"})
        }
        "LimitRange" => json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}),
        "PersistentVolume" => {
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/x"}}})
        }
        "PersistentVolumeClaim" => json!({ "spec": claim }),
        "HorizontalPodAutoscaler" => json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        "PodDisruptionBudget" => json!({"spec": {"minAvailable": 1, "selector": selector}}),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            json!({"webhooks": [webhook]})
        }
        "ValidatingAdmissionPolicy" => {
            json!({"spec": {"matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "true"}]}})
        }
        "ValidatingAdmissionPolicyBinding" => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        "APIService" => {
            json!({"spec": {"group": "x.example.com", "version": "v1", "groupPriorityMinimum": 100,
            "versionPriority": 10}})
        }
        "CertificateSigningRequest" => {
            json!({"spec": {"request": signing_request(), "usages": ["client auth"],
            "signerName": "example.com/s"}})
        }
        "Role" | "ClusterRole" => json!({"rules": [pod_rule]}),
        "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": role, "subjects": []}),
        "Lease" => json!({"spec": {"holderIdentity": "me"}}),
        "EndpointSlice" => {
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]})
        }
        "FlowSchema" => json!({"spec": {"priorityLevelConfiguration": {"name": "p"}}}),
        "PriorityLevelConfiguration" => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
        }
        "IngressClass" => json!({"spec": {"controller": "example.com/c"}}),
        "Ingress" => {
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
        }
        "IPAddress" => {
            json!({"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}})
        }
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.9.0.0/24"]}}),
        "NetworkPolicy" => json!({"spec": {"podSelector": {}}}),
        "RuntimeClass" => json!({"handler": "runc"}),
        "PriorityClass" => json!({"value": 5}),
        "CSIDriver" => json!({"spec": {}}),
        "CSINode" => json!({"spec": {"drivers": []}}),
        "CSIStorageCapacity" => json!({"storageClassName": "s"}),
        "StorageClass" => json!({"provisioner": "x.example.com"}),
        "VolumeAttachment" => json!({"spec": {"attacher": "x.example.com", "nodeName": "n",
            "source": {"persistentVolumeName": "v"}}}),
        "VolumeAttributesClass" => json!({"driverName": "x.example.com"}),
        _ => json!({}),
    }
}

/// A request for a client certificate, signed with a key that nobody has kept.
fn signing_request() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    base64::engine::general_purpose::STANDARD.encode(request.pem().unwrap())
}

fn name(resource: &Resource) -> &'static str {
    match resource.kind.as_str() {
        "APIService" => "v1.x.example.com",
        "IPAddress" => "10.9.0.1",
        _ => "one",
    }
}

/// Definitions and namespaces live in ways of their own, which other tests follow.
fn kinds() -> Vec<std::sync::Arc<Resource>> {
    let mut all = Registry::builtin().all();
    all.retain(|resource| {
        resource.is_stored()
            && !matches!(resource.kind.as_str(), "CustomResourceDefinition" | "Namespace")
    });
    all
}

fn collection(resource: &Resource) -> String {
    let group_version = &resource.group_version;
    let root = if group_version.group.is_empty() { "/api" } else { "/apis" };
    let place = if resource.namespaced { "/namespaces/default" } else { "" };
    format!("{root}/{group_version}{place}/{}", resource.plural)
}

/// Pitfall: a handler for each kind makes each kind a bug of its own; list items without their kind, lists of the wrong
/// kind or without a version stop clients that are otherwise content.
#[tokio::test]
async fn every_kind_lives_from_creation_to_deletion() {
    let cluster = Cluster::start().await;
    for resource in kinds() {
        let (path, name) = (collection(&resource), name(&resource));
        let what = resource.qualified();
        let mut object = smallest(&resource);
        object["metadata"] = json!({"name": name, "labels": {"kinds": "yes"}});
        let created = cluster.ok(Method::POST, &path, Some(object)).await;
        let api_version = json!(resource.group_version.to_string());
        assert_eq!(
            (&created["kind"], &created["apiVersion"]),
            (&json!(resource.kind), &api_version)
        );
        assert_eq!(
            created["metadata"]["generation"].is_i64(),
            resource.generation.starts(),
            "{what}"
        );

        let list = cluster.ok(Method::GET, &format!("{path}?labelSelector=kinds"), None).await;
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!(resource.list_kind), &api_version)
        );
        assert!(list["metadata"]["resourceVersion"].is_string(), "{what}");
        let item = &list["items"][0];
        assert_eq!(
            (&item["kind"], &item["apiVersion"]),
            (&json!(resource.kind), &api_version),
            "{what}"
        );

        let one = format!("{path}/{name}");
        let read = cluster.ok(Method::GET, &one, None).await;
        assert_eq!(read, *item, "{what}");
        let same = cluster.ok(Method::PUT, &one, Some(read.clone())).await;
        assert_eq!(same, read, "{what}: a write without a change is none");

        let labels = json!({"metadata": {"labels": {"more": "yes"}}});
        let strategic = "application/strategic-merge-patch+json";
        let (status, patched) = cluster.send_as(Method::PATCH, &one, strategic, Some(labels)).await;
        assert_eq!(status, StatusCode::OK, "{what}: {patched}");
        assert_eq!(patched["metadata"]["labels"], json!({"kinds": "yes", "more": "yes"}), "{what}");
        assert_eq!(patched["metadata"]["generation"], read["metadata"]["generation"], "{what}");
        if resource.status_subresource {
            let status = cluster.ok(Method::GET, &format!("{one}/status"), None).await;
            assert_eq!(status["kind"], json!(resource.kind), "{what}");
        }
        cluster.ok(Method::DELETE, &format!("{one}?propagationPolicy=Background"), None).await;
        cluster.until_gone(&one).await;
    }
}

#[tokio::test]
async fn every_kind_is_a_table_and_a_collection_that_can_be_deleted() {
    let cluster = Cluster::start().await;
    for resource in kinds() {
        let (path, name) = (collection(&resource), name(&resource));
        let mut object = smallest(&resource);
        object["metadata"] = json!({"name": name, "labels": {"kinds": "yes"}});
        cluster.ok(Method::POST, &path, Some(object)).await;
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = Request::get(format!("{path}?labelSelector=kinds")).header(ACCEPT, accept);
        let (_, table) = cluster.request(request.body(Full::default()).unwrap()).await;
        let columns = table["columnDefinitions"].as_array().unwrap();
        assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns.len());
        assert_eq!(columns.len(), resource.columns.len(), "{}", resource.qualified());
        let selected = format!("{path}?labelSelector=kinds&propagationPolicy=Background");
        cluster.ok(Method::DELETE, &selected, None).await;
        cluster.until_gone(&format!("{path}/{name}")).await;
    }
}

#[tokio::test]
async fn both_versions_of_autoscalers_show_the_same_object() {
    let cluster = Cluster::start().await;
    let path = |version: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers")
    };
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let old = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70,
        "scaleTargetRef": target}});
    cluster.ok(Method::POST, &path("v1"), Some(old)).await;
    let new = cluster.ok(Method::GET, &format!("{}/a", path("v2")), None).await;
    assert_eq!(new["apiVersion"], "autoscaling/v2");
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let external = json!({"type": "External", "external": {"metric": {"name": "q"},
        "target": {"type": "Value", "value": "5"}}});
    let metrics = json!([external, new["spec"]["metrics"][0]]);
    cluster.merge(&format!("{}/a", path("v2")), json!({"spec": {"metrics": metrics}})).await;
    // A client of the old version changes what it knows and loses nothing else.
    let old =
        cluster.merge(&format!("{}/a", path("v1")), json!({"spec": {"maxReplicas": 9}})).await;
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 70);
    let new = cluster.ok(Method::GET, &format!("{}/a", path("v2")), None).await;
    assert_eq!((&new["spec"]["maxReplicas"], &new["spec"]["metrics"]), (&json!(9), &metrics));
    let list = cluster.ok(Method::GET, &path("v1"), None).await;
    assert_eq!(list["items"][0]["apiVersion"], "autoscaling/v1");
}

#[tokio::test]
async fn a_signing_request_is_approved_and_issued_by_those_who_may() {
    let cluster = Cluster::start().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let spec = json!({"request": signing_request(), "usages": ["client auth"], "signerName": "example.com/s",
        "username": "somebody-else"});
    let created = cluster
        .ok(Method::POST, requests, Some(json!({"metadata": {"name": "r"}, "spec": spec})))
        .await;
    assert_eq!(created["spec"]["username"], "tester");
    let approved =
        json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]}});
    let merge = "application/merge-patch+json";
    let door = |part: &str| format!("{requests}/r/{part}");
    let (status, error) =
        cluster.send_as(Method::PATCH, &door("status"), merge, Some(approved.clone())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{error}");
    let decided = cluster.merge(&door("approval"), approved).await;
    assert!(decided["status"]["conditions"][0]["lastTransitionTime"].is_string());
    let issued = json!({"status": {"certificate": "bm90IGEgY2VydGlmaWNhdGU="}});
    let (status, _) =
        cluster.send_as(Method::PATCH, &door("approval"), merge, Some(issued.clone())).await;
    assert_eq!(status, StatusCode::OK);
    let read = cluster.ok(Method::GET, &format!("{requests}/r"), None).await;
    assert!(read["status"].get("certificate").is_none(), "approval issues nothing");
    let read = cluster.merge(&door("status"), issued).await;
    assert!(read["status"]["certificate"].is_string());
}

/// Being allowed to change the approval of requests is not enough: the right is given signer by signer.
#[tokio::test]
async fn requests_are_approved_only_for_signers_that_one_may_approve_for() {
    let cluster = Cluster::start().await;
    let (requests, roles) = (
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "/apis/rbac.authorization.k8s.io/v1",
    );
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.ok(Method::POST, accounts, Some(json!({"metadata": {"name": "robot"}}))).await;
    let token = cluster.ok(Method::POST, &format!("{accounts}/robot/token"), Some(json!({}))).await;
    let token = token["status"]["token"].as_str().unwrap().to_owned();
    let rule = |resource: &str, verbs: &[&str], names: &[&str]| {
        json!({"apiGroups": ["certificates.k8s.io"],
        "resources": [resource], "verbs": verbs, "resourceNames": names})
    };
    let rules = json!([
        rule("certificatesigningrequests/approval", &["update"], &[]),
        rule("signers", &["approve"], &["example.com/*"])
    ]);
    let name = json!({"name": "approver"});
    let role = json!({"metadata": name, "rules": rules});
    cluster.ok(Method::POST, &format!("{roles}/clusterroles"), Some(role)).await;
    let binding = json!({"metadata": name, "roleRef": {"apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole", "name": "approver"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]});
    cluster.ok(Method::POST, &format!("{roles}/clusterrolebindings"), Some(binding)).await;
    for (name, signer, want) in [
        ("theirs", "example.com/s", StatusCode::OK),
        ("other", "example.org/s", StatusCode::FORBIDDEN),
    ] {
        let spec =
            json!({"request": signing_request(), "usages": ["client auth"], "signerName": signer});
        let mut request = cluster
            .ok(Method::POST, requests, Some(json!({"metadata": {"name": name}, "spec": spec})))
            .await;
        request["status"] =
            json!({"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]});
        let door = format!("{requests}/{name}/approval");
        let (status, answer) = cluster.with_token(&token, Method::PUT, &door, request).await;
        assert_eq!(status, want, "{answer}");
        if want == StatusCode::FORBIDDEN {
            let text =
                format!("user not permitted to approve requests with signerName \"{signer}\"");
            assert!(answer["message"].as_str().unwrap().ends_with(&text), "{answer}");
        }
    }
}
