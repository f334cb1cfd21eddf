//! Authorisation against the roles and bindings in the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

use serde_json::Value;

use super::access::forbidden;
use super::rbac::{GROUP, Index, Rule, is_aggregated, missing_rules};
use super::user::MASTERS;
use super::{Access, Decision, UserInfo};
use crate::mirror::{Mirror, News};
use crate::status::ApiError;
use crate::store::{ClusterStore, Key};

/// What a resource of the group holds.
#[derive(Clone, Copy)]
enum Holds {
    Roles,
    Bindings,
}

static WATCHED: [(&str, Holds); 4] = [
    ("clusterroles.rbac.authorization.k8s.io", Holds::Roles),
    ("roles.rbac.authorization.k8s.io", Holds::Roles),
    ("clusterrolebindings.rbac.authorization.k8s.io", Holds::Bindings),
    ("rolebindings.rbac.authorization.k8s.io", Holds::Bindings),
];

/// Decides what users may do. Clones share the index.
///
/// The index follows the store without a task: each decision first takes in what has changed since the last one, so
/// a right counts as soon as the write that gives or takes it has been answered.
#[derive(Clone)]
pub struct Authorizer(Arc<Inner>);

struct Inner {
    store: ClusterStore,
    index: RwLock<Index>,
    mirror: Mutex<Mirror<Holds>>,
}

/// A write of a role or binding, to be checked for escalation.
pub struct RoleWrite<'a> {
    /// Plural: `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'a str,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The object to be written.
    pub new: &'a Value,
    /// The object as it is; absent on creation.
    pub old: Option<&'a Value>,
}

impl Authorizer {
    /// Builds the authoriser of a logical cluster.
    #[must_use]
    pub fn new(store: ClusterStore) -> Self {
        let mirror = Mutex::new(Mirror::of(&WATCHED));
        Self(Arc::new(Inner { store, index: RwLock::default(), mirror }))
    }

    /// Decides whether a user may do something. Members of `system:masters` may do everything.
    #[must_use]
    pub fn decide(&self, user: &UserInfo, access: &Access) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::allowed("");
        }
        self.with_index(|index| index.authorize(user, access))
    }

    /// Lets a user do something, or says why not.
    ///
    /// # Errors
    /// 403 for a user who may not.
    pub fn authorize(&self, user: &UserInfo, access: &Access) -> Result<(), ApiError> {
        let decision = self.decide(user, access);
        if decision.allowed { Ok(()) } else { Err(access.denied(user, &decision.reason)) }
    }

    /// Returns the rules that a user has in a namespace; without one, those that hold everywhere.
    #[must_use]
    pub fn rules_of(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let mut rules = self.with_index(|index| index.rules_of(user, namespace));
        if user.in_group(MASTERS) {
            let missing = everything().into_iter().filter(|rule| !rules.contains(rule));
            rules.splice(0..0, missing.collect::<Vec<_>>());
        }
        rules
    }

    /// Checks that a user who writes a role or binding hands out only rights of their own, unless the verbs
    /// `escalate` or `bind` let them.
    ///
    /// # Errors
    /// 403 with the rights that are missing; 404 when a binding names a role that does not exist.
    pub fn check_role_write(&self, user: &UserInfo, write: &RoleWrite<'_>) -> Result<(), ApiError> {
        if user.in_group(MASTERS) || !changes_rights(write) {
            return Ok(());
        }
        let name = write.new["metadata"]["name"].as_str().unwrap_or_default();
        let wanted = match write.resource {
            "roles" | "clusterroles" => {
                let escalate =
                    Access::resource("escalate", GROUP, write.resource, write.namespace, name);
                if self.decide(user, &escalate).allowed {
                    return Ok(());
                }
                // What an aggregated role will hold is known to nobody.
                if is_aggregated(write.new) {
                    everything().into()
                } else {
                    Rule::of_role(write.new)
                }
            }
            "rolebindings" | "clusterrolebindings" => {
                let Some(rules) = self.rules_to_bind(user, write)? else { return Ok(()) };
                rules
            }
            _ => return Ok(()),
        };
        let missing = missing_rules(&self.rules_of(user, write.namespace), &wanted);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(escalation(user, write.resource, name, &missing))
        }
    }

    /// Returns the rules that a binding hands out; nothing when the user may bind the role without having them.
    fn rules_to_bind(
        &self,
        user: &UserInfo,
        write: &RoleWrite<'_>,
    ) -> Result<Option<Vec<Rule>>, ApiError> {
        let role = write.new["roleRef"]["name"].as_str().unwrap_or_default();
        let (resource, key) = match write.new["roleRef"]["kind"].as_str() {
            Some("Role") => ("roles", Key::namespaced(write.namespace, role)),
            _ => ("clusterroles", Key::cluster_scoped(role)),
        };
        let bind = Access::resource("bind", GROUP, resource, write.namespace, role);
        if self.decide(user, &bind).allowed {
            return Ok(None);
        }
        let rules = self.with_index(|index| index.rules_of_role(&key).map(<[Rule]>::to_vec));
        rules.map(Some).ok_or_else(|| ApiError::not_found(GROUP, write.resource, role))
    }

    fn with_index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        self.catch_up();
        read(&self.0.index.read().expect("the index is never left half written"))
    }

    fn catch_up(&self) {
        let inner = &*self.0;
        let mut mirror = inner.mirror.lock().expect("catching up does not panic");
        if !mirror.is_behind(&inner.store) {
            return;
        }
        let mut index = inner.index.write().expect("catching up does not panic");
        mirror.catch_up(&inner.store, |news| match news {
            News::Restart => *index = Index::default(),
            News::Put(holds, version) => put(&mut index, holds, &version.key, &version.object()),
            News::Gone(holds, key) => remove(&mut index, holds, key),
        });
    }
}

fn put(index: &mut Index, holds: Holds, key: &Key, object: &Value) {
    match holds {
        Holds::Roles => index.put_role(key, object),
        Holds::Bindings => index.put_binding(key, object),
    }
}

fn remove(index: &mut Index, holds: Holds, key: &Key) {
    match holds {
        Holds::Roles => index.remove_role(key),
        Holds::Bindings => index.remove_binding(key),
    }
}

fn everything() -> [Rule; 2] {
    [Rule::on_resources(&["*"], &["*"], &["*"]), Rule::on_paths(&["*"], &["*"])]
}

fn changes_rights(write: &RoleWrite<'_>) -> bool {
    let Some(old) = write.old else { return true };
    let fields = ["rules", "aggregationRule", "roleRef", "subjects"];
    fields.iter().any(|field| old[*field] != write.new[*field])
}

fn escalation(user: &UserInfo, resource: &str, name: &str, missing: &[Rule]) -> ApiError {
    let groups: Vec<_> = user.groups.iter().map(|group| format!("\"{group}\"")).collect();
    let missing: BTreeSet<String> = missing.iter().map(Rule::to_string).collect();
    let missing: Vec<String> = missing.into_iter().collect();
    forbidden(format!(
        "{resource}.{GROUP} \"{name}\" is forbidden: user \"{}\" (groups=[{}]) is attempting to grant RBAC permissions \
         not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n"),
    ))
    .about(GROUP, resource, name)
}

#[cfg(test)]
mod tests;
