//! Exports of a service on the hub.

use serde_json::json;

use super::super::resolve::{Import, Plan, Standing, homeless, plan};
use super::{at, deleting, exported, imported, object, reasons, said};
use stolos_api::network::{InternalServiceExport, ServiceImport};

fn decide(exports: &[InternalServiceExport], import: Option<&ServiceImport>) -> Plan {
    plan("app/web", exports, import, at(100))
}

fn standings(plan: &Plan) -> Vec<(&str, Standing)> {
    plan.exports
        .iter()
        .map(|((namespace, _), export)| {
            (namespace.trim_start_matches("fleet-member-"), export.standing)
        })
        .collect()
}

fn clusters(plan: &Plan) -> Vec<&str> {
    let Import::Present(status) = &plan.import else { panic!("no status: {plan:?}") };
    status.clusters.iter().map(|cluster| cluster.cluster.as_str()).collect()
}

#[test]
fn the_oldest_export_decides_which_ports_a_service_has() {
    let exports = [exported("a", &[80], 5), exported("b", &[81], 3), exported("c", &[81], 4)];
    let plan = decide(&exports, None);
    let want = [("a", Standing::Conflicts), ("b", Standing::Accepted), ("c", Standing::Accepted)];
    assert_eq!(standings(&plan), want);
    assert_eq!(clusters(&plan), ["b", "c"], "in order of age");
    assert_eq!(reasons(&plan.events), ["SuccessfulUpdateStatus"]);
    let Import::Present(status) = &plan.import else { panic!("{plan:?}") };
    assert_eq!(status.ports[0].port, 81);
    let told: Vec<_> =
        plan.exports.values().flat_map(|export| said(export.condition.as_slice())).collect();
    let want = [
        "Conflict=True ConflictFound: service app/web is in conflict with other exported services",
        "Conflict=False NoConflictFound: service app/web is exported without conflict",
        "Conflict=False NoConflictFound: service app/web is exported without conflict",
    ];
    assert_eq!(told, want);
    assert!(plan.exports.values().all(|export| export.finalizer));

    let mut shuffled = exports.to_vec();
    shuffled.reverse();
    assert_eq!(decide(&shuffled, None), plan, "their order in a list does not matter");
    let twins = [exported("b", &[80], 5), exported("a", &[81], 5)];
    assert_eq!(clusters(&decide(&twins, None)), ["a"], "in the same second the name decides");
}

#[test]
fn ports_are_the_same_in_any_order_and_wherever_pods_listen() {
    let mut other = exported("b", &[81, 80], 2);
    other.spec.ports[0].target_port = Some(object(json!("web")));
    let agree = decide(&[exported("a", &[80, 81], 1), other.clone()], None);
    assert_eq!(clusters(&agree), ["a", "b"]);

    for change in [
        json!({"name": "p80", "port": 80, "protocol": "UDP"}),
        json!({"name": "web", "port": 80}),
        json!({"name": "p80", "port": 80, "appProtocol": "h2c"}),
    ] {
        other.spec.ports[1] = object(change);
        let differ = decide(&[exported("a", &[80, 81], 1), other.clone()], None);
        assert_eq!(clusters(&differ), ["a"]);
    }
}

#[test]
fn a_sole_export_may_change_without_a_moment_in_which_nobody_exports() {
    let plan = decide(&[exported("a", &[81], 1)], Some(&imported(&["a"])));
    let Import::Present(status) = plan.import else { panic!("{plan:?}") };
    assert_eq!((status.ports[0].port, status.clusters.len()), (81, 1));
}

