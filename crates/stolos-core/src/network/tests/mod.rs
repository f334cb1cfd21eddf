//! Tests of the decisions, and the objects that they share. Cases follow the tables of networking.md, section 10.2.

mod certificate;
mod claim;
mod distribute;
mod dns;
mod export;
mod gateway;
mod import_slice;
mod mcs;
mod mcs_export;
mod mcs_import;
mod overview;
mod overview_clusterset;
mod pool;
mod report;
mod resolve;
mod serve;
mod service;
mod slice;
mod traffic;
mod vip;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::{
    EndpointSliceExport, InternalServiceExport, InternalServiceImport, ServiceImport,
};

use crate::event::Event;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// Reads an object that a test writes down.
fn object<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).unwrap()
}

/// Marks an object as being deleted.
fn deleting(metadata: &mut ObjectMeta) {
    metadata.deletion_timestamp = Some(Time(at(0)));
}

fn with_finalizer(metadata: &mut ObjectMeta, finalizer: &str) {
    metadata.finalizers.get_or_insert_default().push(finalizer.to_owned());
}

/// Prints conditions as `type=status reason: message`.
fn said(conditions: &[Condition]) -> Vec<String> {
    let said = |c: &Condition| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message);
    conditions.iter().map(said).collect()
}

fn reasons(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.reason).collect()
}

fn reference(cluster: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({
        "clusterId": cluster, "apiVersion": "v1", "kind": kind, "namespace": "app", "name": name,
        "resourceVersion": "1", "generation": 1, "uid": uid, "namespacedName": format!("app/{name}"),
    })
}

/// The export of service `app/web` by a member, with TCP ports, made at some second.
fn exported(cluster: &str, ports: &[i32], second: i64) -> InternalServiceExport {
    let ports: Vec<_> =
        ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    object(json!({
        "metadata": {
            "name": "app-web", "namespace": format!("fleet-member-{cluster}"), "generation": 1,
            "creationTimestamp": at(second).to_string(),
        },
        "spec": {
            "ports": ports, "type": "LoadBalancer",
            "serviceReference": reference(cluster, "Service", "web", "service-uid"),
        },
    }))
}

/// What is told of a member that is heard of.
fn told(weight: i64) -> super::distribute::Told {
    super::distribute::Told { weight, silent_since: None }
}

/// The wish of a member to import service `app/web`, made at some second.
fn claimant(cluster: &str, second: i64) -> InternalServiceImport {
    object(json!({
        "metadata": {
            "name": "app-web", "namespace": format!("fleet-member-{cluster}"),
            "creationTimestamp": at(second).to_string(),
        },
        "spec": {"serviceImportReference": reference(cluster, "ServiceImport", "web", "import-uid")},
    }))
}

/// ServiceImport `app/web`, exported by some members.
fn imported(clusters: &[&str]) -> ServiceImport {
    let clusters: Vec<_> = clusters.iter().map(|cluster| json!({"cluster": cluster})).collect();
    let status = json!({
        "type": "ClusterSetIP", "ports": [{"name": "p80", "port": 80}], "clusters": clusters,
    });
    let status = if clusters.is_empty() { json!({}) } else { status };
    object(json!({"metadata": {"name": "web", "namespace": "app"}, "status": status}))
}

/// ServiceImport `app/web`, exported by some members and claimed by others.
fn claimed(clusters: &[&str], by: &[&str]) -> ServiceImport {
    let mut import = imported(clusters);
    let claim: serde_json::Map<String, Value> =
        by.iter().map(|member| (format!("fleet-member-{member}"), json!(member))).collect();
    let text = json!({"MemberClusters": claim}).to_string();
    let name = "networking.fleet.azure.com/service-in-use-by".to_owned();
    import.metadata.annotations = Some([(name, text)].into());
    with_finalizer(&mut import.metadata, "networking.fleet.azure.com/serviceimport-cleanup");
    import
}

/// A slice of service `app/web` that a member exports.
fn exported_slice(cluster: &str) -> EndpointSliceExport {
    object(json!({
        "metadata": {
            "name": format!("{cluster}-app-web-1-abcde"), "namespace": format!("fleet-member-{cluster}"),
        },
        "spec": {
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.0.1"]}],
            "ports": [{"name": "p80", "protocol": "TCP", "port": 8080}],
            "endpointSliceReference": reference(cluster, "EndpointSlice", "web-1", "slice-uid"),
            "ownerServiceReference": {"namespace": "app", "name": "web", "namespacedName": "app/web"},
        },
    }))
}
