//! Auto-upgrade profiles: they create and start update runs when newer versions are published.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ErrorDetail, GateConfiguration, MemberPolicy, NodeImageSelectionType, PreflightCheck};
use crate::cluster::fleet::{
    FLEET_NAME_IMMUTABLE, NAME_MESSAGE, NAME_RULE, OBJECT_NAME_MESSAGE, OBJECT_NAME_RULE,
};

/// Label on update runs: short name of the auto-upgrade profile that made them. The profile may be gone.
pub const AUTO_UPGRADE_PROFILE_LABEL: &str = "fleet.stolos.dev/auto-upgrade-profile";

/// Annotation on update runs that a profile made: members, separated by commas, that the profile left out because the
/// upgrade is not possible for them. They are not left out for good, unlike those that a person skips.
pub const LEFT_OUT_ANNOTATION: &str = "fleet.stolos.dev/auto-upgrade-left-out";

/// Finalizer on update strategies while an auto-upgrade profile names them.
pub const NAMED_BY_PROFILE_FINALIZER: &str = "fleet.stolos.dev/auto-upgrade-profile";

/// Condition of a profile: it can create update runs.
pub const CONDITION_READY: &str = "Ready";

/// Condition of a profile: every member that its runs would update is at the target.
pub const CONDITION_UP_TO_DATE: &str = "UpToDate";

/// How often a profile tries again what failed, unless it says otherwise.
pub const DEFAULT_MAX_RETRIES: i32 = 3;

/// Finished runs that a profile keeps, unless it says otherwise.
pub const DEFAULT_HISTORY_LIMIT: i32 = 10;

/// Creates and starts update runs when newer versions are published, or when members fall behind.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fleet.stolos.dev",
    version = "v1alpha1",
    kind = "AutoUpgradeProfile",
    namespaced,
    status = "AutoUpgradeProfileStatus",
    derive = "PartialEq",
    shortname = "aup",
    category = "stolos",
    doc = "AutoUpgradeProfile creates and starts update runs when newer versions are published, or when members fall behind.",
    selectable = ".spec.fleetName",
    selectable = ".spec.strategyName",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleetName"),
    printcolumn(name = "Channel", type_ = "string", json_path = ".spec.channel"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target[*]"),
    printcolumn(name = "UpToDate", type_ = "string", json_path = ".status.conditions[?(@.type==\"UpToDate\")].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Last Run", type_ = "string", json_path = ".status.lastTriggerUpdateRun"),
    printcolumn(name = "Triggered", type_ = "date", json_path = ".status.lastTriggeredAt"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"UpToDate\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(OBJECT_NAME_RULE).message(OBJECT_NAME_MESSAGE)
)]
#[x_kube(
    validation = Rule::new("self.channel != 'TargetKubernetesVersion' || has(self.targetKubernetesVersion)").message("targetKubernetesVersion is required for the channel TargetKubernetesVersion; give a minor version such as 1.33").field_path(".targetKubernetesVersion").reason(Reason::FieldValueRequired),
    validation = Rule::new("self.channel == 'TargetKubernetesVersion' || !has(self.targetKubernetesVersion)").message("targetKubernetesVersion is forbidden for any channel but TargetKubernetesVersion; remove it or change the channel").field_path(".targetKubernetesVersion").reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.channel == 'TargetKubernetesVersion' || !self.longTermSupport").message("longTermSupport is forbidden for any channel but TargetKubernetesVersion; remove it or change the channel").field_path(".longTermSupport").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!(self.channel in ['NodeImage', 'SecurityPatch']) || !has(self.nodeImageSelection)").message("nodeImageSelection is forbidden for the channels NodeImage and SecurityPatch, which choose images themselves; remove it").field_path(".nodeImageSelection").reason(Reason::FieldValueForbidden),
    validation = Rule::new("!(self.channel in ['NodeImage', 'SecurityPatch']) || !has(self.split)").message("split is forbidden for the channels NodeImage and SecurityPatch, which leave control planes alone; remove it").field_path(".split").reason(Reason::FieldValueForbidden),
    validation = Rule::new("self.reconcile != 'Published' || !has(self.maxRetries)").message("maxRetries is forbidden with reconcile Published, which tries everything once; remove it or use reconcile Drift").field_path(".maxRetries").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
