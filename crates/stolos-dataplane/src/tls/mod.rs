//! TLS between the gateways of members: both sides show a certificate of the fleet, and the one that connects checks that
//! the other one is of the member that it means.
//!
//! A gateway says one byte before anything else, once a pod of its own has taken the connection. Only then has the other
//! side reached something: a gateway that refuses its certificate, or has no pod that answers, is passed over as any other
//! endpoint is that does not answer.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use stolos_core::network::gateway::certificate_name;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

mod side;

pub(crate) use side::{Side, Socket};

use crate::saved;

/// What both sides say that they speak.
const PROTOCOL: &[u8] = b"stolos-gateway/1";
/// What a gateway says once a pod has taken the connection.
const REACHED: u8 = 1;

/// Who a data plane is to other members, and whom it believes.
#[derive(Clone)]
pub struct Identity {
    configs: Arc<Configs>,
    parts: Arc<Parts>,
}

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// What an identity was read from.
#[derive(Serialize, Deserialize)]
struct Parts {
    certificate: String,
    key: String,
    authorities: String,
}

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A part is not PEM.
    #[error("`{part}` must be PEM")]
    Pem {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// A part has no certificate.
    #[error("`{part}` must have a certificate, and has none")]
    Empty {
        /// Which part.
        part: &'static str,
    },
    /// No client can be checked by the authorities.
    #[error("`ca.crt` must have certificates of authorities")]
    Authorities(#[from] VerifierBuilderError),
    /// The parts do not fit together.
    #[error(
        "`tls.crt`, `tls.key` and `ca.crt` must be a certificate, its key, and the authorities of the fleet"
    )]
    Parts(#[from] rustls::Error),
}

impl Identity {
    /// Reads a certificate with those that lead to an authority, its key, and the authorities that are believed: several
    /// of them while one takes the place of another.
    ///
    /// # Errors
    ///
    /// A part is not PEM, or they do not fit together.
    pub fn from_pem(
        certificate: &[u8],
        pem: &[u8],
        authorities: &[u8],
    ) -> Result<Self, IdentityError> {
        let chain = certificates("tls.crt", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(pem);
        let key = key.map_err(|source| IdentityError::Pem { part: "tls.key", source })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("ca.crt", authorities)? {
            roots.add(authority)?;
        }
        let (roots, provider) =
            (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Every connection is checked anew: a session that goes on would outlive the certificate that it began with.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let (certificate, key, authorities) = (text(certificate), text(pem), text(authorities));
        Ok(Self {
            configs: Arc::new(Configs { server: Arc::new(server), client: Arc::new(client) }),
            parts: Arc::new(Parts { certificate, key, authorities }),
        })
    }

    /// Reads the identity that was saved last; none if there is none that can be used.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let Parts { certificate, key, authorities } =
            serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Self::from_pem(certificate.as_bytes(), key.as_bytes(), authorities.as_bytes()).ok()
    }

    /// Saves it for a process that starts before it hears of its certificate.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        saved::write(path, &serde_json::to_vec(self.parts.as_ref())?)
    }
}

fn certificates(
    part: &'static str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let all = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|source| IdentityError::Pem { part, source })?;
    if all.is_empty() { Err(IdentityError::Empty { part }) } else { Ok(all) }
}

/// The identity of a data plane, which may change at any time: each connection goes on with what it began with.
#[derive(Default)]
pub(crate) struct Keys(ArcSwapOption<Configs>);

impl Keys {
    pub(crate) fn set(&self, identity: Identity) {
        self.0.store(Some(identity.configs));
    }

    fn get(&self) -> io::Result<Arc<Configs>> {
        let none = || io::Error::other("this data plane has no certificate of the fleet yet");
        self.0.load_full().ok_or_else(none)
    }

    /// Lets a data plane of another member in.
    pub(crate) async fn accept(&self, client: TcpStream) -> io::Result<Side> {
        let acceptor = TlsAcceptor::from(self.get()?.server.clone());
        let stream = acceptor.accept(Socket::new(client)).await?;
        speaks(stream.get_ref().1.alpn_protocol())?;
        Ok(Side::Tls(Box::new(stream.into())))
    }

    /// Tells a data plane that was let in that a pod has taken its connection.
    pub(crate) async fn reached(client: &mut Side) -> io::Result<()> {
        client.write_all(&[REACHED]).await?;
        client.flush().await
    }

    /// Enters the gateway of `member` through `socket`; returns when a pod behind it has taken the connection.
    pub(crate) async fn connect(&self, member: &str, socket: TcpStream) -> io::Result<Side> {
        let connector = TlsConnector::from(self.get()?.client.clone());
        let name = ServerName::try_from(certificate_name(member)).map_err(io::Error::other)?;
        let mut stream = connector.connect(name, Socket::new(socket)).await?;
        speaks(stream.get_ref().1.alpn_protocol())?;
        let mut said = [0];
        match stream.read_exact(&mut said).await {
            Ok(_) if said == [REACHED] => Ok(Side::Tls(Box::new(stream.into()))),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not what a gateway says")),
            Err(error) => Err(without_pod(error)),
        }
    }
}

/// A gateway that just ends the connection has no pod that takes it.
fn without_pod(error: io::Error) -> io::Error {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    match error.kind() {
        ConnectionReset | UnexpectedEof => {
            io::Error::new(error.kind(), "no pod behind the gateway takes connections")
        }
        _ => error,
    }
}

fn speaks(protocol: Option<&[u8]>) -> io::Result<()> {
    if protocol == Some(PROTOCOL) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the peer is no data plane of a fleet"))
}
