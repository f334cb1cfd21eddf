//! Removing from the member what the hub has withdrawn: each object by its own proof, or all at the end of a Work.

use kube::api::{Api, DeleteParams, DynamicObject, PostParams, Preconditions};
use serde_json::Value;
use stolos_api::placement::names::{MEMBER_FIELD_MANAGER, annotation};
use stolos_api::placement::{AppliedResourceMeta, Work, WorkResourceIdentifier};
use stolos_core::placement::apply::report::same_object;
use stolos_core::placement::apply::{self, Evidence, Verdict};
use tracing::{info, warn};

use super::Applier;
use super::json::{from_value, to_value};
use super::record::Record;

/// What became of objects that a Work no longer lists.
#[derive(Default)]
pub(super) struct Withdrawn {
    /// Those that leave the record.
    pub(super) gone: Vec<WorkResourceIdentifier>,
    /// Something is withdrawn and could not be removed; it is to be tried when the member's kinds change.
    pub(super) is_pending: bool,
    /// The failure that calls for another try.
    pub(super) retry: Option<kube::Error>,
}

enum One {
    Gone,
    Kept,
    Pending,
}

/// Removes what is on record and no longer in the Work, each object by its own proof.
pub(super) async fn withdraw(
    applier: &Applier,
    work: &Work,
    record: &Record,
    listed: &[&WorkResourceIdentifier],
) -> Withdrawn {
    let mut withdrawn = Withdrawn::default();
    let is_listed = |known: &AppliedResourceMeta| {
        listed.iter().any(|listed| same_object(listed, &known.identifier))
    };
    for known in record.resources().iter().filter(|known| !is_listed(known)) {
        match withdraw_one(applier, work, record, known).await {
            Ok(One::Gone) => withdrawn.gone.push(known.identifier.clone()),
            Ok(One::Kept) => {}
            Ok(One::Pending) => withdrawn.is_pending = true,
            Err(error) => {
                let work = work.metadata.name.as_deref().unwrap_or_default();
                warn!(work, object = %known.identifier.name, %error, "failed to withdraw");
                withdrawn.retry = Some(error);
            }
        }
    }
    withdrawn
}

async fn withdraw_one(
    applier: &Applier,
    work: &Work,
    record: &Record,
    known: &AppliedResourceMeta,
) -> Result<One, kube::Error> {
    // A kind that is not served may come back; its objects are then still ours.
    let Some(api) = api(applier, &known.identifier).await? else { return Ok(One::Pending) };
    let name = &known.identifier.name;
    let live = api.get_opt(name).await?.map(to_value);
    let owner = record.owner();
    let verdict = apply::withdraw(&Evidence {
        recorded_work_uid: record.work_uid(),
        recorded_generation: record.work_generation(),
        work_uid: work.metadata.uid.as_deref().unwrap_or_default(),
        work_generation: work.metadata.generation.unwrap_or(0),
        recorded_uid: &known.uid,
        live: live.as_ref(),
        ours: &owner,
    });
    match (verdict, live) {
        (Verdict::Keep, _) => Ok(One::Kept),
        (Verdict::Forget, _) | (_, None) => Ok(One::Gone),
        (Verdict::Delete { uid, resource_version }, Some(_)) => {
            let this_one =
                Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
            let params = DeleteParams::background().preconditions(this_one);
            gone_anyway(api.delete(name, &params).await.map(|_| ()))?;
            let WorkResourceIdentifier { kind, namespace, .. } = &known.identifier;
            let work = work.metadata.name.as_deref().unwrap_or_default();
            info!(work, kind, namespace, name, "withdrew object");
            Ok(One::Gone)
        }
        (Verdict::Disown | Verdict::Release, Some(live)) => {
            if let Some(disowned) = apply::disowned(&live, &owner) {
                gone_anyway(replace(&api, name, disowned).await)?;
            }
            Ok(One::Gone)
        }
    }
}

/// Takes a missing object as success: it is gone by whatever hand.
fn gone_anyway(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other,
    }
}

async fn api(
    applier: &Applier,
    identifier: &WorkResourceIdentifier,
) -> Result<Option<Api<DynamicObject>>, kube::Error> {
    let WorkResourceIdentifier { group, version, kind, namespace, .. } = identifier;
    let kind = applier.kinds.get(group, version, kind).await?;
    Ok(kind.map(|kind| kind.api(&applier.context.member, namespace)))
}

async fn replace(api: &Api<DynamicObject>, name: &str, object: Value) -> Result<(), kube::Error> {
    let params = PostParams {
        field_manager: Some(MEMBER_FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    api.replace(name, &params, &from_value(object)?).await.map(|_| ())
}

/// Takes a step towards the end of what a Work placed; the end of the record is the end of it. The caller has made sure that
/// the Work is being deleted and that the record was made for it.
pub(super) async fn withdraw_all(
    applier: &Applier,
    work: &Work,
    record: &Record,
) -> Result<(), kube::Error> {
    let name = work.metadata.name.as_deref().unwrap_or_default();
    let member = &applier.context.member;
    if !record.is_deleting() {
        if abandons(work) {
            record.delete_alone(member).await?;
            info!(work = name, "abandoned everything that a Work placed");
        } else {
            record.delete(member).await?;
            info!(work = name, "withdrew everything that a Work placed");
        }
    } else if applier.context.is_overdue(work) {
        unblock(applier, record).await?;
    }
    Ok(())
}

/// Tells whether what a Work placed stays after it.
fn abandons(work: &Work) -> bool {
    let annotations = work.metadata.annotations.as_ref();
    let policy = annotations.and_then(|all| all.get(annotation::PROPAGATION_POLICY));
    policy.is_some_and(|policy| policy == "Abandon")
}

/// Lets the record go without waiting for objects that others own too.
async fn unblock(applier: &Applier, record: &Record) -> Result<(), kube::Error> {
    let owner = record.owner();
    for known in record.resources() {
        let Some(api) = api(applier, &known.identifier).await? else { continue };
        let live = api.get_opt(&known.identifier.name).await?.map(to_value);
        let unblocked = live.and_then(|live| apply::unblocked(&live, &owner));
        if let Some(unblocked) = unblocked {
            gone_anyway(replace(&api, &known.identifier.name, unblocked).await)?;
        }
    }
    Ok(())
}
