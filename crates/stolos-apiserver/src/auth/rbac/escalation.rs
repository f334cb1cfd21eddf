//! Nobody hands on rights they do not have.

use super::Rule;
use super::rule::{has, path_matches};

/// Returns what of `wanted` is not covered by `owned`: empty when somebody who has `owned` may grant `wanted`.
///
/// Rules are compared one act at a time, so rights may be put together from several owned rules.
#[must_use]
pub fn missing_rules(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for single in wanted.iter().flat_map(single_acts) {
        if owned.iter().any(|rule| covers(rule, &single)) {
            continue;
        }
        let same_target = |rule: &&mut Rule| {
            Rule { verbs: Vec::new(), ..(**rule).clone() } == single.without_verb()
        };
        match missing.iter_mut().find(same_target) {
            Some(rule) => rule.verbs.extend(single.0.verbs),
            None => missing.push(single.0),
        }
    }
    missing
}

/// A rule with one verb on one target.
struct Single(Rule);

impl Single {
    fn without_verb(&self) -> Rule {
        Rule { verbs: Vec::new(), ..self.0.clone() }
    }
}

fn single_acts(rule: &Rule) -> Vec<Single> {
    let mut singles = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            singles.push(Single(Rule::on_paths(&[verb], &[url])));
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let on_all = Rule::on_resources(&[verb], &[group], &[resource]);
                if rule.resource_names.is_empty() {
                    singles.push(Single(on_all));
                    continue;
                }
                for name in &rule.resource_names {
                    singles.push(Single(Rule {
                        resource_names: vec![name.clone()],
                        ..on_all.clone()
                    }));
                }
            }
        }
    }
    singles
}

/// Decides whether a rule allows everything that a single act's rule does, `*` included.
fn covers(owner: &Rule, Single(wanted): &Single) -> bool {
    let verb = wanted.verbs.iter().all(|verb| has(&owner.verbs, verb));
    if let [url] = wanted.non_resource_urls.as_slice() {
        // A wanted `/a/*` is covered by `/a/*` and `/*`: the star is then an ordinary character of the path.
        return verb
            && owner.non_resource_urls.iter().any(|own| own == url || path_matches(own, url));
    }
    verb && wanted.api_groups.iter().all(|group| has(&owner.api_groups, group))
        && wanted.resources.iter().all(|resource| resource_covered(&owner.resources, resource))
        && (owner.resource_names.is_empty()
            || (!wanted.resource_names.is_empty()
                && wanted.resource_names.iter().all(|name| owner.resource_names.contains(name))))
}

fn resource_covered(owned: &[String], wanted: &str) -> bool {
    let any_parent = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    has(owned, wanted) || any_parent.is_some_and(|any_parent| owned.contains(&any_parent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Access;

    #[test]
    fn rights_may_be_put_together_from_several_rules() {
        let owned = [
            Rule::on_resources(&["get"], &["", "apps"], &["*"]),
            Rule::on_resources(&["list"], &[""], &["pods"]),
        ];
        let wanted = [Rule::on_resources(&["get", "list"], &[""], &["pods"])];
        assert_eq!(missing_rules(&owned, &wanted), []);
    }

    #[test]
    fn what_is_missing_is_listed_by_target() {
        let owned = [Rule::on_resources(&["get"], &[""], &["pods"])];
        let wanted =
            [Rule::on_resources(&["get", "create", "delete"], &[""], &["pods", "secrets"])];
        let missing: Vec<_> = missing_rules(&owned, &wanted).iter().map(Rule::to_string).collect();
        assert_eq!(
            missing,
            [
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "create" "delete"]}"#,
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}"#,
            ]
        );
    }

    #[test]
    fn a_star_is_covered_by_a_star_alone() {
        let all_verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
        let owned = [Rule::on_resources(&all_verbs, &[""], &["pods"])];
        assert_eq!(missing_rules(&owned, &[Rule::on_resources(&["*"], &[""], &["pods"])]).len(), 1);
        let named = Rule { resource_names: vec!["x".to_owned()], ..owned[0].clone() };
        assert_eq!(missing_rules(std::slice::from_ref(&named), &owned).len(), 1);
        assert_eq!(missing_rules(&owned, &[named]), []);
        let scales = [Rule::on_resources(&["get"], &["*"], &["*/scale"])];
        assert_eq!(
            missing_rules(
                &scales,
                &[Rule::on_resources(&["get"], &["apps"], &["deployments/scale"])]
            ),
            []
        );
        assert_eq!(
            missing_rules(&scales, &[Rule::on_resources(&["get"], &["apps"], &["deployments"])])
                .len(),
            1
        );
    }

    #[test]
    fn paths_are_covered_by_prefixes() {
        let owned = [Rule::on_paths(&["get"], &["/a/*"])];
        assert_eq!(
            missing_rules(&owned, &[Rule::on_paths(&["get"], &["/a/b", "/a/*", "/a/b/*"])]),
            []
        );
        assert_eq!(missing_rules(&owned, &[Rule::on_paths(&["get"], &["*"])]).len(), 1);
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let some = |words: &'static [&'static str]| {
            proptest::sample::subsequence(words, 0..=words.len().min(2))
        };
        let rule = (
            some(&["get", "list", "*"]),
            some(&["", "apps", "*"]),
            some(&["pods", "pods/log", "*/log", "*"]),
            some(&["x", "y"]),
        );
        let rule = rule.prop_map(|(verbs, groups, resources, names)| Rule {
            resource_names: names.into_iter().map(str::to_owned).collect(),
            ..Rule::on_resources(&verbs, &groups, &resources)
        });
        proptest::collection::vec(rule, 0..4)
    }

    proptest! {
        /// The safety property: a grant that passes allows nothing the granter could not do.
        #[test]
        fn a_permitted_grant_adds_no_rights(owned in rules(), wanted in rules()) {
            prop_assume!(missing_rules(&owned, &wanted).is_empty());
            for verb in ["get", "list", "delete"] {
                for group in ["", "apps", "batch"] {
                    for (resource, sub) in [("pods", ""), ("pods", "log"), ("nodes", ""), ("nodes", "log")] {
                        for name in ["", "x", "y", "z"] {
                            let access = Access::resource(verb, group, resource, "ns", name).on_subresource(sub);
                            let granted = wanted.iter().any(|rule| rule.allows(&access));
                            let had = owned.iter().any(|rule| rule.allows(&access));
                            prop_assert!(!granted || had, "{:?}", access);
                        }
                    }
                }
            }
        }

        #[test]
        fn everybody_may_grant_what_they_have(owned in rules()) {
            prop_assert_eq!(missing_rules(&owned, &owned), vec![]);
        }
    }
}
