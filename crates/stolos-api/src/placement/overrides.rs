//! Changes to placed objects that depend on the member.

use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ClusterSelector, ResourceSelectorTerm};
use crate::schema;

/// What is changed in cluster-scoped objects, and in everything in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceOverrideSpec {
    /// Placement that the override is for; without one it is for every placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementRef>,
    /// The objects, each by name; a namespace stands for the objects in it too.
    #[schemars(length(min = 1, max = 20))]
    pub cluster_resource_selectors: Vec<ResourceSelectorTerm>,
    /// The changes.
    pub policy: OverridePolicy,
}

/// What is changed in objects of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceOverrideSpec {
    /// Placement that the override is for; without one it is for every placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementRef>,
    /// The objects.
    #[schemars(length(min = 1, max = 20))]
    pub resource_selectors: Vec<ResourceSelector>,
    /// The changes.
    pub policy: OverridePolicy,
}

/// Names a placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementRef {
    /// Name.
    pub name: String,
    /// Whether it is a ClusterResourcePlacement or, in the override's namespace, a ResourcePlacement.
    #[serde(default)]
    pub scope: ResourceScope,
}

/// Whether a kind of placement has a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResourceScope {
    /// It has none.
    #[default]
    Cluster,
    /// It has one.
    Namespaced,
}

/// Names an object in the override's namespace.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSelector {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Changes, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverridePolicy {
    /// The rules; every rule that matches a member is applied.
    #[schemars(length(min = 1, max = 20))]
    pub override_rules: Vec<OverrideRule>,
}

/// Changes for some members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideRule {
    /// The members: none if absent, all if it has no terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<ClusterSelector>,
    /// Whether the object is changed or left out.
    #[serde(default)]
    pub override_type: OverrideType,
    /// The changes, for type JSONPatch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 20))]
    pub json_patch_overrides: Vec<JsonPatchOverride>,
}

/// What an override does to an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverrideType {
    /// Changes it by a JSON patch.
    #[default]
    #[serde(rename = "JSONPatch")]
    JsonPatch,
    /// Leaves it out on the member.
    Delete,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonPatchOverride {
    /// What is done.
    pub op: JsonPatchOperator,
    /// Where, as a JSON pointer.
    pub path: String,
    /// The new value. `${MEMBER-CLUSTER-NAME}` and `${MEMBER-CLUSTER-LABEL-KEY-<key>}` in it stand
    /// for name and labels of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_value")]
    pub value: Option<Value>,
}

/// What an operation of a JSON patch does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JsonPatchOperator {
    /// Adds a field or a list item.
    #[default]
    #[serde(rename = "add")]
    Add,
    /// Removes a field or a list item.
    #[serde(rename = "remove")]
    Remove,
    /// Replaces a value.
    #[serde(rename = "replace")]
    Replace,
}

/// A ClusterResourceOverride at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceOverrideSnapshotSpec {
    /// Spec of the override.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": PLACEMENT_IS_IMMUTABLE.message,
        "rule": PLACEMENT_IS_IMMUTABLE.rule,
    }])))]
    pub override_spec: ClusterResourceOverrideSpec,
    /// Hash of that spec.
    #[schemars(schema_with = "schema::bytes")]
    pub override_hash: ByteString,
}

/// A ResourceOverride at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceOverrideSnapshotSpec {
    /// Spec of the override.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": PLACEMENT_IS_IMMUTABLE.message,
        "rule": PLACEMENT_IS_IMMUTABLE.rule,
    }])))]
    pub override_spec: ResourceOverrideSpec,
    /// Hash of that spec.
    #[schemars(schema_with = "schema::bytes")]
    pub override_hash: ByteString,
}

/// An override stays with its placement.
pub(super) const PLACEMENT_IS_IMMUTABLE: crate::crd::Rule = crate::crd::Rule {
    message: "The placement field is immutable",
    rule: "(has(oldSelf.placement) && has(self.placement) && oldSelf.placement == self.placement) || (!has(oldSelf.placement) && !has(self.placement))",
};
