//! kube's own runtime on the server: what it builds on the API works as its users expect.

use std::collections::BTreeMap;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::api::events::v1::Event as Recorded;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, PartialObjectMeta,
    Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::discovery::{Discovery, Scope};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::finalizer::{Event as Finalize, finalizer};
use kube::runtime::wait::{await_condition, conditions, delete::delete_and_finalize};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use tokio::sync::mpsc;

use crate::harness::Cluster;

fn config_map(name: &str, value: &str) -> ConfigMap {
    let data = BTreeMap::from([("k".to_owned(), value.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

fn names<K: Resource>(mut objects: Vec<Arc<K>>) -> Vec<String> {
    objects.sort_by_key(|object| object.meta().name.clone());
    objects.iter().map(|object| object.name_any()).collect()
}

#[tokio::test]
async fn a_store_holds_what_the_server_holds_however_it_is_filled() {
    let pages = watcher::Config::default().page_size(2);
    for config in [pages, watcher::Config::default().streaming_lists()] {
        let cluster = Cluster::start().await;
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        for name in ["a", "b", "c", "d", "e"] {
            maps.create(&PostParams::default(), &config_map(name, "1")).await.unwrap();
        }
        let (store, writer) = reflector::store();
        let (sender, mut applied) = mpsc::unbounded_channel();
        let events = reflector(writer, watcher(maps.clone(), config.clone())).applied_objects();
        let following = tokio::spawn(events.try_for_each(move |object: ConfigMap| {
            let _ = sender.send(object.name_any());
            ready(Ok(()))
        }));
        store.wait_until_ready().await.unwrap();
        assert_eq!(names(store.state()), ["a", "b", "c", "d", "e"]);

        let merge = Patch::Merge(json!({ "data": { "k": "2" } }));
        maps.patch("b", &PatchParams::default(), &merge).await.unwrap();
        maps.delete("c", &DeleteParams::default()).await.unwrap();
        maps.create(&PostParams::default(), &config_map("f", "1")).await.unwrap();
        while applied.recv().await.unwrap() != "f" {}
        assert_eq!(names(store.state()), ["a", "b", "d", "e", "f"], "{config:?}");
        let changed = store.get(&reflector::ObjectRef::new("b").within("default")).unwrap();
        assert_eq!(changed.data.as_ref().unwrap()["k"], "2");
        following.abort();
    }
}

#[tokio::test]
async fn a_metadata_watcher_never_sees_content() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("a", "secret")).await.unwrap();
    let metadata: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(cluster.client());
    let config = watcher::Config::default().streaming_lists();
    let mut objects = pin!(watcher(metadata, config).applied_objects());
    let seen = objects.try_next().await.unwrap().unwrap();
    assert_eq!(seen.name_any(), "a");
    assert!(!serde_json::to_string(&seen).unwrap().contains("secret"));
}

/// Copies a config map into one that it owns, and blesses what it has copied.
async fn copy(
    original: Arc<ConfigMap>,
    client: Arc<Client>,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let maps: Api<ConfigMap> = Api::default_namespaced((*client).clone());
    let writer = maps.clone();
    finalizer(&maps, "example.com/copy", original, |event| async move {
        let Finalize::Apply(original) = event else { return Ok(Action::await_change()) };
        if original.data.is_none()
            || original.owner_references().iter().any(|o| o.controller == Some(true))
        {
            return Ok(Action::await_change());
        }
        let name = format!("{}-copy", original.name_any());
        let copied = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "ownerReferences": [original.controller_owner_ref(&())] },
            "data": original.data,
        });
        writer.patch(&name, &PatchParams::apply("copier").force(), &Patch::Apply(copied)).await?;
        Ok(Action::await_change())
    })
    .await
}

#[tokio::test]
async fn a_controller_owns_what_it_makes() {
    let controllers = Controllers { garbage_collector: true, ..Controllers::api_server_only() };
    let cluster = Cluster::start_with(controllers).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let config = watcher::Config::default();
    let controller = Controller::new(maps.clone(), config.clone())
        .owns(maps.clone(), config)
        .run(copy, |_, _, _| Action::await_change(), Arc::new(cluster.client()))
        .for_each(|_| ready(()));
    let running = tokio::spawn(controller);

    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let holds = |value: &'static str| {
        move |object: Option<&ConfigMap>| {
            object.and_then(|map| map.data.as_ref()).is_some_and(|data| data["k"] == value)
        }
    };
    let copied = await_condition(maps.clone(), "a-copy", holds("1")).await.unwrap().unwrap();
    let OwnerReference { kind, name, controller, .. } = &copied.owner_references()[0];
    assert_eq!((kind.as_str(), name.as_str(), *controller), ("ConfigMap", "a", Some(true)));

    let merge = Patch::Merge(json!({ "data": { "k": "2" } }));
    maps.patch("a", &PatchParams::default(), &merge).await.unwrap();
    await_condition(maps.clone(), "a-copy", holds("2")).await.unwrap();
    let wrong = Patch::Merge(json!({ "data": { "k": "meddled" } }));
    maps.patch("a-copy", &PatchParams::default(), &wrong).await.unwrap();
    await_condition(maps.clone(), "a-copy", holds("2")).await.unwrap();

    let original = maps.get("a").await.unwrap();
    assert_eq!(original.finalizers(), ["example.com/copy"]);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = conditions::is_deleted(original.metadata.uid.as_deref().unwrap());
    await_condition(maps.clone(), "a", gone).await.unwrap();
    let gone = conditions::is_deleted(copied.metadata.uid.as_deref().unwrap());
    await_condition(maps.clone(), "a-copy", gone).await.unwrap();
    running.abort();
}

