//! The list of groups and versions that are served, as objects.

use http::Method;
use serde_json::{Value, json};

use crate::crds;
use crate::harness::Cluster;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

fn is_available(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array().unwrap();
    conditions.iter().any(|condition| {
        condition["type"] == "Available"
            && condition["status"] == "True"
            && condition["reason"] == "Local"
            && condition["lastTransitionTime"].is_string()
    })
}

#[tokio::test]
async fn built_in_groups_are_available_from_the_start() {
    let cluster = Cluster::start().await;
    let list = cluster.ok(Method::GET, SERVICES, None).await;
    let services = list["items"].as_array().unwrap();
    let names: Vec<_> =
        services.iter().map(|service| service["metadata"]["name"].as_str().unwrap()).collect();
    for name in ["v1.", "v1.apps", "v1.autoscaling", "v2.autoscaling", "v1.apiextensions.k8s.io"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.contains(&"v1.apiregistration.k8s.io"), "upstream has none for it");
    assert!(services.iter().all(is_available));
    cluster.ok(Method::DELETE, &format!("{SERVICES}/v1.apps"), None).await;
    cluster.ok(Method::GET, "/apis/apps/v1/deployments", None).await;
}

#[tokio::test]
async fn services_of_custom_resources_follow_them_and_others_are_left_alone() {
    let cluster = Cluster::start().await;
    let theirs = json!({"metadata": {"name": "v1.theirs.example.com"}, "spec": {"group": "theirs.example.com",
        "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"namespace": "default", "name": "s"}, "insecureSkipTLSVerify": true}});
    let theirs = cluster.ok(Method::POST, SERVICES, Some(theirs)).await;
    assert_eq!(theirs["status"], json!({}), "nobody knows whether another server answers");

    cluster.ok(Method::POST, crds::DEFINITIONS, Some(crds::widgets())).await;
    let ours = format!("{SERVICES}/v1.example.com");
    cluster.until("the service is there", async || cluster.exists(&ours).await).await;
    assert!(is_available(&cluster.ok(Method::GET, &ours, None).await));
    cluster.merge(&ours, json!({"spec": {"versionPriority": 7}})).await;
    let is_restored =
        async || cluster.ok(Method::GET, &ours, None).await["spec"]["versionPriority"] == 100;
    cluster.until("the priority is restored", is_restored).await;
    cluster.ok(Method::DELETE, &ours, None).await;
    cluster.until("the service is back", async || cluster.exists(&ours).await).await;

    let definition = format!("{}/widgets.example.com", crds::DEFINITIONS);
    cluster.ok(Method::DELETE, &definition, None).await;
    cluster.until_gone(&ours).await;
    assert!(cluster.exists(&format!("{SERVICES}/v1.theirs.example.com")).await);
}

#[tokio::test]
async fn a_service_is_named_by_what_it_serves() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "v1.other"}, "spec": {"group": "x.example.com", "version": "v1",
        "groupPriorityMinimum": 0, "versionPriority": 1001}});
    let (status, error) = cluster.send(Method::POST, SERVICES, Some(service)).await;
    assert_eq!(status.as_u16(), 422, "{error}");
    let causes = error["details"]["causes"].as_array().unwrap();
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["metadata.name", "spec.groupPriorityMinimum", "spec.versionPriority"]);
}
