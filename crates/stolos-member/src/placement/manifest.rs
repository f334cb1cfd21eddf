//! Bringing one object of the member in line with its manifest (placement-applier 6.8).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stolos_api::placement::names::{MEMBER_FIELD_MANAGER, work_reason};
use stolos_api::placement::{
    ApplyStrategyType, ComparisonOption, PatchDetail, ReportBackStrategyType, WhenToApply, Work,
};
use stolos_core::placement::apply::report::{self, Found, Outcome};
use stolos_core::placement::apply::{self, Action, Manifest, Refusal, Step};

use super::json::{from_value, generation, resource_version, to_value, uid};
use super::pass::Pass;
use crate::failure::told;

/// Attempts at one object whose state changes under our hands, before the whole Work is tried again later.
const ATTEMPTS: usize = 3;

/// What became of one manifest.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// Uid of the object on the member, when it is ours.
    pub(super) uid: Option<String>,
    /// The failure that calls for another try.
    pub(super) retry: Option<kube::Error>,
}

/// Why a manifest was not applied or compared.
struct Failure {
    reason: &'static str,
    message: String,
    found: Found,
    cause: Cause,
}

enum Cause {
    /// The state of the object; a change of it is the time to look again.
    State,
    /// A request failed.
    Request(kube::Error),
    /// A request was decided on an outdated state.
    Outdated(kube::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, message } = refusal;
        Self { reason, message, found: Found::Nothing, cause: Cause::State }
    }
}

impl Failure {
    fn request(reason: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| Self {
            reason,
            message: told(&error),
            found: Found::Nothing,
            cause: Cause::Request(error),
        }
    }

    /// As [`Failure::request`], for a write that carries what it was decided on.
    fn write(reason: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| {
            let is_outdated = matches!(&error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists());
            let failure = Self::request(reason)(error);
            match failure.cause {
                Cause::Request(error) if is_outdated => {
                    Self { cause: Cause::Outdated(error), ..failure }
                }
                cause => Self { cause, ..failure },
            }
        }
    }
}

impl Done {
    /// A manifest that nothing could be done about.
    pub(super) fn failed(
        compares_only: bool,
        reason: &'static str,
        message: String,
        generation: i64,
    ) -> Self {
        let outcome = if compares_only {
            Outcome::NotCompared { message, generation }
        } else {
            Outcome::Failed { reason, message, generation, found: Found::Nothing }
        };
        Self { outcome, uid: None, retry: None }
    }
}

/// What a comparison found.
struct Comparison {
    differences: Vec<PatchDetail>,
    /// The member refused to compare, so all fields were.
    degraded: bool,
}

/// One manifest under work.
pub(super) struct One<'a> {
    pass: &'a Pass<'a>,
    manifest: &'a Manifest,
    api: Api<DynamicObject>,
}

