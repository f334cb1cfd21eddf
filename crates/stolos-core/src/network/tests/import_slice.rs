//! Endpoints of other members in an importing member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use serde_json::json;
use stolos_api::network::{EndpointSliceImport, MultiClusterService};

use super::super::distribute::copy;
use super::super::import_slice::{Missing, Observed, Plan, is_outdated, plan};
use super::super::vip::Guard;
use super::{deleting, exported_slice, object, with_finalizer};

fn service(derived: Option<&str>) -> MultiClusterService {
    let labels = derived.map(|name| json!({"networking.fleet.azure.com/derived-service": name}));
    object(json!({
        "metadata": {"name": "mcs", "namespace": "app", "labels": labels},
        "spec": {"serviceImport": {"name": "web"}},
    }))
}

fn decide(
    import: &EndpointSliceImport,
    services: &[MultiClusterService],
    derived: &[&str],
    slice: Option<&EndpointSlice>,
) -> Plan {
    let derived: BTreeMap<_, _> =
        derived.iter().map(|name| ((*name).to_owned(), Service::default())).collect();
    guarded(import, services, &derived, slice, &Guard::default())
}

fn guarded(
    import: &EndpointSliceImport,
    services: &[MultiClusterService],
    derived: &BTreeMap<String, Service>,
    slice: Option<&EndpointSlice>,
    guard: &Guard,
) -> Plan {
    plan(&Observed { import, services, derived, slice, system_namespace: "fleet-system", guard })
}

fn written(plan: Plan) -> EndpointSlice {
    let Plan::Import(Some(written)) = plan else { panic!("{plan:?}") };
    written.slice
}

#[test]
fn endpoints_of_which_the_slice_knows_a_later_state_are_outdated() {
    let mut import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    let services = [service(Some("app-mcs"))];
    import.spec.endpoint_slice_reference.generation = 7;
    let mut slice = written(decide(&import, &services, &["app-mcs"], None));
    assert!(!is_outdated(&import, &slice), "the same state");
    import.spec.endpoint_slice_reference.generation = 6;
    assert!(is_outdated(&import, &slice));
    import.spec.endpoint_slice_reference.uid = "another".to_owned();
    assert!(!is_outdated(&import, &slice), "generations of another slice say nothing");
    import.spec.endpoint_slice_reference.generation = 8;
    let later = decide(&import, &services, &["app-mcs"], Some(&slice));
    assert_eq!(later, Plan::Import(None), "a later state that says the same writes nothing");
    slice.metadata.annotations = None;
    assert!(!is_outdated(&import, &slice), "an agent has made it that did not say");
}

