//! What may be removed from a member, and on what proof.
//!
//! An object goes only when all of this holds: the member's own record (the AppliedWork) says that this Work placed it;
//! the same Work, by uid, is there at a later generation than the record and no longer lists the object; and the live
//! object still names our AppliedWork, by uid, as an owner. A Work that is missing proves nothing. One that is older than
//! the record, or another of the same name, has never listed the object and so cannot have withdrawn it: the object is let
//! go of and stays, and later generations of that Work say nothing about it either.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::ownership::owners;
use crate::placement::eligibility::is_system_class;

/// What is known of one object that the record lists and the Work does not.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Uid of the Work that the record was made for.
    pub recorded_work_uid: &'a str,
    /// Generation of the Work that the record was made at.
    pub recorded_generation: i64,
    /// Uid of the Work on the hub.
    pub work_uid: &'a str,
    /// Generation of the Work on the hub.
    pub work_generation: i64,
    /// Uid of the object in the record; empty when it was noted before it was created.
    pub recorded_uid: &'a str,
    /// The object on the member.
    pub live: Option<&'a Value>,
    /// Our AppliedWork.
    pub ours: &'a OwnerReference,
}

/// What to do with an object that a Work no longer lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delete just this object in just this state: an owner may be added between look and deletion.
    Delete {
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// Others own it too: take our name off.
    Disown,
    /// It is not there, or not ours: forget it.
    Forget,
    /// There is no proof that it was withdrawn: leave it and keep the record.
    Keep,
    /// Leave it, take our name off, and forget it: the Work that placed it is no longer there as it was, or it is the cluster's
    /// own.
    Release,
}

/// Decides about one object that the record lists and the Work does not.
#[must_use]
pub fn withdraw(evidence: &Evidence<'_>) -> Verdict {
    if evidence.work_uid.is_empty() {
        return Verdict::Keep;
    }
    let is_same_work = evidence.recorded_work_uid == evidence.work_uid;
    if !is_same_work || evidence.work_generation < evidence.recorded_generation {
        return Verdict::Release;
    }
    if evidence.work_generation == evidence.recorded_generation {
        return Verdict::Keep;
    }
    let Some(live) = evidence.live else { return Verdict::Forget };
    let owners = owners(live);
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let is_the_one = evidence.recorded_uid.is_empty() || evidence.recorded_uid == uid;
    if !is_the_one || !owners.iter().any(|owner| owner.uid == evidence.ours.uid) {
        return Verdict::Forget;
    }
    if owners.len() > 1 {
        return Verdict::Disown;
    }
    if is_system_class(live) {
        return Verdict::Release;
    }
    let version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    Verdict::Delete {
        uid: uid.to_owned(),
        resource_version: version.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            kind: "AppliedWork".to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    fn live(uid: &str, owners: &[OwnerReference]) -> Value {
        json!({ "metadata": { "uid": uid, "resourceVersion": "7", "ownerReferences": owners } })
    }

    /// Judges the plain case with one thing changed.
    fn judge(change: impl FnOnce(&mut Evidence<'_>)) -> Verdict {
        let (ours, live) = (owner("applied-work"), live("object", &[owner("applied-work")]));
        let mut evidence = Evidence {
            recorded_work_uid: "work",
            recorded_generation: 3,
            work_uid: "work",
            work_generation: 4,
            recorded_uid: "object",
            live: Some(&live),
            ours: &ours,
        };
        change(&mut evidence);
        withdraw(&evidence)
    }

    #[test]
    fn with_full_proof_the_object_goes_as_it_was_seen() {
        let (uid, resource_version) = ("object".to_owned(), "7".to_owned());
        assert_eq!(judge(|_| {}), Verdict::Delete { uid, resource_version });
    }

    /// An earlier version took such classes over; no API server deletes them.
    #[test]
    fn a_priority_class_of_the_cluster_is_let_go_of() {
        let mut class = live("object", &[owner("applied-work")]);
        class["apiVersion"] = json!("scheduling.k8s.io/v1");
        class["kind"] = json!("PriorityClass");
        class["metadata"]["name"] = json!("system-node-critical");
        let ours = owner("applied-work");
        let evidence = Evidence {
            recorded_work_uid: "work",
            recorded_generation: 3,
            work_uid: "work",
            work_generation: 4,
            recorded_uid: "object",
            live: Some(&class),
            ours: &ours,
        };
        assert_eq!(withdraw(&evidence), Verdict::Release);
    }

    #[test]
    fn a_work_of_the_same_name_but_another_uid_proves_nothing() {
        assert_eq!(judge(|evidence| evidence.work_uid = "restored"), Verdict::Release);
        assert_eq!(judge(|evidence| evidence.recorded_work_uid = ""), Verdict::Release);
    }

    #[test]
    fn a_record_without_a_work_proves_nothing() {
        assert_eq!(
            judge(|evidence| (evidence.recorded_work_uid, evidence.work_uid) = ("", "")),
            Verdict::Keep
        );
    }

    #[test]
    fn a_hub_that_went_back_in_time_proves_nothing() {
        assert_eq!(judge(|evidence| evidence.work_generation = 2), Verdict::Release);
        assert_eq!(judge(|evidence| evidence.work_generation = 3), Verdict::Keep);
    }

    #[test]
    fn a_successor_of_the_same_name_is_not_ours() {
        assert_eq!(judge(|evidence| evidence.recorded_uid = "former"), Verdict::Forget);
    }

    #[test]
    fn an_object_that_lost_our_name_is_not_ours() {
        let (foreign, ours) = (live("object", &[owner("somebody")]), owner("applied-work"));
        let evidence = Evidence {
            recorded_work_uid: "work",
            recorded_generation: 3,
            work_uid: "work",
            work_generation: 4,
            recorded_uid: "object",
            live: Some(&foreign),
            ours: &ours,
        };
        assert_eq!(withdraw(&evidence), Verdict::Forget);
    }

    #[test]
    fn an_object_that_others_own_too_stays() {
        let (shared, ours) =
            (live("object", &[owner("applied-work"), owner("b")]), owner("applied-work"));
        let evidence = Evidence {
            recorded_work_uid: "work",
            recorded_generation: 3,
            work_uid: "work",
            work_generation: 4,
            recorded_uid: "object",
            live: Some(&shared),
            ours: &ours,
        };
        assert_eq!(withdraw(&evidence), Verdict::Disown);
    }
}
