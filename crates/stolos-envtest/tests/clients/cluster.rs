//! The cluster under test: the embedded API server with all its controllers, listening on loopback.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stolos_apiserver::auth::{DEFAULT_ISSUER, TokenSigner};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::serve::kubeconfig::{self, Context, Login};
use stolos_apiserver::serve::{CertificateAuthority, Credentials, Limits, Server, server_config};
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Names a kubeconfig of another cluster to test instead.
const OTHER: &str = "STOLOS_TEST_KUBECONFIG";

/// A running cluster and a folder for what clients leave behind.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    folder: TempDir,
    embedded: Option<Embedded>,
}

struct Embedded {
    runtime: Runtime,
    api: ApiServer,
    server: Option<Server>,
}

impl Cluster {
    /// Starts an empty cluster, or takes the one that the environment names.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(kubeconfig) = std::env::var_os(OTHER) {
            return Self { kubeconfig: kubeconfig.into(), folder, embedded: None };
        }
        let kubeconfig = folder.path().join("kubeconfig");
        let runtime = Runtime::new().unwrap();
        let (api, server) = runtime.block_on(serve(&kubeconfig));
        let embedded = Some(Embedded { runtime, api, server: Some(server) });
        Self { kubeconfig, folder, embedded }
    }

    /// Returns the kubeconfig of an administrator.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns a folder that goes with the cluster.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(embedded) = &mut self.embedded else { return };
        embedded.api.stop();
        if let Some(server) = embedded.server.take() {
            embedded.runtime.block_on(server.stop(Duration::from_millis(100)));
        }
    }
}

async fn serve(kubeconfig: &Path) -> (ApiServer, Server) {
    let now = Timestamp::now();
    let authority = CertificateAuthority::generate("tests", now).unwrap();
    let root_ca = Some(authority.certificate().to_owned());
    let options = Options {
        signer: Some(Arc::new(TokenSigner::generate(DEFAULT_ISSUER).unwrap())),
        controllers: Controllers { root_ca, ..Controllers::default() },
        ..Options::default()
    };
    let api = ApiServer::start(Store::memory().cluster("tests").unwrap(), options).await.unwrap();
    let tls = server_config(&authority.server(&[], now).unwrap(), &authority).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, Some(tls), api.service(), Limits::default()).unwrap();
    let context = Context {
        name: "tests".to_owned(),
        server: format!("https://{}", server.address()),
        authority: authority.certificate().to_owned(),
        login: Login::Certificate(authority.client("admin", Some("system:masters"), now).unwrap()),
        namespace: None,
    };
    kubeconfig::write(kubeconfig, &[context], "tests").unwrap();
    (api, server)
}

/// Returns a certificate and its key for whatever needs a pair.
pub(crate) fn some_credentials() -> Credentials {
    let now = Timestamp::now();
    CertificateAuthority::generate("pair", now).unwrap().server(&[], now).unwrap()
}
