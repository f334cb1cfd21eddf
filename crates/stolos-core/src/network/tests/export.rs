//! ServiceExports on the member.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use stolos_api::network::{InternalServiceExport, ServiceExport};

use super::super::export::{Internal, Observed, Plan, plan};
use super::super::traffic::PublicAddress;
use super::{at, deleting, object, reasons, said, with_finalizer};

const FINALIZER: &str = "networking.fleet.azure.com/svc-export-cleanup";
const PENDING: &str = "Conflict=Unknown ServicePendingConflictResolution: \
    service app/web is pending export conflict resolution";
const VALID: &str = "Valid=True ServiceIsValid: service app/web is valid for export";

fn export(weight: Option<&str>) -> ServiceExport {
    let mut export: ServiceExport =
        object(json!({"metadata": {"name": "web", "namespace": "app", "generation": 3}}));
    let name = "networking.fleet.azure.com/weight".to_owned();
    export.metadata.annotations = weight.map(|weight| [(name, weight.to_owned())].into());
    export
}

/// An export that the hub has accepted.
fn accepted(weight: Option<&str>) -> ServiceExport {
    let mut export = export(weight);
    with_finalizer(&mut export.metadata, FINALIZER);
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "observedGeneration": 3, "lastTransitionTime": at(0).to_string(),
        })
    };
    export.status = Some(object(json!({"conditions": [
        condition("Valid", "True", "ServiceIsValid", "service app/web is valid for export"),
        condition("Conflict", "False", "NoConflictFound", "service app/web is exported without conflict"),
    ]})));
    export
}

fn service(spec: Value) -> Service {
    object(json!({
        "metadata": {"name": "web", "namespace": "app", "uid": "service-uid", "resourceVersion": "7"},
        "spec": spec,
    }))
}

fn usual() -> Service {
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "nodePort": 30000}]);
    service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": ports}))
}

fn decide(
    export: &ServiceExport,
    service: Option<&Service>,
    internal: Option<&InternalServiceExport>,
) -> Plan {
    let observed = Observed { cluster: "east", export, service, internal, address: None };
    plan(&observed, at(10))
}

fn conditions(plan: &Plan) -> Vec<String> {
    said(plan.conditions.as_deref().unwrap_or_default())
}

/// What is on the hub once a plan is carried out.
fn stored(plan: &Plan) -> InternalServiceExport {
    let Internal::Present(spec) = &plan.internal else { panic!("nothing to store: {plan:?}") };
    InternalServiceExport::new("app-web", (**spec).clone())
}

