//! ClusterResourcePlacement and ResourcePlacement (the same rules as [`crate::placement::validate`]).

use super::{
    Check, DNS_PART, NAME_PART, Rules, WRITES, is_label_selector, is_label_value,
    is_qualified_name, is_subdomain,
};
use crate::placement::GROUP;

pub(super) fn rules() -> Vec<Rules> {
    let of = |name, resource, short| Rules {
        name,
        group: GROUP,
        resource,
        operations: WRITES,
        against: None,
        variables: variables(),
        checks: checks(short),
    };
    vec![
        of("stolos-clusterresourceplacements", "clusterresourceplacements", "CRP"),
        of("stolos-resourceplacements", "resourceplacements", "RP"),
    ]
}

fn variables() -> Vec<(&'static str, String)> {
    let affinity = "variables.policy.?affinity.?clusterAffinity";
    let labels_in = |list: &str, at: &str| {
        format!("{list}.filter(x, has(x{at}.labelSelector)).map(x, x{at}.labelSelector)")
    };
    vec![
        ("policy", "object.spec.?policy.orValue({})".into()),
        ("type", "variables.policy.?placementType.orValue('PickAll')".into()),
        ("tolerations", "variables.policy.?tolerations.orValue([])".into()),
        ("clusterNames", "variables.policy.?clusterNames.orValue([])".into()),
        (
            "required",
            format!("{affinity}.?requiredDuringSchedulingIgnoredDuringExecution.?clusterSelectorTerms.orValue([])"),
        ),
        (
            "preferred",
            format!("{affinity}.?preferredDuringSchedulingIgnoredDuringExecution.orValue([])"),
        ),
        (
            "labelSelectors",
            [
                labels_in("object.spec.resourceSelectors", ""),
                labels_in("variables.required", ""),
                labels_in("variables.preferred", ".preference"),
            ]
            .join(" + "),
        ),
        (
            "propertySelectors",
            "variables.required.filter(t, has(t.propertySelector)).map(t, t.propertySelector.matchExpressions)".into(),
        ),
        (
            "sorters",
            "variables.preferred.filter(p, has(p.preference.propertySorter)).map(p, p.preference.propertySorter)".into(),
        ),
        ("strategy", "object.spec.?strategy.orValue({})".into()),
        ("rolling", "variables.strategy.?rollingUpdate.orValue({})".into()),
    ]
}

/// `short` is the word for the kind in messages.
fn checks(short: &str) -> Vec<Check> {
    let invalid = format!("deny create/update v1beta1 {short} has invalid fields: ");
    let policy = format!("{invalid}the placement policy field is invalid: ");
    let strategy = format!("{invalid}the rollout strategy field is invalid: ");
    let mut checks = general(&invalid);
    checks.extend(picks(&policy));
    checks.extend(affinity(&policy));
    checks.extend(properties(&policy));
    checks.extend(tolerations(&policy));
    checks.extend(rollout(&strategy));
    checks.extend(changes());
    checks
}

fn general(invalid: &str) -> Vec<Check> {
    vec![
        Check::new(
            "size(object.metadata.name) <= 63",
            format!("{invalid}the name field cannot have length exceeding 63"),
        ),
        Check::new(
            format!("variables.labelSelectors.all(selector, {})", is_label_selector("selector")),
            format!(
                "{invalid}a labelSelector cannot be used: keys must be qualified names, values label values, operators In or NotIn with values or Exists or DoesNotExist without"
            ),
        ),
    ]
}

fn picks(policy: &str) -> Vec<Check> {
    vec![
        Check::new(
            format!("variables.clusterNames.all(name, {})", is_subdomain("name", 63)),
            format!("{policy}clusterNames must be DNS subdomains of at most 63 characters"),
        ),
        Check::new(
            "variables.clusterNames.all(name, variables.clusterNames.exists_one(other, other == name))",
            format!("{policy}clusterNames must be unique"),
        ),
        Check::new(
            "variables.type != 'PickAll' || size(variables.preferred) == 0",
            format!(
                "{policy}PreferredDuringSchedulingIgnoredDuringExecution will be ignored for placement policy type PickAll"
            ),
        ),
    ]
}

fn affinity(policy: &str) -> Vec<Check> {
    vec![
        Check::new(
            "variables.required.all(term, !has(term.propertySorter))",
            format!(
                "{policy}PropertySorter is not allowed for RequiredDuringSchedulingIgnoredDuringExecution affinity"
            ),
        ),
        Check::new(
            "variables.preferred.all(p, !has(p.preference.propertySelector))",
            format!(
                "{policy}PropertySelector is not allowed for PreferredDuringSchedulingIgnoredDuringExecution affinity"
            ),
        ),
    ]
}

