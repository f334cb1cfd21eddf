//! Defaults that the schema cannot give because the object around them is absent. Controllers fill
//! them in memory, whether or not an admission webhook wrote them into the object.

use super::{
    ApplyStrategy, ApplyStrategyType, PlacementPolicy, PlacementSpec, RollingUpdateConfig,
    RolloutStrategy, RolloutStrategyType, ServerSideApplyConfig,
};

/// Fills every default of a placement.
pub fn default_spec(spec: &mut PlacementSpec) {
    spec.policy.get_or_insert_with(PlacementPolicy::default);
    default_strategy(spec.strategy.get_or_insert_with(RolloutStrategy::default));
}

fn default_strategy(strategy: &mut RolloutStrategy) {
    if strategy.type_ == RolloutStrategyType::RollingUpdate {
        strategy.rolling_update.get_or_insert_with(RollingUpdateConfig::default);
    }
    default_apply_strategy(&mut strategy.apply_strategy);
}

/// Fills every default of an apply strategy, which a Work carries too.
pub fn default_apply_strategy(strategy: &mut Option<ApplyStrategy>) {
    let strategy = strategy.get_or_insert_with(ApplyStrategy::default);
    if strategy.type_ == ApplyStrategyType::ServerSideApply {
        strategy.server_side_apply_config.get_or_insert_with(ServerSideApplyConfig::default);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::json;

    use super::*;
    use crate::placement::{PlacementType, TolerationOperator, UnsatisfiableConstraintAction};

    fn defaulted(spec: serde_json::Value) -> PlacementSpec {
        let mut spec = serde_json::from_value(spec).unwrap();
        default_spec(&mut spec);
        spec
    }

    #[test]
    fn an_empty_placement_picks_all_and_rolls_a_quarter_at_a_time() {
        let spec = defaulted(json!({"resourceSelectors": []}));
        assert_eq!(spec.policy.unwrap().placement_type, PlacementType::PickAll);
        assert_eq!(spec.revision_history_limit, 10);
        let strategy = spec.strategy.unwrap();
        let rolling = strategy.rolling_update.unwrap();
        assert_eq!(rolling.max_unavailable, IntOrString::String("25%".into()));
        assert_eq!(rolling.max_surge, IntOrString::String("25%".into()));
        assert_eq!(rolling.unavailable_period_seconds, 60);
        assert_eq!(strategy.apply_strategy, Some(ApplyStrategy::default()));
    }

    #[test]
    fn given_values_stay() {
        let spec = defaulted(json!({
            "resourceSelectors": [],
            "policy": {
                "placementType": "PickN",
                "numberOfClusters": 2,
                "topologySpreadConstraints": [{"topologyKey": "region"}],
                "tolerations": [{"key": "a"}],
            },
            "strategy": {"type": "External", "applyStrategy": {"type": "ServerSideApply"}},
        }));
        let policy = spec.policy.unwrap();
        assert_eq!(policy.number_of_clusters, Some(2));
        assert_eq!(policy.topology_spread_constraints[0].max_skew, 1);
        assert_eq!(
            policy.topology_spread_constraints[0].when_unsatisfiable,
            UnsatisfiableConstraintAction::DoNotSchedule
        );
        assert_eq!(policy.tolerations[0].operator, TolerationOperator::Equal);
        let strategy = spec.strategy.unwrap();
        assert_eq!(strategy.rolling_update, None);
        let apply = strategy.apply_strategy.unwrap();
        assert_eq!(apply.server_side_apply_config, Some(ServerSideApplyConfig { force: false }));
    }

    #[test]
    fn filling_defaults_twice_changes_nothing() {
        let once = defaulted(json!({"resourceSelectors": []}));
        let mut twice = once.clone();
        default_spec(&mut twice);
        assert_eq!(once, twice);
    }
}
