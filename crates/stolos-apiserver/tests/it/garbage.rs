//! The garbage collector: what it deletes, and above all what it must not.

use http::Method;
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;

use crate::harness::Cluster;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A cluster where config maps own config maps.
struct Garden {
    cluster: Cluster,
}

impl Garden {
    async fn start() -> Self {
        let controllers = Controllers { garbage_collector: true, ..Controllers::api_server_only() };
        Self { cluster: Cluster::start_with(controllers).await }
    }

    /// Creates a config map in `default` and returns it.
    async fn create(&self, name: &str, owners: &[Value]) -> Value {
        self.create_in("default", name, json!({ "ownerReferences": owners })).await
    }

    async fn create_in(&self, namespace: &str, name: &str, mut metadata: Value) -> Value {
        metadata["name"] = json!(name);
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let mut object =
            self.cluster.ok(Method::POST, &path, Some(json!({ "metadata": metadata }))).await;
        object["kind"] = json!("ConfigMap");
        object["apiVersion"] = json!("v1");
        object
    }

    async fn delete(&self, name: &str, propagation: &str) {
        let options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        self.cluster.ok(Method::DELETE, &path(name), Some(options)).await;
    }

    async fn exists(&self, name: &str) -> bool {
        self.cluster.exists(&path(name)).await
    }

    async fn until_gone(&self, name: &str) {
        self.cluster.until_gone(&path(name)).await;
    }

    async fn get(&self, name: &str) -> Value {
        self.cluster.ok(Method::GET, &path(name), None).await
    }

    async fn add_finalizer(&self, name: &str, finalizers: &[&str]) {
        self.cluster.merge(&path(name), json!({"metadata": {"finalizers": finalizers}})).await;
    }

    /// Waits until the collector has looked at everything that happened before: twice over it collects something new.
    async fn settle(&self) {
        for round in ["settled-1", "settled-2"] {
            self.create(
                round,
                &[reference(&json!({"metadata": {"name": "no", "uid": "no-such-uid"}}))],
            )
            .await;
            self.until_gone(round).await;
        }
    }
}

fn path(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"].as_str().unwrap_or("v1"),
        "kind": owner["kind"].as_str().unwrap_or("ConfigMap"),
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
    })
}

fn blocking(owner: &Value) -> Value {
    let mut reference = reference(owner);
    reference["blockOwnerDeletion"] = json!(true);
    reference
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_collected_goes_all_the_same() {
    let garden = Garden::start().await;
    let gone = reference(&json!({"metadata": {"name": "no", "uid": "no-such-uid"}}));
    let names: Vec<String> = (0..64).map(|n| format!("busy-{n}")).collect();
    let lives = names.iter().map(async |name| {
        garden.create(name, std::slice::from_ref(&gone)).await;
        for n in 0..20 {
            let patch = json!({"data": {"n": n.to_string()}});
            let content_type = "application/merge-patch+json";
            let cluster = &garden.cluster;
            let (status, body) =
                cluster.send_as(Method::PATCH, &path(name), content_type, Some(patch)).await;
            assert!(status.is_success() || status == http::StatusCode::NOT_FOUND, "{body}");
        }
    });
    futures::future::join_all(lives).await;
    for name in &names {
        garden.until_gone(name).await;
    }
}

#[tokio::test]
async fn dependents_go_after_their_owner_all_the_way_down() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let child = garden.create("child", &[reference(&owner)]).await;
    garden.create("grandchild", &[reference(&child)]).await;
    garden.create("bystander", &[]).await;
    garden.delete("owner", "Background").await;
    garden.until_gone("grandchild").await;
    assert!(!garden.exists("child").await);
    garden.settle().await;
    assert!(garden.exists("bystander").await, "nobody owns it");
}

/// Pitfall: one owner that is gone does not take dependents of another along.
#[tokio::test]
async fn dependents_of_a_living_owner_stay() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    garden.create("child", &[reference(&owner)]).await;
    garden.settle().await;
    assert!(garden.exists("child").await);
    garden.cluster.merge(&path("owner"), json!({"data": {"changed": "yes"}})).await;
    garden.settle().await;
    assert!(garden.exists("child").await);
}

#[tokio::test]
async fn an_owner_that_is_only_about_to_go_keeps_its_dependents() {
    let garden = Garden::start().await;
    let owner =
        garden.create_in("default", "owner", json!({"finalizers": ["example.com/wait"]})).await;
    garden.create("child", &[reference(&owner)]).await;
    garden.delete("owner", "Background").await;
    garden.settle().await;
    assert!(garden.exists("child").await);
    garden.add_finalizer("owner", &[]).await;
    garden.until_gone("child").await;
}

