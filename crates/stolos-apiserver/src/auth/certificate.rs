//! Users by client certificate: the common name is the user, the organisations are the groups.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::UserInfo;

/// What the listener knows of a connection; it travels with each request as an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: Option<SocketAddr>,
    /// User of the client certificate, which the TLS handshake has verified against the cluster's authority.
    pub certificate: Option<UserInfo>,
}

/// Reads the user from a certificate that has been verified. A certificate without a common name names nobody.
#[must_use]
pub fn user_of_certificate(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok().filter(|name| !name.is_empty())?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|org| org.as_str().ok()).collect();
    let mut user = UserInfo::authenticated(name, &groups);
    let fingerprint = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![fingerprint]);
    Some(user)
}
