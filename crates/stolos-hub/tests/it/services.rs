//! Services across clusters: exported on members, resolved on the hub, imported by members.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use stolos_api::cluster::MemberCluster;
use stolos_api::network::names::{EXPORTS_ANNOTATION, SILENT_SINCE_ANNOTATION, annotation};
use stolos_api::network::{
    EndpointSliceExport, EndpointSliceImport, InternalServiceExport, MultiClusterService,
    ServiceExport, ServiceImport,
};
use stolos_core::network::claim::Importers;

use crate::fleet::{Cluster, Fleet, create, delete, eventually, exists, gone, items, merge};
use crate::forgetful::{Forgetful, Misled};

const WEIGHT: &str = "networking.fleet.azure.com/weight";

fn object<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

/// Puts a Service with endpoints on a cluster; its pods have these addresses.
async fn serve(cluster: &Cluster, name: &str, port: i32, addresses: &[&str]) {
    let namespace = object(json!({"metadata": {"name": "app"}}));
    let _exists =
        cluster.all::<Namespace>().create(&kube::api::PostParams::default(), &namespace).await;
    let service: Service = object(json!({
        "metadata": {"name": name, "namespace": "app"},
        "spec": {"ports": [{"port": port, "targetPort": 8080}]},
    }));
    create(&cluster.inside("app"), &service).await;
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    let slice: EndpointSlice = object(json!({
        "metadata": {
            "name": format!("{name}-1"), "namespace": "app",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}],
    }));
    create(&cluster.inside("app"), &slice).await;
}

async fn export(cluster: &Cluster, name: &str) {
    let export: ServiceExport = object(json!({
        "apiVersion": "networking.fleet.azure.com/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": name, "namespace": "app"},
    }));
    create(&cluster.inside("app"), &export).await;
}

/// Imports a service under the name of the MultiClusterService.
async fn import_as(cluster: &Cluster, name: &str, service: &str) {
    let namespace = object(json!({"metadata": {"name": "app"}}));
    let _exists =
        cluster.all::<Namespace>().create(&kube::api::PostParams::default(), &namespace).await;
    let import: MultiClusterService = object(json!({
        "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "MultiClusterService",
        "metadata": {"name": name, "namespace": "app"}, "spec": {"serviceImport": {"name": service}},
    }));
    create(&cluster.inside("app"), &import).await;
}

/// Starts a fleet whose hub has the namespace of the services.
async fn fleet(importers: Importers, members: &[&str]) -> Fleet {
    let fleet = Fleet::with_services(importers, members).await;
    create(&fleet.hub.all(), &object::<Namespace>(json!({"metadata": {"name": "app"}}))).await;
    fleet
}

