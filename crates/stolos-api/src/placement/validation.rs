//! What a placement must satisfy beyond its schema, for the places that admit or process it.
//!
//! Rules that need to know which kinds exist (does the selected kind exist, is it namespaced) are
//! part of selecting resources, not of this module.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    ApplyStrategyType, ClusterSelectorTerm, PlacementPolicy, PlacementSpec, PlacementType,
    PropertySelector, PropertySelectorOperator, PropertySorter, ResourceSelectorTerm,
    RollingUpdateConfig, RolloutStrategy, RolloutStrategyType, Toleration, TolerationOperator,
};
use crate::cluster::names::property;
use crate::quantity::Amount;
use crate::validation::{
    FieldError, is_dns_subdomain, is_label_value, is_name_part, is_qualified_name,
    label_selector_errors,
};

/// Longest name of a placement; names of its children and label values are made from it.
pub const MAX_NAME_LENGTH: usize = 63;

/// Returns what is wrong with a placement of this name.
pub fn validate(name: &str, spec: &PlacementSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.len() > MAX_NAME_LENGTH {
        errors.push(FieldError::new(
            "metadata.name",
            "the name field cannot have length exceeding 63",
        ));
    }
    for (i, selector) in spec.resource_selectors.iter().enumerate() {
        check_selector(&format!("spec.resourceSelectors[{i}]"), selector, &mut errors);
    }
    if let Some(policy) = &spec.policy {
        check_policy(policy, &mut errors);
    }
    if let Some(strategy) = &spec.strategy {
        check_strategy(strategy, &mut errors);
    }
    errors
}

/// Returns what is wrong with a change of a placement, provided that the old spec was right.
pub fn validate_update(old: &PlacementSpec, new: &PlacementSpec) -> Vec<FieldError> {
    let type_of = |spec: &PlacementSpec| {
        spec.policy.as_ref().map_or(PlacementType::PickAll, |policy| policy.placement_type)
    };
    let mut errors = Vec::new();
    if type_of(old) != type_of(new) {
        errors.push(FieldError::new("spec.policy.placementType", "placement type is immutable"));
    }
    let tolerations = |spec: &PlacementSpec| {
        spec.policy.as_ref().map(|policy| policy.tolerations.clone()).unwrap_or_default()
    };
    let kept = tolerations(new);
    if tolerations(old).iter().any(|toleration| !kept.contains(toleration)) {
        errors.push(FieldError::new(
            "spec.policy.tolerations",
            "tolerations have been updated/deleted, only additions to tolerations are allowed",
        ));
    }
    errors
}

fn check_selector(path: &str, selector: &ResourceSelectorTerm, errors: &mut Vec<FieldError>) {
    let Some(labels) = &selector.label_selector else { return };
    if !selector.name.is_empty() {
        errors.push(FieldError::new(
            path,
            "name and labelSelector are mutually exclusive in a resource selector",
        ));
    }
    errors.extend(label_selector_errors(&format!("{path}.labelSelector"), labels));
}

fn check_policy(policy: &PlacementPolicy, errors: &mut Vec<FieldError>) {
    let mut must_be_unset = |is_set: bool, field: &str| {
        if is_set {
            errors.push(FieldError::new(
                format!("spec.policy.{field}"),
                format!("must not be set for placement type {:?}", policy.placement_type),
            ));
        }
    };
    match policy.placement_type {
        PlacementType::PickFixed => {
            must_be_unset(policy.number_of_clusters.is_some(), "numberOfClusters");
            must_be_unset(policy.affinity.is_some(), "affinity");
            must_be_unset(
                !policy.topology_spread_constraints.is_empty(),
                "topologySpreadConstraints",
            );
            must_be_unset(!policy.tolerations.is_empty(), "tolerations");
            check_cluster_names(&policy.cluster_names, errors);
        }
        PlacementType::PickAll => {
            must_be_unset(!policy.cluster_names.is_empty(), "clusterNames");
            must_be_unset(policy.number_of_clusters.is_some(), "numberOfClusters");
            must_be_unset(
                !policy.topology_spread_constraints.is_empty(),
                "topologySpreadConstraints",
            );
        }
        PlacementType::PickN => {
            must_be_unset(!policy.cluster_names.is_empty(), "clusterNames");
            check_number_of_clusters(policy.number_of_clusters, errors);
        }
    }
    check_affinity(policy, errors);
    check_tolerations(&policy.tolerations, errors);
}

