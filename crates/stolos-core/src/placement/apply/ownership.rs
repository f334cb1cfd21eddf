//! Whether a manifest may be written over what is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;
use stolos_api::placement::names::work_reason;
use stolos_api::placement::{ApplyStrategy, WhenToTakeOver};

/// What to do with one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing is there: create it.
    Create,
    /// It is ours: bring it in line.
    Apply,
    /// It is somebody else's and nobody's: make it ours, then bring it in line.
    TakeOver,
    /// As [`Action::TakeOver`], but only when it does not differ from the manifest.
    TakeOverIfSame,
}

/// Why a manifest is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Condition reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// Decides by the owners of the live object. `is_stale` tells whether an AppliedWork belongs to no Work any more.
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
    let owners = owners(live);
    let is_ours = owners.iter().any(|owner| owner.uid == ours.uid);
    let others: Vec<&OwnerReference> = owners
        .iter()
        .filter(|owner| owner.uid != ours.uid && !(is_applied_work(owner) && is_stale(owner)))
        .collect();
    if !is_ours && strategy.when_to_take_over == WhenToTakeOver::Never {
        let message = "the object exists and `applyStrategy.whenToTakeOver` is Never".to_owned();
        return Err(Refusal { reason: work_reason::NOT_TAKEN_OVER, message });
    }
    let reason =
        if is_ours { work_reason::MANIFEST_APPLY_FAILED } else { work_reason::FAILED_TO_TAKE_OVER };
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
    Ok(match (is_ours, strategy.when_to_take_over) {
        (true, _) => Action::Apply,
        (false, WhenToTakeOver::IfNoDiff) => Action::TakeOverIfSame,
        (false, WhenToTakeOver::Always | WhenToTakeOver::Never) => Action::TakeOver,
    })
}

/// Reads the owners of an object.
pub(super) fn owners(object: &Value) -> Vec<OwnerReference> {
    let list = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|owner| serde_json::from_value(owner.clone()).ok())
        .collect()
}

fn is_applied_work(owner: &OwnerReference) -> bool {
    owner.kind == "AppliedWork" && owner.api_version.starts_with("placement.kubernetes-fleet.io/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        assert_eq!(
            decided(&[applied_work("web-work", "1"), other], &generous, false),
            Err("ManifestApplyFailed")
        );
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
        assert_eq!(decided(&[owner], &generous, false), Ok(Action::TakeOver));
    }

    #[test]
    fn the_take_over_setting_is_kept() {
        let never =
            ApplyStrategy { when_to_take_over: WhenToTakeOver::Never, ..ApplyStrategy::default() };
        let same = ApplyStrategy {
            when_to_take_over: WhenToTakeOver::IfNoDiff,
            ..ApplyStrategy::default()
        };
        assert_eq!(decided(&[], &never, false), Err("NotTakenOver"));
        assert_eq!(decided(&[], &same, false), Ok(Action::TakeOverIfSame));
    }
}
