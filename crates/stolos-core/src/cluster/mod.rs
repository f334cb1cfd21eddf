//! The members of a fleet: joining, leaving, what they report.

pub mod costs;
pub mod fleet;
mod health;
pub mod membership;
pub mod profile;
pub mod properties;
pub mod provider;
