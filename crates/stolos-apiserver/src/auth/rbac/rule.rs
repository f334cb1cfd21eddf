//! One rule of a role.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::{Access, Target};

/// What a role allows: verbs on resources, or on paths outside the API groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
    /// API groups, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names of objects; none means all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths: `/version`, `/healthz/*`, `*`.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Builds a rule on resources.
    #[must_use]
    pub fn on_resources(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Self {
            verbs: owned(verbs),
            api_groups: owned(groups),
            resources: owned(resources),
            ..Self::default()
        }
    }

    /// Builds a rule on paths.
    #[must_use]
    pub fn on_paths(verbs: &[&str], paths: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Self { verbs: owned(verbs), non_resource_urls: owned(paths), ..Self::default() }
    }

    /// Reads the rules of a role. A rule that cannot be read allows nothing.
    #[must_use]
    pub fn of_role(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().into_iter().flatten();
        rules.filter_map(|rule| Self::deserialize(rule).ok()).collect()
    }

    /// Decides whether the rule allows an act.
    #[must_use]
    pub fn allows(&self, access: &Access) -> bool {
        if !has(&self.verbs, &access.verb) {
            return false;
        }
        match &access.target {
            Target::Path(path) => self.non_resource_urls.iter().any(|url| path_matches(url, path)),
            Target::Resource { group, resource, subresource, name, namespace: _ } => {
                has(&self.api_groups, group)
                    && self
                        .resources
                        .iter()
                        .any(|rule| resource_matches(rule, resource, subresource))
                    && (self.resource_names.is_empty() || self.resource_names.contains(name))
            }
        }
    }
}

/// Decides whether a list that may hold `*` has a word.
pub(super) fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|own| own == "*" || own == word)
}

pub(super) fn path_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

/// Decides whether `pods`, `pods/log`, `*/log` or `*` means a resource. `pods` does not mean `pods/log`.
pub(super) fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        Some((parent, sub)) => {
            !subresource.is_empty() && sub == subresource && (parent == "*" || parent == resource)
        }
        None => subresource.is_empty() && rule == resource,
    }
}

/// Writes the form that refused grants are listed in.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ];
        let filled = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let texts: Vec<String> = filled
            .map(|(name, list)| {
                let quoted: Vec<_> = list.iter().map(|word| format!("\"{word}\"")).collect();
                format!("{name}:[{}]", quoted.join(" "))
            })
            .collect();
        write!(f, "{{{}}}", texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        let pods = Rule::on_resources(&["get", "list"], &[""], &["pods"]);
        let logs = Rule::on_resources(&["get"], &[""], &["pods/log"]);
        let scales = Rule::on_resources(&["update"], &["*"], &["*/scale"]);
        let everything = Rule::on_resources(&["*"], &["*"], &["*"]);
        let named = Rule { resource_names: vec!["web".to_owned()], ..pods.clone() };
        let get = |resource: &str, name: &str| Access::resource("get", "", resource, "ns", name);
        let scale =
            Access::resource("update", "apps", "deployments", "ns", "x").on_subresource("scale");
        for (what, rule, access, wanted) in [
            ("named verb", &pods, get("pods", ""), true),
            ("other verb", &pods, Access::resource("watch", "", "pods", "ns", ""), false),
            ("other group", &pods, Access::resource("get", "apps", "pods", "ns", ""), false),
            ("other resource", &pods, get("secrets", ""), false),
            ("subresource of a resource", &pods, get("pods", "").on_subresource("log"), false),
            ("named subresource", &logs, get("pods", "").on_subresource("log"), true),
            ("resource of a subresource", &logs, get("pods", ""), false),
            ("any parent", &scales, scale.clone(), true),
            ("other subresource", &scales, get("pods", "").on_subresource("status"), false),
            ("all", &everything, scale, true),
            ("all resources but a path", &everything, Access::path("get", "/version"), false),
            ("named object", &named, get("pods", "web"), true),
            ("other object", &named, get("pods", "db"), false),
            ("list of all objects", &named, Access::resource("list", "", "pods", "ns", ""), false),
        ] {
            assert_eq!(rule.allows(&access), wanted, "{what}");
        }
    }

    #[test]
    fn paths_match_exactly_or_by_a_trailing_star() {
        for (rule, path, wanted) in [
            ("/version", "/version", true),
            ("/version", "/version/x", false),
            ("/healthz/*", "/healthz/ping", true),
            ("/healthz/*", "/healthz", false),
            ("*", "/anything", true),
            ("/a*b", "/axb", false),
        ] {
            let rule = Rule::on_paths(&["get"], &[rule]);
            assert_eq!(rule.allows(&Access::path("get", path)), wanted, "{rule} {path}");
        }
    }

    #[test]
    fn a_malformed_rule_allows_nothing() {
        let role = json!({"rules": [{"verbs": "*", "resources": ["pods"]}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
        assert_eq!(Rule::of_role(&role), [Rule::on_paths(&["get"], &["/x"])]);
        assert_eq!(Rule::of_role(&json!({})), []);
    }
}
