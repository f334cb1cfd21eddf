//! Endpoints of other members in an importing member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use serde_json::json;
use stolos_api::network::{EndpointSliceImport, MultiClusterService};

use super::super::distribute::copy;
use super::super::import_slice::{Missing, Observed, Plan, plan};
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
    plan(&Observed { import, services, derived: &derived, slice, system_namespace: "fleet-system" })
}

fn written(plan: Plan) -> EndpointSlice {
    let Plan::Import(Some(written)) = plan else { panic!("{plan:?}") };
    written.slice
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
        let observed = Observed {
            import: &import,
            services: &[service(Some("app-mcs"))],
            derived: &[("app-mcs".to_owned(), derived)].into(),
            slice: stored,
            system_namespace: "fleet-system",
        };
        plan(&observed)
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
    let two = [leaving, service(Some("app-mcs"))];
    assert!(matches!(decide(&import, &two, &["app-mcs"], None), Plan::Import(Some(_))));
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
