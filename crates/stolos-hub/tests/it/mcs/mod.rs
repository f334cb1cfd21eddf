//! Services of the clusterset: the Multi-Cluster Services API (KEP-1645) across members.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use stolos_api::network::ServiceImportType;
use stolos_api::network::clusterset::{
    ExportedService, ExportedServiceSpec, ImportedService, ImportedServiceSpec,
};
use stolos_api::network::mcs::{ServiceExport, ServiceImport};

use crate::fleet::{
    Cluster, Fleet, create, delete, eventually, exists, gone, merge, told as heard,
};

mod safety;

fn object<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

async fn namespace(cluster: &Cluster, name: &str) {
    create(&cluster.all::<Namespace>(), &object(json!({"metadata": {"name": name}}))).await;
}

/// Puts a Service on a cluster, with a slice of endpoints at these addresses.
async fn serve(cluster: &Cluster, name: &str, spec: Value, addresses: &[&str]) {
    let service: Service =
        object(json!({"metadata": {"name": name, "namespace": "app"}, "spec": spec}));
    create(&cluster.inside("app"), &service).await;
    slice(cluster, name, &format!("{name}-1"), addresses).await;
}

async fn slice(cluster: &Cluster, service: &str, name: &str, addresses: &[&str]) {
    let endpoint = |address: &&str| json!({"addresses": [address], "conditions": {"ready": true}});
    let slice: EndpointSlice = object(json!({
        "metadata": {
            "name": name, "namespace": "app", "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }));
    create(&cluster.inside("app"), &slice).await;
}

fn http() -> Value {
    json!({"ports": [{"name": "http", "port": 80, "targetPort": 8080}]})
}

async fn export_with(cluster: &Cluster, name: &str, spec: Value) {
    let export: ServiceExport = object(json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": name, "namespace": "app"}, "spec": spec,
    }));
    create(&cluster.inside("app"), &export).await;
}

async fn export(cluster: &Cluster, name: &str) {
    export_with(cluster, name, json!({})).await;
}

/// Starts a fleet whose members all have the namespace of the services.
async fn fleet(members: &[&str]) -> Fleet {
    let fleet = Fleet::with_mcs_api(members).await;
    for member in members {
        namespace(fleet.member(member), "app").await;
    }
    fleet
}

/// Waits until a ServiceExport has a condition that begins like this: `type=status reason`.
async fn told(cluster: &Cluster, name: &str, condition: &str) {
    eventually(&cluster.inside::<ServiceExport>("app"), name, condition, |export| {
        let status = export.and_then(|export| export.status.as_ref());
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        conditions
            .map(|one| format!("{}={} {}", one.type_, one.status, one.reason))
            .any(|one| one == condition)
    })
    .await;
}

/// Waits until a ServiceImport is ready and of exactly these clusters, the oldest export first.
async fn imported(cluster: &Cluster, name: &str, from: &[&str]) -> ServiceImport {
    let api = cluster.inside::<ServiceImport>("app");
    eventually(&api, name, &format!("is imported from {from:?}"), |import| {
        let Some(status) = import.and_then(|import| import.status.as_ref()) else { return false };
        let clusters: Vec<_> = status.clusters.iter().map(|one| one.cluster.as_str()).collect();
        let ready =
            status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        ready && clusters == from
    })
    .await;
    api.get(name).await.unwrap()
}

/// Returns the addresses behind the derived Service of a service, each with the cluster that it is of.
async fn behind(cluster: &Cluster, name: &str) -> Vec<String> {
    let selector = format!("multicluster.kubernetes.io/service-name={name}");
    let params = ListParams::default().labels(&selector);
    let slices = cluster.inside::<EndpointSlice>("app").list(&params).await.unwrap();
    let mut all = Vec::new();
    for slice in slices {
        let source = slice.labels()["multicluster.kubernetes.io/source-cluster"].clone();
        let addresses = slice.endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
        all.extend(addresses.map(|address| format!("{source} {address}")));
    }
    all.sort();
    all
}

/// Waits until exactly these endpoints are behind a service.
async fn balances_over(cluster: &Cluster, name: &str, wanted: &[&str]) {
    let api = cluster.inside::<EndpointSlice>("app");
    let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()));
    let waiting = async {
        while let Some(change) = changes.next().await {
            change.unwrap();
            if behind(cluster, name).await == wanted {
                return;
            }
        }
    };
    let came = tokio::time::timeout(std::time::Duration::from_secs(50), waiting).await;
    let last = behind(cluster, name).await;
    assert!(came.is_ok(), "never balances over {wanted:?}, but over {last:?}");
}

