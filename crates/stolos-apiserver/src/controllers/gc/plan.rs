//! What the garbage collector does with one object. Owners are told apart by uid, never by name.

use serde_json::{Value, json};

use crate::controllers::api::Propagation;
use crate::rest::meta::{self, FOREGROUND, ORPHAN};

/// An owner reference, as far as the collector cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// The owner's foreground deletion waits for this object.
    pub(super) blocks_owner: bool,
}

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Present,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// It is gone: there is no object with this uid.
    Absent,
    /// Nobody can tell, because its kind is not served or cannot own this object.
    Unknown,
}

/// What to do with an object because of its owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Keep,
    /// Nothing until it is known what the kind of an owner is.
    Unresolved,
    /// Drop the references to these owners, and keep the object for the others.
    Release(Vec<String>),
    /// Delete it. `unblock` first stops it from holding up its owners: they wait for each other.
    Delete { propagation: Propagation, unblock: bool },
}

/// What is known of the dependents of an object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dependents {
    /// There are some.
    pub(super) any: bool,
    /// One of them is itself being deleted and waits for its dependents.
    pub(super) any_waiting: bool,
}

/// Decides what the owners of an object, in the order of its references, mean for it.
pub(super) fn decide(
    object: &Value,
    references: &[Reference],
    owners: &[Owner],
    dependents: Dependents,
) -> Action {
    if owners.contains(&Owner::Unknown) {
        return Action::Unresolved;
    }
    let pairs = || references.iter().zip(owners);
    let gone: Vec<String> = pairs()
        .filter(|(_, owner)| **owner != Owner::Present)
        .map(|(reference, _)| reference.uid.clone())
        .collect();
    let is_awaited = owners.contains(&Owner::Waiting);
    match (owners.contains(&Owner::Present), gone.is_empty()) {
        (_, true) => Action::Keep,
        (true, false) => Action::Release(gone),
        (false, false) if is_awaited && dependents.any => {
            // Foreground goes all the way down. Around a circle somebody has to let go first.
            Action::Delete { propagation: Propagation::Foreground, unblock: dependents.any_waiting }
        }
        (false, false) => Action::Delete { propagation: own_propagation(object), unblock: false },
    }
}

