//! An update run: one goal, applied to a set of members in one sequence.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{UpdateRunStatus, UpdateRunStrategy};
use crate::cluster::fleet::{
    FLEET_NAME_IMMUTABLE, NAME_MESSAGE, NAME_RULE, OBJECT_NAME_MESSAGE, OBJECT_NAME_RULE,
};

const STARTED: &str =
    "has(oldSelf.status) && has(oldSelf.status.status) && has(oldSelf.status.status.startTime)";
const NOT_AFTER_START: &str =
    "cannot be changed once the run has started; create another run instead";

fn unless_started(condition: &str) -> String {
    format!("!({STARTED}) || ({condition})")
}

/// Brings members of a fleet to new Kubernetes versions or node images, stage by stage.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "UpdateRun",
    namespaced,
    status = "UpdateRunStatus",
    derive = "PartialEq",
    shortname = "ur",
    category = "stolos",
    doc = "UpdateRun brings members of a fleet to new Kubernetes versions or node images, stage by stage.",
    selectable = ".spec.fleetName",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleetName"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.managedClusterUpdate.upgrade.type"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.managedClusterUpdate.upgrade.kubernetesVersion"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.status.state"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Failures", type_ = "integer", json_path = ".status.failureCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.status.error.message", priority = "1"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE),
    validation = Rule::new(unless_started("self.spec.managedClusterUpdate == oldSelf.spec.managedClusterUpdate")).message(&*format!("spec.managedClusterUpdate {NOT_AFTER_START}")).field_path(".spec.managedClusterUpdate").reason(Reason::FieldValueForbidden),
    validation = Rule::new(unless_started("has(self.spec.strategy) == has(oldSelf.spec.strategy) && (!has(self.spec.strategy) || self.spec.strategy == oldSelf.spec.strategy)")).message(&*format!("spec.strategy {NOT_AFTER_START}")).field_path(".spec.strategy").reason(Reason::FieldValueForbidden),
    validation = Rule::new(unless_started("has(self.spec.strategyName) == has(oldSelf.spec.strategyName) && (!has(self.spec.strategyName) || self.spec.strategyName == oldSelf.spec.strategyName)")).message(&*format!("spec.strategyName {NOT_AFTER_START}")).field_path(".spec.strategyName").reason(Reason::FieldValueForbidden),
    validation = Rule::new(unless_started("has(self.spec.members) == has(oldSelf.spec.members) && (!has(self.spec.members) || self.spec.members == oldSelf.spec.members)")).message(&*format!("spec.members {NOT_AFTER_START}")).field_path(".spec.members").reason(Reason::FieldValueForbidden)
)]
#[x_kube(
    validation = Rule::new("!(has(self.strategy) && has(self.strategyName))").message("strategy and strategyName cannot both be set: give the stages here or name an UpdateStrategy").field_path(".strategyName"),
    validation = Rule::new("!has(oldSelf.skip) || (has(self.skip) && oldSelf.skip.all(old, self.skip.exists(new, new.type == old.type && new.name == old.name)))").message("skip can only be added to: what was skipped stays skipped").field_path(".skip").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunSpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// What members are brought to. Cannot be changed once the run has started.
    pub managed_cluster_update: ManagedClusterUpdate,
    /// The sequence. Without it and without `strategyName`, all members are updated one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateRunStrategy>,
    /// Name within the fleet of the `UpdateStrategy` that the run copies, once, when it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE))]
    pub strategy_name: Option<String>,
    /// Names of the members that the run is about; groups and selectors of the strategy choose among them. Without it, they
    /// choose among all members of the fleet. A retry of what failed lists the members here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 50)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub members: Vec<String>,
    /// What becomes of members that cannot be updated when their turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_policy: Option<MemberPolicy>,
    /// Checks that a member must pass before its upgrade begins. One that does not is pending and is looked at again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub preflight: Vec<PreflightCheck>,
    /// What the run shall do: `Initialize` only shows in status what would be updated, `Run` updates, `Stop` begins
    /// nothing new and lets what runs come to its end.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self == oldSelf || self != 'Initialize'").message("a run that was started cannot go back to Initialize; use Stop"),
        validation = Rule::new("!(oldSelf == 'Initialize' && self == 'Stop')").message("a run that was not started cannot be stopped")
    )]
    pub state: RunState,
    /// Raise this number to start again a run that has failed: its failed members are tried again.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("restarts can only be raised"))]
    pub restarts: i32,
    /// What is not updated. Entries can be added at any time and never removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into(), "name".into()]))]
    pub skip: Vec<SkipTarget>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What becomes of members that cannot be updated when their turn comes.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPolicy {
    /// The cluster is stopped. Default `Skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stopped: Option<MemberAction>,
    /// Something else is done to the cluster, another run updates it, or somebody has paused it. Default `Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<MemberAction>,
    /// Nobody can say how the cluster is. Default `Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unreachable: Option<MemberAction>,
}

