//! The parameters of a binding.

use std::sync::Arc;

use serde_json::Value;

use super::Policies;
use super::definition::{Binding, Policy};
use crate::registry::{Registry, Resource};
use crate::rest::admission::Request;
use crate::rest::convert;
use crate::store::{Key, ListOptions, Version};

impl Policy {
    /// Finds the resource of the policy's parameters; none where it has no parameters.
    pub(super) fn find_params(&self, registry: &Registry) -> Result<Option<Arc<Resource>>, String> {
        let Some(kind) = &self.param_kind else { return Ok(None) };
        let group_version = &kind.group_version;
        let found = registry.kind(&group_version.group, &group_version.version, &kind.kind);
        let found = found.filter(|resource| resource.is_stored());
        found.map(Some).ok_or_else(|| {
            format!(
                "failed to find resource referenced by paramKind: '{group_version}, Kind={}'",
                kind.kind
            )
        })
    }
}

impl Policies {
    /// Returns each object that the policy is to be evaluated with: null stands for none, nothing at all for a binding
    /// that finds no parameters and does not need any.
    pub(super) async fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        request: &Request<'_>,
    ) -> Result<Vec<Value>, String> {
        let (Some(resource), Some(params)) = (policy.find_params(&self.registry)?, &binding.params)
        else {
            return Ok(vec![Value::Null]);
        };
        let namespace = match (resource.namespaced, &params.namespace) {
            (false, Some(_)) => {
                return Err(
                    "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                        .into(),
                );
            }
            (false, None) => None,
            (true, Some(namespace)) => Some(namespace.clone()),
            (true, None) if request.namespace.is_empty() => {
                return Err("cannot use namespaced paramRef in policy binding that matches \
                            cluster-scoped resources"
                    .into());
            }
            (true, None) => Some(request.namespace.to_owned()),
        };
        let selector = params.selector.as_ref().map_err(Clone::clone)?;
        let found = match (&params.name, selector) {
            (Some(name), _) => {
                let key = Key { namespace: namespace.unwrap_or_default(), name: name.clone() };
                self.store.get(&resource.storage, &key).into_iter().collect()
            }
            (None, Some(selector)) => {
                let matches = |version: &Version| selector.matches(&version.attributes.labels);
                let options =
                    ListOptions { namespace, filter: Some(&matches), ..ListOptions::default() };
                let page = self.store.list(&resource.storage, &options);
                page.map_err(|expired| expired.to_string())?.items
            }
            (None, None) => return Err("one of name or selector must be provided".into()),
        };
        if found.is_empty() && params.needed {
            return Err(
                "no params found for policy binding with `Deny` parameterNotFoundAction".into()
            );
        }
        convert::all_served(&resource, &found).await.map_err(|error| error.message)
    }
}
