//! What a member is told by the hub, and what it asks of it.

use serde_json::json;
use stolos_api::network::{
    InternalServiceExport, InternalServiceImport, ServiceExport, ServiceImport, ServiceImportStatus,
};

use super::super::report::{Ask, Report, ask, conflict, import};
use super::{at, claimant, deleting, exported, imported, object, said, with_finalizer};

fn internal(status: &str) -> InternalServiceExport {
    let mut internal = exported("a", &[80], 1);
    internal.status = Some(object(json!({"conditions": [{
        "type": "Conflict", "status": status, "reason": "R", "message": "m",
        "lastTransitionTime": at(0).to_string(),
    }]})));
    internal
}

fn export(weight: &str) -> ServiceExport {
    object(json!({
        "metadata": {
            "name": "web", "namespace": "app", "generation": 2,
            "annotations": {"networking.fleet.azure.com/weight": weight},
        },
        "status": {"conditions": [{
            "type": "Valid", "status": "True", "reason": "ServiceIsValid", "message": "",
            "lastTransitionTime": at(0).to_string(),
        }]},
    }))
}

const UID: Option<&str> = Some("service-uid");

#[test]
fn the_verdict_of_the_hub_is_copied_once() {
    let mut export = export("1");
    for (status, reason) in
        [("True", "ServiceExportConflictFound"), ("False", "NoServiceExportConflictFound")]
    {
        let Report::Set(told) = conflict(&internal(status), Some(&export), UID, at(5)) else {
            panic!("nothing told")
        };
        assert_eq!(said(std::slice::from_ref(&told.conflict)), [format!("Conflict={status} R: m")]);
        assert_eq!(told.conflict.observed_generation, Some(2), "that of the ServiceExport");
        assert_eq!(told.event.reason, reason);
        export.status.as_mut().unwrap().conditions.push(told.conflict);
        assert_eq!(conflict(&internal(status), Some(&export), UID, at(6)), Report::Unchanged);
        export.status.as_mut().unwrap().conditions.pop();
    }
}

#[test]
fn a_verdict_that_speaks_of_something_else_is_not_copied() {
    let mut leaving = internal("False");
    deleting(&mut leaving.metadata);
    let mut invalid = export("1");
    invalid.status.as_mut().unwrap().conditions[0].status = "False".into();
    let mut deleted = export("1");
    deleting(&mut deleted.metadata);
    for (name, internal, export, uid) in [
        ("withdrawn", leaving, export("1"), UID),
        ("no verdict", exported("a", &[80], 1), export("1"), UID),
        ("an older Service", internal("False"), export("1"), Some("another")),
        ("no Service", internal("False"), export("1"), None),
        ("weight 0", internal("False"), export("0"), UID),
        ("invalid", internal("False"), invalid, UID),
        ("deleted", internal("False"), deleted, UID),
    ] {
        assert_eq!(conflict(&internal, Some(&export), uid, at(5)), Report::Unchanged, "{name}");
    }
    assert_eq!(conflict(&internal("False"), None, UID, at(5)), Report::DeleteInternal);
}

#[test]
fn the_import_of_a_member_says_what_the_hub_says() {
    let told = |clusters: &[&str]| InternalServiceImport {
        status: imported(clusters).status,
        ..claimant("b", 1)
    };
    let own = |clusters: &[&str]| imported(clusters);
    assert_eq!(import(&told(&["a"]), Some(&own(&["a"]))), Report::Unchanged);
    assert_eq!(
        import(&told(&["a", "c"]), Some(&own(&["a"]))),
        Report::Set(imported(&["a", "c"]).status.unwrap())
    );
    assert_eq!(import(&told(&[]), Some(&own(&["a"]))), Report::Set(ServiceImportStatus::default()));
    let unanswered = claimant("b", 1);
    assert_eq!(import(&unanswered, Some(&ServiceImport::default())), Report::Unchanged);
    assert_eq!(import(&unanswered, None), Report::DeleteInternal);
    let mut leaving = unanswered;
    deleting(&mut leaving.metadata);
    assert_eq!(import(&leaving, None), Report::Unchanged);
}

#[test]
fn a_member_asks_for_what_it_imports_and_withdraws_it() {
    let mut wanted = imported(&[]);
    wanted.metadata.uid = Some("import-uid".into());
    wanted.metadata.generation = Some(1);
    let Ask::Present(spec) = ask("b", &wanted, None) else { panic!("nothing asked") };
    let reference = &spec.service_import_reference;
    assert_eq!((&*reference.cluster_id, &*reference.namespaced_name), ("b", "app/web"));
    with_finalizer(&mut wanted.metadata, "networking.fleet.azure.com/serviceimport-cleanup");
    let asked = claimant("b", 1);
    assert_eq!(ask("b", &wanted, Some(&asked)), Ask::Unchanged);
    wanted.metadata.uid = Some("another".into());
    assert!(matches!(ask("b", &wanted, Some(&asked)), Ask::Present(_)), "made anew");
    deleting(&mut wanted.metadata);
    assert_eq!(ask("b", &wanted, Some(&asked)), Ask::Withdraw { finalizer: true });
    assert_eq!(ask("b", &wanted, None), Ask::Withdraw { finalizer: false });
}
