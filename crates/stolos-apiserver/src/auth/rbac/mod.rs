//! Role-based access control: rules, who has them, and who may hand them on.

mod aggregation;
mod bootstrap;
mod escalation;
mod index;
mod rule;

pub use aggregation::{aggregated_rules, is_aggregated};
pub use bootstrap::objects as bootstrap_objects;
pub use escalation::missing_rules;
pub use index::Index;
pub use rule::Rule;

/// API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
