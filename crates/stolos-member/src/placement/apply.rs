//! Bringing the member in line with one Work.

use std::sync::Arc;

use kube::api::{Api, PostParams};
use stolos_api::placement::default_apply_strategy;
use stolos_api::placement::names::finalizer;
use stolos_api::placement::{
    AppliedResourceMeta, ApplyStrategy, WhenToTakeOver, Work, WorkResourceIdentifier,
};
use stolos_core::placement::apply;
use stolos_core::placement::apply::report::{self, same_object};

use super::Applier;
use super::kinds::Kind;
use super::manifest::{Done, compares_only};
use super::pass::{Pass, kinds_of};
use super::record::Record;
use super::withdraw::{Withdrawn, withdraw, withdraw_all};
use crate::Context;

type Results = Vec<(WorkResourceIdentifier, Done)>;

/// Brings the member in line with a Work and reports. Returns the Work as it is on the hub afterwards.
///
/// # Errors
/// When something should be tried again; what could be done has been done and reported.
pub(crate) async fn reconcile(
    applier: &Applier,
    work: &Arc<Work>,
) -> Result<Option<Work>, kube::Error> {
    if work.metadata.deletion_timestamp.is_some() {
        return end(applier, work).await;
    }
    let work = with_finalizer(&applier.context, work).await?;
    let client = &applier.context.member;
    let mut record = Record::open(client, &work).await?;
    if record.is_deleting() {
        // A former Work of this name is still being withdrawn; the end of its record wakes us.
        return Ok(None);
    }
    let Some(work) = fresh(applier, work, &record).await? else { return Ok(None) };
    let name = work.metadata.name.as_deref().unwrap_or_default();
    let manifests = &work.spec.workload.manifests;
    let kinds = kinds_of(applier, manifests).await?;
    let manifests = apply::read(manifests, |group, version, kind| {
        kinds.get(&(group.to_owned(), version.to_owned(), kind.to_owned())).map(Kind::mapping)
    });
    let readable = manifests.iter().filter(|(_, manifest)| manifest.is_ok());
    let listed: Vec<&WorkResourceIdentifier> = readable.map(|(identifier, _)| identifier).collect();
    applier.kinds.expect(name, &listed);
    applier.seen.retain(name, &listed);

    let named: Vec<_> = manifests.iter().map(|(identifier, _)| identifier).collect();
    let strategy = strategy_of(&work);
    let only_compares = compares_only(&work);
    if !only_compares && !record.is_for(&work) {
        adopt(applier, &work, &mut record, &named).await?;
    }
    if !only_compares || strategy.when_to_take_over != WhenToTakeOver::Never {
        record.note_ahead(client, listed.iter().copied()).await?;
    }
    let owner = record.owner();
    let pass = Pass { applier, work: &work, name, strategy: &strategy, owner, kinds: &kinds };
    let results = pass.run(&manifests).await;
    // Who only compares withdraws nothing either; it is made up for when the strategy changes.
    let withdrawn = if only_compares {
        Withdrawn { is_pending: true, ..Withdrawn::default() }
    } else {
        withdraw(applier, &work, &record, &named).await
    };
    record.set_resources(client, resources_after(&record, &results, &withdrawn.gone)).await?;
    if withdrawn.retry.is_none() && !withdrawn.is_pending {
        record.complete(client, &work).await?;
    }
    finish(applier, &work, results, withdrawn.retry).await
}

/// Makes the record of an earlier Work of this name that of the present one. What the present one does not list is let go of
/// first: it never had it, so it cannot withdraw it.
async fn adopt(
    applier: &Applier,
    work: &Work,
    record: &mut Record,
    named: &[&WorkResourceIdentifier],
) -> Result<(), kube::Error> {
    let released = withdraw(applier, work, record, named).await;
    if let Some(error) = released.retry {
        return Err(error);
    }
    let client = &applier.context.member;
    let mut resources = record.resources().to_vec();
    resources
        .retain(|known| !released.gone.iter().any(|gone| same_object(gone, &known.identifier)));
    record.set_resources(client, resources).await?;
    if !released.is_pending {
        record.adopt(client, work).await?;
    }
    Ok(())
}

/// Reports, and says what calls for another try.
async fn finish(
    applier: &Applier,
    work: &Work,
    results: Results,
    mut retry: Option<kube::Error>,
) -> Result<Option<Work>, kube::Error> {
    let mut outcomes = Vec::with_capacity(results.len());
    for (identifier, done) in results {
        outcomes.push((identifier, done.outcome));
        retry = retry.or(done.retry);
    }
    let reported = report(&applier.context, work, &outcomes).await?;
    retry.map_or(Ok(Some(reported)), Err)
}

