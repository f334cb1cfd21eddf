//! Services of the clusterset by the standard.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde_json::{Value, json};
use stolos_api::network::ServiceImportType;
use stolos_api::network::mcs::{ServiceExportSpec, ServiceImportSpec};

use super::super::mcs::{Constituent, Merged, alone, conflict_condition, merge, valid_condition};
use super::{at, deleting, object, said};

fn service(change: Value) -> ServiceSpec {
    let mut spec = json!({
        "type": "ClusterIP", "clusterIP": "10.0.0.1", "sessionAffinity": "None",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    object(spec)
}

/// Merges the exports of members a, b, c, …, made one after another.
fn merged(services: &[ServiceSpec]) -> Merged {
    let export = ServiceExportSpec::default();
    let names = ["a", "b", "c"];
    let services: Vec<ServiceImportSpec> = services.iter().map(alone).collect();
    let mut constituents: Vec<_> = (0..)
        .zip(names)
        .zip(&services)
        .map(|((second, cluster), service)| Constituent {
            cluster,
            created: at(second),
            export: &export,
            service,
        })
        .collect();
    let merged = merge(&constituents).unwrap();
    constituents.reverse();
    assert_eq!(
        merge(&constituents).as_ref(),
        Some(&merged),
        "their order in a list does not matter"
    );
    merged
}

fn told(merged: &Merged) -> String {
    said(&[conflict_condition(merged, 1, at(9))]).remove(0)
}

#[test]
fn clusters_that_agree_make_one_service() {
    let merged = merged(&[service(json!({})), service(json!({"clusterIP": "10.9.9.9"}))]);
    assert_eq!(merged.spec.type_, ServiceImportType::ClusterSetIp);
    assert_eq!(merged.clusters.len(), 2);
    assert_eq!(told(&merged), "Conflict=False NoConflicts: all clusters export the service alike");
    assert_eq!(merge(&[]), None);
}

#[test]
fn ports_are_merged_and_the_oldest_wins() {
    let merged = merged(&[
        service(json!({"ports": [{"name": "http", "port": 80}]})),
        service(json!({"ports": [{"name": "http", "port": 81}, {"name": "admin", "port": 90}]})),
        service(
            json!({"ports": [{"name": "web", "port": 80}, {"name": "dns", "port": 80, "protocol": "UDP"}]}),
        ),
    ]);
    let ports: Vec<_> = merged
        .spec
        .ports
        .iter()
        .map(|port| format!("{} {}/{}", port.name, port.port, port.protocol))
        .collect();
    assert_eq!(ports, ["http 80/TCP", "admin 90/TCP", "dns 80/UDP"]);
    let want =
        "Conflict=True PortConflict: ports of b, c differ from those of a; the oldest export wins";
    assert_eq!(told(&merged), want);
    assert_eq!(merged.clusters.len(), 3, "all stay in the service");
}

#[test]
fn of_exports_of_one_second_the_cluster_whose_name_comes_first_wins() {
    let export = ServiceExportSpec::default();
    let services =
        [80, 81].map(|port| alone(&service(json!({"ports": [{"name": "http", "port": port}]}))));
    let of = |cluster, service| Constituent { cluster, created: at(0), export: &export, service };
    for constituents in [
        [of("a", &services[0]), of("b", &services[1])],
        [of("b", &services[1]), of("a", &services[0])],
    ] {
        let merged = merge(&constituents).unwrap();
        assert_eq!((merged.spec.ports[0].port, &*merged.clusters[0].cluster), (80, "a"));
    }
}

#[test]
fn a_port_that_only_some_clusters_have_is_no_conflict() {
    let both = json!({"ports": [{"name": "http", "port": 80}, {"name": "more", "port": 81}]});
    let merged = merged(&[service(json!({})), service(both)]);
    assert_eq!(merged.spec.ports.len(), 2);
    assert_eq!(merged.conflicts, []);
}

#[test]
fn a_port_without_a_name_stays_the_only_one() {
    let named = service(json!({"ports": [{"name": "more", "port": 81}]}));
    let unnamed = service(json!({"ports": [{"port": 80}]}));
    for (services, want) in [([&unnamed, &named], 80), ([&named, &unnamed], 81)] {
        let merged = merged(&services.map(Clone::clone));
        let ports: Vec<_> = merged.spec.ports.iter().map(|port| port.port).collect();
        assert_eq!(ports, [want], "a Service with several ports must name all of them");
        assert!(told(&merged).starts_with("Conflict=True PortConflict: "));
    }
}

#[test]
fn every_property_that_differs_is_told_to_all() {
    for (change, reason) in [
        (json!({"clusterIP": "None"}), "TypeConflict"),
        (json!({"sessionAffinity": "ClientIP"}), "SessionAffinityConflict"),
        (json!({"internalTrafficPolicy": "Local"}), "InternalTrafficPolicyConflict"),
        (json!({"trafficDistribution": "PreferClose"}), "TrafficDistributionConflict"),
        (json!({"ipFamilies": ["IPv6"]}), "IPFamilyConflict"),
    ] {
        let merged = merged(&[service(json!({"ipFamilies": ["IPv4"]})), service(change)]);
        assert!(
            told(&merged).starts_with(&format!("Conflict=True {reason}: ")),
            "{}",
            told(&merged)
        );
        assert_eq!(merged.conflicts[0].clusters, ["b"]);
        assert_eq!(merged.spec.session_affinity, "None");
    }
    let sticky = |seconds: i32| {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        service(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}))
    };
    let merged = merged(&[sticky(5), sticky(6)]);
    assert!(told(&merged).starts_with("Conflict=True SessionAffinityConfigConflict: "));
    let config = merged.spec.session_affinity_config.unwrap().client_ip.unwrap();
    assert_eq!(config.timeout_seconds, Some(5));
}

