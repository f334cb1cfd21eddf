//! Which bindings of a placement move, and which wait.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::{condition as type_, finalizer, reason};
use stolos_api::placement::{
    ApplyStrategy, BindingState, ClusterResourceBinding, ClusterResourcePlacement,
    ResourceSnapshotSpec, RolloutStrategyType, default_spec,
};
use stolos_controller::{Key, Plan, Write};
use stolos_core::placement::condition::{Builder, Status, find_current, upsert};
use stolos_core::placement::overrides;
use stolos_core::placement::rollout::{self, Desired};
use stolos_core::placement::snapshot::{Snapshot, resources};
use tracing::error;

use super::object::Job;
use super::selection::has_finalizer;
use super::world::World;

impl World {
    /// Plans the rollout of a placement.
    pub(super) fn plan_rollout(&self, key: &Key, now: Timestamp) -> Plan<Job> {
        let Some(placement) = self.placements.get(key) else { return Plan::default() };
        if placement.metadata.deletion_timestamp.is_some() {
            return Plan::default();
        }
        let mut spec = placement.spec.clone();
        default_spec(&mut spec);
        let strategy = spec.strategy.unwrap_or_default();
        if strategy.type_ != RolloutStrategyType::RollingUpdate {
            return Plan::default();
        }
        let latest = self.latest_snapshot(placement).and_then(|(name, group)| {
            let objects = group.iter().flat_map(|snapshot| &snapshot.spec.selected_resources);
            Some((name, self.overrides.matching(placement, objects)?))
        });
        let bindings: Vec<_> = self
            .bindings_of(key)
            .map(|binding| {
                let desired =
                    latest.as_ref().map(|(name, matching)| self.desired(binding, name, matching));
                (observed_binding(binding), desired)
            })
            .collect();
        let plan = rollout::plan(&rollout::Observed {
            policy: spec.policy.as_ref(),
            limits: &strategy.rolling_update.unwrap_or_default(),
            apply_strategy: &strategy.apply_strategy.unwrap_or_default(),
            bindings: &bindings,
            now,
        });
        match plan {
            Ok(plan) => self.carry_out_rollout(placement, &plan, now),
            Err(error) => {
                error!(placement = key.name, namespace = key.namespace, %error, "rollout stands still");
                Plan::default()
            }
        }
    }

    fn carry_out_rollout(
        &self,
        placement: &ClusterResourcePlacement,
        plan: &rollout::Plan,
        now: Timestamp,
    ) -> Plan<Job> {
        let existing = |name: &str| {
            let namespace = placement.metadata.namespace.clone().unwrap_or_default();
            self.bindings.get(&Key { namespace, name: name.to_owned() })
        };
        let strategy = apply_strategy_of(placement);
        let push = plan.apply_strategy.iter().filter_map(|name| {
            let mut binding = ClusterResourceBinding::clone(existing(name)?);
            binding.spec.apply_strategy = Some(strategy.clone());
            Some(Job(Write::Replace(binding.into())))
        });
        let roll = plan.roll.iter().filter_map(|(name, desired)| {
            Some(Job(Write::Replace(bound(existing(name)?, desired).into())))
        });
        // Another decision may have brought the binding back meanwhile; then it must stay.
        let remove = plan.remove.iter().filter_map(|name| {
            let binding = ClusterResourceBinding::clone(existing(name)?);
            Some(Job(Write::DeleteUnchanged(binding.into())))
        });
        let hold = plan.hold.iter().filter_map(|hold| {
            let message = hold.wait.to_string();
            let binding = existing(&hold.binding)?;
            started(binding, Status::False, reason::ROLLOUT_NOT_STARTED_YET, &message, now)
        });
        let start = plan.started.iter().filter_map(|name| {
            let message = "The resources are released to the cluster";
            started(existing(name)?, Status::True, reason::ROLLOUT_STARTED, message, now)
        });
        let jobs = push.chain(roll).chain(remove).chain(hold).chain(start);
        Plan::default().then(jobs.collect()).waking_at(plan.wake_at)
    }

