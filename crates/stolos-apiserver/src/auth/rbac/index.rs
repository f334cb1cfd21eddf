//! Who has which rules: roles and bindings, indexed by subject.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::{GROUP, Rule};
use crate::auth::{Access, Decision, Target, UserInfo};
use crate::store::Key;

/// Roles and bindings as requests need them. Cluster roles and their bindings have keys without a namespace.
///
/// Nothing is allowed by default: no role, no binding, a binding to a missing role, an object that cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Index {
    roles: HashMap<Key, Arc<[Rule]>>,
    bindings: HashMap<Subject, BTreeMap<Key, Reference>>,
    subjects: HashMap<Key, Vec<Subject>>,
}

/// Who gets a role. A service account is the user it logs in as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// The role that a binding gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    role: Key,
    kind: &'static str,
}

impl Index {
    /// Adds or replaces a Role or ClusterRole.
    pub fn put_role(&mut self, key: &Key, role: &Value) {
        self.roles.insert(key.clone(), Rule::of_role(role).into());
    }

    /// Forgets a Role or ClusterRole.
    pub fn remove_role(&mut self, key: &Key) {
        self.roles.remove(key);
    }

    /// Adds or replaces a RoleBinding or ClusterRoleBinding.
    pub fn put_binding(&mut self, key: &Key, binding: &Value) {
        self.remove_binding(key);
        let Some(reference) = Reference::of(key, binding) else { return };
        let subjects: Vec<Subject> = binding["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|subject| Subject::of(&key.namespace, subject))
            .collect();
        for subject in &subjects {
            self.bindings
                .entry(subject.clone())
                .or_default()
                .insert(key.clone(), reference.clone());
        }
        self.subjects.insert(key.clone(), subjects);
    }

    /// Forgets a RoleBinding or ClusterRoleBinding.
    pub fn remove_binding(&mut self, key: &Key) {
        for subject in self.subjects.remove(key).unwrap_or_default() {
            if let Some(bindings) = self.bindings.get_mut(&subject) {
                bindings.remove(key);
                if bindings.is_empty() {
                    self.bindings.remove(&subject);
                }
            }
        }
    }

    /// Decides whether some binding of the user, or of a group of theirs, allows an act.
    #[must_use]
    pub fn authorize(&self, user: &UserInfo, access: &Access) -> Decision {
        let namespace = match &access.target {
            Target::Resource { namespace, .. } => namespace.as_str(),
            Target::Path(_) => "",
        };
        self.grants(user, namespace)
            .find(|grant| grant.rules.iter().any(|rule| rule.allows(access)))
            .map_or_else(Decision::denied, |grant| Decision::allowed(grant.reason()))
    }

    /// Returns the rules that a user has in a namespace; without one, those that hold everywhere.
    #[must_use]
    pub fn rules_of(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        self.grants(user, namespace).flat_map(|grant| grant.rules.iter().cloned()).collect()
    }

    /// Returns the rules of a role; nothing when it does not exist.
    #[must_use]
    pub fn rules_of_role(&self, role: &Key) -> Option<&[Rule]> {
        self.roles.get(role).map(AsRef::as_ref)
    }

    fn grants<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = Grant<'a>> {
        let groups = user.groups.iter().map(|group| Subject::Group(group.clone()));
        let subjects = std::iter::once(Subject::User(user.name.clone())).chain(groups);
        let bound: Vec<_> =
            subjects.filter_map(|subject| self.bindings.get_key_value(&subject)).collect();
        let scopes = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        scopes.into_iter().flat_map(move |scope| {
            let bound = bound.clone();
            bound.into_iter().flat_map(move |(subject, bindings)| {
                let in_scope = bindings.range(Key::namespaced(scope, "")..);
                let in_scope = in_scope.take_while(move |(key, _)| key.namespace == scope);
                in_scope.filter_map(move |(binding, reference)| {
                    let rules = self.roles.get(&reference.role)?;
                    Some(Grant { binding, reference, subject, rules })
                })
            })
        })
    }
}

/// Rules that a user has, and why.
struct Grant<'a> {
    binding: &'a Key,
    reference: &'a Reference,
    subject: &'a Subject,
    rules: &'a [Rule],
}

impl Grant<'_> {
    fn reason(&self) -> String {
        let Key { namespace, name } = self.binding;
        let binding = if namespace.is_empty() {
            format!("ClusterRoleBinding \"{name}\"")
        } else {
            format!("RoleBinding \"{name}/{namespace}\"")
        };
        let (subject, who) = match self.subject {
            Subject::User(name) => ("User", name),
            Subject::Group(name) => ("Group", name),
        };
        let Reference { role, kind } = self.reference;
        format!("RBAC: allowed by {binding} of {kind} \"{}\" to {subject} \"{who}\"", role.name)
    }
}

impl Subject {
    /// Reads a subject. A service account without a namespace is of the binding's own.
    fn of(namespace: &str, subject: &Value) -> Option<Self> {
        let name = subject["name"].as_str().filter(|name| !name.is_empty())?;
        let group = subject["apiGroup"].as_str().unwrap_or_default();
        match (subject["kind"].as_str()?, group) {
            ("User", GROUP | "") => Some(Self::User(name.to_owned())),
            ("Group", GROUP | "") => Some(Self::Group(name.to_owned())),
            ("ServiceAccount", "") => {
                let given = subject["namespace"].as_str().unwrap_or_default();
                let namespace = if given.is_empty() { namespace } else { given };
                let user = UserInfo::service_account(namespace, name, "").name;
                (!namespace.is_empty()).then_some(Self::User(user))
            }
            _ => None,
        }
    }
}

impl Reference {
    fn of(binding: &Key, object: &Value) -> Option<Self> {
        let name = object["roleRef"]["name"].as_str()?;
        match object["roleRef"]["kind"].as_str()? {
            "ClusterRole" => Some(Self { role: Key::cluster_scoped(name), kind: "ClusterRole" }),
            "Role" if !binding.namespace.is_empty() => {
                Some(Self { role: Key::namespaced(&binding.namespace, name), kind: "Role" })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
