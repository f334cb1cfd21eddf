//! Staged update runs: releasing a placement's snapshot to its members in an order that a user
//! chooses, with waits and approvals between the stages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApplyStrategy, NamespacedName};
use crate::schema;

/// The order in which a snapshot is released.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StagedUpdateStrategySpec {
    /// The stages, one after the other.
    #[schemars(length(max = 31))]
    pub stages: Vec<StageConfig>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageConfig {
    /// Name, in lower-case letters and digits.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]+$"))]
    pub name: String,
    /// Members of the stage: none if absent, all if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub label_selector: Option<LabelSelector>,
    /// Label, with a number as value, by which the members of the stage are ordered; by name if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sorting_label_key: String,
    /// How many members are updated at once, absolute or in percent of the stage.
    #[serde(default = "default_max_concurrency")]
    #[schemars(schema_with = "max_concurrency", extend("default" = 1))]
    pub max_concurrency: IntOrString,
    /// What happens after the members of the stage are updated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-validations" = json!([
        {
            "message": "AfterStageTaskType is Approval, waitTime is not allowed",
            "rule": "!self.exists(e, e.type == 'Approval' && has(e.waitTime))",
        },
        {
            "message": "AfterStageTaskType is TimedWait, waitTime is required",
            "rule": "!self.exists(e, e.type == 'TimedWait' && !has(e.waitTime))",
        },
    ])))]
    pub after_stage_tasks: Vec<StageTask>,
    /// What happens before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1), extend("x-kubernetes-validations" = json!([
        {
            "message": "AfterStageTaskType is Approval, waitTime is not allowed",
            "rule": "!self.exists(e, e.type == 'Approval' && has(e.waitTime))",
        },
        {
            "message": "BeforeStageTaskType cannot be TimedWait",
            "rule": "!self.exists(e, e.type == 'TimedWait')",
        },
    ])))]
    pub before_stage_tasks: Vec<StageTask>,
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            label_selector: None,
            sorting_label_key: String::new(),
            max_concurrency: default_max_concurrency(),
            after_stage_tasks: Vec::new(),
            before_stage_tasks: Vec::new(),
        }
    }
}

fn default_max_concurrency() -> IntOrString {
    IntOrString::Int(1)
}

fn max_concurrency(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "pattern": "^(100|[1-9][0-9]?)%$",
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "message": "maxConcurrency must be at least 1",
            "rule": "self == null || type(self) != int || self >= 1",
        }],
    })
}

/// Something to wait for before or after a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageTask {
    /// What is waited for.
    #[serde(rename = "type")]
    pub type_: StageTaskType,
    /// How long, for TimedWait, such as `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "wait_time")]
    pub wait_time: Option<String>,
}

fn wait_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "pattern": r"^(?:(?:0|[1-9][0-9]*)(\.[0-9]+)?(?:s|m|h))+$",
    })
}

/// What a stage waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StageTaskType {
    /// Time.
    #[default]
    TimedWait,
    /// An approval.
    Approval,
}

/// What a run releases, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StagedUpdateRunSpec {
    /// Placement whose snapshot is released.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = json!([{
        "message": "placementName is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub placement_name: String,
    /// Index of the snapshot; empty for the latest one when the run begins.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "resourceSnapshotIndex is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub resource_snapshot_index: String,
    /// Strategy that says in which order.
    #[schemars(extend("x-kubernetes-validations" = json!([{
        "message": "stagedRolloutStrategyName is immutable",
        "rule": "self == oldSelf",
    }])))]
    pub staged_rollout_strategy_name: String,
    /// Whether the run is prepared, running or stopped.
    #[serde(default)]
    pub state: StagedUpdateRunState,
}

/// What a user wants of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StagedUpdateRunState {
    /// Work out the stages and wait.
    #[default]
    Initialize,
    /// Go on.
    Run,
    /// Finish what is under way and begin nothing new.
    Stop,
}

/// How far a run got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StagedUpdateRunStatus {
    /// Index of the policy snapshot that the members come from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_snapshot_index_used: String,
    /// Number of members that the policy asked for when the run began.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(transform = schema::without_format)]
    pub policy_observed_cluster_count: i64,
    /// Index of the snapshot that is released.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_snapshot_index_used: String,
    /// How objects are applied, as the placement said when the run began.
    #[serde(rename = "appliedStrategy", default, skip_serializing_if = "Option::is_none")]
    pub apply_strategy: Option<ApplyStrategy>,
    /// The strategy when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_update_strategy_snapshot: Option<StagedUpdateStrategySpec>,
    /// The stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages_status: Vec<StageStatus>,
    /// The last stage, which removes the placement from members that are no longer picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_stage_status: Option<StageStatus>,
    /// Whether the run is prepared, gets on, is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// How far a stage got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Name of the stage.
    pub stage_name: String,
    /// Its members.
    pub clusters: Vec<ClusterUpdatingStatus>,
    /// What is waited for afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub after_stage_task_status: Vec<StageTaskStatus>,
    /// What is waited for before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub before_stage_task_status: Vec<StageTaskStatus>,
    /// When the stage began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the stage was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// Whether the stage gets on, is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How far a member got in a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterUpdatingStatus {
    /// The member.
    pub cluster_name: String,
    /// ResourceOverride snapshots that are released to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_override_snapshots: Vec<NamespacedName>,
    /// ClusterResourceOverride snapshots that are released to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_resource_override_snapshots: Vec<String>,
    /// Whether it began, is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How far a task of a stage got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageTaskStatus {
    /// What is waited for.
    #[serde(rename = "type")]
    pub type_: StageTaskType,
    /// The approval request, for an approval.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub approval_request_name: String,
    /// Whether it was asked for, is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What an approval is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestSpec {
    /// The update run.
    #[serde(rename = "parentStageRollout")]
    pub target_update_run: String,
    /// Its stage.
    pub target_stage: String,
}

/// What became of a request for approval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequestStatus {
    /// Whether it is approved, and whether the run took note.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
