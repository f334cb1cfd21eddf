//! The sequence in which members are updated.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HealthCheck;
use crate::cluster::fleet::{
    FLEET_NAME_IMMUTABLE, NAME_MESSAGE, NAME_RULE, OBJECT_NAME_MESSAGE, OBJECT_NAME_RULE,
};

const CONCURRENCY_RULE: &str = "self.matches('^([1-9][0-9]*|([1-9][0-9]?|100)%)$')";
const CONCURRENCY_MESSAGE: &str =
    "must be a number of members, at least 1, or a percentage from 1% to 100%";
const STAGE_CONCURRENCY_RULE: &str = "self.matches('^([1-9]|[1-4][0-9]|50|([1-9][0-9]?|100)%)$')";
const STAGE_CONCURRENCY_MESSAGE: &str =
    "must be a number of members from 1 to 50, or a percentage from 1% to 100%";
const FAILURES_RULE: &str = "self.matches('^(0|[1-9][0-9]*|(0|[1-9][0-9]?|100)%)$')";
const FAILURES_MESSAGE: &str = "must be a number of members, or a percentage from 0% to 100%";
const SUCCESSES_RULE: &str = "self.matches('^(0|[1-9][0-9]*|(0|[1-9][0-9]?|100)%)$')";
pub(super) const TIME_RULE: &str = "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')";
pub(super) const TIME_MESSAGE: &str = "must be a time of day such as 08:30";
pub(super) const OFFSET_RULE: &str = "self.matches('^[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00)$')";
pub(super) const OFFSET_MESSAGE: &str = "must be an offset from UTC such as +02:00";
const BEFORE_GATES_RULE: &str = "self.all(gate, !has(gate.healthCheck) || !has(gate.healthCheck.onFailure) || gate.healthCheck.onFailure != 'Rollback')";
const BEFORE_GATES_MESSAGE: &str = "onFailure: Rollback can only be asked for by an after gate: before it nothing has been updated";
const AFTER_GATES_RULE: &str = "self.all(gate, gate.type != 'ScheduledStart')";
const AFTER_GATES_MESSAGE: &str = "a gate of type ScheduledStart can only be a before gate";

/// A reusable sequence of updates. A run copies it once; later edits never reach existing runs.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "UpdateStrategy",
    plural = "updatestrategies",
    namespaced,
    derive = "PartialEq",
    shortname = "ustrat",
    category = "stolos",
    doc = "UpdateStrategy is a reusable sequence in which members of a fleet are updated.",
    selectable = ".spec.fleetName",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleetName"),
    printcolumn(name = "First Stage", type_ = "string", json_path = ".spec.strategy.stages[0].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategySpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// The sequence.
    pub strategy: UpdateRunStrategy,
}

/// Stages, one after another.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateRunStrategy {
    /// The stages in their order.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub stages: Vec<UpdateStage>,
}

/// Groups of members that are updated at the same time.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.memberSelector) || (has(self.groups) && self.groups.size() > 0)").message("a stage needs groups, a memberSelector, or both")
)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStage {
    /// Name of the stage, unique in the strategy.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE))]
    pub name: String,
    /// The groups of the stage; they run side by side. Names are unique in the whole strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub groups: Vec<UpdateGroup>,
    /// Selects the members of the stage. Without groups, all of them form one group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<MemberSelector>,
    /// Pause after the last member of the stage, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub after_stage_wait_in_seconds: Option<i32>,
    /// Most members of the stage that are updated at a time: a number up to 50, or a percentage, rounded down. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(STAGE_CONCURRENCY_RULE).message(STAGE_CONCURRENCY_MESSAGE))]
    pub max_concurrency: Option<String>,
    /// Failed members of the stage that do not end the run: a number, or a percentage, rounded up. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(FAILURES_RULE).message(FAILURES_MESSAGE))]
    pub max_allowed_failures: Option<String>,
    /// Members of the stage that must be at the goal for the stage to pass: a number, or a percentage, rounded up. Completed
    /// members count, and those that were at the goal before. A member that somebody skips, or that leaves, is not
    /// asked for. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(SUCCESSES_RULE).message(FAILURES_MESSAGE))]
    pub min_successes: Option<String>,
    /// Gates that must be completed before the stage begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(BEFORE_GATES_RULE).message(BEFORE_GATES_MESSAGE))]
    pub before_gates: Vec<GateConfiguration>,
    /// Gates that must be completed before the next stage begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(AFTER_GATES_RULE).message(AFTER_GATES_MESSAGE))]
    pub after_gates: Vec<GateConfiguration>,
}

