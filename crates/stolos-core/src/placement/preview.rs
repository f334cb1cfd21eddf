//! What a placement would do, told without doing it.
//!
//! It asks the same decisions that the hub's controllers carry out: the scheduler until it has nothing to add, then the
//! overrides and the first step of the rollout.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use serde::Serialize;
use serde_json::Value;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::annotation;
use stolos_api::placement::{
    BindingState, ClusterDecision, ClusterResourceBinding, ClusterResourcePlacement, ClusterScore,
    PlacementSpec, ResourceBindingSpec, ResourceIdentifier, ResourceSnapshotSpec,
    RolloutStrategyType, SchedulingPolicySnapshotSpec, default_spec,
};

use super::object;
use super::overrides::{self, Applicable};
use super::rollout::{self, Desired};
use super::scheduler;
use super::snapshot::{Parent, Snapshot, policy, resources};

#[cfg(test)]
mod tests;

/// Everything that the answer depends on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The placement as it would be written, with its uid if it exists. One with a namespace is a ResourcePlacement.
    pub placement: &'a ClusterResourcePlacement,
    /// The objects that it selects, sanitised and in order.
    pub selected: Vec<Value>,
    /// All members.
    pub members: &'a [&'a MemberCluster],
    /// Its policy snapshots, if it exists already.
    pub policies: &'a [Snapshot<'a, SchedulingPolicySnapshotSpec>],
    /// Its resource snapshots.
    pub snapshots: &'a [Snapshot<'a, ResourceSnapshotSpec>],
    /// Its bindings.
    pub bindings: &'a [ClusterResourceBinding],
    /// The newest content of every override.
    pub overrides: &'a [overrides::Snapshot<'a>],
    /// The present moment.
    pub now: Timestamp,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Name of the resource snapshot that would go out.
    pub resource_snapshot: String,
    /// It does not exist yet.
    pub is_new_snapshot: bool,
    /// The objects in it.
    pub selected_resources: Vec<ResourceIdentifier>,
    /// The policy would find all the clusters it asks for.
    pub fulfilled: bool,
    /// What the condition `Scheduled` would say.
    pub scheduled: String,
    /// Clusters that would be picked, and those that would lose what they have.
    pub clusters: Vec<Cluster>,
    /// Clusters that would not be picked, each with the reason.
    pub not_picked: Vec<ClusterDecision>,
}

/// What would happen to one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub cluster: String,
    /// Its score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<ClusterScore>,
    /// What the rollout does first.
    pub step: Step,
    /// What it waits for, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Snapshots of overrides that would be in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// The objects that it would get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// Why an override does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What the rollout does with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Step {
    /// It gets the resources for the first time.
    Place,
    /// It gets newer resources, or other overrides.
    Update,
    /// It has them already.
    Keep,
    /// It loses them.
    Remove,
    /// Its turn comes later.
    Wait,
    /// A staged update run decides when.
    External,
}

/// An object that a cluster would get.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The object.
    #[serde(flatten)]
    pub resource: ResourceIdentifier,
    /// What overrides do to it.
    pub form: Form,
}

/// What overrides do to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Form {
    /// Nothing.
    AsOnHub,
    /// They change it.
    Overridden,
    /// They leave it out.
    LeftOut,
}

