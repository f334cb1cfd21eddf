//! A webhook server over real TLS, which notes what it is asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How a webhook answers.
pub(crate) enum Answer {
    /// With a document.
    Json(Value),
    /// With a status code and a text.
    Status(u16, String),
    /// Not at all.
    Never,
}

/// What a webhook was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// What follows the path; empty without.
    pub(crate) query: String,
    pub(crate) review: Value,
}

type Handler = dyn Fn(&str, &Value) -> Answer + Send + Sync;

/// A running webhook server; it ends when it is dropped.
pub(crate) struct Hooks {
    /// `https://127.0.0.1:port`.
    pub(crate) url: String,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// Certificate of its authority, as `caBundle` wants it.
    pub(crate) bundle: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Hooks {
    /// Starts a server that answers by path.
    pub(crate) async fn start(
        handler: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(certificates(), handler).await
    }

    /// Starts a server whose certificate signs itself, for some names.
    pub(crate) async fn self_signed(names: &[&str]) -> Self {
        Self::start_with(self_signed(names), |_, review| allow(review)).await
    }

    async fn start_with(
        (tls, bundle): (TlsAcceptor, String),
        handler: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let handler: Arc<Handler> = Arc::new(handler);
        tasks.spawn(accept(listener, tls, handler, Arc::clone(&seen)));
        Self { url: format!("https://{address}"), address, bundle, seen, _tasks: tasks }
    }

    /// Starts a server whose webhooks all allow everything.
    pub(crate) async fn allowing() -> Self {
        Self::start(|_, review| allow(review)).await
    }

    /// Returns what was asked under a path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|asked| asked.path == path)
            .map(|asked| asked.review["request"].clone())
            .collect()
    }

    /// Returns the paths that were called, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|asked| asked.path.clone()).collect()
    }

    /// Returns what was asked since the last call, in order.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Returns the `clientConfig` of a path.
    pub(crate) fn client(&self, path: &str) -> Value {
        json!({"url": format!("{}{path}", self.url), "caBundle": self.bundle})
    }
}

/// Lets a request pass.
pub(crate) fn allow(review: &Value) -> Answer {
    respond(review, json!({"allowed": true}))
}

/// Refuses a request with a message.
pub(crate) fn deny(review: &Value, message: &str) -> Answer {
    respond(review, json!({"allowed": false, "status": {"message": message, "code": 403}}))
}

/// Lets a request pass with a JSON patch.
pub(crate) fn patch(review: &Value, operations: &Value) -> Answer {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    respond(review, json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"}))
}

/// Answers a review.
pub(crate) fn respond(review: &Value, mut response: Value) -> Answer {
    response["uid"] = review["request"]["uid"].clone();
    Answer::Json(json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
    }))
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    handler: Arc<Handler>,
    seen: Arc<Mutex<Vec<Asked>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, handler, seen) = (tls.clone(), Arc::clone(&handler), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                async move { Ok::<_, Infallible>(serve(request, &handler, &seen).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    handler: &Arc<Handler>,
    seen: &Mutex<Vec<Asked>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    seen.lock().unwrap().push(Asked { path: path.clone(), query, review: review.clone() });
    let handler = Arc::clone(handler);
    // A webhook may call the server that asks it, and wait for the answer.
    let answer = tokio::task::spawn_blocking(move || handler(&path, &review)).await.unwrap();
    match answer {
        Answer::Json(json) => Response::new(json.to_string().into()),
        Answer::Status(code, text) => Response::builder().status(code).body(text.into()).unwrap(),
        Answer::Never => std::future::pending().await,
    }
}

fn certificates() -> (TlsAcceptor, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "hook.hooks.svc".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    (acceptor(&leaf, &key), encoded(&root))
}

fn self_signed(names: &[&str]) -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = parameters.self_signed(&key).unwrap();
    (acceptor(&own, &key), encoded(&own))
}

fn encoded(certificate: &Certificate) -> String {
    base64::engine::general_purpose::STANDARD.encode(certificate.pem())
}

fn acceptor(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
