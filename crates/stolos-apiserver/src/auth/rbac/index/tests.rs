use proptest::prelude::*;
use serde_json::json;

use super::*;

fn role(resource: &str) -> Value {
    json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]})
}

fn binding(kind: &str, role: &str, subject: &Value) -> Value {
    json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": [subject]})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": GROUP, "name": name})
}

fn may(index: &Index, who: &UserInfo, resource: &str, namespace: &str) -> bool {
    index.authorize(who, &Access::resource("get", "", resource, namespace, "x")).allowed
}

#[test]
fn a_role_binding_gives_a_cluster_role_in_its_namespace_only() {
    let mut index = Index::default();
    index.put_role(&Key::cluster_scoped("reader"), &role("pods"));
    index.put_binding(&Key::namespaced("a", "b"), &binding("ClusterRole", "reader", &user("ann")));
    let ann = UserInfo::authenticated("ann", &[]);
    assert!(may(&index, &ann, "pods", "a"));
    assert!(!may(&index, &ann, "pods", "b"));
    assert!(!may(&index, &ann, "pods", ""));
    let reason = index.authorize(&ann, &Access::resource("get", "", "pods", "a", "x")).reason;
    let wanted = "RBAC: allowed by RoleBinding \"b/a\" of ClusterRole \"reader\" to User \"ann\"";
    assert_eq!(reason, wanted);
}

#[test]
fn a_cluster_role_binding_gives_it_everywhere() {
    let mut index = Index::default();
    index.put_role(&Key::cluster_scoped("reader"), &role("pods"));
    let group = json!({"kind": "Group", "apiGroup": GROUP, "name": "team"});
    index.put_binding(&Key::cluster_scoped("b"), &binding("ClusterRole", "reader", &group));
    let ann = UserInfo::authenticated("ann", &["team"]);
    assert!(may(&index, &ann, "pods", "") && may(&index, &ann, "pods", "any"));
    assert!(!may(&index, &UserInfo::authenticated("bob", &[]), "pods", "any"));

    index.remove_binding(&Key::cluster_scoped("b"));
    assert!(!may(&index, &ann, "pods", ""));
}

#[test]
fn service_accounts_get_roles_by_namespace_and_name() {
    let mut index = Index::default();
    index.put_role(&Key::namespaced("a", "reader"), &role("pods"));
    let subject = json!({"kind": "ServiceAccount", "name": "robot"});
    index.put_binding(&Key::namespaced("a", "b"), &binding("Role", "reader", &subject));
    assert!(may(&index, &UserInfo::service_account("a", "robot", "u"), "pods", "a"));
    assert!(!may(&index, &UserInfo::service_account("b", "robot", "u"), "pods", "a"));
}

#[test]
fn a_replaced_binding_takes_away_what_the_old_one_gave() {
    let mut index = Index::default();
    index.put_role(&Key::cluster_scoped("reader"), &role("pods"));
    let key = Key::cluster_scoped("b");
    index.put_binding(&key, &binding("ClusterRole", "reader", &user("ann")));
    index.put_binding(&key, &binding("ClusterRole", "reader", &user("bob")));
    assert!(!may(&index, &UserInfo::authenticated("ann", &[]), "pods", ""));
    assert!(may(&index, &UserInfo::authenticated("bob", &[]), "pods", ""));
}

#[test]
fn broken_bindings_give_nothing() {
    let mut index = Index::default();
    index.put_role(&Key::namespaced("a", "reader"), &role("pods"));
    index.put_role(&Key::cluster_scoped("reader"), &role("pods"));
    let ann = UserInfo::authenticated("ann", &[]);
    for (what, key, broken) in [
        (
            "a cluster binding of a role",
            Key::cluster_scoped("b"),
            binding("Role", "reader", &user("ann")),
        ),
        ("a missing role", Key::namespaced("a", "b"), binding("Role", "none", &user("ann"))),
        ("another kind", Key::namespaced("a", "b"), binding("Roll", "reader", &user("ann"))),
        (
            "a subject of another group",
            Key::namespaced("a", "b"),
            binding("Role", "reader", &json!({"kind": "User", "apiGroup": "x", "name": "ann"})),
        ),
        ("nothing at all", Key::namespaced("a", "b"), json!({})),
    ] {
        index.put_binding(&key, &broken);
        assert!(!may(&index, &ann, "pods", "a"), "{what}");
        index.remove_binding(&key);
    }
}

