//! Asking for one object by name: what a list leaves out may be there all the same.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::Key;

/// Returns a namespaced object, if the API server has it.
///
/// # Errors
///
/// When the API server does not say.
pub async fn find<K>(client: &Client, key: &Key) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    Api::namespaced(client.clone(), &key.namespace).get_opt(&key.name).await
}