#[test]
fn an_export_whose_namespace_the_hub_lacks_is_told_so_once() {
    let mut export = exported("a", &[80], 1);
    let told = homeless("app/web", &export, at(100)).expect("it has not been told");
    insta::assert_snapshot!(said(std::slice::from_ref(&told)).join(""), @"Conflict=Unknown NamespaceNotFound: service app/web waits: the hub has no namespace `app`; to share the service, create it there");
    export.status.get_or_insert_default().conditions = vec![told];
    assert_eq!(homeless("app/web", &export, at(200)), None);
    // Once the namespace is there, it is judged; and what was judged stays when the namespace goes.
    let judged = decide(&[export.clone()], None);
    let verdict = judged.exports.into_values().find_map(|export| export.condition).unwrap();
    assert_eq!(verdict.status, "False");
    export.status.get_or_insert_default().conditions = vec![verdict];
    assert_eq!(homeless("app/web", &export, at(200)), None);
    let mut leaving = exported("a", &[80], 1);
    deleting(&mut leaving.metadata);
    assert_eq!(homeless("app/web", &leaving, at(100)), None);
}

#[test]
fn an_export_that_leaves_makes_room_for_the_next() {
    let mut leaving = exported("a", &[80], 1);
    deleting(&mut leaving.metadata);
    let plan = decide(&[leaving.clone(), exported("b", &[81], 2)], Some(&imported(&["a"])));
    assert_eq!(standings(&plan), [("a", Standing::Leaving), ("b", Standing::Accepted)]);
    assert_eq!(clusters(&plan), ["b"]);
    let released = &plan.exports[&("fleet-member-a".to_owned(), "app-web".to_owned())];
    assert_eq!((released.finalizer, &released.condition), (false, &None));

    let last = decide(&[leaving], Some(&imported(&["a"])));
    assert_eq!(last.import, Import::Absent);
    assert_eq!(reasons(&last.events), ["NoExportedService"]);
}

#[test]
fn a_service_that_nobody_exports_is_emptied_and_goes() {
    assert_eq!(decide(&[], Some(&imported(&["a"]))).import, Import::Absent);
    assert_eq!(decide(&[], None).import, Import::Unchanged);
    let mut leaving = imported(&["a"]);
    deleting(&mut leaving.metadata);
    assert_eq!(decide(&[], Some(&leaving)).import, Import::Absent, "its status is emptied first");
    leaving.status = None;
    assert_eq!(decide(&[], Some(&leaving)).import, Import::Unchanged);
}

#[test]
fn what_is_decided_already_is_not_written_again() {
    let mut exports = [exported("a", &[80], 1), exported("b", &[81], 2)];
    let first = decide(&exports, None);
    for export in &mut exports {
        let place = (export.metadata.namespace.clone().unwrap(), "app-web".to_owned());
        let condition = first.exports[&place].condition.clone().unwrap();
        export.status = Some(object(json!({"conditions": [condition]})));
    }
    let mut import = imported(&[]);
    let Import::Present(status) = first.import else { panic!("{first:?}") };
    import.status = Some(*status);
    let again = decide(&exports, Some(&import));
    assert_eq!(again.import, Import::Unchanged);
    assert!(again.events.is_empty());
    assert!(again.exports.values().all(|export| export.condition.is_none()));
    exports[0].metadata.generation = Some(2);
    let newer = decide(&exports, Some(&import));
    let told = newer.exports.values().filter(|export| export.condition.is_some()).count();
    assert_eq!(told, 1, "a new generation is answered");
}

#[test]
fn a_member_cannot_export_for_another() {
    let mut forged = exported("evil", &[80], 0);
    forged.spec.service_reference.cluster_id = "a".into();
    let plan = decide(&[forged, exported("a", &[81], 5)], None);
    assert_eq!(standings(&plan), [("a", Standing::Accepted), ("evil", Standing::NotItsOwn)]);
    assert_eq!(clusters(&plan), ["a"]);
    let told = &plan.exports[&("fleet-member-evil".to_owned(), "app-web".to_owned())];
    let message = told.condition.as_ref().map(|condition| condition.message.as_str());
    let want = "spec.serviceReference.clusterId must be the member of namespace fleet-member-evil, not `a`";
    assert_eq!(message, Some(want));
}
