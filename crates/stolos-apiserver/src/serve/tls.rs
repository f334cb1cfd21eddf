//! TLS of a listener: our certificate, and client certificates for those who have one.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{CertificateAuthority, Credentials};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The credentials are not PEM.
    #[error("failed to read the server's credentials")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The credentials cannot be used.
    #[error("failed to configure TLS")]
    Rustls(#[from] rustls::Error),
    /// The authority cannot verify clients.
    #[error("failed to trust the certificate authority for clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Builds the TLS side of a server: clients may present a certificate of `clients`; a wrong one ends the handshake.
pub fn server_config(
    server: &Credentials,
    clients: &CertificateAuthority,
) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_for(server, Some(clients.certificate()))
}

/// Builds the TLS side of a server: clients may present a certificate of any of the authorities in `clients` (PEM), or
/// none at all where there are no authorities.
pub fn server_config_for(
    server: &Credentials,
    clients: Option<&str>,
) -> Result<Arc<ServerConfig>, TlsError> {
    // Named explicitly, because a process-wide default would be another crate's decision.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
                roots.add(authority?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(server.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes())?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
