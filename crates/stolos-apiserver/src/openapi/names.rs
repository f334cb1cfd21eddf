//! Names of operations, which code generators turn into names of functions.

use crate::names::GroupVersion;
use crate::registry::Resource;

/// Names an operation: `readAppsV1NamespacedDeploymentScale`.
pub(super) fn operation(resource: &Resource, verb: &str, subresource: &str) -> String {
    let (what, whole) = match verb {
        "get" => ("read", ""),
        "update" => ("replace", ""),
        "deletecollection" => ("delete", "Collection"),
        other => (other, ""),
    };
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let group_version = capitalised(&resource.group_version);
    format!("{what}{group_version}{whole}{scope}{}{}", resource.kind, capital(subresource))
}

/// Names the list over all namespaces.
pub(super) fn list_everywhere(resource: &Resource) -> String {
    format!("list{}{}ForAllNamespaces", capitalised(&resource.group_version), resource.kind)
}

/// Returns the tag that the operations of a group-version share: `apps_v1`.
pub(super) fn tag(resource: &Resource) -> String {
    let GroupVersion { group, version } = &resource.group_version;
    let group = capitalised(&GroupVersion::new(group, ""));
    let mut letters = group.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    format!("{}{}_{version}", first.unwrap_or_default(), letters.as_str())
}

fn capitalised(GroupVersion { group, version }: &GroupVersion) -> String {
    let group = match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => "core",
        group => group,
    };
    group.split('.').chain([version.as_str()]).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => format!("{}{}", first.to_ascii_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn operations_are_named_as_generated_clients_know_them() {
        let row = |group: &str, plural: &str| {
            Registry::builtin().resource(group, "v1", plural).expect("built in")
        };
        let deployments = row("apps", "deployments");
        assert_eq!(operation(&deployments, "get", "scale"), "readAppsV1NamespacedDeploymentScale");
        assert_eq!(
            operation(&deployments, "deletecollection", ""),
            "deleteAppsV1CollectionNamespacedDeployment"
        );
        assert_eq!(list_everywhere(&deployments), "listAppsV1DeploymentForAllNamespaces");
        let nodes = row("", "nodes");
        assert_eq!(operation(&nodes, "update", "status"), "replaceCoreV1NodeStatus");
        assert_eq!(tag(&nodes), "core_v1");
        let roles = row("rbac.authorization.k8s.io", "roles");
        assert_eq!(operation(&roles, "list", ""), "listRbacAuthorizationV1NamespacedRole");
        assert_eq!(tag(&roles), "rbacAuthorization_v1");
    }
}