#[tokio::test]
async fn conditions_are_awaited() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = tokio::spawn(await_condition(
        definitions.clone(),
        "widgets.example.com",
        conditions::is_crd_established(),
    ));
    let definition = serde_json::from_value(widgets()).unwrap();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    established.await.unwrap().unwrap();
    // Whoever knows that it is established finds it served.
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    let resource = ApiResource::from_gvk(&kind);
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    all.list(&ListParams::default()).await.unwrap();

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let runs = tokio::spawn(await_condition(pods.clone(), "p", conditions::is_pod_running()));
    let status = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    pods.patch_status("p", &PatchParams::default(), &status).await.unwrap();
    runs.await.unwrap().unwrap();
    delete_and_finalize(pods.clone(), "p", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    })
}

#[tokio::test]
async fn discovery_finds_the_same_in_both_forms() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client());
    let definition = serde_json::from_value(widgets()).unwrap();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    await_condition(definitions, "widgets.example.com", conditions::is_crd_established())
        .await
        .unwrap();
    let each = Discovery::new(cluster.client()).run().await.unwrap();
    let at_once = Discovery::new(cluster.client()).run_aggregated().await.unwrap();
    let groups = |discovery: &Discovery| {
        let groups = discovery.groups_alphabetical();
        groups.iter().map(|group| group.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(groups(&each), groups(&at_once));
    for discovery in [&each, &at_once] {
        let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
        let (resource, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        assert_eq!(resource.plural, "widgets");
        assert!(matches!(capabilities.scope, Scope::Namespaced));
        let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
        let (_, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        assert!(capabilities.supports_operation("watch"));
        let mut subresources: Vec<_> =
            capabilities.subresources.iter().map(|(resource, _)| &resource.plural).collect();
        subresources.sort();
        assert_eq!(subresources.len(), 2, "{subresources:?}");
    }
}

#[tokio::test]
async fn entries_are_read_changed_and_committed() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let set = |value: &'static str| {
        move |map: &mut ConfigMap| {
            map.data.get_or_insert_default().insert("k".to_owned(), value.to_owned());
        }
    };
    let entry = maps.entry("a").await.unwrap().or_insert(|| config_map("a", "0"));
    let mut entry = entry.and_modify(set("1"));
    entry.commit(&PostParams::default()).await.unwrap();
    let mut stale = match maps.entry("a").await.unwrap() {
        kube::api::entry::Entry::Occupied(entry) => entry.and_modify(set("2")),
        kube::api::entry::Entry::Vacant(_) => panic!("it was committed"),
    };
    let mut first =
        maps.entry("a").await.unwrap().or_insert(|| unreachable!()).and_modify(set("3"));
    first.commit(&PostParams::default()).await.unwrap();
    let error = stale.commit(&PostParams::default()).await.unwrap_err();
    assert!(matches!(error, kube::api::entry::CommitError::Save(_)), "{error:?}");
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["k"], "3");
}

#[tokio::test]
async fn repeated_events_become_a_series() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let about = namespaces.get("default").await.unwrap().object_ref(&());
    let recorder = Recorder::new(client.clone(), "example.com/tests".into());
    let event = Event {
        type_: EventType::Normal,
        reason: "Tested".into(),
        note: Some("it was".into()),
        action: "Testing".into(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&event, &about).await.unwrap();
    }
    let events: Api<Recorded> = Api::all(client.clone());
    let selected = ListParams::default().fields("reason=Tested");
    let list = events.list(&selected).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].series.as_ref().unwrap().count, 3);
    assert_eq!(list.items[0].note.as_deref(), Some("it was"));
}

#[tokio::test]
async fn subresources_have_methods_of_their_own() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let replicas = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    deployments.patch_scale("web", &PatchParams::default(), &replicas).await.unwrap();
    let scale = deployments.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(4));
    let mut read = deployments.get_status("web").await.unwrap();
    read.status.get_or_insert_default().replicas = Some(4);
    let written = deployments.replace_status("web", &PostParams::default(), &read).await.unwrap();
    assert_eq!(written.status.unwrap().replicas, Some(4));
    let restarted = deployments.restart("web").await.unwrap();
    assert_eq!(restarted.metadata.generation, Some(3));
}
