//! Tells on the member where the data plane can be asked what it does, for `stolos service top`.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};

/// Name of the ConfigMap in the system namespace.
pub const DATA_PLANE: &str = "stolos-dataplane";

/// Key in the ConfigMap: URL of the figures, as JSON.
pub const FIGURES: &str = "figures";

/// First wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Writes it once, however long that takes: nothing else depends on it.
pub(super) async fn announce(member: &Client, system_namespace: &str, url: &str) {
    let api = Api::<ConfigMap>::namespaced(member.clone(), system_namespace);
    let params = PatchParams::apply(super::MANAGER).force();
    let told = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": DATA_PLANE },
        "data": { FIGURES: url },
    });
    let mut wait = FIRST_RETRY;
    while let Err(error) = api.patch(DATA_PLANE, &params, &Patch::Apply(&told)).await {
        tracing::debug!(%error, "it is not told yet where the data plane can be asked");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
    }
}
