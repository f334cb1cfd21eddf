//! The roles and bindings that every cluster starts with.

use serde_json::{Value, json};

use super::{GROUP, Rule, aggregated_rules};
use crate::auth::user::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

const HEALTH_AND_VERSION: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

/// Paths where others learn how to verify tokens of service accounts.
const ISSUER_DISCOVERY: &[&str] = &[
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
];

/// Resources of a namespace that its editors write and its viewers read, by group.
const CONTENT: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

/// What viewers read beyond that: statuses, and what only controllers or admins write.
const READ_ONLY: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "bindings",
            "endpoints",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets/status",
            "deployments/status",
            "replicasets/status",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs/status", "jobs/status"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.k8s.io", &["ingresses/status"]),
    ("policy", &["poddisruptionbudgets/status"]),
];

/// Returns the objects as a client would create them, roles before bindings.
#[must_use]
pub fn objects() -> Vec<Value> {
    let mut roles = vec![
        cluster_role(
            "cluster-admin",
            &[Rule::on_resources(&["*"], &["*"], &["*"]), Rule::on_paths(&["*"], &["*"])],
        ),
        cluster_role("system:discovery", &[Rule::on_paths(&["get"], DISCOVERY)]),
        cluster_role("system:public-info-viewer", &[Rule::on_paths(&["get"], HEALTH_AND_VERSION)]),
        cluster_role(
            "system:basic-user",
            &[
                Rule::on_resources(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                Rule::on_resources(
                    &["create"],
                    &["authentication.k8s.io"],
                    &["selfsubjectreviews"],
                ),
            ],
        ),
        cluster_role(
            "system:auth-delegator",
            &[
                Rule::on_resources(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                Rule::on_resources(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews"],
                ),
            ],
        ),
        cluster_role(
            "system:service-account-issuer-discovery",
            &[Rule::on_paths(&["get"], ISSUER_DISCOVERY)],
        ),
        part("view", &view()),
        part("edit", &edit()),
        part("admin", &admin()),
    ];
    // Each of the three contains the one before it.
    for (name, into) in [("view", Some("edit")), ("edit", Some("admin")), ("admin", None)] {
        let role = sum(name, into, &roles);
        roles.push(role);
    }
    let everybody = [AUTHENTICATED, UNAUTHENTICATED];
    roles.extend([
        binding("cluster-admin", &[MASTERS]),
        binding("system:discovery", &[AUTHENTICATED]),
        binding("system:basic-user", &[AUTHENTICATED]),
        binding("system:public-info-viewer", &everybody),
        binding("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ]);
    roles
}

fn view() -> Vec<Rule> {
    CONTENT
        .iter()
        .chain(READ_ONLY)
        .map(|(group, resources)| Rule::on_resources(READ, &[group], resources))
        .collect()
}

fn edit() -> Vec<Rule> {
    let mut rules: Vec<Rule> = CONTENT
        .iter()
        .map(|(group, resources)| Rule::on_resources(WRITE, &[group], resources))
        .collect();
    let all = [READ, WRITE].concat();
    rules.extend([
        Rule::on_resources(&all, &[""], &["secrets"]),
        Rule::on_resources(&all, &["coordination.k8s.io"], &["leases"]),
        Rule::on_resources(
            &all,
            &[""],
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
        ),
        Rule::on_resources(&["create"], &[""], &["pods/eviction", "serviceaccounts/token"]),
        Rule::on_resources(&["impersonate"], &[""], &["serviceaccounts"]),
    ]);
    rules
}

fn admin() -> Vec<Rule> {
    vec![
        Rule::on_resources(&["create"], &["authorization.k8s.io"], &["localsubjectaccessreviews"]),
        Rule::on_resources(&[READ, WRITE].concat(), &[GROUP], &["rolebindings", "roles"]),
    ]
}

fn cluster_role(name: &str, rules: &[Rule]) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "ClusterRole",
        "metadata": metadata(name),
        "rules": rules,
    })
}

/// Returns the label that puts a role's rules into one of the three roles for users.
fn label(into: &str) -> String {
    format!("{GROUP}/aggregate-to-{into}")
}

fn part(of: &str, rules: &[Rule]) -> Value {
    let mut role = cluster_role(&format!("system:aggregate-to-{of}"), rules);
    role["metadata"]["labels"][label(of)] = json!("true");
    role
}

fn sum(name: &str, into: Option<&str>, roles: &[Value]) -> Value {
    let mut role = cluster_role(name, &[]);
    if let Some(into) = into {
        role["metadata"]["labels"][label(into)] = json!("true");
    }
    let selector = json!({ "matchLabels": { (label(name)): "true" } });
    role["aggregationRule"] = json!({ "clusterRoleSelectors": [selector] });
    role["rules"] = aggregated_rules(&role, roles).expect("the role has an aggregation rule");
    role
}

fn binding(role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| json!({ "kind": "Group", "apiGroup": GROUP, "name": group }))
        .collect();
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": metadata(role),
        "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role },
        "subjects": subjects,
    })
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rbac::Index;
    use crate::auth::{Access, UserInfo};
    use crate::store::Key;

    fn index() -> Index {
        let mut index = Index::default();
        for object in objects() {
            let key = Key::cluster_scoped(object["metadata"]["name"].as_str().unwrap());
            match object["kind"].as_str().unwrap() {
                "ClusterRole" => index.put_role(&key, &object),
                _ => index.put_binding(&key, &object),
            }
        }
        for role in ["view", "edit", "admin"] {
            let binding = json!({
                "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": role}],
            });
            index.put_binding(&Key::namespaced("team", role), &binding);
        }
        index
    }

    #[test]
    fn anonymous_users_see_health_and_version_only() {
        let index = index();
        let may = |access: &Access| index.authorize(&UserInfo::anonymous(), access).allowed;
        for path in HEALTH_AND_VERSION {
            assert!(may(&Access::path("get", path)), "{path}");
        }
        for path in ["/api", "/apis", "/openapi/v3", "/metrics", "/healthz/x"] {
            assert!(!may(&Access::path("get", path)), "{path}");
        }
        assert!(!may(&Access::resource("get", "", "namespaces", "", "default")));
    }

    #[test]
    fn authenticated_users_discover_and_ask_about_themselves() {
        let index = index();
        let ann = UserInfo::authenticated("ann", &[]);
        let may = |access: &Access| index.authorize(&ann, access).allowed;
        assert!(may(&Access::path("get", "/apis/apps/v1")));
        assert!(may(&Access::resource(
            "create",
            "authorization.k8s.io",
            "selfsubjectaccessreviews",
            "",
            ""
        )));
        assert!(!may(&Access::resource(
            "create",
            "authorization.k8s.io",
            "subjectaccessreviews",
            "",
            ""
        )));
        assert!(!may(&Access::resource("list", "", "pods", "default", "")));
    }

    #[test]
    fn viewers_read_editors_write_and_admins_hand_out_roles() {
        let index = index();
        let may = |who: &str, verb: &str, group: &str, resource: &str| {
            let access = Access::resource(verb, group, resource, "team", "x");
            index.authorize(&UserInfo::authenticated(who, &[]), &access).allowed
        };
        for (verb, group, resource, view, edit, admin) in [
            ("get", "apps", "deployments", true, true, true),
            ("update", "apps", "deployments", false, true, true),
            ("get", "", "secrets", false, true, true),
            ("get", "", "namespaces", true, true, true),
            ("delete", "", "namespaces", false, false, false),
            ("create", GROUP, "rolebindings", false, false, true),
            ("update", "", "resourcequotas", false, false, false),
        ] {
            let what = format!("{verb} {resource}");
            assert_eq!(may("view", verb, group, resource), view, "view {what}");
            assert_eq!(may("edit", verb, group, resource), edit, "edit {what}");
            assert_eq!(may("admin", verb, group, resource), admin, "admin {what}");
        }
    }
}