/// Members that are updated one after another.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateGroup {
    /// Name of the group, unique in the strategy. Without a selector, it takes the members whose `group` it is.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE))]
    pub name: String,
    /// Selects the members of the group by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<MemberSelector>,
    /// Most members of the group that are updated at a time: a number, or a percentage, rounded down. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(CONCURRENCY_RULE).message(CONCURRENCY_MESSAGE))]
    pub max_concurrency: Option<String>,
    /// Failed members of the group that do not end the run: a number, or a percentage, rounded up. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(FAILURES_RULE).message(FAILURES_MESSAGE))]
    pub max_allowed_failures: Option<String>,
    /// Members of the group that must be at the goal for the group to pass: a number, or a percentage, rounded up. Completed
    /// members count, and those that were at the goal before. A member that somebody skips, or that leaves, is not
    /// asked for. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new(SUCCESSES_RULE).message(FAILURES_MESSAGE))]
    pub min_successes: Option<String>,
    /// Gates that must be completed before the group begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(BEFORE_GATES_RULE).message(BEFORE_GATES_MESSAGE))]
    pub before_gates: Vec<GateConfiguration>,
    /// Gates that must be completed before the group is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(AFTER_GATES_RULE).message(AFTER_GATES_MESSAGE))]
    pub after_gates: Vec<GateConfiguration>,
}

/// Selects members by their labels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSelector {
    /// A label selector as `kubectl` takes it: `env=prod,tier in (web,api),!legacy`.
    #[schemars(length(min = 1, max = 512))]
    pub by_label: String,
}

/// A point that a run does not pass by itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(self.type == 'ScheduledStart') == has(self.scheduledStartConfiguration)").message("scheduledStartConfiguration is required for type ScheduledStart and forbidden for any other type").field_path(".scheduledStartConfiguration"),
    validation = Rule::new("(self.type == 'HealthCheck') == has(self.healthCheck)").message("healthCheck is required for type HealthCheck and forbidden for any other type").field_path(".healthCheck")
)]
#[serde(rename_all = "camelCase")]
pub struct GateConfiguration {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub display_name: Option<String>,
    /// What completes the gate.
    #[serde(rename = "type")]
    pub gate_type: GateType,
    /// When a gate of type `ScheduledStart` opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_start_configuration: Option<ScheduledStartConfiguration>,
    /// What a gate of type `HealthCheck` looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// What completes a gate.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateType {
    /// Somebody sets the gate's state to `Completed`.
    Approval,
    /// A moment of the week comes.
    ScheduledStart,
    /// Clusters and their workloads are healthy for a while.
    HealthCheck,
}

/// A moment of the week.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledStartConfiguration {
    /// Day of the week.
    pub start_day: Day,
    /// Time of day, `HH:MM`.
    #[schemars(length(max = 5))]
    #[x_kube(validation = Rule::new(TIME_RULE).message(TIME_MESSAGE))]
    pub start_time: String,
    /// Offset from UTC, `+HH:MM` or `-HH:MM`, at most 14 hours.
    #[schemars(length(max = 6))]
    #[x_kube(validation = Rule::new(OFFSET_RULE).message(OFFSET_MESSAGE))]
    pub utc_offset: String,
}

/// A day of the week.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}
