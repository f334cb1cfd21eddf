//! Imports of a service on the hub.

use super::super::claim::{Importers, InUseBy, Plan, Standing, plan};
use super::{claimant, claimed, deleting, imported};
use stolos_api::network::{InternalServiceImport, ServiceImport, ServiceImportStatus};

fn decide(import: Option<&ServiceImport>, claimants: &[InternalServiceImport]) -> Plan {
    plan(import, claimants, Importers::One)
}

fn standings(plan: &Plan) -> Vec<(&str, Standing)> {
    plan.imports
        .iter()
        .map(|((namespace, _), import)| {
            (namespace.trim_start_matches("fleet-member-"), import.standing)
        })
        .collect()
}

fn holders(plan: &Plan) -> Option<Vec<&str>> {
    Some(plan.claim.as_ref()?.member_clusters.values().map(String::as_str).collect())
}

#[test]
fn the_first_to_ask_imports_the_service_and_the_others_wait() {
    let claimants = [claimant("a", 5), claimant("b", 3)];
    let plan = decide(Some(&imported(&["x"])), &claimants);
    assert_eq!(standings(&plan), [("a", Standing::Waits), ("b", Standing::Holds)]);
    let claim = plan.claim.as_ref().and_then(InUseBy::annotation);
    let want = r#"{"MemberClusters":{"fleet-member-b":"b"}}"#;
    assert_eq!(claim.as_deref(), Some(want));
    let of =
        |member: &str| &plan.imports[&(format!("fleet-member-{member}"), "app-web".to_owned())];
    assert_eq!(of("b").status.as_ref(), imported(&["x"]).status.as_ref());
    assert_eq!((of("b").finalizer, of("a").finalizer), (true, false));
    assert_eq!(of("a").status, None, "nothing to clear");
}

#[test]
fn who_imports_a_service_keeps_it_until_it_withdraws() {
    let mut holder = claimant("b", 9);
    let waiting = claimant("a", 1);
    let import = claimed(&["x"], &["b"]);
    let kept = decide(Some(&import), &[holder.clone(), waiting.clone()]);
    assert_eq!(standings(&kept), [("a", Standing::Waits), ("b", Standing::Holds)]);
    assert_eq!(kept.claim, None);

    deleting(&mut holder.metadata);
    let passed = decide(Some(&import), &[holder, waiting.clone()]);
    assert_eq!(standings(&passed), [("a", Standing::Holds), ("b", Standing::Leaving)]);
    assert_eq!(holders(&passed), Some(vec!["a"]));
    let gone = decide(Some(&import), &[waiting]);
    assert_eq!(holders(&gone), Some(vec!["a"]), "a claim without a claimant is no claim");
    let last = decide(Some(&import), &[]);
    assert_eq!(holders(&last), Some(vec![]));
    assert_eq!(last.claim.unwrap().annotation(), None);
}

#[test]
fn a_hub_may_let_all_import_that_ask() {
    let claimants = [claimant("a", 5), claimant("b", 3)];
    let plan = plan(Some(&claimed(&["x"], &["b"])), &claimants, Importers::Many);
    assert_eq!(holders(&plan), Some(vec!["a", "b"]));
    assert!(standings(&plan).iter().all(|(_, standing)| *standing == Standing::Holds));
    let one = decide(Some(&claimed(&["x"], &["a", "b"])), &claimants);
    assert_eq!(holders(&one), Some(vec!["b"]), "and may take that back: the older stays");
}

#[test]
fn a_service_that_nobody_exports_is_given_to_nobody() {
    let told = |mut claimant: InternalServiceImport| {
        claimant.status = imported(&["x"]).status;
        claimant
    };
    let claimants = [told(claimant("a", 1))];
    let unknown = decide(None, &claimants);
    assert_eq!(
        (standings(&unknown), unknown.claim.clone()),
        (vec![("a", Standing::NotExported)], None)
    );
    let import = unknown.imports.values().next().unwrap();
    assert_eq!(
        (import.finalizer, import.status.clone()),
        (false, Some(ServiceImportStatus::default()))
    );

    let unresolved = decide(Some(&imported(&[])), &claimants);
    assert_eq!(holders(&unresolved), None);
    let kept = decide(Some(&claimed(&[], &["a"])), &claimants);
    assert_eq!((standings(&kept), kept.claim.clone()), (vec![("a", Standing::Holds)], None));

    let mut leaving = claimed(&["x"], &["a"]);
    deleting(&mut leaving.metadata);
    let withdrawn = decide(Some(&leaving), &claimants);
    assert_eq!(holders(&withdrawn), Some(vec![]));
    assert_eq!(
        withdrawn.imports.values().next().unwrap().status,
        Some(ServiceImportStatus::default())
    );
}

#[test]
fn a_claim_that_cannot_be_read_is_nobodys() {
    let mut import = claimed(&["x"], &["b"]);
    let annotations = import.metadata.annotations.as_mut().unwrap();
    for text in annotations.values_mut() {
        "{".clone_into(text);
    }
    let plan = decide(Some(&import), &[claimant("a", 1)]);
    assert_eq!(holders(&plan), Some(vec!["a"]));
    let empty = decide(Some(&import), &[]);
    assert_eq!(holders(&empty), Some(vec![]), "and is removed");
}

#[test]
fn a_member_cannot_ask_for_another() {
    let mut forged = claimant("evil", 0);
    forged.spec.service_import_reference.cluster_id = "a".into();
    let plan = decide(Some(&imported(&["x"])), &[forged, claimant("a", 5)]);
    assert_eq!(standings(&plan), [("a", Standing::Holds), ("evil", Standing::NotItsOwn)]);
}
