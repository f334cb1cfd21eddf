//! Codes and reasons in the status of auto-upgrade profiles. Programs compare them, so they are part of the API.

pub(super) use crate::update::code::STRATEGY_NOT_FOUND;

/// Somebody deletes the strategy.
pub(super) const STRATEGY_DELETING: &str = "UpdateStrategyDeleting";
/// The strategy cannot be used with the members that there are.
pub(super) const INVALID_STRATEGY: &str = "InvalidUpdateStrategy";
/// No version or image of the channel is published.
pub(super) const TARGET_NOT_PUBLISHED: &str = "TargetNotPublished";
/// The minor version that the profile asks for is too old to be supported.
pub(super) const TARGET_NOT_SUPPORTED: &str = "TargetNotSupported";
/// A cluster has no long-term support.
pub(super) const NOT_LTS_CLUSTER: &str = "NotLtsCluster";
/// More members must be left out than a run can list.
pub(super) const TOO_MANY_LEFT_OUT: &str = "TooManyMembersLeftOut";
/// The profile does nothing by itself.
pub(super) const DISABLED: &str = "Disabled";
/// The profile has nothing to complain of.
pub(super) const WATCHING: &str = "Watching";
/// A run of the profile goes on.
pub(super) const RUN_OPEN: &str = "UpdateRunOpen";
/// A run failed as often as it may be tried.
pub(super) const RUN_FAILED: &str = "UpdateRunFailed";
/// A pause ends later.
pub(super) const PAUSING: &str = "Pausing";
/// Every member is at the target.
pub(super) const AT_TARGET: &str = "AtTarget";
/// Some member is not at the target.
pub(super) const MEMBERS_BEHIND: &str = "MembersBehind";
/// It is not known what the target is.
pub(super) const TARGET_UNKNOWN: &str = "TargetUnknown";
