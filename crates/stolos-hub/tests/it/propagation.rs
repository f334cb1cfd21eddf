//! What a program that follows KubeFleet's documentation relies on, across all objects of a placement.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    AppliedWork, ClusterResourceBinding, ClusterSchedulingPolicySnapshot, Work,
};

use crate::fleet::{Fleet, create, delete, eventually, exists, gone, merge};

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn deployment(image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    }))
    .unwrap()
}

fn spec() -> Value {
    json!({"resourceSelectors": [{"group": "", "version": "v1", "kind": "Namespace", "name": "app"}]})
}

/// Asserts that conditions are about this generation.
fn about(what: &str, conditions: &[Condition], generation: Option<i64>) {
    assert!(!conditions.is_empty(), "{what}");
    for condition in conditions {
        assert_eq!(condition.observed_generation, generation, "{} of {what}", condition.type_);
    }
}

async fn has_image(fleet: &Fleet, image: &str) {
    let api = fleet.member("a").inside::<Deployment>("app");
    eventually(&api, "web", "has the image", |found| {
        found.is_some_and(|found| {
            let pod = found.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            pod.is_some_and(|pod| pod.containers[0].image.as_deref() == Some(image))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conditions_are_about_the_generation_of_the_object_that_they_describe() {
    let fleet = Fleet::start(&["a"]).await;
    create(&fleet.hub.all(), &namespace("app")).await;
    create(&fleet.hub.inside("app"), &deployment("web:1")).await;
    fleet.place("crp", spec()).await;
    fleet.available("crp", &["a"]).await;
    // Every object on the way gets another number of generations.
    for image in ["web:2", "web:3"] {
        let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
        merge(&fleet.hub.inside::<Deployment>("app"), "web", change).await;
        has_image(&fleet, image).await;
    }
    for limit in 2..9 {
        let change = json!({"spec": {"revisionHistoryLimit": limit}});
        merge(&fleet.placements(), "crp", change).await;
    }
    fleet.available("crp", &["a"]).await;

    let placement = fleet.placements().get("crp").await.unwrap();
    let status = placement.status.unwrap();
    about("the placement", &status.conditions, placement.metadata.generation);
    let cluster = &status.per_cluster_placement_statuses[0];
    about("the cluster", &cluster.conditions, placement.metadata.generation);

    let policies = fleet.hub.all::<ClusterSchedulingPolicySnapshot>();
    let policy = policies.get("crp-0").await.unwrap();
    let generation = placement.metadata.generation.unwrap();
    assert_eq!(policy.annotations()["kubernetes-fleet.io/CRP-generation"], generation.to_string());
    let decided = policy.status.as_ref().unwrap();
    assert_eq!(decided.observed_crp_generation, generation);
    about("the policy snapshot", &decided.conditions, policy.metadata.generation);

    let bindings = fleet.hub.all::<ClusterResourceBinding>().list(&ListParams::default()).await;
    let binding = &bindings.unwrap().items[0];
    let conditions = &binding.status.as_ref().unwrap().conditions;
    about("the binding", conditions, binding.metadata.generation);

    let work = fleet.hub.inside::<Work>("fleet-member-a").get("crp-work").await.unwrap();
    let reported = work.status.as_ref().unwrap();
    about("the work", &reported.conditions, work.metadata.generation);
    let placed = fleet.member("a").inside::<Deployment>("app").get("web").await.unwrap();
    let manifest = reported.manifest_conditions.iter().find(|m| m.identifier.kind == "Deployment");
    about("the manifest", &manifest.unwrap().conditions, placed.metadata.generation);

    let all = BTreeMap::from([
        ("placement", placement.metadata.generation),
        ("policy", policy.metadata.generation),
        ("binding", binding.metadata.generation),
        ("work", work.metadata.generation),
    ]);
    assert!(all["placement"] > all["binding"] && all["placement"] > all["work"], "{all:?}");
    assert!(all["policy"] < all["work"], "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_keeps_its_objects_and_they_are_adopted_when_it_comes_back() {
    let fleet = Fleet::start(&["a"]).await;
    create(&fleet.hub.all(), &namespace("app")).await;
    create(&fleet.hub.inside("app"), &deployment("web:1")).await;
    fleet.place("crp", spec()).await;
    fleet.available("crp", &["a"]).await;
    let placed = fleet.member("a").inside::<Deployment>("app");
    let before = placed.get("web").await.unwrap();

    let members = fleet.hub.all::<MemberCluster>();
    let member = members.get("a").await.unwrap();
    delete(&members, "a").await;
    gone(&members, "a").await;
    fleet.available("crp", &[]).await;
    gone(&fleet.hub.all::<Namespace>(), "fleet-member-a").await;
    let left = placed.get("web").await.unwrap();
    assert_eq!((left.uid(), left.spec.clone()), (before.uid(), before.spec.clone()));
    exists(&fleet.member("a").all::<AppliedWork>(), "crp-work").await;

    let again: MemberCluster = serde_json::from_value(json!({
        "metadata": {"name": "a", "labels": {"name": "a"}}, "spec": member.spec,
    }))
    .unwrap();
    create(&members, &again).await;
    fleet.available("crp", &["a"]).await;
    let adopted = placed.get("web").await.unwrap();
    assert_eq!(adopted.uid(), before.uid(), "it is the same object");
    let record = fleet.member("a").all::<AppliedWork>().get("crp-work").await.unwrap();
    let owners: Vec<_> = adopted.owner_references().iter().map(|o| Some(o.uid.clone())).collect();
    assert_eq!(owners, [record.uid()]);
    // It is looked after as before.
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    merge(&fleet.hub.inside::<Deployment>("app"), "web", change).await;
    has_image(&fleet, "web:2").await;
}
