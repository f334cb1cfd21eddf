//! How a placement replaces what is there.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema;

/// How a placement replaces what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// What releases a new snapshot to the members.
    #[serde(rename = "type", default)]
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "cannot change rollout strategy type from 'External' to other types",
        "rule": "!(self != 'External' && oldSelf == 'External')",
    }])))]
    pub type_: RolloutStrategyType,
    /// Limits of a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdateConfig>,
    /// How objects are applied on members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_strategy: Option<ApplyStrategy>,
    /// What happens to placed objects when the placement is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_strategy: Option<DeleteStrategy>,
    /// Whether the status of placed objects comes back to the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "when reportBackStrategy.type is 'Mirror', a destination must be specified",
        "rule": "(self == null) || (self.type == 'Mirror' ? size(self.destination) != 0 : true)",
    }])))]
    pub report_back_strategy: Option<ReportBackStrategy>,
}

/// What releases a new snapshot to the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategyType {
    /// The hub, member by member within limits.
    #[default]
    RollingUpdate,
    /// A staged update run.
    External,
}

/// Limits of a rolling update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdateConfig {
    /// How many members may be unavailable at once, absolute or in percent of the target number.
    #[serde(default = "default_max_unavailable")]
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_unavailable: IntOrString,
    /// How many members above the target number may be used at once.
    #[serde(default = "default_max_surge")]
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_surge: IntOrString,
    /// Seconds after which objects whose readiness cannot be observed count as ready.
    #[serde(default = "default_unavailable_period")]
    #[schemars(range(min = 0), transform = schema::without_format)]
    pub unavailable_period_seconds: i64,
}

impl Default for RollingUpdateConfig {
    fn default() -> Self {
        Self {
            max_unavailable: default_max_unavailable(),
            max_surge: default_max_surge(),
            unavailable_period_seconds: default_unavailable_period(),
        }
    }
}

fn default_max_unavailable() -> IntOrString {
    IntOrString::String("25%".into())
}

fn default_max_surge() -> IntOrString {
    IntOrString::String("25%".into())
}

fn default_unavailable_period() -> i64 {
    60
}

/// How objects are applied on members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyStrategy {
    /// Which fields are compared with the member.
    #[serde(default)]
    pub comparison_option: ComparisonOption,
    /// What to do with an object that was changed on the member.
    #[serde(default)]
    pub when_to_apply: WhenToApply,
    /// How objects are written.
    #[serde(rename = "type", default)]
    pub type_: ApplyStrategyType,
    /// Whether an object may have other owners besides the fleet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_co_ownership: bool,
    /// Details of server-side apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_apply_config: Option<ServerSideApplyConfig>,
    /// What to do with an object that exists on the member already.
    #[serde(default)]
    pub when_to_take_over: WhenToTakeOver,
}

/// Which fields are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ComparisonOption {
    /// The fields in the manifest.
    #[default]
    PartialComparison,
    /// All fields.
    FullComparison,
}

/// When a manifest is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenToApply {
    /// Always; changes made on the member are overwritten.
    #[default]
    Always,
    /// Only while nobody changed the object on the member.
    IfNotDrifted,
}

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApplyStrategyType {
    /// By a three-way merge.
    #[default]
    ClientSideApply,
    /// By the member's API server.
    ServerSideApply,
    /// Not at all; differences are reported.
    ReportDiff,
}

/// When an existing object is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenToTakeOver {
    /// Always.
    #[default]
    Always,
    /// Only if it equals the manifest.
    IfNoDiff,
    /// Never.
    Never,
}

/// Details of server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerSideApplyConfig {
    /// Whether fields owned by other managers are taken over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// What happens to placed objects when the placement is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteStrategy {
    /// Whether they are deleted too.
    #[serde(default)]
    pub propagation_policy: DeletePropagationPolicy,
}

/// Whether placed objects are deleted with their placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletePropagationPolicy {
    /// They stay on the members.
    Abandon,
    /// They are deleted.
    #[default]
    Delete,
}

/// Whether the status of placed objects comes back to the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["type"]))]
pub struct ReportBackStrategy {
    /// Whether it comes back.
    #[serde(rename = "type", default)]
    pub type_: ReportBackStrategyType,
    /// Where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<ReportBackDestination>,
}

/// Whether status comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReportBackStrategyType {
    /// No.
    #[default]
    Disabled,
    /// As it is on the member.
    Mirror,
}

/// Where status that comes back is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReportBackDestination {
    /// To the object on the hub.
    OriginalResource,
    /// To the Work.
    WorkAPI,
}
