//! Whether a manifest may be written over what is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use stolos_api::placement::names::work_reason;
use stolos_api::placement::{ApplyStrategy, WhenToTakeOver};

use crate::placement::eligibility::is_system_class;

/// What may be done about one manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing is there.
    Create,
    /// It is ours.
    Apply,
    /// It is not ours and may become ours.
    TakeOver,
    /// As [`Action::TakeOver`], but only when it does not differ from the manifest.
    TakeOverIfSame,
    /// It is not ours and stays so.
    Leave,
}

/// Why a manifest is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Condition reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// Decides whose a live object is and may become. `is_stale` tells whether an AppliedWork belongs to no Work any more.
///
/// # Errors
/// When the object belongs to somebody whom the strategy protects.
pub fn decide(
    live: Option<&Value>,
    ours: &OwnerReference,
    strategy: &ApplyStrategy,
    is_stale: impl Fn(&OwnerReference) -> bool,
) -> Result<Action, Refusal> {
    let Some(live) = live else { return Ok(Action::Create) };
    if is_owned_by(live, ours) {
        return Ok(Action::Apply);
    }
    if strategy.when_to_take_over == WhenToTakeOver::Never {
        return Ok(Action::Leave);
    }
    if is_system_class(live) {
        let message =
            "every API server makes this priority class for itself and lets nobody delete it; \
            leave it out of the placement"
                .to_owned();
        return Err(Refusal { reason: work_reason::FAILED_TO_TAKE_OVER, message });
    }
    let owners = owners(live);
    let others = owners.iter().filter(|owner| !(is_applied_work(owner) && is_stale(owner)));
    check_others(others, strategy, work_reason::FAILED_TO_TAKE_OVER)?;
    Ok(match strategy.when_to_take_over {
        WhenToTakeOver::IfNoDiff => Action::TakeOverIfSame,
        WhenToTakeOver::Always | WhenToTakeOver::Never => Action::TakeOver,
    })
}

/// Says why an object that is left alone is.
#[must_use]
pub fn not_taken_over() -> Refusal {
    let message = "the object exists and `applyStrategy.whenToTakeOver` is Never".to_owned();
    Refusal { reason: work_reason::NOT_TAKEN_OVER, message }
}

/// Checks that an object of ours may be written, as to its other owners.
///
/// # Errors
/// When it has owners whom the strategy protects.
pub fn may_write(
    live: &Value,
    ours: &OwnerReference,
    strategy: &ApplyStrategy,
) -> Result<(), Refusal> {
    let owners = owners(live);
    let others = owners.iter().filter(|owner| owner.uid != ours.uid);
    check_others(others, strategy, work_reason::MANIFEST_APPLY_FAILED)
}

fn check_others<'a>(
    others: impl Iterator<Item = &'a OwnerReference>,
    strategy: &ApplyStrategy,
    reason: &'static str,
) -> Result<(), Refusal> {
    let others: Vec<_> = others.collect();
    if let Some(other) = others.iter().find(|owner| is_applied_work(owner)) {
        let message = format!(
            "the object is placed already, by AppliedWork `{}`; no two placements share one",
            other.name
        );
        return Err(Refusal { reason, message });
    }
    if let Some(other) = others.first().filter(|_| !strategy.allow_co_ownership) {
        let message = format!(
            "the object is owned by {} `{}` and `applyStrategy.allowCoOwnership` is false",
            other.kind, other.name
        );
        return Err(Refusal { reason, message });
    }
    Ok(())
}

/// Returns a live object with us among its owners, without what an earlier membership left, and with no other change.
#[must_use]
pub fn taken_over(
    live: &Value,
    ours: &OwnerReference,
    is_stale: impl Fn(&OwnerReference) -> bool,
) -> Value {
    let owners = owners(live).into_iter();
    let kept = owners.filter(|owner| owner.uid != ours.uid);
    let kept = kept.filter(|owner| !(is_applied_work(owner) && is_stale(owner)));
    let mut taken = live.clone();
    taken["metadata"]["ownerReferences"] = json!(kept.chain([ours.clone()]).collect::<Vec<_>>());
    taken
}

/// Returns a live object without us among its owners, or nothing if we are not.
#[must_use]
pub fn disowned(live: &Value, ours: &OwnerReference) -> Option<Value> {
    if !is_owned_by(live, ours) {
        return None;
    }
    let others: Vec<_> = owners(live).into_iter().filter(|owner| owner.uid != ours.uid).collect();
    let mut disowned = live.clone();
    disowned["metadata"]["ownerReferences"] = json!(others);
    Some(disowned)
}

/// Returns a live object that our deletion no longer waits for, because others own it too; nothing if it does not wait.
#[must_use]
pub fn unblocked(live: &Value, ours: &OwnerReference) -> Option<Value> {
    let mut owners = owners(live);
    let is_shared = owners.len() > 1;
    let owner = owners
        .iter_mut()
        .find(|owner| owner.uid == ours.uid)
        .filter(|owner| is_shared && owner.block_owner_deletion == Some(true))?;
    owner.block_owner_deletion = Some(false);
    let mut unblocked = live.clone();
    unblocked["metadata"]["ownerReferences"] = json!(owners);
    Some(unblocked)
}

/// Tells whether an object names us as an owner.
#[must_use]
pub fn is_owned_by(live: &Value, ours: &OwnerReference) -> bool {
    owners(live).iter().any(|owner| owner.uid == ours.uid)
}

/// Reads the owners of an object.
#[must_use]
pub fn owners(object: &Value) -> Vec<OwnerReference> {
    let list = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|owner| serde_json::from_value(owner.clone()).ok())
        .collect()
}

