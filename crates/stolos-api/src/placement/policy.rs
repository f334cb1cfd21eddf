//! Where a placement goes: the scheduling policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::TaintEffect;
use crate::schema;

/// Which members a placement goes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementPolicy {
    /// How members are picked.
    #[serde(default)]
    pub placement_type: PlacementType,
    /// The members, for PickFixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub cluster_names: Vec<String>,
    /// How many members, for PickN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub number_of_clusters: Option<i32>,
    /// Which members to choose from, and which to prefer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How to spread over groups of members, for PickN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Taints of members that do not keep this placement away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[schemars(extend("x-kubernetes-validations" = json!([
        {
            "message": "value must be empty when operator is Exists",
            "rule": "self.all(x, x.operator != 'Exists' || !has(x.value) || size(x.value) == 0)",
        },
        {
            "message": "operator must be Exists when key is empty",
            "rule": "self.all(x, (has(x.key) && size(x.key) > 0) || x.operator == 'Exists')",
        },
    ])))]
    pub tolerations: Vec<Toleration>,
}

/// How members are picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlacementType {
    /// Every eligible member that matches.
    #[default]
    PickAll,
    /// A number of the members that match, the best ones.
    PickN,
    /// The members in a list.
    PickFixed,
}

/// Which members to choose from, and which to prefer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// Rules about the members themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_affinity: Option<ClusterAffinity>,
}

/// Rules about members. They hold when a member is picked; a picked member stays picked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAffinity {
    /// Members that can be picked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_during_scheduling_ignored_during_execution: Option<ClusterSelector>,
    /// Members that are better than others, for PickN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_during_scheduling_ignored_during_execution: Vec<PreferredClusterSelector>,
}

/// Selects members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSelector {
    /// Alternatives; a member is selected if one of them matches.
    #[schemars(length(max = 10))]
    pub cluster_selector_terms: Vec<ClusterSelectorTerm>,
}

/// Selects members; everything that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSelectorTerm {
    /// Labels of the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub label_selector: Option<LabelSelector>,
    /// Properties of the member; only in required terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property_selector: Option<PropertySelector>,
    /// Property by which members are ranked; only in preferred terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property_sorter: Option<PropertySorter>,
}

/// A preference for some members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredClusterSelector {
    /// What a match is worth; negative to avoid members.
    #[schemars(range(min = -100, max = 100))]
    pub weight: i32,
    /// The preferred members.
    pub preference: ClusterSelectorTerm,
}

/// Requirements on properties of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropertySelector {
    /// The requirements; all must hold.
    pub match_expressions: Vec<PropertySelectorRequirement>,
}

/// A requirement on a property of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropertySelectorRequirement {
    /// Name of the property.
    pub name: String,
    /// One of Gt, Ge, Lt, Le, Eq and Ne, see [`PropertySelectorOperator`].
    pub operator: String,
    /// The one quantity to compare with.
    #[schemars(length(max = 1))]
    pub values: Vec<String>,
}

/// How a property is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertySelectorOperator {
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
}

impl PropertySelectorOperator {
    /// Returns the operator of this name, if there is one. The schema does not limit the names.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "Gt" => Some(Self::Gt),
            "Ge" => Some(Self::Ge),
            "Lt" => Some(Self::Lt),
            "Le" => Some(Self::Le),
            "Eq" => Some(Self::Eq),
            "Ne" => Some(Self::Ne),
            _ => None,
        }
    }
}

/// Ranks members by a property.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropertySorter {
    /// Name of the property.
    pub name: String,
    /// Which end is better.
    pub sort_order: PropertySortOrder,
}

/// Which end of a ranking is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PropertySortOrder {
    /// High values first.
    #[default]
    Descending,
    /// Low values first.
    Ascending,
}

/// Spreads a placement over groups of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpreadConstraint {
    /// Largest difference in picked members between two groups.
    #[serde(default = "default_max_skew")]
    #[schemars(range(min = 1))]
    pub max_skew: i32,
    /// Label whose values form the groups.
    pub topology_key: String,
    /// What happens to a member that would break the limit.
    #[serde(default)]
    pub when_unsatisfiable: UnsatisfiableConstraintAction,
}

impl Default for TopologySpreadConstraint {
    fn default() -> Self {
        Self {
            max_skew: default_max_skew(),
            topology_key: String::new(),
            when_unsatisfiable: UnsatisfiableConstraintAction::default(),
        }
    }
}

fn default_max_skew() -> i32 {
    1
}

/// What happens to a member that would break a spread constraint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnsatisfiableConstraintAction {
    /// It is not picked.
    #[default]
    DoNotSchedule,
    /// It is picked only when nothing better is left.
    ScheduleAnyway,
}

/// Lets a placement go to members with a taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; empty, with operator Exists, for every key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// How key and value are compared.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint, for operator Equal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect of the taint; absent for every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// How a toleration is compared with a taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are equal.
    #[default]
    Equal,
    /// The key is equal, whatever the value.
    Exists,
}
