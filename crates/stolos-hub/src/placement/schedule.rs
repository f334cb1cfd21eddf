//! Where a placement goes: bindings, and the decisions with their reasons.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_api::placement::names::{annotation, condition as type_, finalizer, label, reason};
use stolos_api::placement::{
    BindingState, ClusterDecision, ClusterResourceBinding, ClusterResourcePlacement,
    ClusterSchedulingPolicySnapshot, SchedulingPolicySnapshotStatus,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::placement::condition::{Builder, Status, upsert};
use stolos_core::placement::scheduler::{self, Assignment};

use super::object::Job;
use super::rollout::apply_strategy_of;
use super::selection::{has_finalizer, remove_finalizer};
use super::world::World;

impl World {
    /// Plans the bindings of a placement.
    pub(super) fn plan_schedule(&self, key: &Key, now: Timestamp) -> Plan<Job> {
        let Some(placement) = self.placements.get(key) else { return Plan::default() };
        if placement.metadata.deletion_timestamp.is_some() {
            return self.delete_bindings(placement, key);
        }
        // Without it, bindings could outlive the placement.
        if !has_finalizer(&placement.metadata, finalizer::SCHEDULER_CLEANUP) {
            return Plan::default();
        }
        let Some(policy) = self.latest_policy(placement) else { return Plan::default() };
        let members: Vec<_> = self.members.iter().map(AsRef::as_ref).collect();
        let bindings: Vec<_> =
            self.bindings_of(key).map(|binding| observed_binding(binding)).collect();
        let name_of = |meta: &ObjectMeta| meta.name.clone().unwrap_or_default();
        let observed = scheduler::Observed {
            placement: &name_of(&placement.metadata),
            namespace: placement.metadata.namespace.as_deref(),
            placement_uid: placement.metadata.uid.as_deref().unwrap_or_default(),
            policy_snapshot: &name_of(&policy.metadata),
            policy: policy.spec.policy.as_ref(),
            number_of_clusters: noted(policy, annotation::NUMBER_OF_CLUSTERS),
            clusters: &members,
            bindings: &bindings,
            now,
        };
        match scheduler::plan(&observed) {
            Ok(plan) => self.carry_out(placement, policy, plan, now),
            Err(error) => {
                let decided = ("False", reason::SCHEDULING_POLICY_UNFULFILLED, error.to_string());
                let report = decide(policy, &[], decided, now);
                report.into_iter().collect::<Vec<_>>().into()
            }
        }
    }

    fn carry_out(
        &self,
        placement: &ClusterResourcePlacement,
        policy: &ClusterSchedulingPolicySnapshot,
        plan: scheduler::Plan,
        now: Timestamp,
    ) -> Plan<Job> {
        let existing = |name: &str| {
            let namespace = placement.metadata.namespace.clone().unwrap_or_default();
            self.bindings.get(&Key { namespace, name: name.to_owned() })
        };
        let create = plan
            .create
            .into_iter()
            .map(|assignment| Job(Write::Create(new_binding(placement, assignment).into())));
        let patch = plan.patch.into_iter().filter_map(|assignment| {
            let mut binding = ClusterResourceBinding::clone(existing(&assignment.name)?);
            if let Some(annotations) = &mut binding.metadata.annotations {
                annotations.remove(annotation::PREVIOUS_BINDING_STATE);
            }
            binding.spec = assignment.spec;
            Some(Job(Write::Replace(binding.into())))
        });
        let unschedule = plan.unschedule.into_iter().filter_map(|(name, state)| {
            Some(Job(Write::Replace(unscheduled(existing(&name)?, state).into())))
        });
        let release = plan.release.iter().filter_map(|name| released(existing(name)?));
        let report = plan.outcome.and_then(|outcome| {
            let reported = policy.status.as_ref().map_or(&[][..], |status| &status.target_clusters);
            let decisions =
                if outcome.same_decisions(reported) { reported } else { &outcome.decisions };
            decide(policy, decisions, outcome.condition(), now)
        });
        Plan::default()
            .then(create.collect())
            .then(patch.chain(release).collect())
            .then(unschedule.collect())
            .then(report.into_iter().collect())
            .waking_at(plan.again.then_some(now))
    }

    /// Returns the policy in force; none while one takes the place of another.
    pub(super) fn latest_policy<'a>(
        &'a self,
        placement: &'a ClusterResourcePlacement,
    ) -> Option<&'a ClusterSchedulingPolicySnapshot> {
        let is_latest = |policy: &&ClusterSchedulingPolicySnapshot| {
            let labels = policy.metadata.labels.as_ref();
            let mark = labels.and_then(|labels| labels.get(label::IS_LATEST_SNAPSHOT));
            mark.is_some_and(|mark| mark == "true")
        };
        let mut latest = self.policies_of(placement).map(AsRef::as_ref).filter(is_latest);
        let only = latest.next()?;
        latest.next().is_none().then_some(only)
    }

    /// Deletes the bindings of a placement that is being deleted, then lets it go. They stay until their Works are gone.
    fn delete_bindings(&self, placement: &ClusterResourcePlacement, key: &Key) -> Plan<Job> {
        if !has_finalizer(&placement.metadata, finalizer::SCHEDULER_CLEANUP) {
            return Plan::default();
        }
        let (mut delete, mut release) = (Vec::new(), Vec::new());
        for binding in self.bindings_of(key) {
            if binding.metadata.deletion_timestamp.is_none() {
                delete.push(Job(Write::Delete(ClusterResourceBinding::clone(binding).into())));
            } else {
                release.extend(released(binding));
            }
        }
        // What is left to release needs the state after the deletion; it comes back with the answer.
        if !delete.is_empty() {
            return Plan::default().then(delete).then(release);
        }
        // Nothing of a binding that is released wakes its placement, and a member may hold it for as long as it likes.
        let mut freed = placement.clone();
        remove_finalizer(&mut freed.metadata, finalizer::SCHEDULER_CLEANUP);
        Plan::default().then(release).then(vec![Job(Write::Replace(freed.into()))])
    }
}

