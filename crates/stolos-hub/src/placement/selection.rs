//! What a placement selects, copied into snapshots; and their end with the placement.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use stolos_api::placement::names::{event, finalizer};
use stolos_api::placement::{
    ClusterResourcePlacement, ClusterResourceSnapshot, ClusterSchedulingPolicySnapshot,
    ResourcePlacement, RolloutStrategyType,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::placement::sanitise::sanitise;
use stolos_core::placement::select::{self, select};
use stolos_core::placement::snapshot::{Action, Parent, Snapshot, policy, resources};
use stolos_core::placement::status;

use super::object::{Job, Object};
use super::report::{COMPONENT, about};
use super::span;
use super::world::World;
use crate::event::Report;

impl World {
    /// Plans the snapshots of a placement.
    pub(super) fn plan_select(&self, key: &Key, now: Timestamp) -> Plan<Job> {
        let Some(placement) = self.placements.get(key) else { return Plan::default() };
        if placement.metadata.deletion_timestamp.is_some() {
            return self.delete_snapshots(placement, now);
        }
        if let Some(marked) = marked(placement) {
            return vec![Job(Write::Replace(marked.into()))].into();
        }
        if let Some(error) = Self::moved(placement) {
            return refuse(placement, &error, now);
        }
        let selected = select(
            &placement.spec.resource_selectors,
            Self::reach_of(placement),
            &self.config.eligibility,
            &self.catalogue,
        );
        let objects = match selected {
            Ok(objects) => objects.iter().map(|object| sanitise(object)).collect(),
            // When the missing list is complete, every placement is looked at again.
            Err(select::Error::NotSynced(_)) => return Plan::default(),
            Err(error) => return refuse(placement, &error, now),
        };
        let plan = self.plan_snapshots(placement, objects, now);
        if plan.is_empty() && Self::is_refused(placement) {
            return self.report(placement, now).waking_at(plan.wake_at);
        }
        plan
    }

    fn plan_snapshots(
        &self,
        placement: &ClusterResourcePlacement,
        objects: Vec<serde_json::Value>,
        now: Timestamp,
    ) -> Plan<Job> {
        let parent = parent(placement);
        let history = placement.spec.revision_history_limit;
        let policies: Vec<_> = self
            .policies_of(placement)
            .map(|policy| Snapshot { metadata: &policy.metadata, spec: &policy.spec })
            .collect();
        let policy = policy::plan(&parent, placement.spec.policy.as_ref(), history, &policies);
        let policy = policy.actions.into_iter().filter_map(|action| {
            let existing = |name: &str| self.policies.get(&sibling(placement, name));
            write(action, existing, |metadata, spec| ClusterSchedulingPolicySnapshot {
                metadata,
                spec,
                status: None,
            })
        });
        let strategy = placement.spec.strategy.as_ref().map(|strategy| strategy.type_);
        let (resources, wake_at) = match strategy.unwrap_or_default() {
            RolloutStrategyType::External => (Vec::new(), None),
            RolloutStrategyType::RollingUpdate => {
                self.plan_resources(placement, &parent, objects, now)
            }
        };
        together(policy.collect(), resources).waking_at(wake_at)
    }

    fn plan_resources(
        &self,
        placement: &ClusterResourcePlacement,
        parent: &Parent<'_>,
        objects: Vec<serde_json::Value>,
        now: Timestamp,
    ) -> (Vec<Job>, Option<Timestamp>) {
        let snapshots: Vec<_> = self
            .snapshots_of(placement)
            .map(|snapshot| Snapshot { metadata: &snapshot.metadata, spec: &snapshot.spec })
            .collect();
        let limits = resources::Limits {
            minimum_interval: span(self.config.snapshot_minimum_interval),
            collection: span(self.config.snapshot_collection),
            first_index: self.first_free_index(placement),
            ..resources::Limits::without_waiting(placement.spec.revision_history_limit)
        };
        let plan = resources::plan(parent, objects, &limits, &snapshots, now);
        let jobs = plan.actions.into_iter().filter_map(|action| {
            let existing = |name: &str| self.snapshots.get(&sibling(placement, name));
            write(action, existing, |metadata, spec| ClusterResourceSnapshot {
                metadata,
                spec,
                status: None,
            })
        });
        (jobs.collect(), plan.wake_at)
    }

    /// Returns an index above every one that a binding names.
    fn first_free_index(&self, placement: &ClusterResourcePlacement) -> u64 {
        let name = placement.metadata.name.as_deref().unwrap_or_default();
        let named = self
            .bindings_of(&Key::of(&placement.metadata))
            .filter_map(|binding| {
                resources::index_of_master(name, &binding.spec.resource_snapshot_name)
            })
            .max();
        named.map_or(0, |index| index + 1)
    }

    /// Deletes the snapshots of a placement that is being deleted, and lets it go. The bindings go first.
    fn delete_snapshots(&self, placement: &ClusterResourcePlacement, now: Timestamp) -> Plan<Job> {
        if has_finalizer(&placement.metadata, finalizer::SCHEDULER_CLEANUP)
            || !has_finalizer(&placement.metadata, finalizer::PLACEMENT_CLEANUP)
        {
            return Plan::default();
        }
        let is_live = |meta: &ObjectMeta| meta.deletion_timestamp.is_none();
        let policies = self
            .policies_of(placement)
            .filter(|policy| is_live(&policy.metadata))
            .map(|policy| Object::from(ClusterSchedulingPolicySnapshot::clone(policy)));
        let snapshots = self
            .snapshots_of(placement)
            .filter(|snapshot| is_live(&snapshot.metadata))
            .map(|snapshot| Object::from(ClusterResourceSnapshot::clone(snapshot)));
        let deletions = policies.chain(snapshots).map(|object| Job(Write::Delete(object)));
        let mut released = placement.clone();
        remove_finalizer(&mut released.metadata, finalizer::PLACEMENT_CLEANUP);
        let report = Report {
            component: COMPONENT,
            type_: "Normal",
            reason: event::CLEANUP_FINALIZER_REMOVED.to_owned(),
            message: "The snapshots of the placement are deleted".to_owned(),
        };
        let event = about(placement, report, 0, now);
        Plan::default()
            .then(deletions.collect())
            .then(vec![Job(Write::Replace(released.into()))])
            .then(vec![Job(Write::Create(event.into()))])
    }
}

/// Reports that the author of a placement must change its selectors.
fn refuse(
    placement: &ClusterResourcePlacement,
    error: &select::Error,
    now: Timestamp,
) -> Plan<Job> {
    let previous = placement.status.clone().unwrap_or_default();
    let kind = World::kind_of(placement);
    let generation = placement.metadata.generation.unwrap_or_default();
    let status =
        status::with_invalid_selectors(kind, generation, &previous, &error.to_string(), now);
    if placement.status.as_ref() == Some(&status) {
        return Plan::default();
    }
    let reported = ClusterResourcePlacement { status: Some(status), ..placement.clone() };
    vec![Job(Write::ReplaceStatus(reported.into()))].into()
}

/// Returns the placement with the finalizers that make its deletion wait for what it has made.
fn marked(placement: &ClusterResourcePlacement) -> Option<ClusterResourcePlacement> {
    let wanted = [finalizer::PLACEMENT_CLEANUP, finalizer::SCHEDULER_CLEANUP];
    let missing: Vec<_> =
        wanted.into_iter().filter(|name| !has_finalizer(&placement.metadata, name)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut marked = placement.clone();
    let finalizers = marked.metadata.finalizers.get_or_insert_default();
    finalizers.extend(missing.into_iter().map(str::to_owned));
    Some(marked)
}

fn parent(placement: &ClusterResourcePlacement) -> Parent<'_> {
    Parent {
        name: placement.metadata.name.as_deref().unwrap_or_default(),
        namespace: placement.metadata.namespace.as_deref(),
        generation: placement.metadata.generation.unwrap_or_default(),
        owner: owner(placement),
    }
}

/// Returns how what a placement makes refers to it.
pub(super) fn owner(placement: &ClusterResourcePlacement) -> OwnerReference {
    let (api_version, kind) = match placement.metadata.namespace {
        None => (ClusterResourcePlacement::api_version(&()), ClusterResourcePlacement::kind(&())),
        Some(_) => (ResourcePlacement::api_version(&()), ResourcePlacement::kind(&())),
    };
    OwnerReference {
        api_version: api_version.into_owned(),
        kind: kind.into_owned(),
        name: placement.metadata.name.clone().unwrap_or_default(),
        uid: placement.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Returns the key of a namesake's child: in the namespace of the placement, if it has one.
fn sibling(placement: &ClusterResourcePlacement, name: &str) -> Key {
    Key {
        namespace: placement.metadata.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    }
}

/// Returns the write of an action on the snapshots of a kind.
pub(super) fn write<'a, K, Spec>(
    action: Action<Spec>,
    existing: impl FnOnce(&str) -> Option<&'a Arc<K>>,
    new: impl FnOnce(ObjectMeta, Spec) -> K,
) -> Option<Job>
where
    K: Resource + Clone + Into<Object> + 'a,
{
    let write = match action {
        Action::Create { metadata, spec } => Write::Create(new(*metadata, spec).into()),
        Action::Delete { name } => Write::Delete(K::clone(existing(&name)?).into()),
        Action::Update { name, labels, annotations } => {
            let mut updated = K::clone(existing(&name)?);
            let meta = updated.meta_mut();
            meta.labels.get_or_insert_default().extend(labels);
            meta.annotations.get_or_insert_default().extend(annotations);
            Write::Replace(updated.into())
        }
    };
    Some(Job(write))
}

/// Carries out two sequences side by side.
fn together(left: Vec<Job>, right: Vec<Job>) -> Plan<Job> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut plan = Plan::default();
    loop {
        let step: Vec<Job> = left.next().into_iter().chain(right.next()).collect();
        if step.is_empty() {
            return plan;
        }
        plan = plan.then(step);
    }
}

pub(super) fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.as_ref().is_some_and(|finalizers| finalizers.iter().any(|f| f == name))
}

pub(super) fn remove_finalizer(meta: &mut ObjectMeta, name: &str) {
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.retain(|finalizer| finalizer != name);
    }
}