/// Pitfall: an owner is known by its uid, not by its name.
#[tokio::test]
async fn a_namesake_is_not_the_owner() {
    let garden = Garden::start().await;
    let first = garden.create("owner", &[]).await;
    garden.delete("owner", "Orphan").await;
    garden.until_gone("owner").await;
    let second = garden.create("owner", &[]).await;
    garden.create("heir", &[reference(&second)]).await;
    garden.create("leftover", &[reference(&first)]).await;
    garden.until_gone("leftover").await;
    garden.settle().await;
    assert!(garden.exists("heir").await, "its owner has the uid it names");
    assert!(garden.exists("owner").await);
}

#[tokio::test]
async fn one_living_owner_is_enough() {
    let garden = Garden::start().await;
    let (one, two) = (garden.create("one", &[]).await, garden.create("two", &[]).await);
    garden.create("shared", &[reference(&one), reference(&two)]).await;
    garden.delete("one", "Background").await;
    let owners = async || garden.get("shared").await["metadata"]["ownerReferences"].clone();
    let only_two = async || owners().await == json!([reference(&two)]);
    garden.cluster.until("the reference to the first owner is dropped", only_two).await;
    garden.settle().await;
    assert!(garden.exists("shared").await);
    garden.delete("two", "Background").await;
    garden.until_gone("shared").await;
}

#[tokio::test]
async fn orphaned_dependents_stay_and_forget_their_owner() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let child = garden.create("child", &[blocking(&owner)]).await;
    garden.create("grandchild", &[reference(&child)]).await;
    garden.delete("owner", "Orphan").await;
    garden.until_gone("owner").await;
    garden.settle().await;
    assert!(garden.get("child").await["metadata"].get("ownerReferences").is_none());
    assert!(garden.exists("grandchild").await);
}

#[tokio::test]
async fn foreground_deletion_waits_for_blocking_dependents() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let metadata =
        json!({"ownerReferences": [blocking(&owner)], "finalizers": ["example.com/wait"]});
    garden.create_in("default", "child", metadata).await;
    garden.delete("owner", "Foreground").await;
    let deleting = async || garden.get("child").await["metadata"]["deletionTimestamp"].is_string();
    garden.cluster.until("the child is asked to go", deleting).await;
    garden.settle().await;
    assert!(garden.exists("owner").await, "the child is still there");
    garden.add_finalizer("child", &[]).await;
    garden.until_gone("owner").await;
    assert!(!garden.exists("child").await);
}

#[tokio::test]
async fn foreground_deletion_does_not_wait_for_others() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let metadata =
        json!({"ownerReferences": [reference(&owner)], "finalizers": ["example.com/wait"]});
    garden.create_in("default", "child", metadata).await;
    garden.delete("owner", "Foreground").await;
    garden.until_gone("owner").await;
    assert!(garden.exists("child").await, "its finalizer holds it");
}

#[tokio::test]
async fn foreground_deletion_spares_dependents_with_another_owner() {
    let garden = Garden::start().await;
    let (one, two) = (garden.create("one", &[]).await, garden.create("two", &[]).await);
    garden.create("shared", &[blocking(&one), blocking(&two)]).await;
    garden.delete("one", "Foreground").await;
    garden.until_gone("one").await;
    garden.settle().await;
    let shared = garden.get("shared").await;
    assert_eq!(shared["metadata"]["ownerReferences"], json!([blocking(&two)]));
    assert!(garden.exists("two").await);
}

#[tokio::test]
async fn a_dependent_that_stops_to_block_lets_its_owner_go() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let metadata =
        json!({"ownerReferences": [blocking(&owner)], "finalizers": ["example.com/wait"]});
    garden.create_in("default", "child", metadata).await;
    garden.delete("owner", "Foreground").await;
    let references = json!({"metadata": {"ownerReferences": [reference(&owner)]}});
    garden.cluster.merge(&path("child"), references).await;
    garden.until_gone("owner").await;
    assert!(garden.exists("child").await);
}

/// Pitfall: owners that own each other must not wait for each other.
#[tokio::test]
async fn circles_do_not_block() {
    for propagation in ["Foreground", "Background"] {
        let garden = Garden::start().await;
        let first = garden.create("first", &[]).await;
        let second = garden.create("second", &[blocking(&first)]).await;
        let third = garden.create("third", &[blocking(&second)]).await;
        let references = json!({"metadata": {"ownerReferences": [blocking(&third)]}});
        garden.cluster.merge(&path("first"), references).await;
        garden.settle().await;
        for name in ["first", "second", "third"] {
            assert!(garden.exists(name).await, "a circle nobody breaks stays");
        }
        garden.delete("second", propagation).await;
        for name in ["first", "second", "third"] {
            garden.until_gone(name).await;
        }
    }
}

#[tokio::test]
async fn an_object_that_owns_itself_can_be_deleted() {
    let garden = Garden::start().await;
    let narcissus = garden.create("narcissus", &[]).await;
    let references = json!({"metadata": {"ownerReferences": [blocking(&narcissus)]}});
    garden.cluster.merge(&path("narcissus"), references).await;
    garden.settle().await;
    assert!(garden.exists("narcissus").await);
    garden.delete("narcissus", "Foreground").await;
    garden.until_gone("narcissus").await;
}

