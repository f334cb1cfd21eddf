//! The namespaces that every cluster has.

use serde_json::json;

use super::Api;
use crate::status::ApiError;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates the namespaces that are missing.
pub(super) async fn create_namespaces(api: &Api) -> Result<(), ApiError> {
    for name in NAMESPACES {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.ensure("/api/v1/namespaces", namespace).await?;
    }
    Ok(())
}