/// Starts a fleet whose member `b` imports a service of `a`.
async fn exported_to_another(importers: Importers) -> Fleet {
    let fleet = fleet(importers, &["a", "b"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    import_as(fleet.member("b"), "web", "web").await;
    balances_over(fleet.member("b"), &["10.1.0.1"]).await;
    fleet
}

/// Waits until a ServiceExport has a condition with this reason.
async fn told(cluster: &Cluster, name: &str, type_: &str, reason: &str) {
    let what = format!("is told {reason}");
    eventually(&cluster.inside::<ServiceExport>("app"), name, &what, |export| {
        let conditions = export.and_then(|export| export.status.as_ref());
        let conditions = conditions.map(|status| &status.conditions);
        conditions.into_iter().flatten().any(|one| one.type_ == type_ && one.reason == reason)
    })
    .await;
}

/// Waits until the hub says that exactly these members export a service.
async fn exported_by(fleet: &Fleet, name: &str, members: &[&str]) {
    let what = format!("is exported by {members:?}");
    eventually(&fleet.hub.inside::<ServiceImport>("app"), name, &what, |import| {
        let status = import.and_then(|import| import.status.as_ref());
        let clusters = status.into_iter().flat_map(|status| &status.clusters);
        let mut clusters: Vec<_> = clusters.map(|one| one.cluster.as_str()).collect();
        clusters.sort_unstable();
        clusters == members
    })
    .await;
}

/// Waits until a MultiClusterService has this reason for its condition.
async fn imported(cluster: &Cluster, name: &str, reason: &str) {
    let what = format!("is told {reason}");
    eventually(&cluster.inside::<MultiClusterService>("app"), name, &what, |service| {
        let status = service.and_then(|service| service.status.as_ref());
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.type_ == "Valid" && one.reason == reason)
    })
    .await;
}

/// Returns all addresses of the EndpointSlices of a namespace, sorted.
async fn addresses(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let slices = cluster.inside::<EndpointSlice>(namespace).list(&ListParams::default()).await;
    let endpoints = slices.unwrap().items.into_iter().flat_map(|slice| slice.endpoints);
    let mut addresses: Vec<_> = endpoints.flat_map(|endpoint| endpoint.addresses).collect();
    addresses.sort();
    addresses
}

/// Waits until exactly these addresses are imported. Slices come one by one, so each change of any is looked at.
async fn balances_over(cluster: &Cluster, wanted: &[&str]) {
    use futures::StreamExt;
    use kube::runtime::watcher;
    let api = cluster.inside::<EndpointSlice>("fleet-system");
    let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()));
    let waiting = async {
        while let Some(change) = changes.next().await {
            change.unwrap();
            if addresses(cluster, "fleet-system").await == wanted {
                return;
            }
        }
    };
    let came = tokio::time::timeout(std::time::Duration::from_secs(50), waiting).await;
    let last = addresses(cluster, "fleet-system").await;
    assert!(came.is_ok(), "never balances over {wanted:?}, but over {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_of_two_members_has_one_address_on_a_third() {
    let fleet = fleet(Importers::One, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1", "10.1.0.2"]).await;
    serve(fleet.member("b"), "web", 80, &["10.2.0.1"]).await;
    export(fleet.member("a"), "web").await;
    export(fleet.member("b"), "web").await;
    import_as(fleet.member("c"), "shop", "web").await;

    exported_by(&fleet, "web", &["a", "b"]).await;
    for member in ["a", "b"] {
        told(fleet.member(member), "web", "Valid", "ServiceIsValid").await;
        told(fleet.member(member), "web", "Conflict", "NoConflictFound").await;
    }
    let here = fleet.member("c");
    imported(here, "shop", "FoundServiceImport").await;
    balances_over(here, &["10.1.0.1", "10.1.0.2", "10.2.0.1"]).await;

    let derived = here.inside::<Service>("fleet-system").get("app-shop").await.unwrap();
    let spec = derived.spec.as_ref().unwrap();
    assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
    assert_eq!(spec.selector, None);
    let ports = spec.ports.as_ref().unwrap();
    assert_eq!((ports.len(), ports[0].port), (1, 80));
    let label =
        |name: &str| derived.labels()[&format!("networking.fleet.azure.com/{name}")].clone();
    assert_eq!(label("multi-cluster-service-name"), "shop");
    assert_eq!(label("multi-cluster-service-namespace"), "app");
    let slices = here.inside::<EndpointSlice>("fleet-system").list(&ListParams::default()).await;
    for slice in slices.unwrap() {
        let labels = [
            (
                "endpointslice.kubernetes.io/managed-by",
                "endpointsliceimport-controller.networking.fleet.azure.com",
            ),
            ("kubernetes.io/service-name", "app-shop"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(slice.labels(), &labels.into());
    }

    // An exporter that stops takes its endpoints along, and nothing else.
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    exported_by(&fleet, "web", &["b"]).await;
    balances_over(here, &["10.2.0.1"]).await;
    assert_eq!(addresses(fleet.member("a"), "app").await, ["10.1.0.1", "10.1.0.2"]);

    // Without any exporter the address goes, and with the import everything that was made for it.
    delete(&fleet.member("b").inside::<ServiceExport>("app"), "web").await;
    imported(here, "shop", "UnknownServiceImport").await;
    gone(&here.inside::<Service>("fleet-system"), "app-shop").await;
    gone(&fleet.hub.inside::<ServiceImport>("app"), "web").await;
    delete(&here.inside::<MultiClusterService>("app"), "shop").await;
    gone(&here.inside::<MultiClusterService>("app"), "shop").await;
    gone(&here.inside::<ServiceImport>("app"), "web").await;
    balances_over(here, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_their_slices() {
    let fleet = exported_to_another(Importers::One).await;

    let slices = fleet.member("a").inside::<EndpointSlice>("app");
    let ready = json!({"endpoints": [
        {"addresses": ["10.1.0.2"]},
        {"addresses": ["10.1.0.3"], "conditions": {"ready": false}},
    ]});
    merge(&slices, "web-1", ready).await;
    balances_over(fleet.member("b"), &["10.1.0.2"]).await;

    // A slice that is deleted outright takes its endpoints with it at once, not after minutes.
    delete(&slices, "web-1").await;
    balances_over(fleet.member("b"), &[]).await;
    let left = fleet.hub.all::<EndpointSliceExport>().list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), 0);
}

/// As after its etcd was restored from a backup: generations begin anew, and what the hub was told seems to be later.
#[tokio::test(start_paused = true)]
async fn endpoints_of_a_cluster_that_was_set_back_are_followed() {
    let fleet = exported_to_another(Importers::One).await;
    let exports = fleet.hub.inside::<EndpointSliceExport>("fleet-member-a");
    let name = exports.list(&ListParams::default()).await.unwrap().items.remove(0).name_any();
    merge(&exports, &name, json!({"spec": {"endpointSliceReference": {"generation": 99}}})).await;
    let slices = fleet.member("a").inside::<EndpointSlice>("app");
    merge(&slices, "web-1", json!({"endpoints": [{"addresses": ["10.1.0.2"]}]})).await;
    balances_over(fleet.member("b"), &["10.1.0.2"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_export_that_disagrees_is_told_so_and_takes_over_once_it_is_alone() {
    let fleet = fleet(Importers::One, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    serve(fleet.member("b"), "web", 81, &["10.2.0.1"]).await;
    export(fleet.member("a"), "web").await;
    told(fleet.member("a"), "web", "Conflict", "NoConflictFound").await;
    export(fleet.member("b"), "web").await;
    told(fleet.member("b"), "web", "Conflict", "ConflictFound").await;
    import_as(fleet.member("c"), "web", "web").await;
    balances_over(fleet.member("c"), &["10.1.0.1"]).await;
    exported_by(&fleet, "web", &["a"]).await;

    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    told(fleet.member("b"), "web", "Conflict", "NoConflictFound").await;
    exported_by(&fleet, "web", &["b"]).await;
    balances_over(fleet.member("c"), &["10.2.0.1"]).await;
    let derived = fleet.member("c").inside::<Service>("fleet-system");
    eventually(&derived, "app-web", "has the port of the other", |service| {
        let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_ref());
        ports.is_some_and(|ports| ports[0].port == 81)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn weights_travel_with_endpoints_and_zero_takes_a_member_out() {
    let fleet = fleet(Importers::One, &["a", "b", "c"]).await;
    for (member, address) in [("a", "10.1.0.1"), ("b", "10.2.0.1")] {
        serve(fleet.member(member), "web", 80, &[address]).await;
        export(fleet.member(member), "web").await;
    }
    import_as(fleet.member("c"), "web", "web").await;
    balances_over(fleet.member("c"), &["10.1.0.1", "10.2.0.1"]).await;

    let exports = fleet.member("a").inside::<ServiceExport>("app");
    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "7"}}})).await;
    let copies = fleet.hub.inside::<EndpointSliceImport>("fleet-member-c");
    let all = copies.list(&ListParams::default()).await.unwrap();
    let of_a = |copy: &&EndpointSliceImport| copy.spec.endpoint_slice_reference.cluster_id == "a";
    let copy = all.iter().find(of_a).unwrap().name_any();
    eventually(&copies, &copy, "has the weight", |copy| {
        copy.is_some_and(|copy| copy.annotations().get(WEIGHT).is_some_and(|weight| weight == "7"))
    })
    .await;

    // What cannot be a weight changes nothing but the condition.
    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "1001"}}})).await;
    told(fleet.member("a"), "web", "Valid", "ServiceExportInvalidWeightAnnotation").await;
    exported_by(&fleet, "web", &["a", "b"]).await;
    exists(&copies, &copy).await;

    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "0"}}})).await;
    balances_over(fleet.member("c"), &["10.2.0.1"]).await;
    exported_by(&fleet, "web", &["b"]).await;
    told(fleet.member("a"), "web", "Valid", "ServiceIsValid").await;

    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "2"}}})).await;
    balances_over(fleet.member("c"), &["10.1.0.1", "10.2.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_keeps_its_endpoints_and_importers_are_told() {
    let mut fleet = exported_to_another(Importers::One).await;
    let period = json!({"spec": {"heartbeatPeriodSeconds": 3}});
    merge(&fleet.hub.all::<MemberCluster>(), "a", period).await;

    let copies = fleet.hub.inside::<EndpointSliceImport>("fleet-member-b");
    let copy = copies.list(&ListParams::default()).await.unwrap().items.remove(0);
    let (uid, name) = (copy.uid(), copy.name_any());
    eventually(&copies, &name, "is noted as measured", |copy| {
        copy.is_some_and(|copy| {
            copy.annotations().contains_key(annotation::LAST_OBSERVED_GENERATION)
        })
    })
    .await;
    let exports = fleet.hub.inside::<InternalServiceExport>("fleet-member-a");
    eventually(&exports, "app-web", "is noted as measured", |export| {
        let version = |export: &InternalServiceExport| {
            let noted = export.annotations().get(annotation::LAST_OBSERVED_RESOURCE_VERSION)?;
            Some(*noted == export.spec.service_reference.resource_version)
        };
        export.and_then(version) == Some(true)
    })
    .await;
    let silence = |copy: Option<&EndpointSliceImport>| {
        let copy = copy.filter(|copy| copy.uid() == uid)?;
        Some(copy.annotations().contains_key(SILENT_SINCE_ANNOTATION))
    };
    fleet.stop_agents().await;
    eventually(&copies, &name, "is marked", |copy| silence(copy) == Some(true)).await;
    fleet.stop_hub().await;
    fleet.start_hub();
    assert_eq!(addresses(fleet.member("b"), "fleet-system").await, ["10.1.0.1"]);
    fleet.start_agents();
    eventually(&copies, &name, "is not marked", |copy| silence(copy) == Some(false)).await;
    balances_over(fleet.member("b"), &["10.1.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn services_that_cannot_be_exported_are_told_why_and_others_are_not_touched() {
    let fleet = fleet(Importers::One, &["a"]).await;
    let here = fleet.member("a");
    serve(here, "web", 80, &["10.1.0.1"]).await;
    for (name, spec) in [
        ("headless", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
        ("elsewhere", json!({"type": "ExternalName", "externalName": "example.com"})),
    ] {
        let service = object::<Service>(
            json!({"metadata": {"name": name, "namespace": "app"}, "spec": spec}),
        );
        create(&here.inside("app"), &service).await;
        export(here, name).await;
        told(here, name, "Valid", "ServiceIneligible").await;
    }
    export(here, "nowhere").await;
    told(here, "nowhere", "Valid", "ServiceNotFound").await;
    export(here, "web").await;
    told(here, "web", "Conflict", "NoConflictFound").await;
    let all = fleet.hub.all::<InternalServiceExport>().list(&ListParams::default()).await.unwrap();
    let all: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
    assert_eq!(all, ["app-web"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_importers_one_waits_and_takes_over_where_one_may_import() {
    let fleet = fleet(Importers::One, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    import_as(fleet.member("b"), "web", "web").await;
    imported(fleet.member("b"), "web", "FoundServiceImport").await;
    import_as(fleet.member("c"), "web", "web").await;
    imported(fleet.member("c"), "web", "UnknownServiceImport").await;
    balances_over(fleet.member("c"), &[]).await;

    delete(&fleet.member("b").inside::<MultiClusterService>("app"), "web").await;
    gone(&fleet.member("b").inside::<MultiClusterService>("app"), "web").await;
    imported(fleet.member("c"), "web", "FoundServiceImport").await;
    balances_over(fleet.member("c"), &["10.1.0.1"]).await;
    balances_over(fleet.member("b"), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn several_members_import_a_service_where_many_may() {
    let fleet = fleet(Importers::Many, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    for member in ["a", "b", "c"] {
        import_as(fleet.member(member), "web", "web").await;
    }
    for member in ["a", "b", "c"] {
        imported(fleet.member(member), "web", "FoundServiceImport").await;
        balances_over(fleet.member(member), &["10.1.0.1"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_an_import_keeps_no_endpoints_from_the_one_that_holds_it() {
    let fleet = exported_to_another(Importers::One).await;
    // Its name is before the other's.
    import_as(fleet.member("b"), "also", "web").await;
    imported(fleet.member("b"), "also", "UnknownServiceImport").await;
    let change = json!({"endpoints": [{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}]});
    merge(&fleet.member("a").inside::<EndpointSlice>("app"), "web-1", change).await;
    balances_over(fleet.member("b"), &["10.1.0.1", "10.1.0.2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_importer_holds_nobody_up() {
    let mut fleet = fleet(Importers::Many, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    for member in ["b", "c"] {
        import_as(fleet.member(member), "web", "web").await;
        balances_over(fleet.member(member), &["10.1.0.1"]).await;
    }
    fleet.stop_agent("c").await;

    let exports = fleet.member("a").inside::<ServiceExport>("app");
    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "0"}}})).await;
    balances_over(fleet.member("b"), &[]).await;
    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "1"}}})).await;
    balances_over(fleet.member("b"), &["10.1.0.1"]).await;
    delete(&exports, "web").await;
    gone(&exports, "web").await;
    balances_over(fleet.member("b"), &[]).await;
    delete(&fleet.hub.all::<MemberCluster>(), "a").await;
    gone(&fleet.hub.all::<MemberCluster>(), "a").await;
    assert_eq!(addresses(fleet.member("c"), "fleet-system").await, ["10.1.0.1"], "nobody told it");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_takes_its_exports_and_imports_along_and_no_service() {
    let fleet = fleet(Importers::Many, &["a", "b"]).await;
    for (member, address) in [("a", "10.1.0.1"), ("b", "10.2.0.1")] {
        serve(fleet.member(member), "web", 80, &[address]).await;
        export(fleet.member(member), "web").await;
        import_as(fleet.member(member), "web", "web").await;
    }
    for member in ["a", "b"] {
        balances_over(fleet.member(member), &["10.1.0.1", "10.2.0.1"]).await;
    }
    let by_hand: ServiceImport = object(json!({
        "apiVersion": "networking.fleet.azure.com/v1alpha1", "kind": "ServiceImport",
        "metadata": {"name": "by-hand", "namespace": "app"},
    }));
    let imports = fleet.member("b").inside::<ServiceImport>("app");
    create(&imports, &by_hand).await;
    eventually(&imports, "by-hand", "is asked for", |import| {
        import.is_some_and(|import| !import.finalizers().is_empty())
    })
    .await;
    let skip = json!({"spec": {"deleteOptions": {"validationMode": "Skip"}}});
    merge(&fleet.hub.all::<MemberCluster>(), "b", skip).await;
    let began = tokio::time::Instant::now();
    delete(&fleet.hub.all::<MemberCluster>(), "b").await;
    gone(&fleet.hub.all::<MemberCluster>(), "b").await;
    assert!(began.elapsed().as_secs() < 300, "it left by itself, and was not given up");
    gone(&imports, "by-hand").await;

    balances_over(fleet.member("a"), &["10.1.0.1"]).await;
    exported_by(&fleet, "web", &["a"]).await;
    let left = fleet.member("b");
    gone(&left.inside::<ServiceExport>("app"), "web").await;
    gone(&left.inside::<MultiClusterService>("app"), "web").await;
    gone(&left.inside::<Service>("fleet-system"), "app-web").await;
    balances_over(left, &[]).await;
    exists(&left.inside::<Service>("app"), "web").await;
    assert_eq!(addresses(left, "app").await, ["10.2.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn an_export_whose_namespace_the_hub_lacks_says_so_and_goes_on_once_it_is_there() {
    let fleet = Fleet::with_services(Importers::One, &["a", "b"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    told(fleet.member("a"), "web", "Conflict", "NamespaceNotFound").await;
    import_as(fleet.member("b"), "web", "web").await;
    create(&fleet.hub.all(), &object::<Namespace>(json!({"metadata": {"name": "app"}}))).await;
    told(fleet.member("a"), "web", "Conflict", "NoConflictFound").await;
    balances_over(fleet.member("b"), &["10.1.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn copies_of_endpoints_that_went_while_the_hub_was_away_go_too() {
    let mut fleet = exported_to_another(Importers::One).await;
    fleet.stop_hub().await;
    let exports = fleet.hub.inside::<EndpointSliceExport>("fleet-member-a");
    let name = exports.list(&ListParams::default()).await.unwrap().items.remove(0).name_any();
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    eventually(&exports, &name, "is being deleted", |export| {
        export.is_some_and(|export| export.metadata.deletion_timestamp.is_some())
    })
    .await;
    merge(&exports, &name, json!({"metadata": {"finalizers": null}})).await;
    gone(&exports, &name).await;
    assert_eq!(addresses(fleet.member("b"), "fleet-system").await, ["10.1.0.1"]);
    fleet.start_hub();
    balances_over(fleet.member("b"), &[]).await;
}

/// Waits until a MemberCluster names this service as one that the member exports.
async fn exports(fleet: &Fleet, member: &str, service: Option<&str>) {
    let what = format!("exports {service:?}");
    eventually(&fleet.hub.all::<MemberCluster>(), member, &what, |member| {
        let named = member.map(|member| member.annotations().get(EXPORTS_ANNOTATION));
        named.is_some_and(|named| named.map(String::as_str) == service)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_exports_services_is_not_deleted_unless_it_says_so() {
    let fleet = fleet(Importers::One, &["a", "b"]).await;
    stolos_hub::admission::install(&fleet.hub.client, true).await;
    let members = fleet.hub.all::<MemberCluster>();
    for member in ["a", "b"] {
        serve(fleet.member(member), "web", 80, &["10.1.0.1"]).await;
        export(fleet.member(member), "web").await;
        exports(&fleet, member, Some("app/web")).await;
        let refused = members.delete(member, &DeleteParams::default()).await.unwrap_err();
        let message = "Please delete serviceExport app/web in the member cluster before leaving, request is denied";
        assert!(refused.to_string().contains(message), "{refused}");
    }
    let a = members.get("a").await.unwrap();
    assert_eq!(a.metadata.deletion_timestamp, None);

    // Another one takes the place of the first, and the last leaves the way free.
    let here = fleet.member("a");
    serve(here, "api", 80, &["10.1.0.2"]).await;
    export(here, "api").await;
    told(here, "api", "Conflict", "NoConflictFound").await;
    delete(&here.inside::<ServiceExport>("app"), "web").await;
    exports(&fleet, "a", Some("app/api")).await;
    delete(&here.inside::<ServiceExport>("app"), "api").await;
    exports(&fleet, "a", None).await;
    delete(&members, "a").await;
    gone(&members, "a").await;

    // Whoever skips the check is not held up, nor is a client that deletes by a version without the field, as kubectl does.
    let skip = json!({"spec": {"deleteOptions": {"validationMode": "Skip"}}});
    merge(&members, "b", skip).await;
    exports(&fleet, "b", None).await;
    delete(&members, "b").await;
    gone(&members, "b").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_the_member_that_leaves_things_out_takes_nothing_away() {
    let mut fleet = fleet(Importers::Many, &["a", "b"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    import_as(fleet.member("a"), "web", "web").await;
    import_as(fleet.member("b"), "web", "web").await;
    for member in ["a", "b"] {
        balances_over(fleet.member(member), &["10.1.0.1"]).await;
    }
    let uids = uids(&fleet).await;

    fleet.stop_agents().await;
    let forgets = &[
        "/endpointslices",
        "/multiclusterservices",
        "/serviceexports",
        "/serviceimports",
        "/services",
    ];
    fleet.start_agents_by(|server| Forgetful::of(server, forgets));
    // What comes after the lists is heard of, so everything has been decided about once.
    serve(fleet.member("a"), "later", 80, &["10.1.0.9"]).await;
    export(fleet.member("a"), "later").await;
    told(fleet.member("a"), "later", "Conflict", "NoConflictFound").await;
    import_as(fleet.member("b"), "later", "later").await;
    balances_over(fleet.member("b"), &["10.1.0.1", "10.1.0.9"]).await;
    let after = self::uids(&fleet).await;
    assert!(after.is_superset(&uids), "gone: {:?}", uids.difference(&after));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_the_hub_that_leaves_things_out_takes_nothing_away() {
    let mut fleet = fleet(Importers::Many, &["a", "b"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    let exports = fleet.member("a").inside::<ServiceExport>("app");
    merge(&exports, "web", json!({"metadata": {"annotations": {WEIGHT: "7"}}})).await;
    for member in ["a", "b"] {
        import_as(fleet.member(member), "web", "web").await;
        balances_over(fleet.member(member), &["10.1.0.1"]).await;
    }
    let copies = fleet.hub.inside::<EndpointSliceImport>("fleet-member-b");
    let copy = copies.list(&ListParams::default()).await.unwrap().items.remove(0).name_any();
    let has_weight = |copy: Option<&EndpointSliceImport>| {
        copy.is_some_and(|copy| copy.annotations().get(WEIGHT).is_some_and(|weight| weight == "7"))
    };
    eventually(&copies, &copy, "has the weight", has_weight).await;
    let weights = Weights::of(copies.clone());
    let uids = uids(&fleet).await;

    for forgets in [
        &["/internalserviceexports"][..],
        &["/internalserviceimports"],
        &["/serviceimports"],
        &["/endpointsliceimports"],
        &["/memberclusters"],
        &["/namespaces"],
    ] {
        fleet.stop_hub().await;
        fleet.start_hub_by(|server| Forgetful::of(server, forgets));
        let name = forgets[0].trim_start_matches('/');
        serve(fleet.member("a"), name, 80, &["10.1.0.9"]).await;
        export(fleet.member("a"), name).await;
        told(fleet.member("a"), name, "Conflict", "NoConflictFound").await;
        let after = self::uids(&fleet).await;
        assert!(after.is_superset(&uids), "{forgets:?}; gone: {:?}", uids.difference(&after));
        let member = fleet.hub.all::<MemberCluster>().get("a").await.unwrap();
        assert!(member.annotations().contains_key(EXPORTS_ANNOTATION), "{forgets:?}");
        assert!(
            addresses(fleet.member("b"), "fleet-system").await.contains(&"10.1.0.1".to_owned())
        );
        assert_eq!(weights.seen(&copy), ["7"], "{forgets:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_earlier_endpoints_takes_none_away() {
    let mut fleet = exported_to_another(Importers::Many).await;
    let slices = items(&fleet.member("a").inside::<EndpointSlice>("app")).await;
    let exported = items(&fleet.hub.inside::<EndpointSliceExport>("fleet-member-a")).await;
    let imported = items(&fleet.hub.inside::<EndpointSliceImport>("fleet-member-b")).await;
    let more = json!({"endpoints": [{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}]});
    merge(&fleet.member("a").inside::<EndpointSlice>("app"), "web-1", more).await;
    balances_over(fleet.member("b"), &["10.1.0.1", "10.1.0.2"]).await;

    let mut all = vec!["10.1.0.1".to_owned(), "10.1.0.2".to_owned()];
    for (who, kind, earlier) in [
        (Misled::ByMember("a"), "/endpointslices", slices),
        (Misled::Hub, "/endpointsliceexports", exported),
        (Misled::ByHub("b"), "/endpointsliceimports", imported),
    ] {
        fleet.mislead(who, kind, earlier).await;
        // What comes after the list is heard of, so everything has been decided about once.
        let (later, address) = (&kind[1..], format!("10.1.1.{}", all.len()));
        serve(fleet.member("a"), later, 80, &[&address]).await;
        export(fleet.member("a"), later).await;
        import_as(fleet.member("b"), later, later).await;
        all.push(address);
        let wanted: Vec<_> = all.iter().map(String::as_str).collect();
        balances_over(fleet.member("b"), &wanted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_shown_an_earlier_claim_takes_no_endpoints_away() {
    let mut fleet = fleet(Importers::Many, &["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", 80, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    import_as(fleet.member("c"), "web", "web").await;
    balances_over(fleet.member("c"), &["10.1.0.1"]).await;
    let before = items(&fleet.hub.inside::<ServiceImport>("app")).await;
    import_as(fleet.member("b"), "web", "web").await;
    balances_over(fleet.member("b"), &["10.1.0.1"]).await;
    let uids = uids(&fleet).await;

    fleet.mislead(Misled::Hub, "/serviceimports", before).await;
    // What comes after the list is heard of, so everything has been decided about once.
    serve(fleet.member("a"), "later", 80, &["10.1.0.9"]).await;
    export(fleet.member("a"), "later").await;
    told(fleet.member("a"), "later", "Conflict", "NoConflictFound").await;
    let after = self::uids(&fleet).await;
    assert!(after.is_superset(&uids), "gone: {:?}", uids.difference(&after));
    assert_eq!(addresses(fleet.member("b"), "fleet-system").await, ["10.1.0.1"]);

    // A claim that has ended is not kept.
    delete(&fleet.member("b").inside::<MultiClusterService>("app"), "web").await;
    gone(&fleet.member("b").inside::<MultiClusterService>("app"), "web").await;
    balances_over(fleet.member("b"), &[]).await;
    assert_eq!(addresses(fleet.member("c"), "fleet-system").await, ["10.1.0.1"]);
}

/// Every weight that copies of endpoints have had.
struct Weights {
    seen: Arc<Mutex<BTreeSet<(String, String)>>>,
    _watch: tokio::task::JoinSet<()>,
}

impl Weights {
    fn of(copies: Api<EndpointSliceImport>) -> Self {
        use futures::StreamExt;
        use kube::runtime::{WatchStreamExt, watcher};
        let seen = Arc::<Mutex<BTreeSet<_>>>::default();
        let noted = Arc::clone(&seen);
        let mut watch = tokio::task::JoinSet::new();
        watch.spawn(async move {
            let changes = watcher(copies, watcher::Config::default()).applied_objects();
            let mut changes = std::pin::pin!(changes);
            while let Some(change) = changes.next().await {
                let copy = change.unwrap();
                let weight = copy.annotations().get(WEIGHT).cloned().unwrap_or_default();
                noted.lock().unwrap().insert((copy.name_any(), weight));
            }
        });
        Self { seen, _watch: watch }
    }

    fn seen(&self, copy: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(name, _)| name == copy).map(|(_, weight)| weight.clone()).collect()
    }
}

/// Returns what stands on the hub and on members for exports and imports, by kind, name and uid.
async fn uids(fleet: &Fleet) -> BTreeSet<String> {
    async fn of<K>(api: Api<K>) -> Vec<String>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let all = api.list(&ListParams::default()).await.unwrap();
        let text = |one: &K| format!("{} {} {}", K::kind(&()), one.name_any(), one.uid().unwrap());
        all.iter().map(text).collect()
    }
    let mut all = of(fleet.hub.all::<InternalServiceExport>()).await;
    all.extend(of(fleet.hub.all::<EndpointSliceExport>()).await);
    all.extend(of(fleet.hub.all::<EndpointSliceImport>()).await);
    all.extend(of(fleet.hub.all::<ServiceImport>()).await);
    for member in fleet.members() {
        all.extend(of(member.inside::<Service>("fleet-system")).await);
        all.extend(of(member.inside::<EndpointSlice>("fleet-system")).await);
    }
    all.into_iter().collect()
}