#[tokio::test]
async fn an_owner_in_another_namespace_counts_as_absent_and_stays() {
    let garden = Garden::start().await;
    let namespace = json!({"metadata": {"name": "other"}});
    garden.cluster.ok(Method::POST, "/api/v1/namespaces", Some(namespace)).await;
    let owner = garden.create_in("other", "owner", json!({})).await;
    garden.create("child", &[reference(&owner)]).await;
    garden.until_gone("child").await;
    let namesake = garden.create("owner", &[]).await;
    garden.create_in("other", "child", json!({"ownerReferences": [reference(&owner)]})).await;
    garden.create("mine", &[reference(&namesake)]).await;
    garden.delete("owner", "Background").await;
    garden.until_gone("mine").await;
    garden.settle().await;
    let others = "/api/v1/namespaces/other/configmaps";
    assert!(garden.cluster.exists(&format!("{others}/owner")).await);
    assert!(
        garden.cluster.exists(&format!("{others}/child")).await,
        "its owner is the one of its namespace"
    );
}

#[tokio::test]
async fn a_cluster_scoped_object_with_an_owner_in_a_namespace_stays() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    let role =
        json!({"metadata": {"name": "wide", "ownerReferences": [reference(&owner)]}, "rules": []});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    garden.cluster.ok(Method::POST, roles, Some(role)).await;
    let warned = async || {
        let events =
            garden.cluster.ok(Method::GET, "/api/v1/namespaces/default/events", None).await;
        let events = events["items"].as_array().unwrap().clone();
        events.iter().any(|event| event["reason"] == "OwnerRefInvalidNamespace")
    };
    garden.cluster.until("an event warns", warned).await;
    assert!(garden.cluster.exists(&format!("{roles}/wide")).await);
}

#[tokio::test]
async fn objects_are_kept_while_the_kind_of_their_owner_is_unknown() {
    let garden = Garden::start().await;
    let lost = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "u"}});
    let dead = json!({"metadata": {"name": "dead", "uid": "dead"}});
    garden.create("patient", &[reference(&lost), reference(&dead)]).await;
    garden.settle().await;
    assert!(garden.exists("patient").await);
    let crd = crate::crds::widgets();
    garden.cluster.ok(Method::POST, crate::crds::DEFINITIONS, Some(crd)).await;
    garden.until_gone("patient").await;
}

#[tokio::test]
async fn custom_resources_own_and_are_owned() {
    let garden = Garden::start().await;
    garden.cluster.ok(Method::POST, crate::crds::DEFINITIONS, Some(crate::crds::widgets())).await;
    crate::crds::until_established(&garden.cluster, "widgets.example.com").await;
    let owner = garden.create("owner", &[]).await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "w", "ownerReferences": [reference(&owner)]},
    });
    let widget = garden.cluster.ok(Method::POST, widgets, Some(widget)).await;
    garden.create("child", &[reference(&widget)]).await;
    garden.settle().await;
    assert!(garden.exists("child").await);
    // With the definition go its objects, and with them what they own.
    let definition = format!("{}/widgets.example.com", crate::crds::DEFINITIONS);
    garden.cluster.ok(Method::DELETE, &definition, None).await;
    garden.until_gone("child").await;
    garden.settle().await;
    assert!(garden.exists("owner").await);
}

#[tokio::test]
async fn a_dry_run_collects_nothing() {
    let garden = Garden::start().await;
    let owner = garden.create("owner", &[]).await;
    garden.create("child", &[reference(&owner)]).await;
    garden.cluster.ok(Method::DELETE, &format!("{}?dryRun=All", path("owner")), None).await;
    garden.settle().await;
    assert!(garden.exists("owner").await && garden.exists("child").await);
}

#[tokio::test]
async fn what_was_left_before_a_restart_is_collected() {
    let cluster = Cluster::start_with(Controllers::api_server_only()).await;
    let before = Garden { cluster };
    let (owner, kept) = (before.create("owner", &[]).await, before.create("kept", &[]).await);
    before.create("child", &[reference(&owner)]).await;
    before.create("safe", &[reference(&kept)]).await;
    before.delete("owner", "Background").await;
    assert!(before.exists("child").await, "nobody collects");
    let controllers = Controllers { garbage_collector: true, ..Controllers::api_server_only() };
    let options = stolos_apiserver::server::Options { controllers, ..Default::default() };
    let store = before.cluster.store.clone();
    before.cluster.server.stop();
    let after = Garden { cluster: Cluster::start_on(store, options).await };
    after.until_gone("child").await;
    after.settle().await;
    assert!(after.exists("safe").await && after.exists("kept").await);
}
