//! What every namespace has: the `default` service account and the cluster's root certificate.

use serde_json::{Value, json};

use super::Context;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::status::ApiError;
use crate::store::{Key, ResourceId};

const SERVICE_ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
/// Namespaces at once.
const CONCURRENCY: usize = 8;

/// What to keep in every namespace.
pub(super) struct Defaults {
    pub(super) service_account: bool,
    /// Certificates in PEM.
    pub(super) root_ca: Option<String>,
}

impl Defaults {
    pub(super) fn any(&self) -> bool {
        self.service_account || self.root_ca.is_some()
    }
}

/// Runs until the store closes.
pub(super) async fn run(context: Context, defaults: Defaults) {
    let queue = Queue::new();
    let namespaces = ResourceId::from("namespaces");
    let (accounts, config_maps) =
        (ResourceId::from("serviceaccounts"), ResourceId::from("configmaps"));
    let store = &context.store;
    let all = follow(store, &namespaces, |seen| match seen {
        Seen::Listed(version) => queue.push(version.key.name.clone()),
        Seen::Changed(event) => queue.push(event.current.key.name.clone()),
        Seen::Missed => {}
    });
    let accounts = follow(store, &accounts, |seen| push_namespace(&queue, SERVICE_ACCOUNT, &seen));
    let config_maps = follow(store, &config_maps, |seen| push_namespace(&queue, ROOT_CA, &seen));
    tokio::select! {
        () = all => {}
        () = accounts => {}
        () = config_maps => {}
        () = queue.run(CONCURRENCY, |name| fill(&context, &defaults, name)) => {}
    }
}

/// Looks again at the namespace of an object of this name.
fn push_namespace(queue: &Queue<String>, name: &str, seen: &Seen<'_>) {
    match seen {
        Seen::Changed(event) if event.current.key.name == name => {
            queue.push(event.current.key.namespace.clone());
        }
        // What was there at the start is found by its namespace.
        Seen::Listed(_) | Seen::Changed(_) | Seen::Missed => {}
    }
}

async fn fill(context: &Context, defaults: &Defaults, name: String) -> Result<Next, ApiError> {
    let namespace = context.store.get(&"namespaces".into(), &Key::cluster_scoped(&name));
    if namespace.is_none_or(|namespace| namespace.attributes.deleting) {
        return Ok(Next::Done);
    }
    let mut filled = Ok(());
    if defaults.service_account {
        filled = tolerate_deletion(ensure_service_account(context, &name).await);
    }
    if let Some(certificates) = &defaults.root_ca {
        // That one is refused does not keep the other away.
        filled = filled.and(tolerate_deletion(ensure_root_ca(context, &name, certificates).await));
    }
    filled.map(|()| Next::Done)
}

async fn ensure_service_account(context: &Context, namespace: &str) -> Result<(), ApiError> {
    let key = Key::namespaced(namespace, SERVICE_ACCOUNT);
    if context.store.get(&"serviceaccounts".into(), &key).is_some() {
        return Ok(());
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}});
    context.api.ensure(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), account).await
}

async fn ensure_root_ca(
    context: &Context,
    namespace: &str,
    certificates: &str,
) -> Result<(), ApiError> {
    let key = Key::namespaced(namespace, ROOT_CA);
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    let Some(version) = context.store.get(&"configmaps".into(), &key) else {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT_CA}});
        return context.api.ensure(&collection, with_certificates(map, certificates)).await;
    };
    let found = version.object();
    let wanted = with_certificates(found.clone(), certificates);
    if wanted == found || version.attributes.deleting {
        return Ok(());
    }
    context.api.replace(&format!("{collection}/{ROOT_CA}"), wanted).await
}

fn with_certificates(mut map: Value, certificates: &str) -> Value {
    map["data"] = json!({ "ca.crt": certificates });
    if let Some(fields) = map.as_object_mut() {
        fields.remove("binaryData");
    }
    map
}

/// A namespace that began to terminate, or went away, needs nothing.
fn tolerate_deletion(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if matches!(error.reason, "NotFound") || is_terminating(&error) => Ok(()),
        other => other,
    }
}

fn is_terminating(error: &ApiError) -> bool {
    error.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}