/// Why nothing can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The scheduler cannot decide.
    #[error(transparent)]
    Schedule(#[from] scheduler::Error),
    /// The rollout cannot decide.
    #[error(transparent)]
    Rollout(#[from] rollout::Error),
}

/// Tells what a placement would do.
///
/// # Errors
/// When the policy cannot be evaluated, or two bindings target one cluster.
pub fn preview(observed: Observed<'_>) -> Result<Preview, Error> {
    let mut spec = observed.placement.spec.clone();
    default_spec(&mut spec);
    let parent = parent(observed.placement);
    let policy_snapshot = policy::plan(
        &parent,
        observed.placement.spec.policy.as_ref(),
        spec.revision_history_limit,
        observed.policies,
    )
    .latest;
    let limits = resources::Limits::without_waiting(spec.revision_history_limit);
    let groups = resources::groups(observed.snapshots);
    let resources = resources::plan(
        &parent,
        observed.selected.clone(),
        &limits,
        observed.snapshots,
        observed.now,
    );
    let resource_snapshot = resources::master_name(parent.name, resources.index);
    let (bindings, outcome) = schedule(&observed, &spec, &policy_snapshot)?;

    let matching =
        overrides::matching(parent.namespace, parent.name, &observed.selected, observed.overrides);
    let desired: Vec<Desired> = bindings
        .iter()
        .map(|binding| {
            let member = member(observed.members, &binding.spec.target_cluster);
            let picked =
                member.map(|member| overrides::pick(&matching, member)).unwrap_or_default();
            Desired {
                resource_snapshot: resource_snapshot.clone(),
                resource_overrides: picked.namespaced,
                cluster_resource_overrides: picked.cluster,
            }
        })
        .collect();
    let rollout = roll_out(&observed, &spec, &bindings, &desired)?;
    let clusters = bindings.iter().zip(&desired).filter(|(binding, _)| !binding.deleting);
    let mut clusters: Vec<Cluster> = clusters
        .map(|(binding, desired)| {
            let member = member(observed.members, &binding.spec.target_cluster);
            describe(&observed.selected, &matching, member, binding, desired, rollout.as_ref())
        })
        .collect();
    clusters.sort_by(|one, other| one.cluster.cmp(&other.cluster));
    let (fulfilled, scheduled, not_picked) = match outcome {
        Some(outcome) => {
            let unlisted = outcome.unlisted.iter().cloned();
            let rejected = outcome.decisions.iter().filter(|decision| !decision.selected).cloned();
            (outcome.fulfilled, outcome.condition().2, rejected.chain(unlisted).collect())
        }
        None => (false, "the list of clusters is empty, so nothing changes".to_owned(), Vec::new()),
    };
    Ok(Preview {
        is_new_snapshot: !groups.contains_key(&resources.index),
        resource_snapshot,
        selected_resources: observed.selected.iter().map(object::identifier).collect(),
        fulfilled,
        scheduled,
        clusters,
        not_picked,
    })
}

fn parent(placement: &ClusterResourcePlacement) -> Parent<'_> {
    Parent {
        name: placement.metadata.name.as_deref().unwrap_or_default(),
        namespace: placement.metadata.namespace.as_deref(),
        generation: placement.metadata.generation.unwrap_or_default(),
        owner: OwnerReference::default(),
    }
}

fn member<'a>(members: &[&'a MemberCluster], name: &str) -> Option<&'a MemberCluster> {
    members.iter().find(|member| member.metadata.name.as_deref() == Some(name)).copied()
}

/// A binding as it would become.
#[derive(Clone, Debug)]
struct Binding {
    name: String,
    generation: i64,
    deleting: bool,
    previous_state: Option<BindingState>,
    spec: ResourceBindingSpec,
    conditions: Vec<Condition>,
}

impl Binding {
    fn of(binding: &ClusterResourceBinding) -> Self {
        let annotations = binding.metadata.annotations.as_ref();
        let previous = annotations.and_then(|notes| notes.get(annotation::PREVIOUS_BINDING_STATE));
        Self {
            name: binding.metadata.name.clone().unwrap_or_default(),
            generation: binding.metadata.generation.unwrap_or_default(),
            deleting: binding.metadata.deletion_timestamp.is_some(),
            previous_state: previous
                .and_then(|state| serde_json::from_value(state.as_str().into()).ok()),
            spec: binding.spec.clone(),
            conditions: binding.status.clone().unwrap_or_default().conditions,
        }
    }
}

/// Lets the scheduler decide until it has nothing to add.
fn schedule(
    observed: &Observed<'_>,
    spec: &PlacementSpec,
    policy_snapshot: &str,
) -> Result<(Vec<Binding>, Option<scheduler::Outcome>), Error> {
    let mut bindings: Vec<Binding> = observed.bindings.iter().map(Binding::of).collect();
    let strategy = spec.strategy.clone().unwrap_or_default().apply_strategy;
    // Each cycle but the last picks a cluster.
    for _ in 0..=observed.members.len() {
        let views: Vec<_> = bindings
            .iter()
            .map(|binding| scheduler::Binding {
                name: &binding.name,
                deleting: binding.deleting,
                previous_state: binding.previous_state,
                spec: &binding.spec,
            })
            .collect();
        let plan = scheduler::plan(&scheduler::Observed {
            placement: observed.placement.metadata.name.as_deref().unwrap_or_default(),
            namespace: observed.placement.metadata.namespace.as_deref(),
            placement_uid: observed.placement.metadata.uid.as_deref().unwrap_or_default(),
            policy_snapshot,
            policy: spec.policy.as_ref(),
            number_of_clusters: spec.policy.as_ref().and_then(|policy| policy.number_of_clusters),
            clusters: observed.members,
            bindings: &views,
            now: observed.now,
        })?;
        for assignment in plan.patch {
            let patched = bindings.iter_mut().find(|binding| binding.name == assignment.name);
            if let Some(binding) = patched {
                binding.spec = assignment.spec;
                binding.previous_state = None;
            }
        }
        for (name, state) in plan.unschedule {
            if let Some(binding) = bindings.iter_mut().find(|binding| binding.name == name) {
                binding.spec.state = BindingState::Unscheduled;
                binding.previous_state = Some(state);
            }
        }
        bindings.extend(plan.create.into_iter().map(|assignment| Binding {
            name: assignment.name,
            generation: 1,
            deleting: false,
            previous_state: None,
            spec: ResourceBindingSpec { apply_strategy: strategy.clone(), ..assignment.spec },
            conditions: Vec::new(),
        }));
        if !plan.again {
            return Ok((bindings, plan.outcome));
        }
    }
    Ok((bindings, None))
}