impl<'a> One<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, manifest: &'a Manifest, api: Api<DynamicObject>) -> Self {
        Self { pass, manifest, api }
    }

    fn name(&self) -> &str {
        &self.manifest.identifier.name
    }

    pub(super) async fn run(&self) -> Done {
        let mut attempt = 1;
        loop {
            let mut live = None;
            match self.attempt(&mut live).await {
                Ok(done) => return done,
                Err(Failure { cause: Cause::Outdated(_), .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(failure) => return self.failed(failure, live.as_ref()),
            }
        }
    }

    fn failed(&self, failure: Failure, live: Option<&Value>) -> Done {
        let Failure { reason, message, found, cause } = failure;
        let generation = live.map(generation).unwrap_or_default();
        let mut done = Done::failed(self.pass.compares_only(), reason, message, generation);
        if let Outcome::Failed { found: noted, .. } = &mut done.outcome {
            *noted = found;
        }
        done.uid = live.filter(|live| apply::is_owned_by(live, &self.pass.owner)).map(uid);
        done.retry = match cause {
            Cause::State => None,
            Cause::Request(error) | Cause::Outdated(error) => Some(error),
        };
        done
    }

    /// Goes through the steps once. `seen` is the object as it was last known, whatever comes of it.
    async fn attempt(&self, seen: &mut Option<Value>) -> Result<Done, Failure> {
        let found = self.api.get_opt(self.name()).await;
        let found = found.map_err(Failure::request(work_reason::FAILED_TO_FIND_OBJECT))?;
        *seen = found.map(to_value);
        if let Some(done) = self.unchanged(seen.as_ref()) {
            return Ok(done);
        }
        let action = self.take_over(seen).await?;
        if self.pass.compares_only() {
            return self.compare_only(seen.as_ref()).await;
        }
        if action == Action::Leave {
            return Err(apply::not_taken_over().into());
        }
        if let Some(live) = seen.as_ref() {
            self.check_drift(live).await?;
            apply::may_write(live, &self.pass.owner, self.pass.strategy)?;
        }
        let written = self.bring_in_line(seen.take()).await?;
        let drifts = match self.pass.strategy.comparison_option {
            ComparisonOption::PartialComparison => Vec::new(),
            ComparisonOption::FullComparison => {
                apply::compare(&apply::comparable(&self.manifest.object), &written)
            }
        };
        let identifier = &self.manifest.identifier;
        let seen = &self.pass.applier.seen;
        seen.note(self.pass.name, identifier, self.wish(), &written, drifts.clone());
        Ok(self.applied(&written, drifts))
    }

    /// Everything that the state of the object follows from.
    fn wish(&self) -> String {
        format!("{} {:?}", apply::content_hash(&self.manifest.object), self.pass.strategy)
    }

    /// Answers for an object that is as we left it.
    fn unchanged(&self, live: Option<&Value>) -> Option<Done> {
        let live = live.filter(|_| !self.pass.compares_only())?;
        let (seen, identifier) = (&self.pass.applier.seen, &self.manifest.identifier);
        let drifts = seen.unchanged(self.pass.name, identifier, &self.wish(), live)?;
        Some(self.applied(live, drifts))
    }

    fn applied(&self, live: &Value, drifts: Vec<PatchDetail>) -> Done {
        let mirrors = self.pass.work.spec.report_back_strategy;
        let mirrors =
            mirrors.is_some_and(|strategy| strategy.type_ == ReportBackStrategyType::Mirror);
        let outcome = Outcome::Applied(report::Applied {
            generation: generation(live),
            availability: apply::availability(&self.manifest.identifier, live),
            drifts,
            status: Some(live).filter(|_| mirrors).and_then(report::status_of),
        });
        Done { outcome, uid: Some(uid(live)), retry: None }
    }

    /// Makes an existing object ours, if it may be: adds our owner reference and changes nothing else.
    async fn take_over(&self, live: &mut Option<Value>) -> Result<Action, Failure> {
        let reason = work_reason::FAILED_TO_TAKE_OVER;
        let (owner, strategy) = (&self.pass.owner, self.pass.strategy);
        let stale = self.pass.stale_owners(live.as_ref()).await;
        let stale = stale.map_err(Failure::request(reason))?;
        let is_stale = |owner: &OwnerReference| stale.contains(&owner.uid);
        let action = apply::decide(live.as_ref(), owner, strategy, is_stale)?;
        let Some(object) = live.as_ref() else { return Ok(action) };
        match action {
            Action::Create | Action::Apply | Action::Leave => return Ok(action),
            Action::TakeOver => {}
            Action::TakeOverIfSame => {
                let comparison = self.compare(object).await.map_err(Failure::request(reason))?;
                if !comparison.differences.is_empty() {
                    return Err(Failure {
                        reason,
                        message: "the object exists, differs from the manifest, and `applyStrategy.whenToTakeOver` is IfNoDiff".to_owned(),
                        found: Found::Diffs(comparison.differences),
                        cause: Cause::State,
                    });
                }
            }
        }
        let taken = apply::taken_over(object, owner, is_stale);
        *live = Some(self.replace(taken).await.map_err(Failure::write(reason))?);
        Ok(action)
    }

    async fn compare_only(&self, live: Option<&Value>) -> Result<Done, Failure> {
        let (generation, diffs, degraded) = match live {
            None => (None, apply::missing(), false),
            Some(live) => {
                let failed = Failure::request(work_reason::FAILED_TO_REPORT_DIFF);
                let comparison = self.compare(live).await.map_err(failed)?;
                (Some(generation(live)), comparison.differences, comparison.degraded)
            }
        };
        let is_ours = live.filter(|live| apply::is_owned_by(live, &self.pass.owner));
        let outcome = Outcome::Compared { generation, diffs, degraded };
        Ok(Done { outcome, uid: is_ours.map(uid), retry: None })
    }

    /// Refuses to write over what somebody changed since this very manifest was applied, where the strategy says so.
    async fn check_drift(&self, live: &Value) -> Result<(), Failure> {
        let checks = match self.pass.strategy.when_to_apply {
            WhenToApply::Always => false,
            WhenToApply::IfNotDrifted => apply::carries_hash(live, &self.manifest.object),
        };
        if !checks {
            return Ok(());
        }
        let failed = Failure::request(work_reason::FAILED_TO_RUN_DRIFT_DETECTION);
        let comparison = self.compare(live).await.map_err(failed)?;
        if comparison.differences.is_empty() {
            return Ok(());
        }
        let reason = if comparison.degraded {
            work_reason::FOUND_DRIFTS_IN_DEGRADED_MODE
        } else {
            work_reason::FOUND_DRIFTS
        };
        Err(Failure {
            reason,
            message: "the object was changed on the member and `applyStrategy.whenToApply` is IfNotDrifted".to_owned(),
            found: Found::Drifts(comparison.differences),
            cause: Cause::State,
        })
    }

    /// Compares the manifest with the object. For a partial comparison the member says what the manifest would make of the
    /// object; where it refuses the manifest, all fields are compared.
    async fn compare(&self, live: &Value) -> Result<Comparison, kube::Error> {
        let wanted = apply::comparable(&self.manifest.object);
        let degraded = match self.pass.strategy.comparison_option {
            ComparisonOption::FullComparison => false,
            ComparisonOption::PartialComparison => {
                let params =
                    PatchParams { dry_run: true, ..PatchParams::apply(MEMBER_FIELD_MANAGER) };
                match self.api.patch(self.name(), &params.force(), &Patch::Apply(&wanted)).await {
                    Ok(would) => {
                        let differences = apply::compare(&to_value(would), live);
                        return Ok(Comparison { differences, degraded: false });
                    }
                    Err(kube::Error::Api(status)) if status.is_invalid() => true,
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(Comparison { differences: apply::compare(&wanted, live), degraded })
    }

    /// Writes until the object is as the manifest says. A server-side apply that prepares a client-side merge is followed by
    /// that merge, so there are at most two writes.
    async fn bring_in_line(&self, mut live: Option<Value>) -> Result<Value, Failure> {
        let reason = work_reason::MANIFEST_APPLY_FAILED;
        let (owner, strategy) = (&self.pass.owner, self.pass.strategy);
        loop {
            match (apply::write(&self.manifest.object, live.as_ref(), owner, strategy), live) {
                (Step::Nothing, Some(live)) => return Ok(live),
                (Step::Nothing, None) => live = None,
                (Step::Create(object), _) => {
                    return self.create(object).await.map_err(Failure::write(reason));
                }
                (Step::Replace(object), _) => {
                    return self.replace(object).await.map_err(Failure::write(reason));
                }
                (Step::ServerSide { manifest, force, adopt, again }, before) => {
                    let manifest = self.adopt(manifest, adopt, before.as_ref()).await?;
                    let written = self.server_side(&manifest, force).await?;
                    if !again {
                        return Ok(written);
                    }
                    live = Some(written);
                }
            }
        }
    }

    /// Writes the managed fields that a server-side apply needs first.
    async fn adopt(
        &self,
        mut manifest: Value,
        adopt: Option<Value>,
        live: Option<&Value>,
    ) -> Result<Value, Failure> {
        let Some(fields) = adopt else { return Ok(manifest) };
        let version = live.map(resource_version);
        let patch = json!({"metadata": {"managedFields": fields, "resourceVersion": version}});
        let params = PatchParams {
            field_manager: Some(MEMBER_FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let adopted = self.api.patch(self.name(), &params, &Patch::Merge(patch)).await;
        let adopted = adopted.map_err(Failure::write(work_reason::MANIFEST_APPLY_FAILED))?;
        if let Some(lock) = manifest.pointer_mut("/metadata/resourceVersion") {
            *lock = json!(adopted.metadata.resource_version);
        }
        Ok(manifest)
    }

    async fn server_side(&self, manifest: &Value, force: bool) -> Result<Value, Failure> {
        let reason = work_reason::MANIFEST_APPLY_FAILED;
        let params = PatchParams { force, ..PatchParams::apply(MEMBER_FIELD_MANAGER) };
        let applied = self.api.patch(self.name(), &params, &Patch::Apply(manifest)).await;
        applied.map(to_value).map_err(|error| {
            // Somebody owns a field: only a change of the object ends that.
            let is_conflict =
                matches!(&error, kube::Error::Api(status) if status.is_conflict()) && !force;
            let failure = Failure::write(reason)(error);
            match failure.cause {
                Cause::Outdated(_) if is_conflict => Failure { cause: Cause::State, ..failure },
                cause => Failure { cause, ..failure },
            }
        })
    }

    async fn create(&self, object: Value) -> Result<Value, kube::Error> {
        self.api.create(&as_agent(), &from_value(object)?).await.map(to_value)
    }

    async fn replace(&self, object: Value) -> Result<Value, kube::Error> {
        self.api.replace(self.name(), &as_agent(), &from_value(object)?).await.map(to_value)
    }
}

fn as_agent() -> PostParams {
    PostParams { field_manager: Some(MEMBER_FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Tells whether a Work is compared only.
pub(super) fn compares_only(work: &Work) -> bool {
    let strategy = work.spec.apply_strategy.as_ref();
    strategy.is_some_and(|strategy| strategy.type_ == ApplyStrategyType::ReportDiff)
}