fn properties(policy: &str) -> Vec<Check> {
    let (in_selector, in_sorter) = (is_property_name("e.name"), is_property_name("s.name"));
    let usable = "es.filter(e, size(e.values) == 1 && isQuantity(e.values[0]))";
    vec![
        Check::new(
            format!(
                "variables.propertySelectors.all(es, es.all(e, {in_selector})) && variables.sorters.all(s, {in_sorter})"
            ),
            format!(
                "{policy}a property name must be qualified names separated by slashes, or resources.kubernetes-fleet.io/<total|allocatable|available>-<resource>"
            ),
        ),
        Check::new(
            "variables.propertySelectors.all(es, es.all(e, e.operator in ['Gt', 'Ge', 'Lt', 'Le', 'Eq', 'Ne']))",
            format!("{policy}the operator of a property must be one of Gt, Ge, Lt, Le, Eq and Ne"),
        ),
        Check::new(
            "variables.propertySelectors.all(es, es.all(e, size(e.values) == 1 && isQuantity(e.values[0])))",
            format!("{policy}a property must be compared with exactly one value, a quantity"),
        ),
        // In an order, what cannot hold together cannot hold in pairs.
        Check::new(
            format!(
                "variables.propertySelectors.all(es, {usable}.all(a, {usable}.all(b, a.name != b.name || [quantity(a.values[0]).compareTo(quantity(b.values[0]))].all(order, {}))))",
                can_hold_together()
            ),
            format!("{policy}no value of a property can meet all of its requirements"),
        ),
    ]
}

/// Returns an expression for "requirements `a` and `b` on one property can hold together"; `order` compares their values.
/// Each pair comes in both orders.
fn can_hold_together() -> &'static str {
    "a.operator == 'Eq' ? {'Eq': order == 0, 'Ne': order != 0, 'Gt': order > 0, 'Ge': order >= 0, 'Lt': order < 0, 'Le': order <= 0}[?b.operator].orValue(true) : !(a.operator in ['Gt', 'Ge'] && b.operator in ['Lt', 'Le']) || order < 0 || (order == 0 && a.operator == 'Ge' && b.operator == 'Le')"
}

fn is_property_name(name: &str) -> String {
    format!(
        r"({name}.startsWith('resources.kubernetes-fleet.io/') ? {name}.matches(r'^resources\.kubernetes-fleet\.io/(total|allocatable|available)-[-A-Za-z0-9_.]{{0,50}}[A-Za-z0-9]$') : {name}.matches(r'^({DNS_PART}(\.{DNS_PART})*|{NAME_PART})(/{NAME_PART})*$'))"
    )
}

fn tolerations(policy: &str) -> Vec<Check> {
    let (key, value) = (is_qualified_name("t.key"), is_label_value("t.value"));
    vec![
        Check::new(
            format!("variables.tolerations.all(t, !has(t.key) || t.key == '' || {key})"),
            format!("{policy}the key of a toleration must be a qualified name"),
        ),
        Check::new(
            format!("variables.tolerations.all(t, !has(t.value) || {value})"),
            format!("{policy}the value of a toleration must be a label value"),
        ),
        Check::new(
            "variables.tolerations.all(t, variables.tolerations.exists_one(other, other == t))",
            format!("{policy}tolerations must be unique"),
        ),
    ]
}

fn rollout(strategy: &str) -> Vec<Check> {
    let limit = |field: &str| {
        format!(
            "!has(variables.rolling.{field}) || type(variables.rolling.{field}) != int || variables.rolling.{field} >= 0"
        )
    };
    vec![
        Check::new(
            "variables.strategy.?type.orValue('RollingUpdate') != 'External' || !has(variables.strategy.rollingUpdate)",
            format!("{strategy}rollingUpdate must not be set for type External"),
        ),
        Check::new(
            format!("({}) && ({})", limit("maxUnavailable"), limit("maxSurge")),
            format!("{strategy}maxUnavailable and maxSurge must not be negative"),
        ),
        Check::new(
            "!has(variables.strategy.applyStrategy) || !has(variables.strategy.applyStrategy.serverSideApplyConfig) || variables.strategy.applyStrategy.?type.orValue('ClientSideApply') == 'ServerSideApply'",
            format!(
                "{strategy}serverSideApplyConfig must not be set unless the type is ServerSideApply"
            ),
        ),
    ]
}

fn changes() -> Vec<Check> {
    vec![
        Check::new(
            "oldObject == null || oldObject.spec.?policy.?placementType.orValue('PickAll') == variables.type",
            "placement type is immutable",
        ),
        Check::new(
            "oldObject == null || oldObject.spec.?policy.?tolerations.orValue([]).all(t, t in variables.tolerations)",
            "tolerations have been updated/deleted, only additions to tolerations are allowed",
        ),
    ]
}
