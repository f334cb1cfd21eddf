//! Strategies that profiles name cannot be deleted.

use stolos_api::update::{NAMED_BY_PROFILE_FINALIZER, UpdateStrategy};
use stolos_controller::{Key, Write};

use super::controller::{Profiles, strategy_of};
use super::effect::Effect;
use crate::update::controller::fleet_of;

impl Profiles {
    /// Holds a strategy while a profile names it.
    pub(super) fn plan_strategy(&self, key: &Key) -> Vec<Effect> {
        let Some(strategy) = self.strategies.get(key) else { return Vec::new() };
        let is_named = self
            .profiles
            .indexed(&fleet_of(&key.namespace, &strategy.spec.fleet_name))
            .any(|profile| strategy_of(profile).as_ref() == Some(key));
        let is_deleting = strategy.metadata.deletion_timestamp.is_some();
        let mut changed = UpdateStrategy::clone(strategy);
        let finalizers = changed.metadata.finalizers.get_or_insert_default();
        let is_held = finalizers.iter().any(|finalizer| finalizer == NAMED_BY_PROFILE_FINALIZER);
        match (is_named, is_held) {
            // Finalizers cannot be added to what is being deleted.
            (true, false) if !is_deleting => {
                finalizers.push(NAMED_BY_PROFILE_FINALIZER.to_owned());
            }
            (false, true) => finalizers.retain(|finalizer| finalizer != NAMED_BY_PROFILE_FINALIZER),
            _ => return Vec::new(),
        }
        vec![Effect(Write::Replace(changed.into()))]
    }
}
