//! The certificate of a member, by which its data plane is known to gateways of other members and theirs are to it.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use stolos_core::network::gateway::certificate::part;
use stolos_dataplane::{Identity, IdentityError};
use tracing::{debug, info, warn};

/// Parts of the Secret, as in Secrets of the type `kubernetes.io/tls`.
const PARTS: [&str; 3] = [part::CERTIFICATE, part::KEY, part::AUTHORITIES];

/// Follows the certificate in a Secret of the member, for ever. One that cannot be used, or is gone, changes nothing: the
/// last one that could be used is.
pub async fn follow(
    member: Client,
    namespace: &str,
    name: &str,
    identify: impl Fn(Identity) + Send,
) {
    let api = Api::<Secret>::namespaced(member, namespace);
    let by_name = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(0);
    let mut secrets = std::pin::pin!(watcher(api, by_name).default_backoff().applied_objects());
    let mut last = None;
    while let Some(secret) = secrets.next().await {
        let secret = match secret {
            Ok(secret) => secret,
            Err(error) => {
                debug!(%error, "the certificate of the member is not heard of; it stays as it is");
                continue;
            }
        };
        // The agent makes the key first; the certificate comes when the hub has answered.
        let has_certificate = secret.data.as_ref().is_some_and(|data| data.contains_key(PARTS[0]));
        if last == secret.data || !has_certificate {
            continue;
        }
        match read(&secret) {
            Ok(identity) => {
                info!(secret = name, "took the certificate of the member");
                identify(identity);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(secret = name, error, "the certificate of the member cannot be used");
            }
        }
        last = secret.data;
    }
}

fn read(secret: &Secret) -> Result<Identity, IdentityError> {
    let part = |name| {
        let part = secret.data.as_ref().and_then(|data| data.get(name));
        part.map(|part| part.0.as_slice()).unwrap_or_default()
    };
    let [certificate, key, authorities] = PARTS.map(part);
    Identity::from_pem(certificate, key, authorities)
}
