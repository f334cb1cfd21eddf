//! Connections to webhooks: finding the host, dialling it, trusting its certificate.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use base64::Engine as _;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::target::{ServiceAddress, ServiceResolver};

/// Builds the TLS side of a client: its bundle alone is trusted, or the system's roots when there is none.
pub(super) fn trust(config: &Value) -> Result<ClientConfig, String> {
    // Named explicitly, because a process-wide default would be another crate's decision.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("unable to set up TLS: {error}"))?;
    match config["caBundle"].as_str().map(str::trim).filter(|text| !text.is_empty()) {
        Some(bundle) => {
            let verifier = BundleVerifier::new(read_bundle(bundle)?, provider)?;
            let dangerous =
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            Ok(dangerous.with_no_client_auth())
        }
        None => Ok(builder.with_root_certificates(Arc::clone(&SYSTEM_ROOTS)).with_no_client_auth()),
    }
}

/// Reads a `caBundle`: base64 of certificates in PEM.
pub(super) fn read_bundle(bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    const UNUSABLE: &str = "unable to load root certificates: unable to parse bytes as PEM block";
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle);
    let pem = pem.map_err(|error| format!("unable to load root certificates: {error}"))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| UNUSABLE)?;
    if certificates.is_empty() { Err(UNUSABLE.to_owned()) } else { Ok(certificates) }
}

/// Trusts what the certificates of a bundle have issued, and these certificates themselves.
///
/// Webhooks often serve a certificate that signs itself and hand it out as their bundle. Go takes it; the usual verifier
/// takes no certificate of an authority for that of a server.
#[derive(Debug)]
struct BundleVerifier {
    usual: Arc<WebPkiServerVerifier>,
    bundle: Vec<CertificateDer<'static>>,
}

impl BundleVerifier {
    fn new(
        bundle: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let malformed = |error: String| format!("unable to load root certificates: {error}");
        let mut roots = RootCertStore::empty();
        for certificate in &bundle {
            roots.add(certificate.clone()).map_err(|error| malformed(error.to_string()))?;
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { usual: usual.map_err(|error| malformed(error.to_string()))?, bundle })
    }
}

impl ServerCertVerifier for BundleVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if verified.is_ok() || !self.bundle.iter().any(|own| own == end_entity) {
            return verified;
        }
        // It is one that the administrator named; that it is for this host and of today is still to be seen.
        check_time(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
        Ok(())
    } else {
        Err(rustls::Error::InvalidCertificate(CertificateError::Expired))
    }
}

/// The roots that the machine trusts; read once, when the first webhook without a bundle is called.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    // Files that cannot be read are not trusted; a machine may have no roots at all.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// Opens TCP connections, to the host of the URL or to where the service is found.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) service: Option<ServiceAddress>,
    pub(super) services: Option<ServiceResolver>,
}

impl Dialler {
    fn address(&self, uri: &Uri) -> Result<String, String> {
        let Some(service) = &self.service else {
            let host = uri.host().unwrap_or_default();
            return Ok(format!("{host}:{}", uri.port_u16().unwrap_or(443)));
        };
        match &self.services {
            Some(find) => find(service),
            None => Err(format!("service {:?} not found", service.name)),
        }
    }
}

impl tower::Service<Uri> for Dialler {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = self.address(&uri);
        Box::pin(async move {
            let address = address.map_err(io::Error::other)?;
            let stream = TcpStream::connect(&address)
                .await
                .map_err(|error| io::Error::other(dial_text(&address, &error)))?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Says in Go's words why a host cannot be reached.
fn dial_text(address: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {address}: connect: connection refused")
        }
        _ if error.to_string().contains("lookup") => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            format!("dial tcp: lookup {host}: no such host")
        }
        _ => format!("dial tcp {address}: {error}"),
    }
}
