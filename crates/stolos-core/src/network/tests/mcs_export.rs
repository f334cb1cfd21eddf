//! Services that a member exports to the clusterset.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use stolos_api::network::clusterset::{ExportedService, ExportedServiceSpec, ExportedSlice};
use stolos_api::network::mcs::ServiceExport;

use super::super::mcs::export::{Hub, MAX_ENDPOINTS, Observed, Plan, is_outdated, plan};
use super::{at, deleting, object, said};

fn export(spec: &Value) -> ServiceExport {
    object(json!({
        "metadata": {
            "name": "web", "namespace": "app", "uid": "u", "generation": 3,
            "creationTimestamp": at(0).to_string(),
        },
        "spec": spec,
    }))
}

fn service(spec: &Value) -> Service {
    object(json!({"metadata": {"name": "web", "namespace": "app"}, "spec": spec}))
}

fn web() -> Service {
    service(&json!({"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]}))
}

fn slice(name: &str, addresses: usize) -> EndpointSlice {
    let endpoint = |n: usize| json!({"addresses": [format!("10.1.{}.{}", n / 250, n % 250 + 1)]});
    let endpoints: Vec<_> = (0..addresses).map(endpoint).collect();
    object(json!({
        "metadata": {"name": name, "namespace": "app", "uid": name, "generation": 2},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    }))
}

fn decide(export: &ServiceExport, service: Option<&Service>, slices: &[&EndpointSlice]) -> Plan {
    plan(&Observed { export, service, slices, stored: None, leaves: false }, at(5))
}

fn present(plan: &Plan) -> ExportedServiceSpec {
    match &plan.hub {
        Hub::Present(spec) => spec.as_ref().clone(),
        other => panic!("not on the hub: {other:?}"),
    }
}

fn stored(spec: ExportedServiceSpec, conflict: Option<&str>) -> ExportedService {
    let mut stored = ExportedService::new("app.web", spec);
    if let Some(status) = conflict {
        stored.status = object(json!({"conditions": [{
            "type": "Conflict", "status": status, "reason": "R", "message": "m",
            "observedGeneration": 9, "lastTransitionTime": at(1).to_string(),
        }]}));
    }
    stored
}

#[test]
fn a_slice_of_which_the_hub_knows_a_later_state_is_outdated() {
    let export = export(&json!({}));
    let (service, mut shown) = (web(), slice("a", 2));
    let told = present(&decide(&export, Some(&service), &[&shown])).slices.remove(0);
    assert!(!is_outdated(&shown, &told), "the same state");
    shown.metadata.generation = Some(1);
    assert!(is_outdated(&shown, &told));
    shown.metadata.uid = Some("another".to_owned());
    assert!(!is_outdated(&shown, &told), "generations of another slice say nothing");
    let (shown, told) = (slice("a", 2), ExportedSlice { revision: None, ..told });
    assert!(!is_outdated(&shown, &told), "the hub has it from an agent that did not say");
}

#[test]
fn a_later_state_of_a_slice_that_says_the_same_is_not_told() {
    let export = export(&json!({}));
    let (service, mut shown) = (web(), slice("a", 2));
    let stored = stored(present(&decide(&export, Some(&service), &[&shown])), None);
    let hub = |slice: &EndpointSlice| {
        let (service, slices) = (Some(&service), &[slice][..]);
        let observed =
            Observed { export: &export, service, slices, stored: Some(&stored), leaves: false };
        plan(&observed, at(5)).hub
    };
    shown.metadata.generation = Some(9);
    assert_eq!(hub(&shown), Hub::Unchanged);
    shown.endpoints.pop();
    assert!(matches!(hub(&shown), Hub::Present(_)));
}

#[test]
fn an_export_is_told_with_its_endpoints_and_ready_once_the_hub_has_answered() {
    let export = export(&json!({"exportedLabels": {"tier": "front"}}));
    let (b, a) = (slice("b", 1), slice("a", 2));
    let mut leaving = slice("c", 1);
    deleting(&mut leaving.metadata);
    let names = object::<EndpointSlice>(
        json!({"metadata": {"name": "d"}, "addressType": "FQDN", "endpoints": []}),
    );
    let service = web();
    let first = decide(&export, Some(&service), &[&b, &a, &leaving, &names]);
    let spec = present(&first);
    let slices: Vec<_> = spec.slices.iter().map(|one| (&*one.name, one.endpoints.len())).collect();
    assert_eq!(slices, [("a", 2), ("b", 1)]);
    assert_eq!(spec.export_uid, "u");
    assert_eq!(spec.exported_since.as_ref().unwrap().0, at(0));
    assert_eq!(spec.export.exported_labels["tier"], "front");
    let want = [
        "Valid=True Valid: service app/web can be exported",
        "Ready=False Pending: the hub has not answered yet",
    ];
    assert_eq!(said(first.conditions.as_ref().unwrap()), want);

    let stored = stored(spec, Some("True"));
    let observed = Observed {
        export: &export,
        service: Some(&service),
        slices: &[&a, &b],
        stored: Some(&stored),
        leaves: false,
    };
    let second = plan(&observed, at(6));
    assert_eq!(second.hub, Hub::Unchanged);
    let conditions = second.conditions.unwrap();
    let want = [
        "Valid=True Valid: service app/web can be exported",
        "Ready=True Exported: service app/web is exported",
        "Conflict=True R: m",
    ];
    assert_eq!(said(&conditions), want);
    assert!(conditions.iter().all(|one| one.observed_generation == Some(3)));

    let mut told = export.clone();
    told.status.get_or_insert_default().conditions = conditions;
    let third = plan(&Observed { export: &told, ..observed }, at(7));
    assert_eq!((third.hub, third.conditions), (Hub::Unchanged, None), "deciding again is no news");
}

#[test]
fn what_cannot_be_exported_is_told_and_taken_from_the_hub() {
    let good = export(&json!({}));
    let outside = service(&json!({"type": "ExternalName", "externalName": "example.com"}));
    let mut derived = web();
    let label = ("network.fleet.stolos.dev/managed-by".to_owned(), "clusterset.fleet.stolos.dev");
    derived.metadata.labels = Some([(label.0, label.1.to_owned())].into());
    let spaced = export(&json!({"exportedLabels": {"tier": "a b"}}));
    let slashed = export(&json!({"exportedAnnotations": {"a/b/c": ""}}));
    let large = export(&json!({"exportedAnnotations": {"a": "x".repeat(200_000)}}));
    let there = stored(present(&decide(&good, Some(&web()), &[])), Some("False"));
    for (export, service, reason, words) in [
        (&good, None, "NoService", "app/web"),
        (&good, Some(&outside), "InvalidServiceType", "ExternalName"),
        (&good, Some(&derived), "InvalidServiceType", "clusterset already"),
        (&spaced, Some(&web()), "InvalidExportedMetadata", "spec.exportedLabels[tier]: `a b`"),
        (&slashed, Some(&web()), "InvalidExportedMetadata", "spec.exportedAnnotations: `a/b/c`"),
        (&large, Some(&web()), "InvalidExportedMetadata", "200001 bytes, at most 131072"),
    ] {
        let observed =
            Observed { export, service, slices: &[], stored: Some(&there), leaves: false };
        let plan = plan(&observed, at(5));
        assert_eq!(plan.hub, Hub::Absent, "{reason}");
        let conditions = said(&plan.conditions.unwrap());
        assert!(conditions[0].starts_with(&format!("Valid=False {reason}: ")), "{conditions:?}");
        assert!(conditions[0].contains(words), "{conditions:?}");
        assert_eq!(conditions[1], "Ready=False Pending: the export is not valid");
        assert_eq!(conditions.len(), 2);
    }
}

#[test]
fn a_conflict_is_forgotten_with_the_export() {
    let mut export = export(&json!({}));
    let conflict = stored(ExportedServiceSpec::default(), Some("True")).status.unwrap().conditions;
    export.status.get_or_insert_default().conditions = conflict;
    let conditions = decide(&export, None, &[]).conditions.unwrap();
    assert!(conditions.iter().all(|one| one.type_ != "Conflict"));
    let conditions = decide(&export, Some(&web()), &[]).conditions.unwrap();
    assert!(conditions.iter().any(|one| one.type_ == "Conflict"), "until the hub answers");
}

#[test]
fn no_more_endpoints_are_exported_than_fit_and_that_is_told() {
    let slices = [slice("a", 700), slice("b", 700)];
    let export = export(&json!({}));
    let all: Vec<_> = slices.iter().collect();
    let service = web();
    let spec = present(&decide(&export, Some(&service), &all));
    assert_eq!(spec.slices.iter().map(|one| one.endpoints.len()).sum::<usize>(), MAX_ENDPOINTS);
    let stored = stored(spec, Some("False"));
    let observed = Observed {
        export: &export,
        service: Some(&service),
        slices: &all,
        stored: Some(&stored),
        leaves: false,
    };
    let conditions = said(&plan(&observed, at(6)).conditions.unwrap());
    assert!(conditions[1].contains("1000 of its 1400 endpoints"), "{conditions:?}");
}

#[test]
fn what_stands_for_another_export_is_replaced_and_what_is_leaving_is_waited_for() {
    let export = export(&json!({}));
    let service = web();
    let mut stored = stored(ExportedServiceSpec::default(), Some("True"));
    let decide = |stored: &ExportedService, leaves| {
        let stored = Some(stored);
        let observed =
            Observed { export: &export, service: Some(&service), slices: &[], stored, leaves };
        plan(&observed, at(5))
    };
    let renewed = decide(&stored, false);
    assert_eq!(present(&renewed).export_uid, "u");
    assert!(said(&renewed.conditions.unwrap())[1].starts_with("Ready=False Pending"));
    let leaving = decide(&stored, true);
    assert_eq!(leaving.hub, Hub::Unchanged);
    assert!(said(&leaving.conditions.unwrap())[1].contains("leaves the fleet"));
    deleting(&mut stored.metadata);
    assert_eq!(decide(&stored, false).hub, Hub::Unchanged);
}
