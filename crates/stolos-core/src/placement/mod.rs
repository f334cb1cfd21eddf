//! From a placement to objects on members, one decision per module, in the order in which they
//! follow each other.

pub mod rollout;
pub mod scheduler;
