//! Codes in the status of update runs. Programs compare them, so they are part of the API.

/// The run itself cannot start as it is written.
pub const INVALID_UPDATE_RUN: &str = "InvalidUpdateRun";
/// `spec.strategyName` names nothing.
pub const STRATEGY_NOT_FOUND: &str = "UpdateStrategyNotFound";
/// More members failed than allowed.
pub const FAILURE_THRESHOLD_EXCEEDED: &str = "FailureThresholdExceeded";
/// The provider failed to upgrade a member.
pub const UPGRADE_FAILED: &str = "UpgradeFailed";
/// The provider cannot say how the member's cluster is.
pub const CLUSTER_NOT_REACHABLE: &str = "ClusterNotReachable";
/// Something else is done to the cluster.
pub const CLUSTER_BUSY: &str = "ClusterBusy";
/// Somebody has paused the management of the cluster.
pub const PAUSED: &str = "Paused";
/// Nodes of the cluster are only replaced when somebody deletes them.
pub const ON_DELETE_STRATEGY: &str = "OnDeleteStrategy";
/// The cluster may only be upgraded in its maintenance window, which is closed.
pub const MAINTENANCE_WINDOW_NOT_OPEN: &str = "MaintenanceWindowNotOpen";
/// The Kubernetes version is not offered to the cluster.
pub const KUBERNETES_VERSION_NOT_AVAILABLE: &str = "KubernetesVersionNotAvailable";
/// The node image is not offered to the cluster.
pub const NODE_IMAGE_VERSION_NOT_AVAILABLE: &str = "NodeImageVersionNotAvailable";
/// The cluster would skip a minor version.
pub const MINOR_SKIP_NOT_ALLOWED: &str = "MinorSkipNotAllowed";
/// Nodes would be too old for their control plane.
pub const SKEW_NOT_ALLOWED: &str = "SkewNotAllowed";
/// The member left the fleet.
pub const MEMBER_LEFT: &str = "MemberLeft";
