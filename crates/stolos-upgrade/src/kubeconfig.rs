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
    /// The kubeconfig would have this process run a program, or send one of its files, for whoever wrote the secret.
    #[error(
        "the kubeconfig of secret `{secret}` uses `{field}`; it must hold its certificates and tokens itself"
    )]
    Foreign {
        /// Name of the secret.
        secret: String,
        /// The field that is not allowed.
        field: &'static str,
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
    if let Some(field) = foreign(&kubeconfig) {
        return Err(Error::Foreign { secret: name(), field });
    }
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
    Client::try_from(config)
        .map_err(|source| Error::Client { secret: name(), source: Box::new(source) })
}

/// Returns a field by which the kubeconfig reaches for programs or files of this machine.
fn foreign(kubeconfig: &Kubeconfig) -> Option<&'static str> {
    let users = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    let of_user = users.flat_map(|user| {
        [
            (user.exec.is_some(), "exec"),
            (user.auth_provider.is_some(), "auth-provider"),
            (user.token_file.is_some(), "tokenFile"),
            (user.client_certificate.is_some(), "client-certificate"),
            (user.client_key.is_some(), "client-key"),
        ]
    });
    let clusters = kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref());
    let of_cluster =
        clusters.map(|cluster| (cluster.certificate_authority.is_some(), "certificate-authority"));
    of_user.chain(of_cluster).find_map(|(is_used, field)| is_used.then_some(field))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    async fn refused(cluster: &str, user: &str) -> String {
        let kubeconfig = format!(
            r#"{{"current-context": "c", "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}],
            "clusters": [{{"name": "c", "cluster": {{"server": "https://127.0.0.1:1"{cluster}}}}}],
            "users": [{{"name": "u", "user": {{{user}}}}}]}}"#
        );
        let mut secret = Secret::default();
        secret.metadata.name = Some("s".to_owned());
        let data = (KUBECONFIG_KEY.to_owned(), ByteString(kubeconfig.into_bytes()));
        secret.data = Some([data].into());
        connect(&secret).await.map_or_else(|error| error.to_string(), |_| "allowed".to_owned())
    }

    #[tokio::test]
    async fn a_secret_cannot_reach_for_programs_and_files_of_the_hub() {
        assert_eq!(refused("", r#""token": "t""#).await, "allowed");
        for (user, field) in [
            (
                r#""exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true", "interactiveMode": "Never"}"#,
                "exec",
            ),
            (r#""tokenFile": "/etc/passwd""#, "tokenFile"),
            (r#""client-certificate": "/etc/passwd""#, "client-certificate"),
            (r#""client-key": "/etc/passwd""#, "client-key"),
            (r#""auth-provider": {"name": "gcp", "config": {}}"#, "auth-provider"),
        ] {
            let refusal = refused("", user).await;
            assert!(refusal.contains(&format!("uses `{field}`")), "{refusal}");
        }
        let refusal =
            refused(r#", "certificate-authority": "/etc/passwd""#, r#""token": "t""#).await;
        assert!(refusal.contains("uses `certificate-authority`"), "{refusal}");
    }
}
