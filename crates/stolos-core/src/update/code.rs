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
/// Only clusters with long-term support can be brought to the version, and this one has none.
pub const NOT_LTS_CLUSTER: &str = "NotLtsCluster";
/// The cluster is stopped.
pub const CLUSTER_STOPPED: &str = "ClusterStopped";
/// The maintenance window of the member is not of its form.
pub const MAINTENANCE_WINDOW_INVALID: &str = "MaintenanceWindowInvalid";
/// A pre-flight check found a problem, or has not been made yet.
pub const PREFLIGHT_FAILED: &str = "PreflightFailed";
/// Fewer members are at the goal than the strategy asks for.
pub const SUCCESS_THRESHOLD_NOT_MET: &str = "SuccessThresholdNotMet";
/// Health was not reached by the deadline of a gate.
pub const HEALTH_CHECK_FAILED: &str = "HealthCheckFailed";
/// The member was put back to what it was before the run updated it.
pub const ROLLED_BACK: &str = "RolledBack";
/// The provider failed to put a member back.
pub const ROLLBACK_FAILED: &str = "RollbackFailed";
/// A member cannot be put back to what it was.
pub const ROLLBACK_NOT_SUPPORTED: &str = "RollbackNotSupported";
/// Somebody has changed the cluster since the run updated it.
pub const CLUSTER_CHANGED: &str = "ClusterChanged";
/// Reason of a skipped member: there was nothing to do.
pub const AT_TARGET: &str = "AtTarget";
/// Reason of a skipped member: somebody asked for it.
pub const SKIPPED_BY_REQUEST: &str = "SkippedByRequest";
/// Reason of a skipped member: the run has no image for one of its pools.
pub const NO_CONSISTENT_IMAGE: &str = "NoConsistentNodeImage";
/// Reason of a skipped member: its provider knows no images for the nodes.
pub const NO_IMAGE_SOURCE: &str = "NoImageSource";
/// The member left the fleet.
pub const MEMBER_LEFT: &str = "MemberLeft";
