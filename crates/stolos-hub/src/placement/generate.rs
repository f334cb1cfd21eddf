//! The Works of a binding: they carry its snapshots to its member, and bring back how far the member got.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::cluster::names::member_namespace;
use stolos_api::placement::names::{annotation, condition as type_, finalizer, label};
use stolos_api::placement::{
    BindingState, ClusterResourceBinding, ClusterResourcePlacement, ResourceSnapshotSpec,
    RolloutStrategyType, Work,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::placement::condition::{Status, find_current};
use stolos_core::placement::overrides;
use stolos_core::placement::snapshot::{Snapshot, resources};
use stolos_core::placement::work::{self, Part, Target};
use stolos_core::placement::work_status::{self, Outcome};

use super::object::{Job, Object};
use super::selection::{has_finalizer, remove_finalizer};
use super::world::{World, parent_of};

/// What can be said about the Works of a binding.
enum Works {
    /// They are to be written so.
    Write(work::Plan),
    /// They are as they should be.
    Settled,
    /// An override does not fit; somebody must act.
    OverrideFailed(String),
    /// Somebody must act.
    Failed(String),
    /// Something is on its way and will wake us.
    Wait,
}

impl World {
    /// Plans the Works of a binding and its status.
    pub(super) fn plan_generate(&self, key: &Key, now: Timestamp) -> Plan<Job> {
        let Some(binding) = self.bindings.get(key) else { return Plan::default() };
        if binding.metadata.deletion_timestamp.is_some() {
            return self.delete_works(binding);
        }
        if !self.is_to_be_placed(binding) {
            return Plan::default();
        }
        if !has_finalizer(&binding.metadata, finalizer::WORK_CLEANUP) {
            let mut marked = ClusterResourceBinding::clone(binding);
            let finalizers = marked.metadata.finalizers.get_or_insert_default();
            finalizers.push(finalizer::WORK_CLEANUP.to_owned());
            return vec![Job(Write::Replace(marked.into()))].into();
        }
        let works: Vec<&Work> = self.works_of(binding).map(AsRef::as_ref).collect();
        let (push, outcome) = match self.works_for(binding, &works) {
            Works::Write(plan) => return self.write_works(binding, plan),
            Works::Wait => return Plan::default(),
            Works::OverrideFailed(message) => {
                (push_strategy(binding, &works), Outcome::OverrideFailed(message))
            }
            Works::Failed(message) => (push_strategy(binding, &works), Outcome::Failed(message)),
            Works::Settled => {
                let strategy = binding.spec.apply_strategy.as_ref();
                (push_strategy(binding, &works), work_status::outcome(&works, strategy))
            }
        };
        // The rollout writes its condition at this moment; afterwards it is our turn.
        let is_ours = push.is_empty() && (is_released(binding) || !is_bound(binding));
        if is_ours { report(binding, &works, &outcome, now) } else { Plan::default().then(push) }
    }

    /// Tells whether a binding is to have Works, and its member can take them.
    pub(super) fn is_to_be_placed(&self, binding: &ClusterResourceBinding) -> bool {
        let spec = &binding.spec;
        let is_wanted = match spec.state {
            BindingState::Scheduled => false,
            BindingState::Bound => !self.is_external(binding) || is_released(binding),
            // It keeps what it has and gets nothing new: a member that left and came back has what it had, and the end of
            // this binding must not take that away.
            BindingState::Unscheduled => self.works_of(binding).next().is_some(),
        };
        let member = self.members.get(&Key::cluster(&spec.target_cluster));
        is_wanted && member.is_some_and(|member| member.metadata.deletion_timestamp.is_none())
    }

    /// Tells whether somebody else releases snapshots to the binding, one write after naming them. Our own rollout means what
    /// it writes at once.
    fn is_external(&self, binding: &ClusterResourceBinding) -> bool {
        let parent = parent_of(&binding.metadata);
        let strategy = parent
            .and_then(|parent| self.placements.get(&parent))
            .and_then(|placement| placement.spec.strategy.as_ref());
        strategy.is_some_and(|strategy| strategy.type_ == RolloutStrategyType::External)
    }

    fn works_for(&self, binding: &ClusterResourceBinding, works: &[&Work]) -> Works {
        let Some(parent) = parent_of(&binding.metadata) else { return Works::Wait };
        let Some(placement) = self.placements.get(&parent) else { return Works::Wait };
        let wanted = &binding.spec.resource_snapshot_name;
        let snapshots: Vec<_> = self
            .snapshots_of(placement)
            .map(|snapshot| Snapshot { metadata: &snapshot.metadata, spec: &snapshot.spec })
            .collect();
        let groups = resources::groups(&snapshots);
        let named = groups.iter().find(|(_, group)| {
            group.master().is_some_and(|master| master.metadata.name.as_ref() == Some(wanted))
        });
        let Some((index, group)) = named else {
            return if work::all_carry(works, wanted) {
                Works::Settled
            } else {
                Works::Failed(format!("resource snapshot `{wanted}` does not exist"))
            };
        };
        let (Some(snapshots), Some(master)) = (group.complete(), group.master()) else {
            return Works::Wait;
        };
        let strategy = placement.spec.strategy.as_ref();
        let target = Target {
            placement: &parent.name,
            namespace: placement.metadata.namespace.as_deref(),
            binding: binding.metadata.name.as_deref().unwrap_or_default(),
            generation: binding.metadata.generation.unwrap_or_default(),
            spec: &binding.spec,
            index: &index.to_string(),
            propagation_policy: strategy
                .and_then(|s| s.delete_strategy)
                .unwrap_or_default()
                .propagation_policy,
            report_back: strategy.and_then(|s| s.report_back_strategy),
        };
        let n_envelopes =
            note(master.metadata, annotation::NUMBER_OF_ENVELOPED_OBJECTS).unwrap_or(0);
        if work::is_settled(&target, snapshots.len(), n_envelopes, works) {
            return Works::Settled;
        }
        let parts = match self.overridden(binding, &snapshots) {
            Ok(parts) => parts,
            Err(error @ overrides::Error::Result { .. }) => {
                return Works::Failed(error.to_string());
            }
            Err(error) => {
                let what = "Failed to apply the override rules on the resources";
                return Works::OverrideFailed(format!("{what}: {error}"));
            }
        };
        match work::plan(&target, parts, works) {
            Ok(plan) if !plan.waits_for.is_empty() => Works::Wait,
            Ok(plan) if plan.is_empty() => Works::Settled,
            Ok(plan) => self.unless_taken(binding, placement, plan),
            Err(error) => Works::Failed(error.to_string()),
        }
    }

    /// Returns the objects of each snapshot as they go to the member.
    fn overridden(
        &self,
        binding: &ClusterResourceBinding,
        snapshots: &[Snapshot<'_, ResourceSnapshotSpec>],
    ) -> Result<Vec<Part>, overrides::Error> {
        let parts = snapshots.iter().map(part);
        let Some(member) = self.members.get(&Key::cluster(&binding.spec.target_cluster)) else {
            return Ok(parts.collect());
        };
        let overrides = self.overrides.applicable(binding, member)?;
        parts.map(|part| Ok(Part { objects: overrides.apply(part.objects)?, ..part })).collect()
    }

    /// Works are named after the placement, so the ones of an earlier binding to the same member are in the way until they
    /// are gone.
    fn unless_taken(
        &self,
        binding: &ClusterResourceBinding,
        placement: &ClusterResourcePlacement,
        plan: work::Plan,
    ) -> Works {
        let namespace = member_namespace(&binding.spec.target_cluster);
        let taken = plan.create.iter().find_map(|work| {
            let name = work.metadata.name.as_deref()?;
            self.works.get(&Key::namespaced(&namespace, name))
        });
        let Some(taken) = taken else { return Works::Write(plan) };
        let label = |key: &str| taken.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let is_sibling = label(label::PARENT_PLACEMENT) == placement.metadata.name.as_deref()
            && label(label::PARENT_PLACEMENT_NAMESPACE) == placement.metadata.namespace.as_deref();
        if is_sibling {
            return Works::Wait;
        }
        let name = taken.metadata.name.as_deref().unwrap_or_default();
        Works::Failed(format!("work `{namespace}/{name}` exists and belongs to something else"))
    }

    fn write_works(&self, binding: &ClusterResourceBinding, plan: work::Plan) -> Plan<Job> {
        let namespace = member_namespace(&binding.spec.target_cluster);
        let existing = |name: &String| self.works.get(&Key::namespaced(&namespace, name));
        let create = plan.create.into_iter().map(|work| Job(Write::Create(work.into())));
        let update = plan.update.into_iter().map(|work| Job(Write::Replace(work.into())));
        let push = plan
            .push_strategy
            .iter()
            .filter_map(|name| Some(with_strategy(binding, existing(name)?)));
        let delete = plan
            .delete
            .iter()
            .filter_map(|name| Some(withdraw(existing(name)?, Write::DeleteUnchanged)));
        Plan::default().then(create.chain(update).chain(push).chain(delete).collect())
    }

    /// Deletes the Works of a binding that is being deleted, and lets it go once they are gone: until then, what they placed
    /// may still be on the member.
    fn delete_works(&self, binding: &ClusterResourceBinding) -> Plan<Job> {
        if !has_finalizer(&binding.metadata, finalizer::WORK_CLEANUP) {
            return Plan::default();
        }
        let works: Vec<_> = self.works_of(binding).collect();
        if works.is_empty() {
            let mut released = binding.clone();
            remove_finalizer(&mut released.metadata, finalizer::WORK_CLEANUP);
            return vec![Job(Write::Replace(released.into()))].into();
        }
        let live = works.into_iter().filter(|work| work.metadata.deletion_timestamp.is_none());
        // Where the placement lives on, it is the member that is dropped; what is there goes, whatever is to become of it at
        // the end of the placement.
        let parent = parent_of(&binding.metadata).and_then(|parent| self.placements.get(&parent));
        let lives_on = parent.is_some_and(|parent| parent.metadata.deletion_timestamp.is_none());
        let end = |work: &Arc<Work>| {
            if lives_on {
                withdraw(work, Write::Delete)
            } else {
                Job(Write::Delete(Work::clone(work).into()))
            }
        };
        Plan::default().then(live.map(end).collect())
    }
}

/// Deletes a Work and what it placed. One that would leave it behind is first made one that does not.
fn withdraw(work: &Work, delete: fn(Object) -> Write<Object>) -> Job {
    Job(match work::withdrawing(work) {
        Some(withdrawing) => Write::Replace(withdrawing.into()),
        None => delete(work.clone().into()),
    })
}

fn is_bound(binding: &ClusterResourceBinding) -> bool {
    binding.spec.state == BindingState::Bound
}

/// Tells whether the rollout has said about the binding, as it is, that it goes or that it waits.
fn is_released(binding: &ClusterResourceBinding) -> bool {
    let generation = binding.metadata.generation.unwrap_or_default();
    let conditions = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
    find_current(conditions, type_::ROLLOUT_STARTED, generation)
        .is_some_and(|started| Status::of(started) != Status::Unknown)
}

fn note<T: std::str::FromStr>(meta: &ObjectMeta, annotation: &str) -> Option<T> {
    meta.annotations.as_ref()?.get(annotation)?.parse().ok()
}

fn part(snapshot: &Snapshot<'_, ResourceSnapshotSpec>) -> Part {
    Part {
        subindex: note(snapshot.metadata, annotation::SUBINDEX_OF_RESOURCE_SNAPSHOT),
        objects: snapshot.spec.selected_resources.clone(),
    }
}

/// Gives every Work the apply strategy of its binding, even when nothing else can be written.
fn push_strategy(binding: &ClusterResourceBinding, works: &[&Work]) -> Vec<Job> {
    let strategy = binding.spec.apply_strategy.as_ref();
    let outdated = work::outdated_strategies(works, strategy);
    let is_outdated =
        |work: &&&Work| outdated.iter().any(|name| work.metadata.name.as_ref() == Some(name));
    works.iter().filter(is_outdated).map(|work| with_strategy(binding, work)).collect()
}

fn with_strategy(binding: &ClusterResourceBinding, work: &Work) -> Job {
    let mut work = work.clone();
    work.spec.apply_strategy.clone_from(&binding.spec.apply_strategy);
    Job(Write::Replace(work.into()))
}

/// Writes how far a binding got, unless that is there.
fn report(
    binding: &ClusterResourceBinding,
    works: &[&Work],
    outcome: &Outcome,
    now: Timestamp,
) -> Plan<Job> {
    let previous = binding.status.clone().unwrap_or_default();
    let status = work_status::aggregate(&work_status::Observed {
        generation: binding.metadata.generation.unwrap_or_default(),
        spec: &binding.spec,
        previous: &previous,
        outcome,
        works,
        now,
    });
    if binding.status.as_ref() == Some(&status) {
        return Plan::default();
    }
    let reported = ClusterResourceBinding { status: Some(status), ..binding.clone() };
    vec![Job(Write::ReplaceStatus(reported.into()))].into()
}
