//! What controllers ask of the API.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::registry::{Registry, Resource};
use crate::rest::LocalClient;
use crate::status::ApiError;
use crate::store::{Key, ResourceId, Version};

/// How a deletion treats dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// Dependents go afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// Calls the API as the server itself.
#[derive(Clone)]
pub(crate) struct Api(LocalClient);

impl Api {
    pub(super) fn new(client: LocalClient) -> Self {
        Self(client)
    }

    /// Returns the same without asking admission, for what upstream does beneath its API.
    pub(crate) fn without_admission(&self) -> Self {
        Self(self.0.without_admission())
    }

    /// Applies an object or a part of it; an object that is gone already is fine.
    pub(crate) async fn apply(&self, path: &str, object: Value) -> Result<(), ApiError> {
        let applied = self.0.patch(path, "application/apply-patch+yaml", object).await;
        ignore(StatusCode::NOT_FOUND, applied)
    }

    /// Deletes an object in exactly this state; an object that is gone already is fine.
    pub(crate) async fn delete(
        &self,
        path: &str,
        version: &Version,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let uid = &version.attributes.uid;
        let state = json!({ "uid": uid, "resourceVersion": version.revision.to_string() });
        self.delete_if(path, &state, propagation).await
    }

    /// Deletes an object, whatever became of it meanwhile; an object that is gone already is fine.
    pub(crate) async fn delete_in_any_state(
        &self,
        path: &str,
        version: &Version,
    ) -> Result<(), ApiError> {
        let this_one = json!({ "uid": version.attributes.uid });
        self.delete_if(path, &this_one, Propagation::Background).await
    }

    async fn delete_if(
        &self,
        path: &str,
        preconditions: &Value,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": preconditions,
            "propagationPolicy": match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            },
        });
        ignore(StatusCode::NOT_FOUND, self.0.call(Method::DELETE, path, Some(options)).await)
    }

    /// Merges metadata into an object in exactly this state; an object that is gone already is fine.
    pub(crate) async fn merge_metadata(
        &self,
        path: &str,
        version: &Version,
        mut metadata: Value,
    ) -> Result<(), ApiError> {
        metadata["uid"] = json!(version.attributes.uid);
        metadata["resourceVersion"] = json!(version.revision.to_string());
        let patch = json!({ "metadata": metadata });
        ignore(
            StatusCode::NOT_FOUND,
            self.0.patch(path, "application/merge-patch+json", patch).await,
        )
    }

    /// Tells whether there is an object at this path.
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, ApiError> {
        match self.0.call(Method::GET, path, None).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == StatusCode::NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates an object; one that exists already is fine.
    pub(crate) async fn ensure(&self, collection: &str, object: Value) -> Result<(), ApiError> {
        match self.0.call(Method::POST, collection, Some(object)).await {
            Err(error) if error.reason == "AlreadyExists" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Replaces an object or a part of it; the object carries the resourceVersion it was read at.
    pub(crate) async fn replace(&self, path: &str, object: Value) -> Result<(), ApiError> {
        ignore(StatusCode::NOT_FOUND, self.0.call(Method::PUT, path, Some(object)).await)
    }
}

fn ignore(code: StatusCode, result: Result<Value, ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.code == code => Ok(()),
        other => other.map(drop),
    }
}

/// Returns the path of an object of this resource.
pub(crate) fn object_path(row: &Resource, key: &Key) -> String {
    format!("{}/{}", collection_path(row, &key.namespace), key.name)
}

/// Returns the path of the objects of this resource in a namespace, or of all with an empty namespace.
pub(crate) fn collection_path(row: &Resource, namespace: &str) -> String {
    let group_version = &row.group_version;
    let root = if group_version.group.is_empty() { "/api" } else { "/apis" };
    if namespace.is_empty() {
        format!("{root}/{group_version}/{}", row.plural)
    } else {
        format!("{root}/{group_version}/namespaces/{namespace}/{}", row.plural)
    }
}

/// Returns the path of a stored object, in any version that is served.
pub(crate) fn stored_path(registry: &Registry, resource: &ResourceId, key: &Key) -> Option<String> {
    let snapshot = registry.snapshot();
    let served = || snapshot.all().iter().find(|row| row.storage == *resource);
    snapshot.stored_as(resource).or_else(served).map(|row| object_path(row, key))
}
