//! Bringing the member in line with one Work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use stolos_api::placement::names::{MEMBER_FIELD_MANAGER, finalizer, work_reason};
use stolos_api::placement::{
    AppliedResourceMeta, ApplyStrategy, ApplyStrategyType, WhenToApply, Work,
    WorkResourceIdentifier,
};
use stolos_core::placement::apply::report::{self, Outcome, same_object};
use stolos_core::placement::apply::{self, Action, Evidence, Manifest, Verdict};
use tracing::{info, warn};

use super::Applier;
use super::kinds::{Kind, is_applied_work};
use super::record::Record;
use crate::Context;

/// Manifests of one wave that are applied at once.
const CONCURRENCY: usize = 8;

/// What was found after an object was last applied: the hash of its manifest and its resource version. While both are
/// the same, applying it again would change nothing.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<(String, WorkResourceIdentifier), (String, String)>>);

impl Seen {
    fn is_unchanged(&self, work: &str, manifest: &Manifest, hash: &str, live: &Value) -> bool {
        let seen = self.0.lock().expect("no holder of this lock panics");
        let known = seen.get(&(work.to_owned(), manifest.identifier.clone()));
        known.is_some_and(|(known, version)| known == hash && *version == resource_version(live))
    }

    fn note(&self, work: &str, manifest: &Manifest, hash: String, live: &Value) {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        seen.insert((work.to_owned(), manifest.identifier.clone()), (hash, resource_version(live)));
    }

    fn forget(&self, work: &str) {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        seen.retain(|(of, _), _| of != work);
    }
}

fn resource_version(object: &Value) -> String {
    text(object, "/metadata/resourceVersion")
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Brings the member in line with a Work and reports. Returns the Work as it is on the hub afterwards.
///
/// # Errors
/// When something should be tried again; what could be done has been done and reported.
pub(crate) async fn reconcile(
    applier: &Applier,
    work: &Arc<Work>,
) -> Result<Option<Work>, kube::Error> {
    if work.metadata.deletion_timestamp.is_some() {
        return withdraw_all(applier, work).await;
    }
    let work = &with_finalizer(&applier.context, work).await?;
    let client = &applier.context.member;
    let name = work.metadata.name.as_deref().unwrap_or_default();
    let mut record = Record::open(client, work).await?;
    if record.is_deleting() {
        // A former Work of this name is still being withdrawn; the end of its record wakes us.
        return Ok(None);
    }
    let kinds = kinds_of(applier, &work.spec.workload.manifests).await?;
    let manifests = apply::read(&work.spec.workload.manifests, |group, version, kind| {
        kinds.get(&(group.to_owned(), version.to_owned(), kind.to_owned())).map(Kind::mapping)
    });
    let readable =
        manifests.iter().filter(|(_, manifest)| manifest.is_ok()).map(|(identifier, _)| identifier);
    record.note_ahead(client, readable).await?;

    let strategy = work.spec.apply_strategy.clone().unwrap_or_default();
    let pass = Pass { applier, name, strategy: &strategy, record: &record, kinds: &kinds };
    let results = pass.apply(&manifests).await;
    let withdrawn = pass.withdraw(work, &results).await;

    let mut retry = withdrawn.retry;
    record.set_resources(client, resources_after(&record, &results, &withdrawn.gone)).await?;
    if retry.is_none() {
        record.complete(client, work).await?;
    }
    let mut outcomes = Vec::new();
    for (identifier, result) in results {
        outcomes.push((identifier, result.outcome));
        retry = retry.or(result.retry);
    }
    let reported = report(&applier.context, work, &outcomes).await?;
    retry.map_or(Ok(Some(reported)), Err)
}

/// What became of one manifest.
struct Applied {
    outcome: Outcome,
    /// Uid of the object on the member.
    uid: Option<String>,
    /// The failure that calls for another try.
    retry: Option<kube::Error>,
}

impl Applied {
    fn failed(reason: &'static str, message: String, retry: Option<kube::Error>) -> Self {
        Self { outcome: Outcome::Failed { reason, message, generation: 0 }, uid: None, retry }
    }
}

type KindsByName = BTreeMap<(String, String, String), Kind>;

/// One pass over the manifests of a Work.
struct Pass<'a> {
    applier: &'a Applier,
    name: &'a str,
    strategy: &'a ApplyStrategy,
    record: &'a Record,
    kinds: &'a KindsByName,
}

type Read = (WorkResourceIdentifier, Result<Manifest, apply::Malformed>);

