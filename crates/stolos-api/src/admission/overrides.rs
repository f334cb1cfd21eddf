//! ClusterResourceOverride and ResourceOverride.

use super::{Check, Rules, WRITES, is_label_selector};
use crate::placement::GROUP;

pub(super) fn rules() -> Vec<Rules> {
    let cluster = "object.spec.clusterResourceSelectors";
    let namespaced = "object.spec.resourceSelectors";
    let mut checks = vec![
        Check::new(
            format!("{cluster}.all(s, !has(s.labelSelector))"),
            "a resource selector of a ClusterResourceOverride must select by name, not by labelSelector",
        ),
        Check::new(
            format!("{cluster}.all(s, has(s.name) && s.name != '')"),
            "a resource selector of a ClusterResourceOverride must have a name",
        ),
        unique(cluster),
    ];
    checks.extend(changes());
    vec![
        of("stolos-clusterresourceoverrides", "clusterresourceoverrides", None, checks),
        of(
            "stolos-clusterresourceoverrides-selectors",
            "clusterresourceoverrides",
            Some("ClusterResourceOverride"),
            vec![alone(cluster, "params.spec.clusterResourceSelectors")],
        ),
        of(
            "stolos-resourceoverrides",
            "resourceoverrides",
            None,
            [unique(namespaced)].into_iter().chain(changes()).collect(),
        ),
        of(
            "stolos-resourceoverrides-selectors",
            "resourceoverrides",
            Some("ResourceOverride"),
            vec![alone(namespaced, "params.spec.resourceSelectors")],
        ),
    ]
}

fn of(
    name: &'static str,
    resource: &'static str,
    against: Option<&'static str>,
    checks: Vec<Check>,
) -> Rules {
    let variables = vec![("rules", "object.spec.policy.overrideRules".to_owned())];
    Rules { name, group: GROUP, resource, operations: WRITES, against, variables, checks }
}

fn unique(selectors: &str) -> Check {
    Check::new(
        format!("{selectors}.all(s, {selectors}.exists_one(other, other == s))"),
        "resource selectors must be unique",
    )
}

/// One object is changed by one override of a kind; `params` is each of them in turn.
fn alone(selectors: &str, others: &str) -> Check {
    let both = format!("{selectors}.filter(s, s in {others})");
    Check::new(
        format!("params.metadata.name == object.metadata.name || size({both}) == 0"),
        "invalid resource selector: the resource has been selected by another override, which is not supported",
    )
    .saying(format!(
        "'invalid resource selector ' + {both}[0].kind + ' ' + {both}[0].name + ': the resource has been selected by both ' + object.metadata.name + ' and ' + params.metadata.name + ', which is not supported'"
    ))
}

fn changes() -> Vec<Check> {
    let terms = |rule: &str| {
        format!(
            "variables.rules.all(r, !has(r.clusterSelector) || r.clusterSelector.clusterSelectorTerms.all(t, {rule}))"
        )
    };
    let patches = |rule: &str| {
        format!("variables.rules.all(r, r.?jsonPatchOverrides.orValue([]).all(p, {rule}))")
    };
    // The part of a path after its first slash.
    let segments = |rule: &str| {
        patches(&format!(
            "!p.path.startsWith('/') || [p.path.substring(1).split('/')].all(segments, {rule})"
        ))
    };
    vec![
        Check::new(
            terms("has(t.labelSelector) && !has(t.propertySelector) && !has(t.propertySorter)"),
            "a term of clusterSelector must have a labelSelector and nothing else",
        ),
        Check::new(
            terms(&format!("!has(t.labelSelector) || ({})", is_label_selector("t.labelSelector"))),
            "a labelSelector of clusterSelector cannot be used: keys must be qualified names, values label values, operators In or NotIn with values or Exists or DoesNotExist without",
        ),
        Check::new(
            "variables.rules.all(r, r.overrideType != 'Delete' || size(r.?jsonPatchOverrides.orValue([])) == 0)",
            "jsonPatchOverrides cannot be set when the override type is Delete",
        ),
        Check::new(
            "variables.rules.all(r, r.overrideType != 'JSONPatch' || size(r.?jsonPatchOverrides.orValue([])) > 0)",
            "jsonPatchOverrides cannot be empty when the override type is JSONPatch",
        ),
        Check::new(
            patches("p.path.startsWith('/')"),
            "the path of a JSON patch must start with `/`",
        ),
        Check::new(
            segments("!segments.exists(segment, segment.trim() == '')"),
            "the path of a JSON patch must not have empty segments",
        ),
        Check::new(
            segments("!(segments[0] in ['kind', 'apiVersion', 'status'])"),
            "a JSON patch must not touch kind, apiVersion or status",
        ),
        Check::new(
            segments(
                "segments[0] != 'metadata' || (size(segments) > 1 && segments[1] in ['annotations', 'labels'])",
            ),
            "a JSON patch must not touch metadata other than annotations and labels",
        ),
        Check::new(
            patches("p.op != 'remove' || !has(p.value)"),
            "a JSON patch that removes must not have a value",
        ),
    ]
}
