//! EndpointSlices of an exporting member.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use stolos_api::network::{EndpointSliceExport, EndpointSliceExportSpec, ServiceExport};

use super::super::slice::{Observed, Plan, Reason, is_orphan, is_outdated, plan};
use super::{at, deleting, object};

const NAME: &str = "networking.fleet.azure.com/fleet-unique-name";

fn slice() -> EndpointSlice {
    object(json!({
        "metadata": {
            "name": "web-1", "namespace": "app", "uid": "slice-uid", "generation": 4,
            "resourceVersion": "9", "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "n", "zone": "z"},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["10.1.0.3"]},
        ],
    }))
}

fn named(name: &str) -> EndpointSlice {
    let mut slice = slice();
    slice.metadata.annotations = Some([(NAME.to_owned(), name.to_owned())].into());
    slice
}

fn export(valid: &str, conflict: &str) -> ServiceExport {
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": at(0).to_string(),
        })
    };
    let conditions = [condition("Valid", valid), condition("Conflict", conflict)];
    object(
        json!({"metadata": {"name": "web", "namespace": "app"}, "status": {"conditions": conditions}}),
    )
}

fn decide(
    slice: &EndpointSlice,
    export: Option<&ServiceExport>,
    stored: Option<&EndpointSliceExport>,
) -> Plan {
    let by_gateway = false;
    plan(&Observed { cluster: "east", slice, export, stored, by_gateway }, at(10))
}

fn exported(plan: Plan) -> (String, Option<Box<EndpointSliceExportSpec>>) {
    let Plan::Export { name, spec, .. } = plan else { panic!("not exported: {plan:?}") };
    (name, spec)
}