impl Pass<'_> {
    /// Applies the manifests wave by wave; a failed wave does not stop later ones. Results keep the order of manifests.
    async fn apply(&self, manifests: &[Read]) -> Vec<(WorkResourceIdentifier, Applied)> {
        let mut results: Vec<Option<Applied>> = manifests.iter().map(|_| None).collect();
        let mut waves: BTreeMap<usize, Vec<(usize, &Manifest)>> = BTreeMap::new();
        for (index, (identifier, manifest)) in manifests.iter().enumerate() {
            match manifest {
                Ok(manifest) => {
                    waves.entry(apply::wave(identifier)).or_default().push((index, manifest))
                }
                Err(malformed) => {
                    results[index] =
                        Some(Applied::failed(malformed.reason, malformed.message.clone(), None));
                }
            }
        }
        for wave in waves.into_values() {
            // Collected first: a stream that borrows would not be `Send` for every lifetime.
            let work: Vec<_> =
                wave.into_iter().map(|(index, manifest)| self.apply_at(index, manifest)).collect();
            let applied: Vec<_> =
                futures::stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
            for (index, result) in applied {
                results[index] = Some(result);
            }
        }
        let identifiers = manifests.iter().map(|(identifier, _)| identifier.clone());
        identifiers.zip(results.into_iter().flatten()).collect()
    }

    async fn apply_at(&self, index: usize, manifest: &Manifest) -> (usize, Applied) {
        (index, self.apply_one(manifest).await)
    }

    fn api(&self, identifier: &WorkResourceIdentifier) -> Option<Api<DynamicObject>> {
        let name = (identifier.group.clone(), identifier.version.clone(), identifier.kind.clone());
        Some(self.kinds.get(&name)?.api(&self.applier.context.member, &identifier.namespace))
    }

    async fn apply_one(&self, manifest: &Manifest) -> Applied {
        if self.strategy.type_ == ApplyStrategyType::ReportDiff {
            let message = "`applyStrategy.type: ReportDiff` is not supported by this version; nothing is written";
            return Applied::failed(work_reason::FAILED_TO_REPORT_DIFF, message.to_owned(), None);
        }
        if self.strategy.when_to_apply == WhenToApply::IfNotDrifted {
            let message = "`applyStrategy.whenToApply: IfNotDrifted` is not supported by this version; nothing is written";
            return Applied::failed(
                work_reason::FAILED_TO_RUN_DRIFT_DETECTION,
                message.to_owned(),
                None,
            );
        }
        let identifier = &manifest.identifier;
        let Some(api) = self.api(identifier) else {
            let message = format!("the member cluster does not serve kind `{}`", identifier.kind);
            return Applied::failed(work_reason::DECODING_ERRED, message, None);
        };
        let live = match api.get_opt(&identifier.name).await {
            Ok(live) => live.map(to_value),
            Err(error) => {
                return Applied::failed(
                    work_reason::FAILED_TO_FIND_OBJECT,
                    error.to_string(),
                    Some(error),
                );
            }
        };
        let hash = apply::spec_hash(&manifest.object);
        if let Some(live) = live
            .as_ref()
            .filter(|live| self.applier.seen.is_unchanged(self.name, manifest, &hash, live))
        {
            return applied(identifier, live);
        }
        let stale = match self.stale_owners(live.as_ref()).await {
            Ok(stale) => stale,
            Err(error) => {
                return Applied::failed(
                    work_reason::FAILED_TO_TAKE_OVER,
                    error.to_string(),
                    Some(error),
                );
            }
        };
        let action = apply::decide(live.as_ref(), &self.record.owner(), self.strategy, |owner| {
            stale.contains(&owner.uid)
        });
        let action = match action {
            Ok(action) => action,
            Err(refusal) => return Applied::failed(refusal.reason, refusal.message, None),
        };
        match self.write(&api, manifest, live.as_ref(), &action).await {
            Ok(Some(written)) => {
                self.applier.seen.note(self.name, manifest, hash, &written);
                applied(identifier, &written)
            }
            Ok(None) => {
                let message = "the object differs from the manifest and `applyStrategy.whenToTakeOver` is IfNoDiff";
                Applied::failed(work_reason::FAILED_TO_TAKE_OVER, message.to_owned(), None)
            }
            Err(error) => {
                Applied::failed(work_reason::MANIFEST_APPLY_FAILED, error.to_string(), Some(error))
            }
        }
    }

    /// Writes a manifest by server-side apply; the server merges with its own schema. Returns nothing when an object that
    /// may be taken over only unchanged differs.
    async fn write(
        &self,
        api: &Api<DynamicObject>,
        manifest: &Manifest,
        live: Option<&Value>,
        action: &Action,
    ) -> Result<Option<Value>, kube::Error> {
        let force = match self.strategy.type_ {
            ApplyStrategyType::ClientSideApply | ApplyStrategyType::ReportDiff => true,
            ApplyStrategyType::ServerSideApply => {
                self.strategy.server_side_apply_config.as_ref().is_some_and(|config| config.force)
            }
        };
        let mut params = PatchParams::apply(MEMBER_FIELD_MANAGER);
        params.force = force;
        let name = &manifest.identifier.name;
        if let (Action::TakeOverIfSame, Some(live)) = (action, live) {
            let plain = apply::prepare(&manifest.object, &self.record.owner());
            let dry = PatchParams { dry_run: true, force: true, ..params.clone() };
            let would = to_value(api.patch(name, &dry, &Patch::Apply(plain)).await?);
            if differ(&would, live) {
                return Ok(None);
            }
        }
        let ready = apply::prepare(&manifest.object, &self.record.owner());
        api.patch(name, &params, &Patch::Apply(ready)).await.map(|object| Some(to_value(object)))
    }

    /// Returns the uids of AppliedWorks among the owners that no Work on the hub stands behind: left over from an earlier
    /// membership.
    async fn stale_owners(&self, live: Option<&Value>) -> Result<Vec<String>, kube::Error> {
        let ours = self.record.owner().uid;
        let owners = live
            .and_then(|live| live.pointer("/metadata/ownerReferences"))
            .cloned()
            .unwrap_or_default();
        let owners: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> =
            serde_json::from_value(owners).unwrap_or_default();
        let context = &self.applier.context;
        let works: Api<Work> = Api::namespaced(
            context.hub.clone(),
            &stolos_api::cluster::names::member_namespace(&context.name),
        );
        let mut stale = Vec::new();
        for owner in owners.iter().filter(|owner| is_applied_work(owner) && owner.uid != ours) {
            if works.get_opt(&owner.name).await?.is_none() {
                stale.push(owner.uid.clone());
            }
        }
        Ok(stale)
    }

    /// Removes what is on record and no longer in the Work, each object by its own proof.
    async fn withdraw(
        &self,
        work: &Work,
        results: &[(WorkResourceIdentifier, Applied)],
    ) -> Withdrawn {
        let mut withdrawn = Withdrawn::default();
        let listed = |known: &AppliedResourceMeta| {
            results.iter().any(|(id, _)| same_object(id, &known.identifier))
        };
        for known in self.record.resources().iter().filter(|known| !listed(known)) {
            match self.withdraw_one(work, known).await {
                Ok(true) => withdrawn.gone.push(known.identifier.clone()),
                Ok(false) => {}
                Err(error) => {
                    warn!(work = self.name, object = %known.identifier.name, %error, "failed to withdraw");
                    withdrawn.retry = Some(error);
                }
            }
        }
        withdrawn
    }

    /// Tells whether the object can leave the record.
    async fn withdraw_one(
        &self,
        work: &Work,
        known: &AppliedResourceMeta,
    ) -> Result<bool, kube::Error> {
        let identifier = &known.identifier;
        let kind = self
            .applier
            .kinds
            .get(&identifier.group, &identifier.version, &identifier.kind)
            .await?;
        // A kind that is not served may come back; its objects are then still ours.
        let Some(kind) = kind else { return Ok(false) };
        let api = kind.api(&self.applier.context.member, &identifier.namespace);
        let live = api.get_opt(&identifier.name).await?.map(to_value);
        let owner = self.record.owner();
        let evidence = Evidence {
            recorded_work_uid: self.record.work_uid(),
            recorded_generation: self.record.work_generation(),
            work_uid: work.metadata.uid.as_deref().unwrap_or_default(),
            work_generation: work.metadata.generation.unwrap_or(0),
            recorded_uid: &known.uid,
            live: live.as_ref(),
            ours: &owner,
        };
        match (apply::withdraw(&evidence), live) {
            (Verdict::Keep, _) => Ok(false),
            (Verdict::Forget, _) | (_, None) => Ok(true),
            (Verdict::Delete, Some(live)) => {
                let this_one = Preconditions {
                    uid: Some(text(&live, "/metadata/uid")),
                    resource_version: None,
                };
                let deleted = api
                    .delete(&identifier.name, &DeleteParams::background().preconditions(this_one))
                    .await;
                info!(work = self.name, kind = %identifier.kind, namespace = %identifier.namespace, name = %identifier.name, "withdrew object");
                ignore_missing(deleted.map(|_| ()))
            }
            (Verdict::Disown, Some(live)) => {
                let owners =
                    live.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned();
                let others: Vec<Value> = owners
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|other| other["uid"] != owner.uid)
                    .collect();
                let patch = json!({
                    "metadata": { "resourceVersion": resource_version(&live), "ownerReferences": others },
                });
                let disowned = api
                    .patch(&identifier.name, &PatchParams::default(), &Patch::Merge(patch))
                    .await;
                ignore_missing(disowned.map(|_| ()))
            }
        }
    }
}

