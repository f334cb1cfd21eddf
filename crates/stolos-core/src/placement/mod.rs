//! From a placement to objects on members, one decision per module.

pub mod apply;
pub mod condition;
pub mod eligibility;
pub mod hash;
pub mod object;
pub mod order;
pub mod rollout;
pub mod sanitise;
pub mod scheduler;
pub mod select;
pub mod snapshot;
pub mod status;
