//! What happened in an update run, shaped as in the REST API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{is_false, is_zero};
use super::{UpdateRunStrategy, UpgradeType};

/// What happened in an update run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// State of the run.
    #[serde(default)]
    pub status: UpdateStatus,
    /// Members that are done or skipped, out of all: `3/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Number of members that failed.
    #[serde(default)]
    pub failure_count: i32,
    /// What the run can live with but its author should know: a group without members, a name in `skip` that nothing has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// State of the stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageStatus>,
    /// The node images of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image_selection: Option<NodeImageSelectionStatus>,
    /// The sequence that the run follows: its own, or its copy of the one that `spec.strategyName` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateRunStrategy>,
    /// The `spec.strategyName` that `strategy` was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy_name: Option<String>,
    /// The `spec.restarts` that the run has acted on.
    #[serde(default)]
    pub observed_restarts: i32,
}

/// State of a run, stage, group, member, gate or wait.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStatus {
    /// The state.
    #[serde(default)]
    pub state: State,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<MicroTime>,
    /// Why it failed or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// The state of something in an update run.
#[derive(
    JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum State {
    /// Not reached.
    #[default]
    NotStarted,
    /// Being updated.
    Running,
    /// Reached, but something outside has to happen first.
    Pending,
    /// Left out.
    Skipped,
    /// Nothing new begins; what runs comes to its end.
    Stopping,
    /// Ended by a user before it was done; can be resumed.
    Stopped,
    /// Ended by failures; can be started again.
    Failed,
    /// Done.
    Completed,
}

impl State {
    /// Returns its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Running => "Running",
            Self::Pending => "Pending",
            Self::Skipped => "Skipped",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Failed => "Failed",
            Self::Completed => "Completed",
        }
    }
}

/// Why something failed or waits.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Code for programs, `CamelCase`.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// The field or object that the error is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What lies behind: the provider's own code, or each of several causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorCause>,
}

/// What lies behind an error.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCause {
    /// Code for programs, `CamelCase`.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// The field or object that the cause is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// State of a stage.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Name of the stage.
    pub name: String,
    /// State of the stage.
    #[serde(default)]
    pub status: UpdateStatus,
    /// Most members that are updated at a time.
    #[serde(default)]
    pub max_concurrency: i32,
    /// Number of members that failed.
    #[serde(default)]
    pub failure_count: i32,
    /// Failed members that do not end the run.
    #[serde(default)]
    pub max_allowed_failures: i32,
    /// Number of members at the goal: completed, or there before.
    #[serde(default)]
    pub success_count: i32,
    /// Members that must be at the goal in the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_successes: i32,
    /// State of the groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupStatus>,
    /// State of the gates before the stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_gates: Vec<StageGateStatus>,
    /// State of the gates after the stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_gates: Vec<StageGateStatus>,
    /// State of the wait after the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_stage_wait_status: Option<WaitStatus>,
}

/// State of a group.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Name of the group.
    pub name: String,
    /// State of the group.
    #[serde(default)]
    pub status: UpdateStatus,
    /// Most members that are updated at a time.
    #[serde(default)]
    pub max_concurrency: i32,
    /// Number of members that failed.
    #[serde(default)]
    pub failure_count: i32,
    /// Failed members that do not end the run.
    #[serde(default)]
    pub max_allowed_failures: i32,
    /// Number of members at the goal: completed, or there before.
    #[serde(default)]
    pub success_count: i32,
    /// Members that must be at the goal in the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_successes: i32,
    /// State of the members; absent when the group has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// State of the gates before the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_gates: Vec<StageGateStatus>,
    /// State of the gates after the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_gates: Vec<StageGateStatus>,
}

/// State of a gate as its run sees it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageGateStatus {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Name within the fleet of the `Gate`, once the run has reached it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_id: Option<String>,
    /// State of the gate.
    #[serde(default)]
    pub status: UpdateStatus,
}

/// State of the wait after a stage.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitStatus {
    /// State of the wait.
    #[serde(default)]
    pub status: UpdateStatus,
    /// How long the wait is, in seconds.
    pub wait_duration_in_seconds: i32,
}

/// State of a member.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the member within the fleet.
    pub name: String,
    /// State of the member.
    #[serde(default)]
    pub status: UpdateStatus,
    /// The cluster that the member stood for when the run was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_resource_id: Option<String>,
    /// The latest upgrade of the member by this run. It is written before the upgrade begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// How often this run has begun to upgrade the member.
    #[serde(default)]
    pub attempt: i32,
    /// What the latest upgrade brings the member to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MemberTarget>,
    /// What the cluster was before this run first began to upgrade it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<MemberPrevious>,
    /// How the member is put back to that, after a gate has failed that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<MemberRollback>,
    /// Why the member was skipped, for programs: `AtTarget`, `SkippedByRequest`, `MemberLeft`, or what kept it from being
    /// updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happens, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a cluster was before a run upgraded it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPrevious {
    /// Kubernetes version of the control plane.
    pub kubernetes_version: String,
    /// Oldest Kubernetes version of a pool, where that is not the control plane's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pool_version: Option<String>,
    /// Node images of the pools, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_images: Vec<String>,
}

/// How a member is put back to what it was before a run upgraded it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRollback {
    /// `NotStarted` waits for its turn, `Pending` for the cluster; a member that is left as it is is `Skipped`, with the reason.
    /// A member that was put back is itself `Failed`: it is not where the run wants it.
    #[serde(default)]
    pub status: UpdateStatus,
    /// The attempt that is taken back. Each is taken back at most once.
    pub attempt: i32,
    /// Name for people of the gate that failed, or its name within the fleet.
    pub gate: String,
}

/// What one upgrade brings a member to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberTarget {
    /// Which parts of the cluster are upgraded.
    #[serde(rename = "type")]
    pub upgrade_type: UpgradeType,
    /// The full Kubernetes version; absent when no version changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Node images, `<family>-<version>`, at most one for each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_images: Vec<String>,
    /// Whether pools that were made from a snapshot keep the image that it holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_snapshots: bool,
    /// Whether the member is put back: what is ahead of these versions goes back to them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rollback: bool,
}

/// The node images of a run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImageSelectionStatus {
    /// The images, once they are chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selected_node_image_versions: Vec<NodeImageVersion>,
}

/// A node image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeImageVersion {
    /// `<family>-<version>`.
    pub version: String,
}