#[test]
fn the_ready_endpoints_of_an_accepted_service_are_exported() {
    let accepted = export("True", "False");
    let plan = decide(&slice(), Some(&accepted), None);
    let Plan::Export { name, annotations, spec, gateway_tls: None } = &plan else {
        panic!("{plan:?}")
    };
    assert!(name.starts_with("east-app-web-1-"), "{name}");
    insta::assert_json_snapshot!(spec, @r#"
    {
      "addressType": "IPv4",
      "endpoints": [
        {
          "addresses": [
            "10.1.0.1"
          ]
        },
        {
          "addresses": [
            "10.1.0.3"
          ]
        }
      ],
      "ports": [
        {
          "name": "http",
          "port": 8080,
          "protocol": "TCP"
        }
      ],
      "endpointSliceReference": {
        "clusterId": "east",
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "namespace": "app",
        "name": "web-1",
        "resourceVersion": "9",
        "generation": 4,
        "uid": "slice-uid",
        "namespacedName": "app/web-1",
        "exportedSince": "1970-01-12T13:46:50Z"
      },
      "ownerServiceReference": {
        "namespace": "app",
        "name": "web",
        "namespacedName": "app/web"
      }
    }
    "#);
    let annotations = annotations.clone().unwrap();
    assert_eq!(&annotations[NAME], name);
    assert_eq!(annotations["networking.fleet.azure.com/last-seen-generation"], "4");

    let mut stored = EndpointSliceExport::new(name, (**spec.as_ref().unwrap()).clone());
    let mut slice = named(name);
    slice.metadata.annotations = Some(annotations);
    slice.metadata.resource_version = Some("10".into());
    let again = plan_at(&slice, &accepted, &stored);
    let Plan::Export { annotations: None, spec: None, .. } = again else {
        panic!("our own annotations are no change: {again:?}")
    };
    slice.endpoints.clear();
    slice.metadata.generation = Some(5);
    let (_, emptied) = exported(plan_at(&slice, &accepted, &stored));
    assert!(emptied.unwrap().endpoints.is_empty(), "a slice without endpoints is still exported");
    stored.spec.endpoints.clear();
    assert!(!is_orphan(&stored, Some(&slice)));
}

fn plan_at(slice: &EndpointSlice, export: &ServiceExport, stored: &EndpointSliceExport) -> Plan {
    let (export, stored) = (Some(export), Some(stored));
    let observed = Observed { cluster: "east", slice, export, stored, by_gateway: false };
    plan(&observed, at(600))
}

#[test]
fn a_slice_that_is_not_to_be_exported_is_skipped_or_withdrawn() {
    let accepted = export("True", "False");
    let (name, spec) = exported(decide(&slice(), Some(&accepted), None));
    let stored = EndpointSliceExport::new(&name, *spec.unwrap());
    let mut dangling = slice();
    dangling.metadata.labels = None;
    let mut leaving = slice();
    deleting(&mut leaving.metadata);
    let mut leaving_export = accepted.clone();
    deleting(&mut leaving_export.metadata);
    let pending = export("True", "Unknown");
    let mut without_verdict = accepted.clone();
    without_verdict.status.as_mut().unwrap().conditions.truncate(1);
    for (case, slice, export, reason) in [
        ("dangling", dangling, Some(&accepted), Reason::NoService),
        ("not exported", slice(), None, Reason::NoServiceExport),
        ("invalid", slice(), Some(&export("False", "False")), Reason::ExportNotAccepted),
        ("conflict", slice(), Some(&export("True", "True")), Reason::ExportNotAccepted),
        ("pending", slice(), Some(&pending), Reason::ExportNotAccepted),
        ("weight 0", slice(), Some(&without_verdict), Reason::ExportNotAccepted),
        ("export leaving", slice(), Some(&leaving_export), Reason::ExportNotAccepted),
        ("leaving", leaving, Some(&accepted), Reason::Leaving),
    ] {
        assert_eq!(decide(&slice, export, None), Plan::Skip(reason), "{case}, never exported");
        let mut known = slice;
        known.metadata.annotations = Some([(NAME.to_owned(), name.clone())].into());
        let Plan::Withdraw { reason: why, delete, annotations } =
            decide(&known, export, Some(&stored))
        else {
            panic!("{case}")
        };
        assert_eq!((why, delete.as_deref()), (reason, Some(&*name)), "{case}, exported before");
        assert!(annotations.contains(&NAME));
        let mut foreign = stored.clone();
        foreign.spec.endpoint_slice_reference.uid = "another".into();
        let Plan::Withdraw { delete, .. } = decide(&known, export, Some(&foreign)) else {
            panic!("{case}")
        };
        assert_eq!(delete, None, "{case}: what stands for another slice stays");
    }
    let mut six = slice();
    six.address_type = "IPv6".into();
    assert_eq!(decide(&six, Some(&accepted), None), Plan::Skip(Reason::NotIpv4));
    // What stood for it while the member had a gateway goes.
    let mut was_carried = six.clone();
    let name = "networking.fleet.azure.com/fleet-unique-name".to_owned();
    was_carried.metadata.annotations = Some([(name, "a-app-web-1-abcde".to_owned())].into());
    let plan = decide(&was_carried, Some(&accepted), None);
    assert!(matches!(plan, Plan::Withdraw { reason: Reason::NotIpv4, .. }), "{plan:?}");
}

#[test]
fn a_weight_that_cannot_be_one_leaves_a_slice_as_it_was() {
    let mut mistaken = export("False", "False");
    let valid = &mut mistaken.status.as_mut().unwrap().conditions[0];
    valid.reason = "ServiceExportInvalidWeightAnnotation".to_owned();
    let (name, _) = exported(decide(&named("any-name"), Some(&mistaken), None));
    assert_eq!(name, "any-name");
    mistaken.status.as_mut().unwrap().conditions.truncate(1);
    let first = decide(&slice(), Some(&mistaken), None);
    assert_eq!(first, Plan::Skip(Reason::ExportNotAccepted), "it was never accepted");
}

#[test]
fn a_name_that_is_no_name_or_is_taken_is_replaced() {
    let accepted = export("True", "False");
    let (first, spec) = exported(decide(&slice(), Some(&accepted), None));
    for bad in ["", "Not A Name", "a..b"] {
        let (name, _) = exported(decide(&named(bad), Some(&accepted), None));
        assert_eq!(name, first);
    }
    let (kept, _) = exported(decide(&named("any-name"), Some(&accepted), None));
    assert_eq!(kept, "any-name", "a name that is one stays");

    let mut taken = EndpointSliceExport::new(&first, *spec.unwrap());
    taken.spec.endpoint_slice_reference.uid = "another".into();
    let (second, spec) = exported(decide(&named(&first), Some(&accepted), Some(&taken)));
    assert_ne!(second, first);
    assert!(spec.is_some());
    let (third, _) = exported(decide(&named(&second), Some(&accepted), Some(&taken)));
    assert!(third != first && third != second);
}

#[test]
fn what_has_outlived_its_slice_is_known() {
    let (name, spec) = exported(decide(&slice(), Some(&export("True", "False")), None));
    let stored = EndpointSliceExport::new(&name, *spec.unwrap());
    assert!(is_orphan(&stored, None));
    assert!(is_orphan(&stored, Some(&slice())));
    assert!(is_orphan(&stored, Some(&named("another"))));
    assert!(!is_orphan(&stored, Some(&named(&name))));
}

#[test]
fn a_slice_of_which_the_hub_knows_a_later_state_is_outdated() {
    let accepted = export("True", "False");
    let (name, spec) = exported(decide(&slice(), Some(&accepted), None));
    let mut stored = EndpointSliceExport::new(&name, *spec.unwrap());
    assert!(!is_outdated(&slice(), None));
    assert!(!is_outdated(&slice(), Some(&stored)), "the same state");
    stored.spec.endpoint_slice_reference.generation = 5;
    assert!(is_outdated(&slice(), Some(&stored)));
    stored.spec.endpoint_slice_reference.uid = "another".to_owned();
    assert!(!is_outdated(&slice(), Some(&stored)), "generations of another one say nothing");
}