/// A small world: few names, so that things meet.
#[derive(Clone, Debug)]
enum Step {
    Role(Key, String),
    RemoveRole(Key),
    Binding(Key, Value),
    RemoveBinding(Key),
}

fn keys() -> impl Strategy<Value = Key> {
    ("(|a|b)", "(x|y)").prop_map(|(namespace, name)| Key { namespace, name })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || "(x|y)";
    let bound = (keys(), "(Role|ClusterRole|Other)", name(), "(ann|bob)")
        .prop_map(|(key, kind, role, who)| Step::Binding(key, binding(&kind, &role, &user(&who))));
    let step = prop_oneof![
        (keys(), "(pods|secrets)").prop_map(|(key, resource)| Step::Role(key, resource)),
        keys().prop_map(Step::RemoveRole),
        bound,
        keys().prop_map(Step::RemoveBinding),
    ];
    proptest::collection::vec(step, 0..24)
}

/// The definition of access, without any index.
fn model(
    roles: &BTreeMap<Key, String>,
    bindings: &BTreeMap<Key, Value>,
    who: &str,
    resource: &str,
    namespace: &str,
) -> bool {
    bindings.iter().any(|(key, binding)| {
        let role = match binding["roleRef"]["kind"].as_str().unwrap() {
            "ClusterRole" => Key::cluster_scoped(binding["roleRef"]["name"].as_str().unwrap()),
            "Role" if key.namespace.is_empty() => return false,
            "Role" => Key::namespaced(&key.namespace, binding["roleRef"]["name"].as_str().unwrap()),
            _ => return false,
        };
        let reaches = key.namespace.is_empty() || key.namespace == namespace;
        reaches
            && binding["subjects"][0]["name"] == who
            && roles.get(&role).is_some_and(|r| r == resource)
    })
}

proptest! {
    #[test]
    fn access_needs_a_binding_of_a_role_that_allows_it(steps in steps()) {
        let (mut index, mut roles, mut bindings) = (Index::default(), BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Role(key, resource) => {
                    index.put_role(&key, &role(&resource));
                    roles.insert(key, resource);
                }
                Step::RemoveRole(key) => {
                    index.remove_role(&key);
                    roles.remove(&key);
                }
                Step::Binding(key, binding) => {
                    index.put_binding(&key, &binding);
                    bindings.insert(key, binding);
                }
                Step::RemoveBinding(key) => {
                    index.remove_binding(&key);
                    bindings.remove(&key);
                }
            }
        }
        for who in ["ann", "bob", "eve"] {
            let user = UserInfo::authenticated(who, &["team"]);
            for resource in ["pods", "secrets"] {
                for namespace in ["", "a", "b"] {
                    let wanted = model(&roles, &bindings, who, resource, namespace);
                    prop_assert_eq!(may(&index, &user, resource, namespace), wanted);
                }
            }
            prop_assert!(!index.authorize(&user, &Access::path("get", "/version")).allowed);
        }
    }

    #[test]
    fn an_empty_index_allows_nothing(verb in ".*", group in ".*", resource in ".*", name in ".*", path in ".*") {
        let index = Index::default();
        let user = UserInfo::authenticated(&name, &[&group]);
        let access = Access::resource(&verb, &group, &resource, &group, &name);
        prop_assert!(!index.authorize(&user, &access).allowed);
        prop_assert!(!index.authorize(&user, &Access::path(&verb, &path)).allowed);
    }
}
