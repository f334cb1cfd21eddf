//! The decision that a placement goes to one member.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ApplyStrategy, ClusterDecision, DiffedResourcePlacement, DriftedResourcePlacement,
    FailedResourcePlacement, NamespacedName,
};
use crate::schema;

/// What goes to one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceBindingSpec {
    /// How far the decision is carried out: Scheduled, Bound or Unscheduled.
    #[schemars(schema_with = "schema::plain_string")]
    pub state: BindingState,
    /// First resource snapshot of the group that goes to the member; empty while Scheduled.
    pub resource_snapshot_name: String,
    /// ResourceOverride snapshots in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_override_snapshots: Vec<NamespacedName>,
    /// ClusterResourceOverride snapshots in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_resource_override_snapshots: Vec<String>,
    /// Policy snapshot that the member was picked by.
    pub scheduling_policy_snapshot_name: String,
    /// The member.
    pub target_cluster: String,
    /// Why it was picked.
    pub cluster_decision: ClusterDecision,
    /// How objects are applied on the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_strategy: Option<ApplyStrategy>,
}

/// How far a binding is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingState {
    /// The member was picked; nothing is placed yet.
    #[default]
    Scheduled,
    /// A snapshot is placed.
    Bound,
    /// The member is no longer picked; what is placed stays until the rollout removes it.
    Unscheduled,
}

/// How far a placement got on one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceBindingStatus {
    /// Objects that could not be applied or are not available, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub failed_placements: Vec<FailedResourcePlacement>,
    /// Objects that were changed on the member, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub drifted_placements: Vec<DriftedResourcePlacement>,
    /// Objects that differ from their manifests, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub diffed_placements: Vec<DiffedResourcePlacement>,
    /// The steps from rollout to availability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