/// What becomes of a member that cannot be updated when its turn comes.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberAction {
    /// The run leaves the member out.
    Skip,
    /// The member is pending until it can be updated; others go on.
    Wait,
    /// The member counts as failed.
    Fail,
}

/// A check that a member must pass before its upgrade begins.
#[derive(
    JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum PreflightCheck {
    /// All nodes are ready.
    NodesReady,
    /// Every `PodDisruptionBudget` allows at least one disruption.
    PodDisruptionBudgets,
    /// Nobody has asked the cluster for an API that the wanted version does not have any more, since its API server started.
    DeprecatedApis,
}

/// What a run is asked to do.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Show what would be updated.
    #[default]
    Initialize,
    /// Update.
    Run,
    /// Begin nothing new.
    Stop,
}

/// The goal of a run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedClusterUpdate {
    /// What is upgraded, and to which version.
    pub upgrade: ManagedClusterUpgrade,
    /// How node images are chosen. `Latest` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image_selection: Option<NodeImageSelection>,
}

/// What is upgraded, and to which version.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type == 'NodeImageOnly' || has(self.kubernetesVersion)").message("kubernetesVersion is required for the types Full and ControlPlaneOnly").field_path(".kubernetesVersion").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.type != 'NodeImageOnly' || !has(self.kubernetesVersion)").message("kubernetesVersion is forbidden for the type NodeImageOnly").field_path(".kubernetesVersion").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct ManagedClusterUpgrade {
    /// Which parts of a cluster are upgraded.
    #[serde(rename = "type")]
    pub upgrade_type: UpgradeType,
    /// `1.33.2`, or `1.33` for the newest patch of that minor version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^v?[0-9]+[.][0-9]+([.][0-9]+)?$')").message("must be a version such as 1.33.2, or a minor version such as 1.33"))]
    pub kubernetes_version: Option<String>,
}

/// Which parts of a cluster are upgraded.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpgradeType {
    /// Control plane, nodes and node images.
    Full,
    /// Node images; no version changes.
    NodeImageOnly,
    /// The control plane; nodes stay as they are.
    ControlPlaneOnly,
}

/// How node images are chosen.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(self.type == 'Custom') == (has(self.customNodeImageVersions) && self.customNodeImageVersions.size() > 0)").message("customNodeImageVersions is required for type Custom and forbidden for any other type").field_path(".customNodeImageVersions")
)]
#[serde(rename_all = "camelCase")]
pub struct NodeImageSelection {
    /// The rule of choice.
    #[serde(rename = "type")]
    pub selection_type: NodeImageSelectionType,
    /// The images of type `Custom`, at most one for each image family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub custom_node_image_versions: Vec<CustomNodeImageVersion>,
}

/// The rule by which node images are chosen.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeImageSelectionType {
    /// Each cluster takes the newest image of its region when its turn comes.
    Latest,
    /// All clusters take the newest image that is available to all of them when the run starts.
    Consistent,
    /// The images are listed; pools of other families stay as they are.
    Custom,
}

/// A node image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomNodeImageVersion {
    /// `<family>-<version>`, for instance `AKSUbuntu-2204gen2containerd-202507.15.0`.
    #[schemars(length(min = 3, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^.+-[0-9]+([.][0-9]+)*$')").message("must be a family, a dash and a version, such as AKSUbuntu-2204gen2containerd-202507.15.0"))]
    pub version: String,
}

/// Something that a run leaves out.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SkipTarget {
    /// What kind of thing is named.
    #[serde(rename = "type")]
    pub target_type: SkipTargetType,
    /// Name of the member, group or stage; for `AfterStageWait` the name of the stage.
    #[schemars(length(min = 1, max = 50))]
    pub name: String,
}

/// What can be left out of a run.
#[derive(
    JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum SkipTargetType {
    /// A member, in whatever group it is.
    Member,
    /// All unfinished members of a group and all its gates.
    Group,
    /// Everything in a stage, with its wait.
    Stage,
    /// The wait after a stage.
    AfterStageWait,
}
