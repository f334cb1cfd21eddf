//! The spec that ClusterResourcePlacement and ResourcePlacement share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PlacementPolicy, RolloutStrategy};
use crate::schema;

/// What goes where, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = json!([
    {
        "message": "policy cannot be removed once set",
        "rule": "!(has(oldSelf.policy) && !has(self.policy))",
    },
    {
        "message": "only one namespace selector with NamespaceWithResourceSelectors mode is allowed",
        "rule": "size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) <= 1",
    },
    {
        "message": "namespace selector with NamespaceWithResourceSelectors mode must select by name (not by label)",
        "rule": "size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) == 0 || (size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors' && has(x.name) && size(x.name) > 0 && !has(x.labelSelector))) == 1)",
    },
    {
        "message": "when using NamespaceWithResourceSelectors mode, only one namespace selector is allowed (cannot mix with other namespace selectors)",
        "rule": "size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1' && has(x.selectionScope) && x.selectionScope == 'NamespaceWithResourceSelectors')) == 0 || size(self.resourceSelectors.filter(x, x.kind == 'Namespace' && x.group == \"\" && x.version == 'v1')) == 1",
    },
])))]
pub struct PlacementSpec {
    /// What to place; an object is placed if any selector selects it.
    #[schemars(length(min = 1, max = 100))]
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "name and labelSelector are mutually exclusive in a resource selector",
        "rule": "self.all(x, !(has(x.name) && size(x.name) > 0 && has(x.labelSelector)))",
    }])))]
    pub resource_selectors: Vec<ResourceSelectorTerm>,
    /// Where to place it; without a policy, on every eligible member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = json!([
    {
        "message": "placement type is immutable",
        "rule": "!(self.placementType != oldSelf.placementType)",
    },
    {
        "message": "affinity, numberOfClusters, topologySpreadConstraints, and tolerations cannot be set when placementType is PickFixed",
        "rule": "self.placementType != 'PickFixed' || (!has(self.affinity) && !has(self.numberOfClusters) && !has(self.topologySpreadConstraints) && !has(self.tolerations))",
    },
    {
        "message": "clusterNames, numberOfClusters, and topologySpreadConstraints cannot be set when placementType is PickAll",
        "rule": "self.placementType != 'PickAll' || (!has(self.clusterNames) && !has(self.numberOfClusters) && !has(self.topologySpreadConstraints))",
    },
    {
        "message": "clusterNames cannot be set and numberOfClusters must be set when placementType is PickN",
        "rule": "self.placementType != 'PickN' || (!has(self.clusterNames) && has(self.numberOfClusters))",
    },
])))]
    pub policy: Option<PlacementPolicy>,
    /// How to replace what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RolloutStrategy>,
    /// How many old snapshots of policy and resources to keep.
    #[serde(default = "default_revision_history_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub revision_history_limit: i32,
    /// Whether the status can also be read in the selected namespace. It has no effect on a
    /// ResourcePlacement.
    #[serde(default)]
    pub status_reporting_scope: StatusReportingScope,
}

impl Default for PlacementSpec {
    fn default() -> Self {
        Self {
            resource_selectors: Vec::new(),
            policy: None,
            strategy: None,
            revision_history_limit: default_revision_history_limit(),
            status_reporting_scope: StatusReportingScope::default(),
        }
    }
}

/// Selects objects of one kind. With neither name nor label selector it selects all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSelectorTerm {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name of the one object to select; excludes a label selector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels of the objects to select; excludes a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub label_selector: Option<LabelSelector>,
    /// What selecting a namespace brings along; without meaning for other kinds.
    #[serde(default)]
    pub selection_scope: SelectionScope,
}

/// What selecting a namespace brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectionScope {
    /// Nothing.
    NamespaceOnly,
    /// Everything in it.
    #[default]
    NamespaceWithResources,
    /// What the other selectors select in it.
    NamespaceWithResourceSelectors,
}

/// Where the status of a placement can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatusReportingScope {
    /// In the placement.
    #[default]
    ClusterScopeOnly,
    /// Also in the selected namespace, as a ClusterResourcePlacementStatus.
    NamespaceAccessible,
}

/// Snapshots kept when the placement does not say.
pub(super) fn default_revision_history_limit() -> i32 {
    10
}
