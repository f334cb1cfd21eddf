//! The two servers: ours in this process, and a real kube-apiserver over TLS.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::user::MASTERS;
use stolos_apiserver::auth::{TokenSigner, UserInfo};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

/// Token of the administrator, on both.
pub(crate) const ADMIN_TOKEN: &str = "test-admin";

/// An answer whose body may still be coming.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: UnsyncBoxBody<Bytes, String>,
}

/// Something that answers requests.
#[derive(Clone)]
pub(crate) enum Server {
    Ours(ApiServer),
    Real(Arc<Real>),
}

impl Server {
    /// Starts an empty cluster of ours.
    pub(crate) async fn ours() -> Self {
        let store = Store::memory().cluster("differential").expect("a store in memory opens");
        let certificate = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";
        let controllers =
            Controllers { root_ca: Some(certificate.to_owned()), ..Controllers::default() };
        let signer = TokenSigner::generate("https://kubernetes.default.svc").expect("a key");
        let options = Options {
            controllers,
            signer: Some(Arc::new(signer)),
            services: "10.0.0.0/24".parse().expect("the range of the real one"),
            ..Options::default()
        };
        let server = ApiServer::start(store, options).await.expect("a cluster in memory starts");
        let admin = UserInfo::authenticated("admin", &[MASTERS]);
        let admin = UserInfo { uid: "admin".to_owned(), ..admin };
        server.auth().authenticator().add_static_token(ADMIN_TOKEN, admin);
        Self::Ours(server)
    }

    pub(crate) fn is_real(&self) -> bool {
        matches!(self, Self::Real(_))
    }

    pub(crate) fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'static, Result<Answer, String>> {
        match self {
            Self::Ours(server) => {
                let service = server.service();
                async move {
                    let Ok(response) = service.oneshot(request).await;
                    let (parts, body) = response.into_parts();
                    let body = body.map_err(|error| error.to_string()).boxed_unsync();
                    Ok(Answer { status: parts.status, headers: parts.headers, body })
                }
                .boxed()
            }
            Self::Real(real) => {
                let real = Arc::clone(real);
                async move { real.send(request).await.map_err(|error| error.to_string()) }.boxed()
            }
        }
    }
}

/// A kube-apiserver. Dropping it ends the processes that were started for it.
pub(crate) struct Real {
    address: String,
    tls: TlsConnector,
    _processes: Option<Processes>,
}

/// `cargo xtask kubernetes up`, which ends what it started when its standard input closes.
struct Processes {
    child: Child,
    input: Option<ChildStdin>,
    _directory: tempfile::TempDir,
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

impl Real {
    /// Starts a kube-apiserver with its controllers, or says what is missing and returns nothing.
    pub(crate) fn start() -> Option<Self> {
        if let Some(kubeconfig) = std::env::var_os("STOLOS_DIFFERENTIAL_KUBECONFIG") {
            return Some(Self::connect(&PathBuf::from(kubeconfig), None));
        }
        if !are_built() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let up =
            ["run", "--quiet", "--package", "xtask", "--", "kubernetes", "up", "--members", "0"];
        let mut child = Command::new(cargo)
            .args(up)
            .arg("--dir")
            .arg(directory.path().join("servers"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("xtask prints a line");
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("`{line}` is no ready line: {error}"));
        let kubeconfig = PathBuf::from(ready["kubeconfig"].as_str().expect("a path"));
        let input = child.stdin.take();
        let processes = Processes { child, input, _directory: directory };
        Some(Self::connect(&kubeconfig, Some(processes)))
    }

    fn connect(kubeconfig: &Path, processes: Option<Processes>) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("the kubeconfig is there");
        let config: Value = serde_json::from_str(&text).expect("it was written as JSON");
        let cluster = &config["clusters"][0]["cluster"];
        let authority = cluster["certificate-authority-data"].as_str().expect("it is inline");
        let authority = STANDARD.decode(authority).expect("it is base64");
        let address = cluster["server"].as_str().and_then(|url| url.strip_prefix("https://"));
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(&authority).expect("a certificate");
        roots.add(certificate).expect("a certificate of an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: address.expect("an address").to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            _processes: processes,
        }
    }

    /// Sends a request over a connection of its own.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.address).await?;
        let stream = self.tls.connect(ServerName::try_from("127.0.0.1")?, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.map_err(|error| error.to_string()).boxed_unsync();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// Tells whether the programs are there; building them takes longer than a test may.
fn are_built() -> bool {
    let from =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    let assets = from("KUBEBUILDER_ASSETS");
    let complete = |folder: &PathBuf| folder.join("kube-controller-manager").is_file();
    assets.as_ref().is_some_and(complete)
        || cache.is_some_and(|cache| complete(&cache.join("stolos/kubernetes-1.34.4")))
}
