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

#[test]
fn endpoints_become_a_slice_of_the_derived_service_and_follow_it() {
    let import = copy(&exported_slice("a"), &super::told(1), "fleet-member-b");
    let plan = decide(&import, &[service(Some("app-mcs"))], &["app-mcs"], None);
    let Plan::Import(Some(slice)) = plan else { panic!("{plan:?}") };
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

    let mut stored = (*slice).clone();
    stored.endpoints[0].conditions = Some(EndpointConditions::default());
    let same = decide(&import, &[service(Some("app-mcs"))], &["app-mcs"], Some(&stored));
    assert_eq!(same, Plan::Import(None), "what others add to an endpoint is no difference");
    let heavier = copy(&exported_slice("a"), &super::told(7), "fleet-member-b");
    let changed = decide(&heavier, &[service(Some("app-mcs"))], &["app-mcs"], Some(&stored));
    let Plan::Import(Some(changed)) = changed else { panic!("{changed:?}") };
    let weight = &changed.metadata.annotations.unwrap()["networking.fleet.azure.com/weight"];
    assert_eq!(weight, "7");
    let renamed = decide(&import, &[service(Some("other"))], &["other"], Some(&stored));
    let Plan::Import(Some(bound)) = renamed else { panic!("{renamed:?}") };
    assert_eq!(bound.metadata.labels.unwrap()["kubernetes.io/service-name"], "other");
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