#[test]
fn a_headless_service_without_a_selector_does_not_tell_its_address_families() {
    let both = json!({"clusterIP": "None", "ipFamilies": ["IPv4", "IPv6"]});
    let one = json!({"clusterIP": "None", "ipFamilies": ["IPv6"], "selector": {"app": "web"}});
    let families = |change| alone(&service(change)).ip_families;
    assert_eq!(families(both), [""; 0]);
    assert_eq!(families(one), ["IPv6"]);
}

#[test]
fn the_message_about_conflicts_names_no_more_clusters_than_fit() {
    let mut merged = merged(&[service(json!({})), service(json!({"clusterIP": "None"}))]);
    merged.conflicts[0].clusters = (0..1_000).map(|n| format!("cluster-{n}")).collect();
    let told = told(&merged);
    assert!(told.contains("cluster-9 and 990 others differ"), "{told}");
    assert!(told.len() < 300, "{told}");
}

#[test]
fn several_reasons_are_joined() {
    let other = service(json!({"clusterIP": "None", "ports": [{"name": "http", "port": 81}]}));
    let merged = merged(&[service(json!({})), other]);
    assert!(told(&merged).starts_with("Conflict=True PortConflict,TypeConflict: "));
}

#[test]
fn any_service_but_an_external_name_can_be_exported() {
    let whole = |spec: ServiceSpec| Service { spec: Some(spec), ..Service::default() };
    let told = |service: Option<&Service>| {
        let condition = valid_condition("app/web", service, 1, at(0));
        format!("{} {}", condition.status, condition.reason)
    };
    let headless = whole(service(json!({"clusterIP": "None"})));
    assert_eq!(told(Some(&headless)), "True Valid");
    assert_eq!(
        told(Some(&whole(service(json!({"type": "ExternalName"}))))),
        "False InvalidServiceType"
    );
    assert_eq!(told(None), "False NoService");
    let mut leaving = headless;
    deleting(&mut leaving.metadata);
    assert_eq!(told(Some(&leaving)), "False NoService");
}