#[derive(Default)]
struct Withdrawn {
    gone: Vec<WorkResourceIdentifier>,
    retry: Option<kube::Error>,
}

fn ignore_missing(result: Result<(), kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(true),
        other => other.map(|()| true),
    }
}

fn applied(identifier: &WorkResourceIdentifier, live: &Value) -> Applied {
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let availability = apply::availability(identifier, live);
    Applied {
        outcome: Outcome::Applied { generation, availability },
        uid: Some(text(live, "/metadata/uid")),
        retry: None,
    }
}

fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that came as JSON goes as JSON")
}

/// Compares what an apply would make with what is there, but for what the agent adds itself.
fn differ(would: &Value, live: &Value) -> bool {
    let plain = |object: &Value| {
        let mut plain = object.clone();
        if let Some(metadata) = plain.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            for field in
                ["annotations", "generation", "managedFields", "ownerReferences", "resourceVersion"]
            {
                metadata.remove(field);
            }
        }
        plain
    };
    let annotations = |object: &Value| {
        let all = object
            .pointer("/metadata/annotations")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let user: Vec<_> =
            all.into_iter().filter(|(name, _)| !name.contains("kubernetes-fleet.io/")).collect();
        user
    };
    plain(would) != plain(live) || annotations(would) != annotations(live)
}