    /// Returns what a binding should roll out. One whose member is gone keeps the overrides that it has.
    fn desired(
        &self,
        binding: &ClusterResourceBinding,
        resource_snapshot: &str,
        matching: &[overrides::Snapshot<'_>],
    ) -> Desired {
        let spec = &binding.spec;
        let member = self.members.get(&Key::cluster(&spec.target_cluster));
        let picked = match member {
            Some(member) => overrides::pick(matching, member),
            None => overrides::Picked {
                cluster: spec.cluster_resource_override_snapshots.clone(),
                namespaced: spec.resource_override_snapshots.clone(),
            },
        };
        Desired {
            resource_snapshot: resource_snapshot.to_owned(),
            resource_overrides: picked.namespaced,
            cluster_resource_overrides: picked.cluster,
        }
    }

    /// Returns the latest group of resource snapshots with the name of its master, if the group is complete.
    pub(super) fn latest_snapshot<'a>(
        &'a self,
        placement: &'a ClusterResourcePlacement,
    ) -> Option<(String, Vec<Snapshot<'a, ResourceSnapshotSpec>>)> {
        let snapshots: Vec<_> = self
            .snapshots_of(placement)
            .map(|snapshot| Snapshot { metadata: &snapshot.metadata, spec: &snapshot.spec })
            .collect();
        let groups = resources::groups(&snapshots);
        let (_, group) = groups.last_key_value()?;
        Some((group.master()?.metadata.name.clone()?, group.complete()?))
    }
}

/// Returns how a placement applies, with defaults.
pub(super) fn apply_strategy_of(placement: &ClusterResourcePlacement) -> ApplyStrategy {
    let mut spec = placement.spec.clone();
    default_spec(&mut spec);
    spec.strategy.and_then(|strategy| strategy.apply_strategy).unwrap_or_default()
}

fn observed_binding(binding: &ClusterResourceBinding) -> rollout::Binding<'_> {
    rollout::Binding {
        name: binding.metadata.name.as_deref().unwrap_or_default(),
        generation: binding.metadata.generation.unwrap_or_default(),
        deleting: binding.metadata.deletion_timestamp.is_some(),
        spec: &binding.spec,
        conditions: binding.status.as_ref().map_or(&[], |status| &status.conditions),
    }
}

/// Returns the binding with what it rolls out, and with the finalizer that its Works will need: one write less than later.
fn bound(binding: &ClusterResourceBinding, desired: &Desired) -> ClusterResourceBinding {
    let mut binding = binding.clone();
    if !has_finalizer(&binding.metadata, finalizer::WORK_CLEANUP) {
        let finalizers = binding.metadata.finalizers.get_or_insert_default();
        finalizers.push(finalizer::WORK_CLEANUP.to_owned());
    }
    let spec = &mut binding.spec;
    spec.state = BindingState::Bound;
    spec.resource_snapshot_name.clone_from(&desired.resource_snapshot);
    spec.resource_override_snapshots.clone_from(&desired.resource_overrides);
    spec.cluster_resource_override_snapshots.clone_from(&desired.cluster_resource_overrides);
    binding
}

/// Writes whether the rollout of a binding has started, unless that is there.
fn started(
    binding: &ClusterResourceBinding,
    status: Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Job> {
    let generation = binding.metadata.generation.unwrap_or_default();
    let mut reported = binding.status.clone().unwrap_or_default();
    let known = find_current(&reported.conditions, type_::ROLLOUT_STARTED, generation);
    // Another program may word a start differently, but what a binding waits for must be right.
    let says_it = |known: &Condition| known.message == message || status == Status::True;
    let is_told =
        |known: &Condition| Status::of(known) == status && known.reason == reason && says_it(known);
    if known.is_some_and(is_told) {
        return None;
    }
    let build = Builder { previous: &reported.conditions, generation, now };
    let condition = build.condition(type_::ROLLOUT_STARTED, status, reason, message);
    upsert(&mut reported.conditions, condition);
    let binding = ClusterResourceBinding { status: Some(reported), ..binding.clone() };
    Some(Job(Write::ReplaceStatus(binding.into())))
}
