use serde_json::json;

use super::*;
use crate::store::{Attributes, Change, Expect, Limits, ResourceId, Store, Write};

const CLUSTER_ROLES: &str = WATCHED[0].0;
const CLUSTER_BINDINGS: &str = WATCHED[2].0;

struct World {
    store: ClusterStore,
    authorizer: Authorizer,
}

impl World {
    fn new() -> Self {
        Self::over(&Store::memory())
    }

    fn over(store: &Store) -> Self {
        let store = store.cluster("hub").unwrap();
        Self { authorizer: Authorizer::new(store.clone()), store }
    }

    async fn put(&self, resource: &str, name: &str, mut object: Value) -> u64 {
        object["metadata"] = json!({ "name": name });
        self.write(resource, name, |attributes| Change::Put(object, attributes)).await
    }

    async fn delete(&self, resource: &str, name: &str) -> u64 {
        let object = json!({ "metadata": { "name": name } });
        self.write(resource, name, |attributes| Change::Delete(object, attributes)).await
    }

    async fn write(
        &self,
        resource: &str,
        name: &str,
        change: impl FnOnce(Attributes) -> Change,
    ) -> u64 {
        let (resource, key) = (ResourceId::from(resource), Key::cluster_scoped(name));
        let current = self.store.get(&resource, &key);
        let expect = current.map_or(Expect::Absent, |version| Expect::Revision(version.revision));
        let change = change(Attributes::default());
        let write = Write { resource, key, expect, change, requires: None };
        self.store.commit(write).await.unwrap().revision
    }

    async fn grant(&self, role: &str, rules: Value, user: &str) {
        self.put(CLUSTER_ROLES, role, json!({ "rules": rules })).await;
        let binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user}],
        });
        self.put(CLUSTER_BINDINGS, role, binding).await;
    }

    fn may_get_pods(&self, user: &str) -> bool {
        let access = Access::resource("get", "", "pods", "ns", "x");
        self.authorizer.authorize(&UserInfo::authenticated(user, &[]), &access).is_ok()
    }

    fn check(
        &self,
        user: &str,
        resource: &str,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let write = RoleWrite { resource, namespace: "", new, old };
        self.authorizer.check_role_write(&UserInfo::authenticated(user, &[]), &write)
    }
}

fn get_pods() -> Value {
    json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])
}

#[tokio::test]
async fn a_right_counts_as_soon_as_its_write_is_answered() {
    let world = World::new();
    assert!(!world.may_get_pods("ann"));
    world.grant("reader", get_pods(), "ann").await;
    assert!(world.may_get_pods("ann"));
    world.delete(CLUSTER_BINDINGS, "reader").await;
    assert!(!world.may_get_pods("ann"));
    world.grant("reader", get_pods(), "ann").await;
    world.put(CLUSTER_ROLES, "reader", json!({"rules": []})).await;
    assert!(!world.may_get_pods("ann"));
}

#[tokio::test]
async fn rights_are_read_afresh_after_the_history_has_moved_on() {
    let limits = Limits { min_events: 1, max_events: 1, ..Limits::default() };
    let world = World::over(&Store::memory_from(1, limits));
    assert!(!world.may_get_pods("ann"));
    world.grant("reader", get_pods(), "ann").await;
    for _ in 0..50 {
        world.put(CLUSTER_ROLES, "other", json!({})).await;
        world.put(CLUSTER_BINDINGS, "other", json!({})).await;
    }
    assert!(world.may_get_pods("ann"));
}

#[tokio::test]
async fn masters_may_do_everything_without_any_role() {
    let world = World::new();
    let root = UserInfo::internal("root");
    world.authorizer.authorize(&root, &Access::resource("delete", "", "nodes", "", "n")).unwrap();
    world.authorizer.authorize(&root, &Access::path("get", "/metrics")).unwrap();
    assert_eq!(world.authorizer.rules_of(&root, ""), everything());
}

#[tokio::test]
async fn who_may_write_roles_cannot_grant_more_than_they_have() {
    let world = World::new();
    world.grant("reader", get_pods(), "ann").await;
    let own = json!({"metadata": {"name": "new"}, "rules": get_pods()});
    world.check("ann", "clusterroles", &own, None).unwrap();

    let more = json!({"metadata": {"name": "new"}, "rules": [
        {"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]},
    ]});
    let error = world.check("ann", "clusterroles", &more, Some(&own)).unwrap_err();
    assert_eq!(error.code, 403);
    assert_eq!(
        error.message,
        "clusterroles.rbac.authorization.k8s.io \"new\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) \
         is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
    world.check("ann", "clusterroles", &more, Some(&more)).expect("nothing changes");
    let aggregated = json!({"metadata": {"name": "sum"}, "rules": [], "aggregationRule": {}});
    assert!(world.check("ann", "clusterroles", &aggregated, None).is_err());
}

#[tokio::test]
async fn binding_needs_the_rights_or_the_verb_bind() {
    let world = World::new();
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    world.put(CLUSTER_ROLES, "everything", json!({ "rules": all })).await;
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "everything"}});
    assert_eq!(world.check("ann", "clusterrolebindings", &binding, None).unwrap_err().code, 403);

    let missing =
        json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "none"}});
    assert_eq!(world.check("ann", "clusterrolebindings", &missing, None).unwrap_err().code, 404);

    let bind = json!([{"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"],
                       "resourceNames": ["everything"]}]);
    world.grant("binder", bind, "ann").await;
    world.check("ann", "clusterrolebindings", &binding, None).unwrap();
}