#[test]
fn endpoints_become_a_slice_of_the_derived_service_and_follow_it() {
    let import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    let plan = decide(&import, &[service(Some("app-mcs"))], &["app-mcs"], None);
    let slice = written(plan);
    insta::assert_json_snapshot!(slice, @r#"
    {
      "apiVersion": "discovery.k8s.io/v1",
      "kind": "EndpointSlice",
      "addressType": "IPv4",
      "endpoints": [
        {
          "addresses": [
            "10.1.0.1"
          ]
        }
      ],
      "metadata": {
        "annotations": {
          "network.fleet.stolos.dev/cluster": "a",
          "network.fleet.stolos.dev/made-of": "slice-uid/1",
          "networking.fleet.azure.com/weight": "1"
        },
        "labels": {
          "endpointslice.kubernetes.io/managed-by": "endpointsliceimport-controller.networking.fleet.azure.com",
          "kubernetes.io/service-name": "app-mcs"
        },
        "name": "a-app-web-1-abcde",
        "namespace": "fleet-system"
      },
      "ports": [
        {
          "name": "p80",
          "port": 8080,
          "protocol": "TCP"
        }
      ]
    }
    "#);

    let mut stored = slice.clone();
    stored.endpoints[0].conditions = Some(EndpointConditions::default());
    let same = decide(&import, &[service(Some("app-mcs"))], &["app-mcs"], Some(&stored));
    assert_eq!(same, Plan::Import(None), "what others add to an endpoint is no difference");
    let heavier = copy(&exported_slice("a"), &super::told(7), "fleet-member-b");
    let changed = decide(&heavier, &[service(Some("app-mcs"))], &["app-mcs"], Some(&stored));
    let weight =
        &written(changed).metadata.annotations.unwrap()["networking.fleet.azure.com/weight"];
    assert_eq!(weight, "7");
    let renamed = decide(&import, &[service(Some("other"))], &["other"], Some(&stored));
    assert_eq!(written(renamed).metadata.labels.unwrap()["kubernetes.io/service-name"], "other");
}

#[test]
fn endpoints_that_ask_for_tls_are_kept_from_service_proxies() {
    let mut import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    let annotations = import.metadata.annotations.get_or_insert_default();
    annotations.insert("network.fleet.stolos.dev/gateway-tls".into(), "require".into());
    let of_class = |class: Option<&str>, stored: Option<&EndpointSlice>| {
        let derived: Service = object(json!({"spec": {"loadBalancerClass": class}}));
        let derived = [("app-mcs".to_owned(), derived)].into();
        guarded(&import, &[service(Some("app-mcs"))], &derived, stored, &Guard::default())
    };
    let Plan::Import(Some(kept)) = of_class(None, None) else { panic!("nothing is written") };
    assert_eq!(kept.slice.endpoints, []);
    insta::assert_snapshot!(kept.events[0].message, @"endpoints of cluster `a` are left out: its gateway asks for TLS, which the mode `service` cannot do; the annotation network.fleet.stolos.dev/mode: proxy, or --gateway-tls off in that cluster, would help");
    assert_eq!(of_class(None, Some(&kept.slice)), Plan::Import(None), "it is said once");
    // Ours can do it, and then has the endpoints.
    let ours = of_class(Some("network.fleet.stolos.dev/proxy"), Some(&kept.slice));
    let Plan::Import(Some(ours)) = ours else { panic!("{ours:?}") };
    assert_eq!((ours.slice.endpoints.len(), ours.events), (1, vec![]));
}

#[test]
fn endpoints_wait_for_their_service() {
    let import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    let mut elsewhere = service(Some("app-mcs"));
    elsewhere.metadata.namespace = Some("other".into());
    let mut leaving = service(Some("app-mcs"));
    deleting(&mut leaving.metadata);
    for (name, services, derived, missing) in [
        ("none", vec![], &["app-mcs"][..], Missing::MultiClusterService),
        ("elsewhere", vec![elsewhere], &["app-mcs"], Missing::MultiClusterService),
        ("leaving", vec![leaving.clone()], &["app-mcs"], Missing::MultiClusterService),
        ("no name", vec![service(None)], &["app-mcs"], Missing::DerivedServiceName),
        ("bad name", vec![service(Some("1-app"))], &["1-app"], Missing::DerivedServiceName),
        ("no derived Service", vec![service(Some("app-mcs"))], &[], Missing::DerivedService),
    ] {
        assert_eq!(decide(&import, &services, derived, None), Plan::Wait(missing), "{name}");
    }
    // One that leaves, or waits for the import that another holds, is in nobody's way.
    for other in [leaving, service(None), service(Some("gone"))] {
        let two = [other, service(Some("app-mcs"))];
        assert!(matches!(decide(&import, &two, &["app-mcs"], None), Plan::Import(Some(_))));
    }
}

#[test]
fn what_another_cluster_must_not_export_is_left_out_and_told() {
    let guard = Guard {
        nodes: [[10, 9, 0, 1].into()].into(),
        pool: Some("192.0.2.0/24".parse().unwrap()),
        cluster: "b".to_owned(),
        ..Guard::default()
    };
    let derived = [("app-mcs".to_owned(), Service::default())].into();
    let exported = |addresses: &[&str], ports: serde_json::Value| {
        let mut export = exported_slice("a");
        export.spec.endpoints = addresses
            .iter()
            .map(|one| stolos_api::network::Endpoint { addresses: vec![(*one).to_owned()] })
            .collect();
        export.spec.ports = serde_json::from_value(ports).unwrap();
        copy(&export, &super::told(1), "fleet-member-b")
    };
    let decide = |import: &EndpointSliceImport, guard: &Guard| {
        let plan = guarded(import, &[service(Some("app-mcs"))], &derived, None, guard);
        let Plan::Import(Some(written)) = plan else { panic!("{plan:?}") };
        *written
    };
    let fine = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    for (address, why) in [
        ("127.0.0.1", "a loopback address"),
        ("169.254.169.254", "link-local, where clouds keep their metadata"),
        ("168.63.129.16", "where clouds keep their metadata"),
        ("100.100.100.200", "where clouds keep their metadata"),
        ("fd20:ce::254", "where clouds keep their metadata"),
        ("10.9.0.1", "that of a node of this cluster"),
        ("192.0.2.7", "one that this cluster gives to services"),
        ("0.0.0.0", "no host's address"),
        ("2001:db8::1", "not of type IPv4"),
        ("web", "not an IP address"),
    ] {
        let import = exported(&[address, "10.1.0.1"], fine.clone());
        let written = decide(&import, &guard);
        let left: Vec<_> = written.slice.endpoints.iter().flat_map(|one| &one.addresses).collect();
        assert_eq!(left, ["10.1.0.1"]);
        let [event] = &*written.events else { panic!("{:?}", written.events) };
        assert!(event.message.contains(why) && event.message.contains("cluster `a`"), "{event:?}");
    }
    let import = exported(&["127.0.0.1", "10.1.0.1"], fine.clone());
    let first = decide(&import, &guard);
    let mcs = [service(Some("app-mcs"))];
    let more = exported(&["127.0.0.1", "10.1.0.1", "10.1.0.2"], fine.clone());
    let Plan::Import(Some(more)) = guarded(&more, &mcs, &derived, Some(&first.slice), &guard)
    else {
        panic!("a new endpoint is written")
    };
    assert_eq!(more.events, [], "it is said once");
    let ours: Service =
        object(json!({"spec": {"loadBalancerClass": "network.fleet.stolos.dev/proxy"}}));
    let ours = [("app-mcs".to_owned(), ours)].into();
    let Plan::Import(Some(ours)) = guarded(&import, &mcs, &ours, None, &guard) else {
        panic!("the slice is written")
    };
    assert_eq!(ours.events, [], "the data plane says it");

    let allowed = Guard { allows_loopback: true, ..guard.clone() };
    assert_eq!(decide(&exported(&["127.0.0.1"], fine), &allowed).events, []);

    let ports = json!([
        {"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "far", "port": 70_000, "protocol": "TCP"},
        {"name": "http", "port": 8081, "protocol": "TCP"}, {"name": "UPPER", "port": 80, "protocol": "TCP"},
    ]);
    let written = decide(&exported(&["10.1.0.1"], ports), &guard);
    let ports = written.slice.ports.iter().flatten().filter_map(|port| port.port);
    assert_eq!(ports.collect::<Vec<_>>(), [8080]);
    assert!(written.events[0].message.contains("port `far`"), "{:?}", written.events);

    let many: Vec<String> = (0..1_001).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let written = decide(&exported(&many, json!([])), &guard);
    assert_eq!(written.slice.endpoints.len(), 1_000);
    assert!(written.events[0].message.contains("more than 1000 endpoints"));
}

#[test]
fn endpoints_that_the_hub_withdraws_go_first() {
    let mut import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    with_finalizer(&mut import.metadata, "networking.fleet.azure.com/endpointsliceimport-cleanup");
    deleting(&mut import.metadata);
    let slice = EndpointSlice::default();
    assert_eq!(decide(&import, &[], &[], Some(&slice)), Plan::Withdraw { finalizer: true });
    assert_eq!(decide(&import, &[], &[], None), Plan::Withdraw { finalizer: false });
}