pub struct AutoUpgradeProfileSpec {
    /// Name of the fleet, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE), validation = Rule::new("self == oldSelf").message(FLEET_NAME_IMMUTABLE))]
    pub fleet_name: String,
    /// Which versions members are brought to.
    pub channel: Channel,
    /// The minor version of the channel `TargetKubernetesVersion`, such as `1.33`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+$')").message("must be a minor version such as 1.33, without a patch"))]
    pub target_kubernetes_version: Option<String>,
    /// Allows a `targetKubernetesVersion` that has long-term support only. Every cluster must have long-term support.
    #[serde(default)]
    pub long_term_support: bool,
    /// How runs choose node images. `Latest` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image_selection: Option<ProfileNodeImageSelection>,
    /// Name within the fleet of the `UpdateStrategy` that runs follow. Without it, all members are updated one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new(NAME_RULE).message(NAME_MESSAGE))]
    pub strategy_name: Option<String>,
    /// What becomes of members that cannot be updated when their turn comes in a run of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_policy: Option<MemberPolicy>,
    /// Checks that a member must pass before a run of the profile begins its upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub preflight: Vec<PreflightCheck>,
    /// Makes the profile start nothing new. Runs that it made go on.
    #[serde(default)]
    pub disabled: bool,
    /// When a run is due: `Drift` compares members with the channel's target, so that a missed member is caught up;
    /// `Published` acts once on each publication, as Azure does.
    #[serde(default)]
    pub reconcile: Reconcile,
    /// Upgrades control planes in a run of their own, and nodes in another one after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How often what failed is tried again, with growing pauses. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: Option<i32>,
    /// How many finished runs of the profile are kept, besides those for its present target. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub history_limit: Option<i32>,
    /// Raise this number to have the run for the present target created, but not started. Works on a disabled profile
    /// too. `status.generated` answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("generate can only be raised"))]
    pub generate: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl AutoUpgradeProfileSpec {
    /// Returns how often what failed is tried again.
    pub fn retries(&self) -> i32 {
        match self.reconcile {
            Reconcile::Drift => self.max_retries.unwrap_or(DEFAULT_MAX_RETRIES),
            Reconcile::Published => 0,
        }
    }
}

/// Which versions members are brought to.
#[derive(
    JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Channel {
    /// The newest patch of the newest generally available minor version.
    Rapid,
    /// The newest patch of the minor version before that.
    Stable,
    /// The newest patch of `targetKubernetesVersion`.
    TargetKubernetesVersion,
    /// The newest node images; Kubernetes versions stay as they are.
    NodeImage,
    /// The newest security patches of Linux node images; Kubernetes versions and Windows nodes stay as they are.
    SecurityPatch,
}

impl Channel {
    /// Whether the channel is about node images and not about Kubernetes versions.
    pub fn is_for_images(self) -> bool {
        match self {
            Self::NodeImage | Self::SecurityPatch => true,
            Self::Rapid | Self::Stable | Self::TargetKubernetesVersion => false,
        }
    }
}

/// When a run is due.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reconcile {
    /// Whenever a member is behind the channel's target.
    #[default]
    Drift,
    /// Once for each publication after the profile was created.
    Published,
}

/// How the runs of a profile choose node images.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type != 'Custom'").message("type must be Latest or Consistent: a profile cannot list images").field_path(".type")
)]
pub struct ProfileNodeImageSelection {
    /// The rule of choice.
    #[serde(rename = "type")]
    pub selection_type: NodeImageSelectionType,
}

/// How nodes follow their control planes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Pause between the end of the control planes' run and the nodes' run, in seconds.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub wait_in_seconds: i32,
    /// Gates that must be completed before the first node is upgraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub before_nodes: Vec<GateConfiguration>,
}

/// What was observed of a profile, and what it did.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoUpgradeProfileStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` and `UpToDate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What the channel stands for at the moment: one Kubernetes version, or node images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<String>,
    /// When a run was last created and started, or could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_triggered_at: Option<Time>,
    /// Whether that worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trigger_status: Option<TriggerStatus>,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trigger_error: Option<ErrorDetail>,
    /// The Kubernetes version or node images of that run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_trigger_upgrade_versions: Vec<String>,
    /// Name within the fleet of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trigger_update_run: Option<String>,
    /// The newest publication that a profile with `reconcile: Published` has acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// The answer to the latest `spec.generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
}

/// Whether a run could be created and started.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TriggerStatus {
    Succeeded,
    Failed,
}

/// A publication that a profile has acted on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The channel that it was seen on; another channel begins anew.
    pub channel: Channel,
    /// `spec.targetKubernetesVersion` at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_kubernetes_version: Option<String>,
    /// The Kubernetes version or node images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
}

/// The answer to `spec.generate`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generated {
    /// The `spec.generate` that is answered.
    pub request: i32,
    /// Name within the fleet of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_run: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}