fn check_number_of_clusters(number: Option<i32>, errors: &mut Vec<FieldError>) {
    let message = match number {
        None => "must be set for placement type PickN",
        Some(..0) => "must not be negative",
        Some(0..) => return,
    };
    errors.push(FieldError::new("spec.policy.numberOfClusters", message));
}

fn check_cluster_names(names: &[String], errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        let path = format!("spec.policy.clusterNames[{i}]");
        if name.len() > MAX_NAME_LENGTH || !is_dns_subdomain(name) {
            let message = format!("`{name}` is not a DNS subdomain of at most 63 characters");
            errors.push(FieldError::new(path, message));
        } else if !seen.insert(name) {
            errors.push(FieldError::new(path, format!("`{name}` is in the list twice")));
        }
    }
}

fn check_affinity(policy: &PlacementPolicy, errors: &mut Vec<FieldError>) {
    let Some(affinity) = policy.affinity.as_ref().and_then(|a| a.cluster_affinity.as_ref()) else {
        return;
    };
    let path = "spec.policy.affinity.clusterAffinity";
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
    for (i, term) in required.iter().flat_map(|r| &r.cluster_selector_terms).enumerate() {
        let path = format!(
            "{path}.requiredDuringSchedulingIgnoredDuringExecution.clusterSelectorTerms[{i}]"
        );
        check_required_term(&path, term, errors);
    }
    let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution");
    let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
    if policy.placement_type == PlacementType::PickAll && !preferred.is_empty() {
        errors.push(FieldError::new(
            &path,
            "PreferredDuringSchedulingIgnoredDuringExecution will be ignored for placement policy type PickAll",
        ));
    }
    for (i, selector) in preferred.iter().enumerate() {
        check_preferred_term(&format!("{path}[{i}].preference"), &selector.preference, errors);
    }
}

fn check_required_term(path: &str, term: &ClusterSelectorTerm, errors: &mut Vec<FieldError>) {
    let ClusterSelectorTerm { label_selector, property_selector, property_sorter } = term;
    if let Some(labels) = label_selector {
        errors.extend(label_selector_errors(&format!("{path}.labelSelector"), labels));
    }
    if property_sorter.is_some() {
        errors.push(FieldError::new(
            format!("{path}.propertySorter"),
            "PropertySorter is not allowed for RequiredDuringSchedulingIgnoredDuringExecution affinity",
        ));
    }
    if let Some(properties) = property_selector {
        check_property_selector(&format!("{path}.propertySelector"), properties, errors);
    }
}

fn check_preferred_term(path: &str, term: &ClusterSelectorTerm, errors: &mut Vec<FieldError>) {
    let ClusterSelectorTerm { label_selector, property_selector, property_sorter } = term;
    if let Some(labels) = label_selector {
        errors.extend(label_selector_errors(&format!("{path}.labelSelector"), labels));
    }
    if property_selector.is_some() {
        errors.push(FieldError::new(
            format!("{path}.propertySelector"),
            "PropertySelector is not allowed for PreferredDuringSchedulingIgnoredDuringExecution affinity",
        ));
    }
    if let Some(PropertySorter { name, sort_order: _ }) = property_sorter {
        check_property_name(&format!("{path}.propertySorter.name"), name, errors);
    }
}

