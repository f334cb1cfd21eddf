//! Clients from kubeconfigs in secrets.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::KUBECONFIG_KEY;

/// A secret does not lead to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is missing.
    #[error("secret `{secret}` has no key `{key}`")]
    NoKey {
        /// Name of the secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// The value is not text.
    #[error("key `{key}` of secret `{secret}` is not UTF-8 text")]
    NotText {
        /// Name of the secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// The value is not a usable kubeconfig.
    #[error("key `{key}` of secret `{secret}` is not a kubeconfig that can be used")]
    Kubeconfig {
        /// Name of the secret.
        secret: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig cannot be made into a client.
    #[error("the kubeconfig of secret `{secret}` does not give a client")]
    Client {
        /// Name of the secret.
        secret: String,
        /// What is wrong with it.
        source: Box<kube::Error>,
    },
}

/// Returns a client for the cluster whose kubeconfig is in a secret.
///
/// # Errors
/// When the secret has no usable kubeconfig. Nothing is sent to the cluster.
pub async fn connect(secret: &Secret) -> Result<Client, Error> {
    connect_by(secret, KUBECONFIG_KEY).await
}

/// Like [`connect`], with the kubeconfig under another key.
pub(crate) async fn connect_by(secret: &Secret, key: &str) -> Result<Client, Error> {
    let key_text = || key.to_owned();
    let name = || secret.metadata.name.clone().unwrap_or_default();
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let data = data.ok_or_else(|| Error::NoKey { secret: name(), key: key_text() })?;
    let text = std::str::from_utf8(&data.0)
        .map_err(|_| Error::NotText { secret: name(), key: key_text() })?;
    let wrong =
        |source| Error::Kubeconfig { secret: name(), key: key_text(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(wrong)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
    Client::try_from(config)
        .map_err(|source| Error::Client { secret: name(), source: Box::new(source) })
}