/// Tells whether an owner is an AppliedWork.
#[must_use]
pub fn is_applied_work(owner: &OwnerReference) -> bool {
    owner.kind == "AppliedWork" && owner.api_version.starts_with("placement.kubernetes-fleet.io/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied_work(name: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "placement.kubernetes-fleet.io/v1beta1".to_owned(),
            kind: "AppliedWork".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    fn live(owners: &[OwnerReference]) -> Value {
        json!({ "metadata": { "name": "a", "ownerReferences": owners } })
    }

    fn decided(
        owners: &[OwnerReference],
        strategy: &ApplyStrategy,
        stale: bool,
    ) -> Result<Action, &'static str> {
        let ours = applied_work("web-work", "1");
        decide(Some(&live(owners)), &ours, strategy, |_| stale).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn nothing_there_is_created_and_ours_is_applied() {
        let ours = applied_work("web-work", "1");
        assert_eq!(decide(None, &ours, &ApplyStrategy::default(), |_| false), Ok(Action::Create));
        assert_eq!(decided(&[ours], &ApplyStrategy::default(), false), Ok(Action::Apply));
    }

    #[test]
    fn an_object_of_another_placement_is_never_touched() {
        let other = applied_work("other-work", "2");
        let generous = ApplyStrategy { allow_co_ownership: true, ..ApplyStrategy::default() };
        assert_eq!(
            decided(std::slice::from_ref(&other), &generous, false),
            Err("FailedToTakeOver")
        );
        let ours = applied_work("web-work", "1");
        let both = [ours.clone(), other];
        assert_eq!(decided(&both, &generous, false), Ok(Action::Apply));
        let refusal = may_write(&live(&both), &ours, &generous).unwrap_err();
        assert_eq!(refusal.reason, "ManifestApplyFailed");
    }

    #[test]
    fn a_priority_class_of_the_cluster_is_never_taken_over() {
        let mut class = live(&[]);
        class["apiVersion"] = json!("scheduling.k8s.io/v1");
        class["kind"] = json!("PriorityClass");
        class["metadata"]["name"] = json!("system-node-critical");
        let ours = applied_work("web-work", "1");
        let refusal = decide(Some(&class), &ours, &ApplyStrategy::default(), |_| false);
        assert_eq!(refusal.unwrap_err().reason, "FailedToTakeOver");
        class["metadata"]["name"] = json!("important");
        let own = decide(Some(&class), &ours, &ApplyStrategy::default(), |_| false);
        assert_eq!(own, Ok(Action::TakeOver));
    }

    #[test]
    fn what_an_earlier_membership_left_behind_is_taken_over() {
        assert_eq!(
            decided(&[applied_work("gone", "2")], &ApplyStrategy::default(), true),
            Ok(Action::TakeOver)
        );
    }

    #[test]
    fn other_owners_need_permission() {
        let owner = OwnerReference {
            kind: "Operator".to_owned(),
            uid: "9".to_owned(),
            ..OwnerReference::default()
        };
        let generous = ApplyStrategy { allow_co_ownership: true, ..ApplyStrategy::default() };
        assert_eq!(
            decided(std::slice::from_ref(&owner), &ApplyStrategy::default(), false),
            Err("FailedToTakeOver")
        );
        assert_eq!(decided(std::slice::from_ref(&owner), &generous, false), Ok(Action::TakeOver));
        let ours = applied_work("web-work", "1");
        let shared = live(&[ours.clone(), owner]);
        assert_eq!(may_write(&shared, &ours, &generous), Ok(()));
        assert!(may_write(&shared, &ours, &ApplyStrategy::default()).is_err());
    }

    #[test]
    fn taking_over_and_letting_go_change_owners_only() {
        let (ours, stale) = (applied_work("web-work", "1"), applied_work("gone", "2"));
        let owner = OwnerReference {
            kind: "Operator".to_owned(),
            uid: "9".to_owned(),
            ..OwnerReference::default()
        };
        let before = live(&[owner.clone(), stale]);
        let taken = taken_over(&before, &ours, |_| true);
        assert_eq!(taken, live(&[owner.clone(), ours.clone()]));
        assert_eq!(taken_over(&taken, &ours, |_| true), taken);
        assert_eq!(disowned(&taken, &ours), Some(live(std::slice::from_ref(&owner))));
        assert_eq!(disowned(&live(&[owner]), &ours), None);
    }

    #[test]
    fn only_a_shared_object_is_unblocked() {
        let ours =
            OwnerReference { block_owner_deletion: Some(true), ..applied_work("web-work", "1") };
        let other = OwnerReference { uid: "9".to_owned(), ..OwnerReference::default() };
        let freed = OwnerReference { block_owner_deletion: Some(false), ..ours.clone() };
        let shared = live(&[ours.clone(), other.clone()]);
        assert_eq!(unblocked(&shared, &ours), Some(live(&[freed.clone(), other.clone()])));
        assert_eq!(unblocked(&live(&[freed, other]), &ours), None);
        assert_eq!(unblocked(&live(std::slice::from_ref(&ours)), &ours), None);
    }

    #[test]
    fn the_take_over_setting_is_kept() {
        let never =
            ApplyStrategy { when_to_take_over: WhenToTakeOver::Never, ..ApplyStrategy::default() };
        let same = ApplyStrategy {
            when_to_take_over: WhenToTakeOver::IfNoDiff,
            ..ApplyStrategy::default()
        };
        assert_eq!(decided(&[], &never, false), Ok(Action::Leave));
        assert_eq!(decided(&[applied_work("other", "2")], &never, false), Ok(Action::Leave));
        assert_eq!(decided(&[], &same, false), Ok(Action::TakeOverIfSame));
    }
}
