//! From a placement to objects on members, one decision per module.
//!
//! On the hub, in this order: [`select`] and [`sanitise`], [`snapshot`], [`scheduler`], [`rollout`],
//! [`work`]. On the member [`apply`]. And back: [`work_status`], then [`status`] and
//! [`mirror`].

pub mod apply;
pub mod condition;
pub mod eligibility;
pub mod explain;
pub mod hash;
pub mod mirror;
pub mod object;
pub mod order;
pub mod overrides;
pub mod preview;
pub mod restore;
pub mod rollout;
pub mod sanitise;
pub mod scheduler;
pub mod select;
pub mod snapshot;
pub mod status;
pub mod wake;
pub mod work;
pub mod work_status;
