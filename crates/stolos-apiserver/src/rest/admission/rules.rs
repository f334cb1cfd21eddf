//! Rules of webhooks and policies: which writes they are asked about.

use serde_json::Value;

use super::{Operation, Request};
use crate::registry::Resource;

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Plural and subresource; either may be `*`.
    resources: Vec<(String, String)>,
    scope: Scope,
    /// Object names; none means all. Only policies have them.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

impl Rule {
    /// Reads a list of rules.
    pub(super) fn parse_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::parse).collect()
    }

    fn parse(rule: &Value) -> Self {
        let texts = |field: &str| {
            let items = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            items.map(str::to_owned).collect::<Vec<_>>()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            scope: match rule["scope"].as_str() {
                Some("Cluster") => Scope::Cluster,
                Some("Namespaced") => Scope::Namespaced,
                _ => Scope::All,
            },
            names: texts("resourceNames"),
        }
    }

    /// Tells whether the rule covers a write, seen as a write of `resource`, which may be another version of what is
    /// written.
    pub(super) fn matches(&self, request: &Request<'_>, resource: &Resource) -> bool {
        let operation = request.operation.as_str();
        self.covers_scope(request, resource)
            && contains(&self.operations, operation)
            && contains(&self.groups, &resource.group_version.group)
            && contains(&self.versions, &resource.group_version.version)
            && self.resources.iter().any(|(plural, subresource)| {
                (plural == "*" || *plural == resource.plural)
                    && (subresource == "*" || subresource == request.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }

    fn covers_scope(&self, request: &Request<'_>, resource: &Resource) -> bool {
        // A namespace lies in itself, and yet is no namespaced object.
        let is_cluster = request.namespace.is_empty() || is_namespaces(resource);
        match self.scope {
            Scope::All => true,
            Scope::Cluster => is_cluster,
            Scope::Namespaced => !is_cluster,
        }
    }
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// Tells whether a resource is the namespaces themselves.
pub(super) fn is_namespaces(resource: &Resource) -> bool {
    !resource.custom && resource.storage.as_ref() == "namespaces"
}

/// Tells whether a write has an object of its own whose labels count.
pub(super) fn carries_namespace(request: &Request<'_>) -> bool {
    is_namespaces(request.resource)
        && request.subresource.is_empty()
        && matches!(request.operation, Operation::Create | Operation::Update)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::auth::UserInfo;
    use crate::registry::Registry;
    use crate::rest::Warnings;

    /// Tells whether a rule covers the update of something, given as `group/version/plural[/subresource]`.
    fn covers(rule: &Value, what: &str, namespace: &str) -> bool {
        let parts: Vec<&str> = what.split('/').collect();
        let resource: Arc<Resource> =
            Registry::builtin().resource(parts[0], parts[1], parts[2]).unwrap();
        let request = Request {
            operation: Operation::Update,
            resource: &resource,
            subresource: parts.get(3).copied().unwrap_or_default(),
            namespace,
            name: "a",
            user: &UserInfo::anonymous(),
            old: None,
            options: &Value::Null,
            dry_run: false,
            warnings: &Warnings::default(),
        };
        Rule::parse(rule).matches(&request, &resource)
    }

    fn rule(resource: &str, scope: &str) -> Value {
        json!({
            "operations": ["UPDATE"], "apiGroups": ["", "apps"], "apiVersions": ["v1"], "resources": [resource],
            "scope": scope,
        })
    }

    #[test]
    fn wildcards_stand_for_resources_and_for_subresources() {
        for (resource, main, status, scale, pod) in [
            ("deployments", true, false, false, false),
            ("*", true, false, false, true),
            ("*/*", true, true, true, true),
            ("*/status", false, true, false, false),
            ("deployments/*", true, true, true, false),
            ("deployments/scale", false, false, true, false),
        ] {
            let rule = rule(resource, "*");
            let covers = |what| covers(&rule, what, "n");
            assert_eq!(covers("apps/v1/deployments"), main, "{resource}");
            assert_eq!(covers("apps/v1/deployments/status"), status, "{resource}");
            assert_eq!(covers("apps/v1/deployments/scale"), scale, "{resource}");
            assert_eq!(covers("/v1/pods"), pod, "{resource}");
        }
    }

    #[test]
    fn namespaces_are_cluster_scoped_although_they_lie_in_themselves() {
        assert!(covers(&rule("*", "Cluster"), "/v1/namespaces", "n"));
        assert!(!covers(&rule("*", "Namespaced"), "/v1/namespaces", "n"));
        assert!(covers(&rule("*", "Namespaced"), "/v1/pods", "n"));
        assert!(!covers(&rule("*", "Cluster"), "/v1/pods", "n"));
        assert!(covers(&rule("*", "Cluster"), "/v1/nodes", ""));
    }

    #[test]
    fn operation_group_version_and_name_must_agree() {
        for (field, value) in [
            ("operations", json!(["CREATE", "DELETE"])),
            ("apiGroups", json!(["batch"])),
            ("apiVersions", json!(["v1beta1"])),
            ("resourceNames", json!(["b"])),
        ] {
            let mut rule = rule("*", "*");
            rule[field] = value;
            assert!(!covers(&rule, "/v1/pods", "n"), "{field}");
        }
        let mut rule = rule("*", "*");
        for field in ["operations", "apiGroups", "apiVersions"] {
            rule[field] = json!(["*"]);
        }
        rule["resourceNames"] = json!(["a"]);
        assert!(covers(&rule, "batch/v1/jobs", "n"));
    }
}
