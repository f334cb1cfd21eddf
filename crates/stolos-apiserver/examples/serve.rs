//! Serves one cluster over TLS and writes a kubeconfig for it.
//!
//! `cargo run -p stolos-apiserver --example serve -- [PORT] [DATA_DIR]` keeps everything in DATA_DIR; without one the
//! cluster lives in memory and `./kubeconfig` is written.

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stolos_apiserver::auth::{DEFAULT_ISSUER, TokenSigner};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::serve::kubeconfig::{self, Context, Login};
use stolos_apiserver::serve::{CertificateAuthority, Limits, Server, server_config};
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use tokio::net::TcpListener;

/// How long requests in flight may take when the server stops.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let data = arguments.next().map(PathBuf::from);

    let now = Timestamp::now();
    let (store, authority, signer) = match &data {
        Some(directory) => (
            Store::open(&directory.join("store"))?,
            CertificateAuthority::load_or_create(directory, "example", now)?,
            TokenSigner::load_or_create(directory, DEFAULT_ISSUER)?,
        ),
        None => (
            Store::memory(),
            CertificateAuthority::generate("example", now)?,
            TokenSigner::generate(DEFAULT_ISSUER)?,
        ),
    };
    let root_ca = Some(authority.certificate().to_owned());
    let options = Options {
        signer: Some(Arc::new(signer)),
        controllers: Controllers { root_ca, ..Controllers::default() },
        ..Options::default()
    };
    let api = ApiServer::start(store.cluster("example")?, options).await?;

    let tls = server_config(&authority.server(&[], now)?, &authority)?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = Server::start(listener, Some(tls), api.service(), Limits::default())?;

    let path = data.as_deref().unwrap_or(Path::new(".")).join("kubeconfig");
    let context = Context {
        name: "example".to_owned(),
        server: format!("https://{}", server.address()),
        authority: authority.certificate().to_owned(),
        login: Login::Certificate(authority.client("admin", Some("system:masters"), now)?),
        namespace: None,
    };
    kubeconfig::write(&path, &[context], "example")?;
    println!("serving on https://{}", server.address());
    println!("try: kubectl --kubeconfig {} get namespaces", path.display());

    tokio::signal::ctrl_c().await?;
    api.stop();
    server.stop(GRACE).await;
    store.close();
    Ok(())
}