/// An object that already carries a finalizer of the collector is deleted the way it asks for.
fn own_propagation(object: &Value) -> Propagation {
    let finalizers = meta::finalizers(object);
    if finalizers.contains(&ORPHAN) {
        Propagation::Orphan
    } else if finalizers.contains(&FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

/// Reads the owner references of an object.
pub(super) fn references(object: &Value) -> Vec<Reference> {
    let list = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.map(|reference| Reference {
        api_version: text(&reference["apiVersion"]),
        kind: text(&reference["kind"]),
        name: text(&reference["name"]),
        uid: text(&reference["uid"]),
        blocks_owner: reference["blockOwnerDeletion"] == true,
    })
    .collect()
}

/// Returns the owner references without those to the given uids, as a metadata patch.
pub(super) fn without_owners(object: &Value, uids: &[String]) -> Value {
    let list = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let kept: Vec<&Value> =
        list.filter(|reference| !uids.iter().any(|uid| reference["uid"] == uid.as_str())).collect();
    if kept.is_empty() {
        json!({ "ownerReferences": null })
    } else {
        json!({ "ownerReferences": kept })
    }
}

/// Returns the owner references such that none blocks its owner, as a metadata patch.
pub(super) fn unblocked(object: &Value) -> Value {
    let mut list = object["metadata"]["ownerReferences"].clone();
    for reference in list.as_array_mut().into_iter().flatten() {
        if reference["blockOwnerDeletion"] == true {
            reference["blockOwnerDeletion"] = json!(false);
        }
    }
    json!({ "ownerReferences": list })
}

/// Returns the finalizers without one, as a metadata patch.
pub(super) fn without_finalizer(object: &Value, finalizer: &str) -> Value {
    let kept: Vec<&str> =
        meta::finalizers(object).into_iter().filter(|other| *other != finalizer).collect();
    if kept.is_empty() { json!({ "finalizers": null }) } else { json!({ "finalizers": kept }) }
}

/// Tells whether the object is being deleted and waits for the collector to do what this finalizer stands for.
pub(super) fn waits_with(object: &Value, finalizer: &str) -> bool {
    meta::is_deleting(object) && meta::finalizers(object).contains(&finalizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned_by(uids: &[&str]) -> (Value, Vec<Reference>) {
        let list: Vec<Value> = uids
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let object = json!({"metadata": {"name": "x", "ownerReferences": list}});
        let references = references(&object);
        (object, references)
    }

    fn decided(owners: &[Owner], dependents: Dependents) -> Action {
        let uids: Vec<String> = (0..owners.len()).map(|n| format!("u{n}")).collect();
        let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
        let (object, references) = owned_by(&uids);
        decide(&object, &references, owners, dependents)
    }

    const NONE: Dependents = Dependents { any: false, any_waiting: false };
    const SOME: Dependents = Dependents { any: true, any_waiting: false };
    const CIRCLE: Dependents = Dependents { any: true, any_waiting: true };

    #[test]
    fn only_objects_whose_every_owner_is_gone_are_deleted() {
        use Owner::{Absent, Present, Unknown, Waiting};
        let delete = |propagation, unblock| Action::Delete { propagation, unblock };
        let release =
            |uids: &[&str]| Action::Release(uids.iter().map(|&uid| uid.to_owned()).collect());
        let background = delete(Propagation::Background, false);
        for (owners, dependents, want) in [
            (&[][..], SOME, Action::Keep),
            (&[Present][..], SOME, Action::Keep),
            (&[Absent], NONE, background.clone()),
            (&[Absent, Absent], NONE, background.clone()),
            (&[Present, Absent], NONE, release(&["u1"])),
            (&[Waiting, Present], NONE, release(&["u0"])),
            (&[Waiting, Present, Absent], CIRCLE, release(&["u0", "u2"])),
            (&[Unknown], NONE, Action::Unresolved),
            (&[Absent, Unknown], NONE, Action::Unresolved),
            (&[Waiting, Unknown], CIRCLE, Action::Unresolved),
            (&[Waiting], NONE, background.clone()),
            (&[Waiting, Absent], NONE, background),
            (&[Waiting], SOME, delete(Propagation::Foreground, false)),
            (&[Waiting], CIRCLE, delete(Propagation::Foreground, true)),
            (&[Absent], CIRCLE, delete(Propagation::Background, false)),
        ] {
            assert_eq!(decided(owners, dependents), want, "{owners:?} {dependents:?}");
        }
    }

    #[test]
    fn finalizers_of_the_object_choose_how_it_is_deleted() {
        let (mut object, references) = owned_by(&["u0"]);
        for (finalizer, propagation) in [
            (ORPHAN, Propagation::Orphan),
            (FOREGROUND, Propagation::Foreground),
            ("x/y", Propagation::Background),
        ] {
            object["metadata"]["finalizers"] = json!([finalizer]);
            let want = Action::Delete { propagation, unblock: false };
            assert_eq!(decide(&object, &references, &[Owner::Absent], NONE), want);
        }
    }

    #[test]
    fn dropping_a_reference_keeps_the_others() {
        let (object, _) = owned_by(&["u0", "u1"]);
        let patch = without_owners(&object, &["u0".to_owned()]);
        assert_eq!(patch["ownerReferences"], json!([object["metadata"]["ownerReferences"][1]]));
        let patch = without_owners(&object, &["u0".to_owned(), "u1".to_owned()]);
        assert_eq!(patch, json!({"ownerReferences": null}));
        assert_eq!(unblocked(&object)["ownerReferences"][1]["blockOwnerDeletion"], false);
    }

    #[test]
    fn dropping_a_finalizer_keeps_the_others() {
        let object = json!({"metadata": {"finalizers": ["orphan", "x/y"]}});
        assert_eq!(without_finalizer(&object, ORPHAN), json!({"finalizers": ["x/y"]}));
        assert_eq!(without_finalizer(&object, "x/y"), json!({"finalizers": ["orphan"]}));
        assert_eq!(
            without_finalizer(&json!({"metadata": {"finalizers": ["orphan"]}}), ORPHAN)["finalizers"],
            json!(null)
        );
    }
}
