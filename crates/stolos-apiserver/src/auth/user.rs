//! The identity behind a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Group of everybody with valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group that may do everything, before any role is looked at.
pub const MASTERS: &str = "system:masters";
/// User without credentials.
pub const ANONYMOUS: &str = "system:anonymous";

const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Who is asking. Serialises as `userInfo` of reviews and admission requests do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    /// User name.
    #[serde(rename = "username", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Distinguishes users that had the same name at different times.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups, including the virtual ones of the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Returns a user with valid credentials; the group of all such users is added.
    #[must_use]
    pub fn authenticated(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }.with_group(AUTHENTICATED)
    }

    /// Returns the user without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: ANONYMOUS.to_owned(), groups, ..Self::default() }
    }

    /// Returns a component inside this process, which may do everything.
    #[must_use]
    pub fn internal(name: &str) -> Self {
        Self::authenticated(name, &[MASTERS])
    }

    /// Returns a service account with its groups.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: service_account_groups(namespace),
            extra: BTreeMap::new(),
        }
        .with_group(AUTHENTICATED)
    }

    /// Returns whether the user is in the group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Returns whether the request came without credentials.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Adds a group unless it is there.
    #[must_use]
    pub fn with_group(mut self, group: &str) -> Self {
        if !self.in_group(group) {
            self.groups.push(group.to_owned());
        }
        self
    }
}

/// Returns the groups that every service account of a namespace is in.
pub(super) fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// Splits the user name of a service account into namespace and name.
pub(super) fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    let complete = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    complete.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_are_named_and_grouped_by_namespace() {
        let user = UserInfo::service_account("team", "robot", "u1");
        assert_eq!(user.name, "system:serviceaccount:team:robot");
        assert_eq!(split_service_account(&user.name), Some(("team", "robot")));
        for group in ["system:serviceaccounts", "system:serviceaccounts:team", AUTHENTICATED] {
            assert!(user.in_group(group), "{group}");
        }
    }

    #[test]
    fn incomplete_names_are_no_service_accounts() {
        for name in [
            "robot",
            "system:serviceaccount:team",
            "system:serviceaccount::x",
            "system:serviceaccount:a:b:c",
        ] {
            assert_eq!(split_service_account(name), None, "{name}");
        }
    }
}