fn observed_binding(binding: &ClusterResourceBinding) -> scheduler::Binding<'_> {
    let annotations = binding.metadata.annotations.as_ref();
    let previous = annotations
        .and_then(|annotations| annotations.get(annotation::PREVIOUS_BINDING_STATE))
        .and_then(|state| serde_json::from_value(state.as_str().into()).ok());
    scheduler::Binding {
        name: binding.metadata.name.as_deref().unwrap_or_default(),
        deleting: binding.metadata.deletion_timestamp.is_some(),
        previous_state: previous,
        spec: &binding.spec,
    }
}

fn new_binding(
    placement: &ClusterResourcePlacement,
    assignment: Assignment,
) -> ClusterResourceBinding {
    let parent = placement.metadata.name.clone().unwrap_or_default();
    let mut binding = ClusterResourceBinding::new(&assignment.name, assignment.spec);
    binding.metadata.namespace.clone_from(&placement.metadata.namespace);
    binding.metadata.labels = Some([(label::PARENT_PLACEMENT.to_owned(), parent)].into());
    binding.metadata.finalizers = Some(vec![finalizer::SCHEDULER_BINDING_CLEANUP.to_owned()]);
    binding.spec.apply_strategy = Some(apply_strategy_of(placement));
    binding
}

/// Returns the binding with the note that lets it come back; the note replaces all other annotations.
fn unscheduled(binding: &ClusterResourceBinding, state: BindingState) -> ClusterResourceBinding {
    let mut binding = binding.clone();
    let note = (annotation::PREVIOUS_BINDING_STATE.to_owned(), format!("{state:?}"));
    binding.metadata.annotations = Some([note].into());
    binding.spec.state = BindingState::Unscheduled;
    binding
}

/// Takes note of the deletion of a binding.
fn released(binding: &ClusterResourceBinding) -> Option<Job> {
    if !has_finalizer(&binding.metadata, finalizer::SCHEDULER_BINDING_CLEANUP) {
        return None;
    }
    let mut released = binding.clone();
    remove_finalizer(&mut released.metadata, finalizer::SCHEDULER_BINDING_CLEANUP);
    Some(Job(Write::Replace(released.into())))
}

fn noted<T: std::str::FromStr>(policy: &ClusterSchedulingPolicySnapshot, note: &str) -> Option<T> {
    policy.metadata.annotations.as_ref()?.get(note)?.parse().ok()
}

/// Writes decisions into a policy snapshot, unless they are there.
fn decide(
    policy: &ClusterSchedulingPolicySnapshot,
    decisions: &[ClusterDecision],
    (status, reason, message): (&str, &str, String),
    now: Timestamp,
) -> Option<Job> {
    let previous = policy.status.clone().unwrap_or_default();
    let build = Builder {
        previous: &previous.conditions,
        generation: policy.metadata.generation.unwrap_or_default(),
        now,
    };
    let holds = if status == "True" { Status::True } else { Status::False };
    let scheduled = build.condition(type_::SCHEDULED, holds, reason, message);
    let mut status = SchedulingPolicySnapshotStatus {
        observed_crp_generation: noted(policy, annotation::PLACEMENT_GENERATION)
            .unwrap_or_default(),
        conditions: previous.conditions.clone(),
        target_clusters: decisions.to_vec(),
    };
    upsert(&mut status.conditions, scheduled);
    if policy.status.as_ref() == Some(&status) {
        return None;
    }
    let decided = ClusterSchedulingPolicySnapshot { status: Some(status), ..policy.clone() };
    Some(Job(Write::ReplaceStatus(decided.into())))
}