/// Returns what is on record after a pass: what was before and is not gone, with the uids that are known.
fn resources_after(
    record: &Record,
    results: &[(WorkResourceIdentifier, Applied)],
    gone: &[WorkResourceIdentifier],
) -> Vec<AppliedResourceMeta> {
    let mut resources: Vec<AppliedResourceMeta> = record.resources().to_vec();
    resources.retain(|known| !gone.iter().any(|gone| same_object(gone, &known.identifier)));
    for known in &mut resources {
        let result =
            results.iter().find(|(identifier, _)| same_object(identifier, &known.identifier));
        let Some((identifier, result)) = result else { continue };
        known.identifier = identifier.clone();
        if let Some(uid) = &result.uid {
            known.uid.clone_from(uid);
        }
    }
    resources
}

async fn kinds_of(applier: &Applier, manifests: &[Value]) -> Result<KindsByName, kube::Error> {
    let mut kinds = KindsByName::new();
    for manifest in manifests {
        let api_version = text(manifest, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let name = (group.to_owned(), version.to_owned(), text(manifest, "/kind"));
        if kinds.contains_key(&name) || name.2.is_empty() {
            continue;
        }
        if let Some(kind) = applier.kinds.get(&name.0, &name.1, &name.2).await? {
            kinds.insert(name, kind);
        }
    }
    Ok(kinds)
}

async fn report(
    context: &Context,
    work: &Work,
    outcomes: &[(WorkResourceIdentifier, Outcome)],
) -> Result<Work, kube::Error> {
    let generation = work.metadata.generation.unwrap_or(0);
    let status = report::status(work.status.as_ref(), generation, outcomes, (context.clock)());
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
async fn withdraw_all(applier: &Applier, work: &Work) -> Result<Option<Work>, kube::Error> {
    let name = work.metadata.name.as_deref().unwrap_or_default();
    applier.seen.forget(name);
    if !has_finalizer(work) {
        return Ok(None);
    }
    let record = Record::find(&applier.context.member, name).await?;
    let uid = work.metadata.uid.as_deref().unwrap_or_default();
    match record {
        Some(record) if record.work_uid().is_empty() || record.work_uid() == uid => {
            if !record.is_deleting() {
                record.delete(&applier.context.member).await?;
                info!(work = name, "withdrew everything that a Work placed");
            }
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