#[test]
fn a_valid_service_is_told_to_the_hub_and_waits_for_its_verdict() {
    let plan = decide(&export(Some("5")), Some(&usual()), None);
    assert!(plan.finalizer);
    assert_eq!(conditions(&plan), [VALID, PENDING]);
    assert_eq!(reasons(&plan.events), ["ValidServiceExport", "PendingExportConflictResolution"]);
    let Internal::Present(spec) = &plan.internal else { panic!("{plan:?}") };
    insta::assert_json_snapshot!(spec, @r#"
    {
      "ports": [
        {
          "name": "http",
          "protocol": "TCP",
          "port": 80,
          "targetPort": "web"
        }
      ],
      "serviceReference": {
        "clusterId": "east",
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": "app",
        "name": "web",
        "resourceVersion": "7",
        "generation": 0,
        "uid": "service-uid",
        "namespacedName": "app/web",
        "exportedSince": "1970-01-12T13:46:50Z"
      },
      "type": "ClusterIP",
      "weight": 5
    }
    "#);
    let annotations = plan.annotations.unwrap();
    assert_eq!(annotations["networking.fleet.azure.com/last-seen-resource-version"], "7");
}

#[test]
fn what_is_told_already_is_not_told_again() {
    let mut export = accepted(None);
    let first = decide(&export, Some(&usual()), None);
    let internal = stored(&first);
    export.metadata.annotations = first.annotations;
    let again = plan(
        &Observed {
            cluster: "east",
            export: &export,
            service: Some(&usual()),
            internal: Some(&internal),
            address: None,
        },
        at(500),
    );
    let nothing = Plan {
        finalizer: true,
        annotations: None,
        internal: Internal::Unchanged,
        conditions: None,
        events: Vec::new(),
    };
    assert_eq!(again, nothing);
}

#[test]
fn a_service_that_cannot_be_exported_is_withdrawn_with_its_reason_and_without_a_verdict() {
    let internal = stored(&decide(&export(None), Some(&usual()), None));
    let headless = service(json!({"type": "ClusterIP", "clusterIP": "None"}));
    let external = service(json!({"type": "ExternalName", "externalName": "example.com"}));
    let mut leaving = usual();
    deleting(&mut leaving.metadata);
    let not_found = "Valid=False ServiceNotFound: service app/web is not found";
    let ineligible = "Valid=False ServiceIneligible: service app/web is not eligible for export";
    let zero = "Valid=True ServiceIsValid: exported service app/web with 0 weight";
    let usual = usual();
    for (name, export, service, want, event) in [
        ("missing", accepted(None), None, not_found, "ServiceNotFound"),
        ("leaving", accepted(None), Some(&leaving), not_found, "ServiceNotFound"),
        ("headless", accepted(None), Some(&headless), ineligible, "ServiceNotEligible"),
        ("external name", accepted(None), Some(&external), ineligible, "ServiceNotEligible"),
        ("weight 0", accepted(Some("0")), Some(&usual), zero, "ServiceIsValid"),
    ] {
        let plan = decide(&export, service, Some(&internal));
        assert_eq!(plan.internal, Internal::Absent, "{name}");
        assert_eq!(conditions(&plan), [want], "{name}");
        assert_eq!(reasons(&plan.events), [event], "{name}");
        assert!(plan.finalizer, "{name}: until the hub's object is gone");
        let after = decide(&export, service, None);
        assert_eq!((after.finalizer, &after.internal), (false, &Internal::Unchanged), "{name}");
    }
}

#[test]
fn a_weight_that_cannot_be_read_changes_nothing_on_the_hub_and_says_what_would_be_right() {
    let internal = stored(&decide(&export(None), Some(&usual()), None));
    for weight in ["many", "-1", "1001", "1.5", ""] {
        let export = accepted(Some(weight));
        let plan = decide(&export, Some(&usual()), Some(&internal));
        assert_eq!(plan.internal, Internal::Unchanged);
        assert!(plan.finalizer);
        let [valid, conflict] = &*conditions(&plan) else { panic!("{plan:?}") };
        assert!(conflict.starts_with("Conflict=False"), "the verdict stays");
        let begins = "Valid=False ServiceExportInvalidWeightAnnotation: serviceExport app/web has an invalid weight \
            annotation, err = `networking.fleet.azure.com/weight` must be a whole number between 0 and 1000, not ";
        assert!(valid.starts_with(begins), "{valid}");
    }
}

#[test]
fn a_service_that_was_made_anew_replaces_what_the_hub_knows() {
    let mut internal = stored(&decide(&export(None), Some(&usual()), None));
    internal.spec.service_reference.uid = "older-uid".into();
    assert_eq!(decide(&accepted(None), Some(&usual()), Some(&internal)).internal, Internal::Absent);
    deleting(&mut internal.metadata);
    let waiting = decide(&accepted(None), Some(&usual()), Some(&internal));
    assert_eq!(waiting.internal, Internal::Unchanged, "the older one must be gone first");
    let renewed = decide(&accepted(None), Some(&usual()), None);
    assert!(matches!(renewed.internal, Internal::Present(_)));
}

#[test]
fn a_change_of_ports_weight_or_address_is_told() {
    let internal = stored(&decide(&export(None), Some(&usual()), None));
    let mut more = usual();
    let port = object(json!({"name": "admin", "port": 81, "protocol": "UDP"}));
    more.spec.as_mut().unwrap().ports.as_mut().unwrap().push(port);
    let plan = decide(&accepted(None), Some(&more), Some(&internal));
    assert_eq!(stored(&plan).spec.ports.len(), 2);
    let plan = decide(&accepted(Some("9")), Some(&usual()), Some(&internal));
    assert_eq!(stored(&plan).spec.weight, Some(9));

    let address =
        PublicAddress { resource_id: Some("id".into()), has_dns_label: true, is_internal: false };
    let export = accepted(None);
    let usual = usual();
    let observed = Observed {
        cluster: "east",
        export: &export,
        service: Some(&usual),
        internal: Some(&internal),
        address: Some(&address),
    };
    let told = stored(&super::super::export::plan(&observed, at(10)));
    assert_eq!(told.spec.public_ip_resource_id.as_deref(), Some("id"));
    assert!(told.spec.is_dns_label_configured);
    let cleared = decide(&export, Some(&usual), Some(&told));
    assert_eq!(
        stored(&cleared).spec.public_ip_resource_id,
        None,
        "an address that is gone is not kept"
    );
}

#[test]
fn a_deleted_export_goes_once_the_hub_has_forgotten_it() {
    let internal = stored(&decide(&export(None), Some(&usual()), None));
    let mut leaving = accepted(None);
    deleting(&mut leaving.metadata);
    let plan = decide(&leaving, Some(&usual()), Some(&internal));
    assert_eq!((plan.finalizer, plan.internal), (true, Internal::Absent));
    let gone = decide(&leaving, Some(&usual()), None);
    assert!(!gone.finalizer);
    let mut foreign = export(None);
    deleting(&mut foreign.metadata);
    assert_eq!(decide(&foreign, Some(&usual()), None).internal, Internal::Unchanged);
}
