//! What a request wants to do, as authorisation sees it.

use http::StatusCode;

use super::UserInfo;
use crate::registry::resource_id;
use crate::status::ApiError;

/// One act: a verb on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`, `bind`, …
    pub verb: String,
    /// On what.
    pub target: Target,
}

/// What an act is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A resource of the API.
    Resource {
        /// API group, empty for the core group.
        group: String,
        /// Plural.
        resource: String,
        /// Subresource, empty for the object itself.
        subresource: String,
        /// Namespace, empty for cluster-scoped resources and for all namespaces.
        namespace: String,
        /// Object name, empty when the request names none.
        name: String,
    },
    /// Any other path, such as `/version`.
    Path(String),
}

impl Access {
    /// Builds an act on a resource.
    #[must_use]
    pub fn resource(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        let target = Target::Resource {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Self { verb: verb.to_owned(), target }
    }

    /// Builds an act on a path outside the API groups.
    #[must_use]
    pub fn path(verb: &str, path: &str) -> Self {
        Self { verb: verb.to_owned(), target: Target::Path(path.to_owned()) }
    }

    /// Narrows an act on a resource to a subresource.
    #[must_use]
    pub fn on_subresource(mut self, of: &str) -> Self {
        if let Target::Resource { subresource, .. } = &mut self.target {
            of.clone_into(subresource);
        }
        self
    }

    /// Builds the answer to a user who may not, the anonymous one included.
    #[must_use]
    pub fn denied(&self, user: &UserInfo, why: &str) -> ApiError {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let text =
            format!("User \"{}\" cannot {} {}{why}", user.name, self.verb, self.target_text());
        match &self.target {
            Target::Path(_) => forbidden(format!("forbidden: {text}")),
            Target::Resource { group, resource, name, .. } => {
                let object = resource_id(group, resource);
                let object = if name.is_empty() { object } else { format!("{object} \"{name}\"") };
                forbidden(format!("{object} is forbidden: {text}")).about(group, resource, name)
            }
        }
    }

    fn target_text(&self) -> String {
        match &self.target {
            Target::Path(path) => format!("path \"{path}\""),
            Target::Resource { group, resource, subresource, namespace, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let what =
                    format!("resource \"{resource}{slash}{subresource}\" in API group \"{group}\"");
                if namespace.is_empty() {
                    format!("{what} at the cluster scope")
                } else {
                    format!("{what} in the namespace \"{namespace}\"")
                }
            }
        }
    }
}

/// Builds a 403.
pub(super) fn forbidden(message: String) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Forbidden", message)
}

/// Whether an act is allowed, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The act is allowed. Nothing is allowed unless a rule says so.
    pub allowed: bool,
    /// Which binding allows it, or why nothing could be decided.
    pub reason: String,
}

impl Decision {
    /// Nothing allows the act.
    #[must_use]
    pub fn denied() -> Self {
        Self { allowed: false, reason: String::new() }
    }

    /// Something allows the act.
    #[must_use]
    pub fn allowed(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(access: &Access) -> String {
        access.denied(&UserInfo::authenticated("ann", &[]), "").message
    }

    #[test]
    fn refusals_read_like_upstream() {
        let scale = Access::resource("patch", "apps", "deployments", "web", "front")
            .on_subresource("scale");
        assert_eq!(
            message(&scale),
            "deployments.apps \"front\" is forbidden: User \"ann\" cannot patch resource \
             \"deployments/scale\" in API group \"apps\" in the namespace \"web\""
        );
        assert_eq!(
            message(&Access::resource("list", "", "nodes", "", "")),
            "nodes is forbidden: User \"ann\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
        );
        assert_eq!(
            message(&Access::path("get", "/metrics")),
            "forbidden: User \"ann\" cannot get path \"/metrics\""
        );
    }

    #[test]
    fn the_anonymous_are_a_user_like_others() {
        let error = Access::path("get", "/metrics").denied(&UserInfo::anonymous(), "");
        assert_eq!(error.code, StatusCode::FORBIDDEN);
        assert_eq!(
            error.message,
            "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
        );
    }
}
