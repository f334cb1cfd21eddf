//! Update strategies that auto-upgrade profiles name cannot be deleted.
//!
//! The hub marks a strategy with a finalizer as long as a profile names it. The finalizer alone would let the deletion begin
//! and never end, so the request is refused.

use super::deletion::Rule;
use crate::cluster::fleet::GROUP;
use crate::update::NAMED_BY_PROFILE_FINALIZER;

pub(super) fn rule() -> Rule {
    Rule {
        name: "fleet-stolos-dev-strategies-in-use",
        group: GROUP,
        version: "v1alpha1",
        resource: "updatestrategies",
        is_free: format!(
            "!has(oldObject.metadata.finalizers) || !('{NAMED_BY_PROFILE_FINALIZER}' in oldObject.metadata.finalizers)"
        ),
        message: "an AutoUpgradeProfile names this UpdateStrategy: delete the profile, or let it name another strategy, first",
        details: None,
    }
}
