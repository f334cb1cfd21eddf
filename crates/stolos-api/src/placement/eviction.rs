//! Taking a placement off a member on request, and limits on that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema;

/// What is taken off where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementEvictionSpec {
    /// The ClusterResourcePlacement.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = json!([{
        "message": "The PlacementName field is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub placement_name: String,
    /// The member.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = json!([{
        "message": "The ClusterName field is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub cluster_name: String,
}

/// What became of an eviction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementEvictionStatus {
    /// Whether it can be carried out, and whether it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::condition_list")]
    pub conditions: Vec<Condition>,
}

/// How many members of a placement may be disturbed at once. The budget of a placement has the same
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = json!([{
    "message": "Both MaxUnavailable and MinAvailable cannot be specified",
    "rule": "!(has(self.maxUnavailable) && has(self.minAvailable))",
}])))]
pub struct PlacementDisruptionBudgetSpec {
    /// How many members may be unavailable, absolute or in percent of the target number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limit")]
    pub max_unavailable: Option<IntOrString>,
    /// How many members must stay available, absolute or in percent of the target number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limit")]
    pub min_available: Option<IntOrString>,
}

fn limit(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "message": "If supplied value is String should match regex '^(100|[0-9]{1,2})%$' or If supplied value is Integer must be greater than or equal to 0",
            "rule": "type(self) == string ? self.matches('^(100|[0-9]{1,2})%$') : self >= 0",
        }],
    })
}
