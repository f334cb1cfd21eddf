//! Gates: points that a run does not pass before somebody, or a moment, lets it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CheckStatus, GateType, HealthCheck, ScheduledStartConfiguration};
use crate::cluster::fleet::{
    FLEET_NAME_IMMUTABLE, NAME_MESSAGE, NAME_RULE, OBJECT_NAME_MESSAGE, OBJECT_NAME_RULE,
};

/// A gate that a run has reached. The run creates it; setting `spec.state` to `Completed` lets the run pass.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "Gate",
    namespaced,
    status = "GateStatus",
    derive = "PartialEq",
    category = "stolos",
    doc = "Gate is a point that an update run does not pass before somebody, or a moment, lets it.",
    selectable = ".spec.fleetName",
    selectable = ".spec.target.updateRun",
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.target.updateRun"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".spec.target.stage"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.target.group"),
    printcolumn(name = "Timing", type_ = "string", json_path = ".spec.target.timing"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.gateType"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Name", type_ = "string", json_path = ".spec.displayName", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE),
    validation = Rule::new("self.spec.state == oldSelf.spec.state || !has(oldSelf.status) || oldSelf.status.state == 'Pending'").message("spec.state can only be changed while the gate is pending").field_path(".spec.state").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct GateSpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub display_name: Option<String>,
    /// What completes the gate.
    #[x_kube(validation = Rule::new("self == oldSelf").message("gateType is immutable"))]
    pub gate_type: GateType,
    /// Where the gate stands.
    #[x_kube(validation = Rule::new("self == oldSelf").message("target is immutable"))]
    pub target: GateTarget,
    /// What is asked of the gate: `Completed` lets the run pass.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf || self == 'Completed'").message("a gate that was completed cannot be closed again"))]
    pub state: RequestedGateState,
    /// When a gate of type `ScheduledStart` opens by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("scheduledStart is immutable"))]
    pub scheduled_start: Option<ScheduledStart>,
    /// What a gate of type `HealthCheck` looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("healthCheck is immutable"))]
    pub health_check: Option<HealthCheck>,
}

/// Where a gate stands.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateTarget {
    /// Name of the update run within the fleet.
    #[schemars(length(min = 1, max = 50))]
    pub update_run: String,
    /// Name of the stage.
    #[schemars(length(min = 1, max = 50))]
    pub stage: String,
    /// Name of the group; absent for a gate of a stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub group: Option<String>,
    /// Whether the gate stands before or after the stage or group.
    pub timing: GateTiming,
}

/// Whether a gate stands before or after its stage or group.
#[derive(
    JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum GateTiming {
    /// Before the first member.
    Before,
    /// After the last member.
    After,
}

/// What is asked of a gate.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestedGateState {
    /// The run waits.
    #[default]
    Pending,
    /// The run passes.
    Completed,
}

/// When a gate opens by itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledStart {
    /// The moment of the week that the strategy asks for.
    #[serde(flatten)]
    pub configuration: ScheduledStartConfiguration,
    /// The first such moment after the run reached the gate.
    pub absolute_start_time: MicroTime,
}

/// What was observed of a gate.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// State of the gate.
    pub state: GateState,
    /// When it was completed or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<MicroTime>,
    /// What the checks of a gate of type `HealthCheck` found. Whoever looks writes this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
}

/// State of a gate.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateState {
    /// The run waits.
    #[default]
    Pending,
    /// The stage or group of the gate is left out.
    Skipped,
    /// Health was not reached in time, and the run has failed for it.
    Failed,
    /// The run may pass.
    Completed,
}
