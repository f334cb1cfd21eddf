//! Exported slices on the hub.

use jiff::SignedDuration;

use super::super::distribute::{
    Plan, Reason, Release, Told, copy, is_outdated, plan, release, renewed,
};
use super::{at, claimed, deleting, exported_slice, imported, told, with_finalizer};
use stolos_api::network::names::SILENT_SINCE_ANNOTATION;
use stolos_api::network::{EndpointSliceExport, EndpointSliceImport};

const FINALIZER: &str = "networking.fleet.azure.com/endpointsliceexport-cleanup";

fn shown(plan: &Plan) -> String {
    let list = |names: &std::collections::BTreeSet<String>| {
        names
            .iter()
            .map(|name| name.trim_start_matches("fleet-member-"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let Plan { reason, finalizer, copy_to, delete_from } = plan;
    format!(
        "{reason:?}, finalizer {finalizer}, copy to [{}], delete from [{}]",
        list(copy_to),
        list(delete_from)
    )
}

fn copied(export: &EndpointSliceExport, to: &[&str]) -> Vec<EndpointSliceImport> {
    to.iter().map(|member| copy(export, &told(5), &format!("fleet-member-{member}"))).collect()
}

#[test]
fn the_members_that_import_a_service_get_its_endpoints() {
    let mut export = exported_slice("a");
    with_finalizer(&mut export.metadata, FINALIZER);
    let both = copied(&export, &["b", "c"]);
    let mut stale = copied(&export, &["b"]);
    stale[0].spec.endpoints.clear();
    let mut leaving = copied(&export, &["b"]);
    deleting(&mut leaving[0].metadata);
    let own = claimed(&["a"], &["a"]);
    for (name, import, copies, want) in [
        (
            "new",
            Some(claimed(&["a"], &["b"])),
            &[][..],
            "Imported, finalizer true, copy to [b], delete from []",
        ),
        (
            "by its own cluster",
            Some(own),
            &[],
            "Imported, finalizer true, copy to [a], delete from []",
        ),
        (
            "done",
            Some(claimed(&["a"], &["b", "c"])),
            &both,
            "Imported, finalizer true, copy to [], delete from []",
        ),
        (
            "changed",
            Some(claimed(&["a"], &["b"])),
            &stale,
            "Imported, finalizer true, copy to [b], delete from []",
        ),
        (
            "one less",
            Some(claimed(&["a"], &["c"])),
            &both,
            "Imported, finalizer true, copy to [], delete from [b]",
        ),
        (
            "others",
            Some(claimed(&["a"], &["d"])),
            &both,
            "Imported, finalizer true, copy to [d], delete from [b c]",
        ),
        (
            "nobody",
            Some(imported(&["a"])),
            &both,
            "NotImported, finalizer true, copy to [], delete from [b c]",
        ),
        (
            "no copy left",
            Some(imported(&["a"])),
            &[],
            "NotImported, finalizer false, copy to [], delete from []",
        ),
        (
            "copy leaving",
            Some(imported(&["a"])),
            &leaving,
            "NotImported, finalizer false, copy to [], delete from []",
        ),
        ("unknown", None, &both, "NotResolved, finalizer true, copy to [], delete from []"),
        (
            "unresolved",
            Some(claimed(&[], &["b"])),
            &both,
            "NotResolved, finalizer true, copy to [], delete from []",
        ),
        (
            "not accepted",
            Some(claimed(&["x"], &["b"])),
            &both,
            "NotAccepted, finalizer true, copy to [], delete from [b c]",
        ),
    ] {
        assert_eq!(shown(&plan(&export, import.as_ref(), &told(5), copies)), want, "{name}");
    }
    let heavier = plan(&export, Some(&claimed(&["a"], &["b", "c"])), &told(6), &both);
    assert_eq!(heavier.copy_to.len(), 2, "a new weight reaches all");
    let mut unreadable = claimed(&["a"], &["b"]);
    for text in unreadable.metadata.annotations.as_mut().unwrap().values_mut() {
        text.push('{');
    }
    let kept = plan(&export, Some(&unreadable), &told(5), &both);
    assert_eq!(shown(&kept), "ClaimUnreadable, finalizer true, copy to [], delete from []");
}

#[test]
fn an_export_that_leaves_takes_its_copies_with_it() {
    let mut export = exported_slice("a");
    with_finalizer(&mut export.metadata, FINALIZER);
    deleting(&mut export.metadata);
    let import = claimed(&["a"], &["b"]);
    let copies = copied(&export, &["b"]);
    let leaving = plan(&export, Some(&import), &told(5), &copies);
    assert_eq!(shown(&leaving), "Leaving, finalizer true, copy to [], delete from [b]");
    let mut going = copies;
    deleting(&mut going[0].metadata);
    let held_up = plan(&export, Some(&import), &told(5), &going);
    assert_eq!(shown(&held_up), "Leaving, finalizer false, copy to [], delete from []");
    let gone = plan(&export, Some(&import), &told(5), &[]);
    assert_eq!(shown(&gone), "Leaving, finalizer false, copy to [], delete from []");
}

#[test]
fn a_member_cannot_send_endpoints_of_another() {
    let mut forged = exported_slice("evil");
    forged.spec.endpoint_slice_reference.cluster_id = "a".into();
    let plan = plan(&forged, Some(&claimed(&["a"], &["b"])), &told(5), &[]);
    assert_eq!(plan.reason, Reason::NotItsOwn);
    assert!(plan.copy_to.is_empty());
    let of_victim = copied(&exported_slice("a"), &["b"]);
    let touched =
        super::super::distribute::plan(&forged, Some(&imported(&["a"])), &told(1), &of_victim);
    assert!(touched.delete_from.is_empty(), "nor take endpoints of another away");
}

#[test]
fn a_member_cannot_replace_or_delete_endpoints_of_another_by_taking_their_name() {
    let victim = exported_slice("a");
    let mut thief = exported_slice("evil");
    thief.metadata.name.clone_from(&victim.metadata.name);
    with_finalizer(&mut thief.metadata, FINALIZER);
    let copies = copied(&victim, &["b"]);
    let import = claimed(&["a", "evil"], &["b", "c"]);
    let replaces = plan(&thief, Some(&import), &told(1), &copies);
    assert_eq!(shown(&replaces), "Imported, finalizer true, copy to [c], delete from []");
    deleting(&mut thief.metadata);
    let deletes = plan(&thief, Some(&import), &told(1), &copies);
    assert_eq!(shown(&deletes), "Leaving, finalizer false, copy to [], delete from []");
}

#[test]
fn a_slice_of_which_members_know_a_later_state_is_outdated() {
    let export = exported_slice("a");
    let mut copies = copied(&export, &["b", "c"]);
    assert!(!is_outdated(&export, &[]) && !is_outdated(&export, &copies), "the same state");
    copies[1].spec.endpoint_slice_reference.generation += 1;
    assert!(is_outdated(&export, &copies));
    assert!(!is_outdated(&exported_slice("b"), &copies), "copies of another member say nothing");
    copies[1].spec.endpoint_slice_reference.uid = "another".to_owned();
    assert!(!is_outdated(&export, &copies), "generations of another slice say nothing");
}

#[test]
fn a_member_that_is_removed_has_time_to_clean_up() {
    let patience = SignedDuration::from_mins(15);
    assert_eq!(release(None, patience, at(0)), Release::Keep);
    assert_eq!(release(Some(at(0)), patience, at(899)), Release::Wait(at(900)));
    assert_eq!(release(Some(at(0)), patience, at(900)), Release::Force);
}

#[test]
fn importers_are_told_of_silence_and_of_its_end() {
    let mut export = exported_slice("a");
    with_finalizer(&mut export.metadata, FINALIZER);
    let silent = Told { silent_since: Some(at(7)), ..told(5) };
    let import = claimed(&["a"], &["b"]);
    let copies = copied(&export, &["b"]);
    assert_eq!(plan(&export, Some(&import), &told(5), &copies).copy_to.len(), 0);
    assert_eq!(plan(&export, Some(&import), &silent, &copies).copy_to.len(), 1);
    let marked = renewed(&copies[0], &copy(&export, &silent, "fleet-member-b"));
    let since = &marked.metadata.annotations.as_ref().unwrap()[SILENT_SINCE_ANNOTATION];
    assert_eq!(*since, at(7).to_string());
    assert_eq!(
        plan(&export, Some(&import), &silent, std::slice::from_ref(&marked)).copy_to.len(),
        0
    );
    assert_eq!(
        plan(&export, Some(&import), &told(5), std::slice::from_ref(&marked)).copy_to.len(),
        1
    );
    let heard = renewed(&marked, &copy(&export, &told(5), "fleet-member-b"));
    assert_eq!(heard.metadata.annotations, copies[0].metadata.annotations);
}