fn check_property_selector(path: &str, selector: &PropertySelector, errors: &mut Vec<FieldError>) {
    let mut by_property: BTreeMap<&str, Bounds> = BTreeMap::new();
    for (i, requirement) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        check_property_name(&format!("{path}.name"), &requirement.name, errors);
        let operator = PropertySelectorOperator::parse(&requirement.operator);
        if operator.is_none() {
            let message =
                format!("`{}` is not one of Gt, Ge, Lt, Le, Eq and Ne", requirement.operator);
            errors.push(FieldError::new(format!("{path}.operator"), message));
        }
        let value = match requirement.values.as_slice() {
            [value] => value.parse::<Amount>().map_err(|error| error.to_string()),
            values => Err(format!("must have exactly one value, not {}", values.len())),
        };
        match (operator, value) {
            (_, Err(message)) => errors.push(FieldError::new(format!("{path}.values"), message)),
            (None, Ok(_)) => {}
            (Some(operator), Ok(value)) => {
                by_property.entry(&requirement.name).or_default().add(operator, value);
            }
        }
    }
    for (name, bounds) in by_property {
        if !bounds.can_hold() {
            let message = format!("no value of property `{name}` can meet all requirements");
            errors.push(FieldError::new(format!("{path}.matchExpressions"), message));
        }
    }
}

/// What several requirements say together about one property.
#[derive(Debug, Default)]
struct Bounds {
    /// Highest lower bound, and whether the bound itself is excluded.
    lower: Option<(Amount, bool)>,
    /// Lowest upper bound, and whether the bound itself is included.
    upper: Option<(Amount, bool)>,
    equal: BTreeSet<Amount>,
    not_equal: BTreeSet<Amount>,
}

impl Bounds {
    fn add(&mut self, operator: PropertySelectorOperator, value: Amount) {
        let lower = |excluded| Some((value, excluded));
        match operator {
            PropertySelectorOperator::Gt => self.lower = self.lower.max(lower(true)),
            PropertySelectorOperator::Ge => self.lower = self.lower.max(lower(false)),
            PropertySelectorOperator::Lt => self.limit(value, false),
            PropertySelectorOperator::Le => self.limit(value, true),
            PropertySelectorOperator::Eq => _ = self.equal.insert(value),
            PropertySelectorOperator::Ne => _ = self.not_equal.insert(value),
        }
    }

    fn limit(&mut self, value: Amount, included: bool) {
        let limit = (value, included);
        self.upper = Some(self.upper.map_or(limit, |upper| upper.min(limit)));
    }

    fn can_hold(&self) -> bool {
        let above = |value: Amount| {
            self.lower
                .is_none_or(|(bound, excluded)| value > bound || (value == bound && !excluded))
        };
        let below = |value: Amount| {
            self.upper.is_none_or(|(bound, included)| value < bound || (value == bound && included))
        };
        let range_is_not_empty = match (self.lower, self.upper) {
            (Some((low, excluded)), Some((high, included))) => {
                low < high || (low == high && !excluded && included)
            }
            (None, _) | (_, None) => true,
        };
        range_is_not_empty
            && self.equal.len() <= 1
            && self
                .equal
                .iter()
                .all(|&value| above(value) && below(value) && !self.not_equal.contains(&value))
    }
}

fn check_property_name(path: &str, name: &str, errors: &mut Vec<FieldError>) {
    let is_right = match name.strip_prefix(property::RESOURCE_PREFIX) {
        Some(resource) => {
            let known = ["total-", "allocatable-", "available-"];
            is_name_part(resource)
                && known
                    .iter()
                    .any(|kind| resource.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
        }
        None => name
            .split('/')
            .enumerate()
            .all(|(i, segment)| is_name_part(segment) || (i == 0 && is_dns_subdomain(segment))),
    };
    if !is_right {
        errors.push(FieldError::new(path, format!("`{name}` is not a property name")));
    }
}

fn check_tolerations(tolerations: &[Toleration], errors: &mut Vec<FieldError>) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = format!("spec.policy.tolerations[{i}]");
        let Toleration { key, operator, value, effect: _ } = toleration;
        let mut error = |field: &str, message: &str| {
            errors.push(FieldError::new(format!("{path}{field}"), message));
        };
        if !key.is_empty() && !is_qualified_name(key) {
            error(".key", "must be a qualified name such as `example.com/name`");
        }
        match operator {
            TolerationOperator::Exists if !value.is_empty() => {
                error(".value", "value must be empty when operator is Exists");
            }
            TolerationOperator::Equal if key.is_empty() => {
                error(".operator", "operator must be Exists when key is empty");
            }
            TolerationOperator::Equal if !is_label_value(value) => {
                error(".value", "must be a label value");
            }
            TolerationOperator::Exists | TolerationOperator::Equal => {}
        }
        if tolerations[..i].contains(toleration) {
            error("", "is in the list twice");
        }
    }
}