/// Returns a Work, read again when it looks older than what was carried out already. A watch may lag behind; a hub that was
/// restored from a backup really is older.
async fn fresh(
    applier: &Applier,
    work: Work,
    record: &Record,
) -> Result<Option<Work>, kube::Error> {
    let is_same = work.metadata.uid.as_deref() == Some(record.work_uid());
    if !is_same || work.metadata.generation.unwrap_or(0) >= record.work_generation() {
        return Ok(Some(work));
    }
    let name = work.metadata.name.as_deref().unwrap_or_default();
    let read = works(&applier.context, &work).get_opt(name).await?;
    Ok(read.filter(|read| {
        read.metadata.uid == work.metadata.uid && read.metadata.deletion_timestamp.is_none()
    }))
}

fn strategy_of(work: &Work) -> ApplyStrategy {
    let mut strategy = work.spec.apply_strategy.clone();
    default_apply_strategy(&mut strategy);
    strategy.unwrap_or_default()
}

/// Returns what is on record after a pass: what was before and is not gone, with the uids that are known. What was noted and
/// for certain never became ours leaves again.
fn resources_after(
    record: &Record,
    results: &Results,
    gone: &[WorkResourceIdentifier],
) -> Vec<AppliedResourceMeta> {
    let mut resources = Vec::new();
    for known in record.resources() {
        if gone.iter().any(|gone| same_object(gone, &known.identifier)) {
            continue;
        }
        let result =
            results.iter().find(|(identifier, _)| same_object(identifier, &known.identifier));
        let Some((identifier, done)) = result else {
            resources.push(known.clone());
            continue;
        };
        let is_certain = done.retry.is_none();
        match &done.uid {
            None if is_certain && known.uid.is_empty() => {}
            uid => resources.push(AppliedResourceMeta {
                identifier: identifier.clone(),
                uid: uid.as_ref().unwrap_or(&known.uid).clone(),
            }),
        }
    }
    resources
}

async fn report(
    context: &Context,
    work: &Work,
    outcomes: &[report::Result],
) -> Result<Work, kube::Error> {
    let status = report::status(work, outcomes, (context.clock)());
    context.metrics.processed(&status);
    if work.status.as_ref() == Some(&status) {
        return Ok(work.clone());
    }
    let reported = Work { status: Some(status), ..work.clone() };
    let name = work.metadata.name.as_deref().unwrap_or_default();
    works(context, work).replace_status(name, &PostParams::default(), &reported).await
}

fn works(context: &Context, work: &Work) -> Api<Work> {
    Api::namespaced(context.hub.clone(), work.metadata.namespace.as_deref().unwrap_or_default())
}

fn has_finalizer(work: &Work) -> bool {
    let finalizers = work.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == finalizer::WORK_CLEANUP)
}

async fn with_finalizer(context: &Context, work: &Arc<Work>) -> Result<Work, kube::Error> {
    if has_finalizer(work) {
        return Ok(Work::clone(work));
    }
    let mut marked = Work::clone(work);
    marked.metadata.finalizers.get_or_insert_default().push(finalizer::WORK_CLEANUP.to_owned());
    let name = work.metadata.name.as_deref().unwrap_or_default();
    works(context, work).replace(name, &PostParams::default(), &marked).await
}

async fn without_finalizer(context: &Context, work: &Work) -> Result<Option<Work>, kube::Error> {
    if !has_finalizer(work) {
        return Ok(None);
    }
    let mut freed = work.clone();
    if let Some(finalizers) = &mut freed.metadata.finalizers {
        finalizers.retain(|finalizer| finalizer != finalizer::WORK_CLEANUP);
    }
    let name = work.metadata.name.as_deref().unwrap_or_default();
    match works(context, work).replace(name, &PostParams::default(), &freed).await {
        Ok(freed) => Ok(Some(freed)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Withdraws everything that a deleted Work placed: its record goes after what it owns. The proof is the Work itself,
/// being deleted on the hub, and the record that was made for just this Work.
async fn end(applier: &Applier, work: &Work) -> Result<Option<Work>, kube::Error> {
    let name = work.metadata.name.as_deref().unwrap_or_default();
    applier.kinds.expect(name, &[]);
    applier.seen.retain(name, &[]);
    if !has_finalizer(work) {
        return Ok(None);
    }
    let record = Record::find(&applier.context.member, name).await?;
    let uid = work.metadata.uid.as_deref().unwrap_or_default();
    match record {
        Some(record) if record.work_uid().is_empty() || record.work_uid() == uid => {
            withdraw_all(applier, work, &record).await?;
            // The end of the record wakes us.
            Ok(None)
        }
        // The record is of another Work of this name: this one placed nothing.
        Some(_) | None => without_finalizer(&applier.context, work).await,
    }
}

/// Takes our finalizer off Works when the member leaves; what they placed stays.
pub(crate) async fn let_go(
    context: &Context,
    held: &[Arc<Work>],
) -> Result<Vec<Work>, kube::Error> {
    let mut freed = Vec::new();
    for work in held {
        freed.extend(without_finalizer(context, work).await?);
    }
    Ok(freed)
}