fn derived(import: &ServiceImport) -> String {
    import.annotations()["multicluster.kubernetes.io/derived-service"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_service_of_two_members_has_an_address_on_every_member_with_the_namespace() {
    let fleet = fleet(&["a", "b", "c"]).await;
    serve(fleet.member("a"), "web", http(), &["10.1.0.1", "10.1.0.2"]).await;
    serve(fleet.member("b"), "web", http(), &["10.2.0.1"]).await;
    export(fleet.member("a"), "web").await;
    told(fleet.member("a"), "web", "Ready=True Exported").await;
    export(fleet.member("b"), "web").await;
    for member in ["a", "b"] {
        told(fleet.member(member), "web", "Valid=True Valid").await;
        told(fleet.member(member), "web", "Ready=True Exported").await;
        told(fleet.member(member), "web", "Conflict=False NoConflicts").await;
    }
    for member in ["a", "b", "c"] {
        let here = fleet.member(member);
        let import = imported(here, "web", &["a", "b"]).await;
        assert_eq!(import.spec.type_, ServiceImportType::ClusterSetIp);
        assert_eq!(import.spec.session_affinity, "None");
        let ports: Vec<_> = import.spec.ports.iter().map(|port| (&*port.name, port.port)).collect();
        assert_eq!(ports, [("http", 80)]);
        balances_over(here, "web", &["a 10.1.0.1", "a 10.1.0.2", "b 10.2.0.1"]).await;

        let service = here.inside::<Service>("app").get(&derived(&import)).await.unwrap();
        let spec = service.spec.clone().unwrap();
        assert_eq!(import.spec.ips, [spec.cluster_ip.unwrap()]);
        assert_eq!((spec.selector, spec.ports.unwrap()[0].port), (None, 80));
        assert_eq!(service.owner_references()[0].uid, import.uid().unwrap());
        let slices = here.inside::<EndpointSlice>("app");
        let own = format!("kubernetes.io/service-name={}", derived(&import));
        let slices = slices.list(&ListParams::default().labels(&own)).await.unwrap();
        assert_eq!(slices.items.len(), 2, "one for each cluster");
        for slice in slices {
            let labels = slice.labels();
            assert_eq!(labels["multicluster.kubernetes.io/service-name"], "web");
            let manager = "clusterset.fleet.stolos.dev";
            assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], manager);
        }
    }

    // An exporter that stops takes its endpoints along, and nothing else.
    let before = imported(fleet.member("c"), "web", &["a", "b"]).await;
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    let after = imported(fleet.member("c"), "web", &["b"]).await;
    assert_eq!((before.uid(), before.spec.ips), (after.uid(), after.spec.ips.clone()));
    balances_over(fleet.member("c"), "web", &["b 10.2.0.1"]).await;
    exists(&fleet.member("a").inside::<Service>("app"), "web").await;

    // With the last one goes everything that was made for it.
    delete(&fleet.member("b").inside::<ServiceExport>("app"), "web").await;
    for member in ["a", "b", "c"] {
        let here = fleet.member(member);
        gone(&here.inside::<ServiceImport>("app"), "web").await;
        gone(&here.inside::<Service>("app"), &derived(&after)).await;
        balances_over(here, "web", &[]).await;
    }
    let left = fleet.hub.all::<ExportedService>().list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items, []);
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_their_slices() {
    let fleet = fleet(&["a", "b"]).await;
    serve(fleet.member("a"), "web", http(), &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    let here = fleet.member("b");
    balances_over(here, "web", &["a 10.1.0.1"]).await;
    let slices = fleet.member("a").inside::<EndpointSlice>("app");
    let ready = json!({"endpoints": [
        {"addresses": ["10.1.0.2"], "hostname": "web-0", "zone": "z"},
        {"addresses": ["10.1.0.3"], "conditions": {"ready": false}},
    ]});
    merge(&slices, "web-1", ready).await;
    balances_over(here, "web", &["a 10.1.0.2", "a 10.1.0.3"]).await;
    let all = here.inside::<EndpointSlice>("app").list(&ListParams::default()).await.unwrap();
    let copied = &all.items[0].endpoints;
    assert_eq!(
        (copied[0].hostname.as_deref(), copied[0].zone.as_deref()),
        (Some("web-0"), Some("z"))
    );
    let ready = copied[1].conditions.as_ref().and_then(|conditions| conditions.ready);
    assert_eq!(ready, Some(false), "whoever balances over them decides what to do with it");

    slice(fleet.member("a"), "web", "web-2", &["10.1.0.9"]).await;
    delete(&slices, "web-1").await;
    balances_over(here, "web", &["a 10.1.0.9"]).await;
}

#[tokio::test(start_paused = true)]
async fn where_clusters_disagree_the_oldest_wins_and_all_are_told() {
    let fleet = fleet(&["a", "b", "c"]).await;
    let front = json!({"exportedLabels": {"tier": "front"}, "exportedAnnotations": {"by": "a"}});
    let back = json!({"exportedLabels": {"tier": "back"}, "exportedAnnotations": {"by": "b"}});
    let sticky = json!({
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "ports": [{"name": "http", "port": 80}, {"name": "more", "port": 90}],
    });
    let other = json!({"ports": [{"name": "http", "port": 81}, {"name": "admin", "port": 91}]});
    serve(fleet.member("a"), "web", sticky, &["10.1.0.1"]).await;
    serve(fleet.member("b"), "web", other, &["10.2.0.1"]).await;
    export_with(fleet.member("a"), "web", front).await;
    told(fleet.member("a"), "web", "Conflict=False NoConflicts").await;
    // Timestamps have whole seconds.
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    export_with(fleet.member("b"), "web", back).await;
    let reasons = "Conflict=True PortConflict,SessionAffinityConflict,\
                   SessionAffinityConfigConflict,LabelsConflict,AnnotationsConflict";
    for member in ["a", "b"] {
        told(fleet.member(member), "web", reasons).await;
        told(fleet.member(member), "web", "Valid=True Valid").await;
    }
    let here = fleet.member("c");
    let import = imported(here, "web", &["a", "b"]).await;
    let ports: Vec<_> = import.spec.ports.iter().map(|port| (&*port.name, port.port)).collect();
    assert_eq!(
        ports,
        [("http", 80), ("more", 90), ("admin", 91)],
        "the union, less what is in conflict"
    );
    assert_eq!(import.spec.session_affinity, "ClientIP");
    assert_eq!((&*import.labels()["tier"], &*import.annotations()["by"]), ("front", "a"));
    let service = here.inside::<Service>("app").get(&derived(&import)).await.unwrap().spec.unwrap();
    assert_eq!(service.session_affinity.as_deref(), Some("ClientIP"));
    let timeout = service.session_affinity_config.unwrap().client_ip.unwrap().timeout_seconds;
    assert_eq!(timeout, Some(60));
    balances_over(here, "web", &["a 10.1.0.1", "b 10.2.0.1"]).await;

    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    told(fleet.member("b"), "web", "Conflict=False NoConflicts").await;
    let what = "is what the other says";
    eventually(&here.inside::<ServiceImport>("app"), "web", what, |import| {
        let Some(import) = import else { return false };
        let ports: Vec<_> = import.spec.ports.iter().map(|port| port.port).collect();
        let labels = import.labels().get("tier").map(String::as_str);
        ports == [81, 91] && labels == Some("back") && import.spec.session_affinity == "None"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_headless_service_has_no_address_and_a_conflict_of_types_is_told() {
    let fleet = fleet(&["a", "b"]).await;
    let headless = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]});
    serve(fleet.member("a"), "web", headless, &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    let here = fleet.member("b");
    let import = imported(here, "web", &["a"]).await;
    assert_eq!((import.spec.type_, import.spec.ips.len()), (ServiceImportType::Headless, 0));
    let services = here.inside::<Service>("app");
    let service = services.get(&derived(&import)).await.unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("None"));
    balances_over(here, "web", &["a 10.1.0.1"]).await;

    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    serve(here, "web", http(), &["10.2.0.1"]).await;
    export(here, "web").await;
    for member in ["a", "b"] {
        told(fleet.member(member), "web", "Conflict=True TypeConflict").await;
    }
    // Once only the other type is left, the service gets an address.
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    let what = "has an address";
    eventually(&here.inside::<ServiceImport>("app"), "web", what, |import| {
        import.is_some_and(|import| import.spec.ips.len() == 1)
    })
    .await;
    balances_over(here, "web", &["b 10.2.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_exported_is_told_why() {
    let fleet = fleet(&["a"]).await;
    let here = fleet.member("a");
    let outside = json!({"type": "ExternalName", "externalName": "example.com"});
    let service: Service =
        object(json!({"metadata": {"name": "outside", "namespace": "app"}, "spec": outside}));
    create(&here.inside("app"), &service).await;
    export(here, "outside").await;
    told(here, "outside", "Valid=False InvalidServiceType").await;
    export(here, "nowhere").await;
    told(here, "nowhere", "Valid=False NoService").await;
    serve(here, "web", http(), &["10.1.0.1"]).await;
    export_with(here, "web", json!({"exportedLabels": {"a": "b c"}})).await;
    told(here, "web", "Valid=False InvalidExportedMetadata").await;
    told(here, "web", "Ready=False Pending").await;
    let all = fleet.hub.all::<ExportedService>().list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items, []);

    merge(
        &here.inside::<ServiceExport>("app"),
        "web",
        json!({"spec": {"exportedLabels": {"a": "b"}}}),
    )
    .await;
    imported(here, "web", &["a"]).await;
    // A Service that goes takes its export along.
    delete(&here.inside::<Service>("app"), "web").await;
    told(here, "web", "Valid=False NoService").await;
    gone(&here.inside::<ServiceImport>("app"), "web").await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_imported_where_its_namespace_is_and_as_soon_as_it_is() {
    let fleet = Fleet::with_mcs_api(&["a", "b"]).await;
    namespace(fleet.member("a"), "app").await;
    serve(fleet.member("a"), "web", http(), &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    let told = fleet.hub.inside::<ImportedService>("fleet-member-b");
    eventually(&told, "app.web", "waits for its namespace", |told| {
        let status = told.and_then(|told| told.status.as_ref());
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.reason == "NamespaceNotFound")
    })
    .await;
    let here = fleet.member("b");
    assert!(here.all::<Namespace>().get_opt("app").await.unwrap().is_none(), "it is not made");
    namespace(here, "app").await;
    imported(here, "web", &["a"]).await;
    balances_over(here, "web", &["a 10.1.0.1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_import_of_somebody_else_is_left_alone_and_its_owner_is_told() {
    let fleet = fleet(&["a", "b"]).await;
    let here = fleet.member("b");
    let theirs: ServiceImport = object(json!({
        "metadata": {"name": "web", "namespace": "app"},
        "spec": {"type": "ClusterSetIP", "ports": [{"port": 1234}], "ips": ["10.9.9.9"]},
    }));
    create(&here.inside("app"), &theirs).await;
    serve(fleet.member("a"), "web", http(), &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    heard(&here.inside::<Event>("app"), "web", &["ClustersetNameTaken"]).await;
    let imports = here.inside::<ServiceImport>("app");
    assert_eq!(imports.get("web").await.unwrap().spec, theirs.spec);
    assert_eq!(behind(here, "web").await, [""; 0]);
    // Unexporting does not take it away either; without it the service is imported.
    delete(&fleet.member("a").inside::<ServiceExport>("app"), "web").await;
    gone(&fleet.hub.inside::<ImportedService>("fleet-member-b"), "app.web").await;
    assert_eq!(imports.get("web").await.unwrap().spec, theirs.spec);
    export(fleet.member("a"), "web").await;
    heard(&here.inside::<Event>("app"), "web", &["ClustersetNameTaken"]).await;
    delete(&imports, "web").await;
    imported(here, "web", &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_user_deletes_of_an_imported_service_is_made_again() {
    let fleet = fleet(&["a", "b"]).await;
    serve(fleet.member("a"), "web", http(), &["10.1.0.1"]).await;
    export(fleet.member("a"), "web").await;
    let here = fleet.member("b");
    let first = imported(here, "web", &["a"]).await;
    balances_over(here, "web", &["a 10.1.0.1"]).await;

    let services = here.inside::<Service>("app");
    let service = services.get(&derived(&first)).await.unwrap();
    delete(&services, &derived(&first)).await;
    eventually(&services, &derived(&first), "is another one", |one| {
        one.is_some_and(|one| one.uid() != service.uid())
    })
    .await;
    let all = here.inside::<EndpointSlice>("app").list(&ListParams::default()).await.unwrap();
    delete(&here.inside::<EndpointSlice>("app"), &all.items[0].name_any()).await;
    balances_over(here, "web", &["a 10.1.0.1"]).await;

    let imports = here.inside::<ServiceImport>("app");
    delete(&imports, "web").await;
    eventually(&imports, "web", "is another one", |one| {
        one.is_some_and(|one| one.uid() != first.uid())
    })
    .await;
    let second = imported(here, "web", &["a"]).await;
    eventually(&services, &derived(&first), "belongs to the new one", |one| {
        one.is_some_and(|one| one.owner_references()[0].uid == second.uid().unwrap())
    })
    .await;
    balances_over(here, "web", &["a 10.1.0.1"]).await;

    // What it says about the service is the fleet's business alone.
    merge(&imports, "web", json!({"spec": {"ports": [{"port": 1}]}})).await;
    eventually(&imports, "web", "has the port of the service", |one| {
        one.is_some_and(|one| one.spec.ports[0].port == 80)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_tells_of_its_own_services_and_reads_what_it_is_told() {
    let fleet = fleet(&["a", "b"]).await;
    let agent = fleet.as_agent("a");
    let refused = |answer: Result<(), kube::Error>| match answer {
        Err(kube::Error::Api(status)) => assert!(status.is_forbidden(), "{status:?}"),
        other => panic!("not refused: {other:?}"),
    };
    let told = Api::<ImportedService>::namespaced(agent.clone(), "fleet-member-a");
    told.list(&ListParams::default()).await.unwrap();
    let params = PostParams::default();
    let forged = ImportedService::new("app.web", ImportedServiceSpec::default());
    refused(told.create(&params, &forged).await.map(drop));
    refused(told.delete("app.web", &DeleteParams::default()).await.map(drop));
    let others = Api::<ExportedService>::namespaced(agent.clone(), "fleet-member-b");
    refused(others.list(&ListParams::default()).await.map(drop));
    let forged = ExportedService::new("app.web", ExportedServiceSpec::default());
    refused(others.create(&params, &forged).await.map(drop));
    let own = Api::<ExportedService>::namespaced(agent.clone(), "fleet-member-a");
    own.list(&ListParams::default()).await.unwrap();
    let runs = Api::<stolos_api::update::UpdateRun>::namespaced(agent, "fleet-member-a");
    refused(runs.list(&ListParams::default()).await.map(drop));
}