fn check_strategy(strategy: &RolloutStrategy, errors: &mut Vec<FieldError>) {
    match (strategy.type_, &strategy.rolling_update) {
        (RolloutStrategyType::External, Some(_)) => errors.push(FieldError::new(
            "spec.strategy.rollingUpdate",
            "must not be set for strategy type External",
        )),
        (RolloutStrategyType::RollingUpdate, Some(config)) => check_rolling_update(config, errors),
        (_, None) => {}
    }
    if let Some(apply) = &strategy.apply_strategy
        && apply.server_side_apply_config.is_some()
        && apply.type_ != ApplyStrategyType::ServerSideApply
    {
        errors.push(FieldError::new(
            "spec.strategy.applyStrategy.serverSideApplyConfig",
            "must not be set unless the type is ServerSideApply",
        ));
    }
}

fn check_rolling_update(config: &RollingUpdateConfig, errors: &mut Vec<FieldError>) {
    let path = "spec.strategy.rollingUpdate";
    if config.unavailable_period_seconds < 0 {
        errors.push(FieldError::new(
            format!("{path}.unavailablePeriodSeconds"),
            "must not be negative",
        ));
    }
    let limits = [("maxUnavailable", &config.max_unavailable), ("maxSurge", &config.max_surge)];
    for (field, limit) in limits {
        if !is_count_or_percentage(limit) {
            errors.push(FieldError::new(
                format!("{path}.{field}"),
                "must be a number of clusters or a percentage from 0% to 100%",
            ));
        }
    }
}