/// Returns the first step of the rollout; nothing when somebody else decides on it.
fn roll_out(
    observed: &Observed<'_>,
    spec: &PlacementSpec,
    bindings: &[Binding],
    desired: &[Desired],
) -> Result<Option<rollout::Plan>, Error> {
    let strategy = spec.strategy.clone().unwrap_or_default();
    if strategy.type_ != RolloutStrategyType::RollingUpdate {
        return Ok(None);
    }
    let apply_strategy = strategy.apply_strategy.unwrap_or_default();
    // Another way to apply goes to all clusters before anything else; the rest is told as it is after that.
    let specs: Vec<ResourceBindingSpec> = bindings
        .iter()
        .map(|binding| ResourceBindingSpec {
            apply_strategy: Some(apply_strategy.clone()),
            ..binding.spec.clone()
        })
        .collect();
    let views: Vec<_> = bindings
        .iter()
        .zip(&specs)
        .zip(desired)
        .map(|((binding, spec), desired)| {
            let view = rollout::Binding {
                name: &binding.name,
                generation: binding.generation,
                deleting: binding.deleting,
                spec,
                conditions: &binding.conditions,
            };
            (view, Some(desired.clone()))
        })
        .collect();
    Ok(Some(rollout::plan(&rollout::Observed {
        policy: spec.policy.as_ref(),
        limits: &strategy.rolling_update.unwrap_or_default(),
        apply_strategy: &apply_strategy,
        bindings: &views,
        now: observed.now,
    })?))
}

fn describe(
    selected: &[Value],
    matching: &[overrides::Snapshot<'_>],
    member: Option<&MemberCluster>,
    binding: &Binding,
    desired: &Desired,
    rollout: Option<&rollout::Plan>,
) -> Cluster {
    let (step, waits) = step(binding, rollout);
    let mut cluster = Cluster {
        cluster: binding.spec.target_cluster.clone(),
        score: binding.spec.cluster_decision.cluster_score,
        step,
        waits,
        overrides: Vec::new(),
        objects: Vec::new(),
        problem: None,
    };
    if binding.spec.state == BindingState::Unscheduled {
        return cluster;
    }
    let of_namespace = desired.resource_overrides.iter();
    let of_namespace = of_namespace.map(|named| format!("{}/{}", named.namespace, named.name));
    cluster.overrides =
        desired.cluster_resource_overrides.iter().cloned().chain(of_namespace).collect();
    let spec = ResourceBindingSpec {
        cluster_resource_override_snapshots: desired.cluster_resource_overrides.clone(),
        resource_override_snapshots: desired.resource_overrides.clone(),
        ..binding.spec.clone()
    };
    let Some(member) = member else { return cluster };
    match objects(selected, matching, &spec, member) {
        Ok(objects) => cluster.objects = objects,
        Err(error) => cluster.problem = Some(error.to_string()),
    }
    cluster
}

fn step(binding: &Binding, rollout: Option<&rollout::Plan>) -> (Step, Option<String>) {
    let Some(plan) = rollout else { return (Step::External, None) };
    let hold = plan.hold.iter().chain(&plan.keep).find(|hold| hold.binding == binding.name);
    if let Some(hold) = hold {
        return (Step::Wait, Some(hold.wait.to_string()));
    }
    let step = match binding.spec.state {
        BindingState::Unscheduled => Step::Remove,
        BindingState::Scheduled => Step::Place,
        BindingState::Bound if plan.started.contains(&binding.name) => Step::Keep,
        BindingState::Bound => Step::Update,
    };
    (step, None)
}

fn objects(
    selected: &[Value],
    matching: &[overrides::Snapshot<'_>],
    binding: &ResourceBindingSpec,
    member: &MemberCluster,
) -> Result<Vec<Object>, overrides::Error> {
    let applicable = Applicable::of(binding, member, |namespace, name| {
        matching.iter().copied().find(|snapshot| snapshot.is_named(namespace, name))
    })?;
    let form = |before: &Value| {
        let after = applicable.apply(vec![before.clone()])?;
        Ok(match after.as_slice() {
            [] => Form::LeftOut,
            [after] if after == before => Form::AsOnHub,
            [..] => Form::Overridden,
        })
    };
    let object =
        |before: &Value| Ok(Object { resource: object::identifier(before), form: form(before)? });
    selected.iter().map(object).collect()
}
