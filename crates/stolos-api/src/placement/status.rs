//! How far a placement got.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How far a placement got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// Objects in the snapshot that this status describes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selected_resources: Vec<ResourceIdentifier>,
    /// Index of that snapshot; empty while members are at different ones under strategy External.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub observed_resource_index: String,
    /// One entry per picked member, then one without a name per member that could not be found.
    #[serde(rename = "placementStatuses", default, skip_serializing_if = "Vec::is_empty")]
    pub per_cluster_placement_statuses: Vec<PerClusterPlacementStatus>,
    /// The placement as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Names an object.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ResourceIdentifier {
    /// API group, empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, empty for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Envelope that carries the object, if it does not stand on the hub by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeIdentifier>,
}

/// Names an envelope.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeIdentifier {
    /// Name.
    pub name: String,
    /// Namespace, empty for a ClusterResourceEnvelope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Kind of envelope.
    #[serde(rename = "type", default)]
    pub type_: EnvelopeType,
}

/// Kind of envelope.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum EnvelopeType {
    /// A legacy form that is not honoured; only status written by old releases carries it.
    #[default]
    ConfigMap,
    /// A ClusterResourceEnvelope.
    ClusterResourceEnvelope,
    /// A ResourceEnvelope.
    ResourceEnvelope,
}

/// How far a placement got on one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerClusterPlacementStatus {
    /// The member; empty in an entry that explains why no member could be found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// ResourceOverride snapshots in force on the member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applicable_resource_overrides: Vec<NamespacedName>,
    /// ClusterResourceOverride snapshots in force on the member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applicable_cluster_resource_overrides: Vec<String>,
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
    /// Index of the snapshot on the member.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub observed_resource_index: String,
    /// The placement on this member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::condition_list")]
    pub conditions: Vec<Condition>,
}

/// A name in a namespace.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedName {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// An object that could not be applied or is not available.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedResourcePlacement {
    /// The object.
    #[serde(flatten)]
    pub resource: ResourceIdentifier,
    /// The condition that does not hold.
    #[schemars(schema_with = "schema::condition")]
    pub condition: Condition,
}

/// An object that was changed on a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftedResourcePlacement {
    /// The object.
    #[serde(flatten)]
    pub resource: ResourceIdentifier,
    /// When the change was last seen.
    pub observation_time: Time,
    /// Generation of the object on the member.
    pub target_cluster_observed_generation: i64,
    /// When the change was first seen.
    pub first_drifted_observed_time: Time,
    /// The changed fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_drifts: Vec<PatchDetail>,
}

/// An object that differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffedResourcePlacement {
    /// The object.
    #[serde(flatten)]
    pub resource: ResourceIdentifier,
    /// When the difference was last seen.
    pub observation_time: Time,
    /// Generation of the object on the member; absent if there is no such object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cluster_observed_generation: Option<i64>,
    /// When the difference was first seen.
    pub first_diffed_observed_time: Time,
    /// The fields that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed_diffs: Vec<PatchDetail>,
}

/// A field with different values on hub and member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatchDetail {
    /// The field, as a JSON pointer.
    pub path: String,
    /// Its value on the member; empty if it is absent there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value_in_member: String,
    /// Its value on the hub; empty if it is absent there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value_in_hub: String,
}