fn is_count_or_percentage(limit: &IntOrString) -> bool {
    match limit {
        IntOrString::Int(count) => *count >= 0,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok());
            percent.is_some_and(|percent| percent <= 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(mut spec: Value) -> PlacementSpec {
        if spec.get("resourceSelectors").is_none() {
            spec["resourceSelectors"] = json!([]);
        }
        serde_json::from_value(spec).unwrap()
    }

    fn paths(value: Value) -> Vec<String> {
        validate("placement", &spec(value)).into_iter().map(|error| error.path).collect()
    }

    fn required(term: &Value) -> Value {
        json!({"policy": {"affinity": {"clusterAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"clusterSelectorTerms": [term]},
        }}}})
    }

    fn requirements(requirements: &[(&str, &str)]) -> Value {
        let list: Vec<_> = requirements
            .iter()
            .map(|(operator, value)| json!({"name": "p", "operator": operator, "values": [value]}))
            .collect();
        required(&json!({"propertySelector": {"matchExpressions": list}}))
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        let cases = [
            (
                json!({"resourceSelectors": [{
                    "group": "", "version": "v1", "kind": "Namespace", "name": "a",
                    "labelSelector": {},
                }]}),
                "spec.resourceSelectors[0]",
            ),
            (
                json!({"resourceSelectors": [{
                    "group": "", "version": "v1", "kind": "Namespace",
                    "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]},
                }]}),
                "spec.resourceSelectors[0].labelSelector.matchExpressions[0].operator",
            ),
            (
                json!({"policy": {"placementType": "PickFixed", "numberOfClusters": 1}}),
                "spec.policy.numberOfClusters",
            ),
            (
                json!({"policy": {"placementType": "PickFixed", "clusterNames": ["a", "a"]}}),
                "spec.policy.clusterNames[1]",
            ),
            (
                json!({"policy": {"placementType": "PickFixed", "clusterNames": ["A"]}}),
                "spec.policy.clusterNames[0]",
            ),
            (json!({"policy": {"clusterNames": ["a"]}}), "spec.policy.clusterNames"),
            (json!({"policy": {"placementType": "PickN"}}), "spec.policy.numberOfClusters"),
            (
                json!({"policy": {"tolerations": [{"operator": "Equal", "value": "v"}]}}),
                "spec.policy.tolerations[0].operator",
            ),
            (
                json!({"policy": {"tolerations": [{"key": "a"}, {"key": "a"}]}}),
                "spec.policy.tolerations[1]",
            ),
            (
                json!({"strategy": {"type": "External", "rollingUpdate": {}}}),
                "spec.strategy.rollingUpdate",
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": "101%"}}}),
                "spec.strategy.rollingUpdate.maxSurge",
            ),
            (
                json!({"strategy": {"applyStrategy": {"serverSideApplyConfig": {}}}}),
                "spec.strategy.applyStrategy.serverSideApplyConfig",
            ),
        ];
        for (value, path) in cases {
            assert_eq!(paths(value), [path]);
        }
    }

    #[test]
    fn an_empty_list_of_fixed_clusters_is_allowed() {
        assert_eq!(paths(json!({"policy": {"placementType": "PickFixed"}})), Vec::<String>::new());
    }

    #[test]
    fn a_name_of_64_characters_is_too_long() {
        let errors = validate(&"a".repeat(64), &spec(json!({})));
        assert_eq!(errors[0].message, "the name field cannot have length exceeding 63");
    }

    #[test]
    fn requirements_that_exclude_each_other_are_refused() {
        for (list, can_hold) in [
            (vec![("Gt", "1"), ("Lt", "2")], true),
            (vec![("Ge", "1"), ("Le", "1")], true),
            (vec![("Ge", "1"), ("Lt", "1")], false),
            (vec![("Gt", "1"), ("Le", "1000m")], false),
            (vec![("Gt", "3"), ("Gt", "1"), ("Lt", "2")], false),
            (vec![("Eq", "1"), ("Eq", "1000m")], true),
            (vec![("Eq", "1"), ("Eq", "2")], false),
            (vec![("Eq", "1"), ("Ne", "1")], false),
            (vec![("Eq", "1"), ("Gt", "1")], false),
            (vec![("Ne", "1"), ("Ne", "2")], true),
        ] {
            assert_eq!(paths(requirements(&list)).is_empty(), can_hold, "{list:?}");
        }
    }

    #[test]
    fn property_names_have_their_own_form() {
        for (name, is_right) in [
            ("kubernetes-fleet.io/node-count", true),
            ("kubernetes.azure.com/vm-sizes/Standard_D2/count", true),
            ("resources.kubernetes-fleet.io/total-cpu", true),
            ("resources.kubernetes-fleet.io/used-cpu", false),
            ("resources.kubernetes-fleet.io/total-", false),
            ("a//b", false),
            ("", false),
        ] {
            let mut errors = Vec::new();
            check_property_name("name", name, &mut errors);
            assert_eq!(errors.is_empty(), is_right, "{name}");
        }
    }

    #[test]
    fn tolerations_can_only_be_added() {
        let old = spec(json!({"policy": {"tolerations": [{"key": "a"}]}}));
        let more = spec(json!({"policy": {"tolerations": [{"key": "b"}, {"key": "a"}]}}));
        assert_eq!(validate_update(&old, &more), []);
        assert_eq!(validate_update(&more, &old).len(), 1);
    }

    #[test]
    fn no_policy_counts_as_pick_all() {
        let none = spec(json!({}));
        let all = spec(json!({"policy": {"placementType": "PickAll"}}));
        let fixed = spec(json!({"policy": {"placementType": "PickFixed"}}));
        assert_eq!(validate_update(&none, &all), []);
        assert_eq!(validate_update(&none, &fixed)[0].message, "placement type is immutable");
    }
}
