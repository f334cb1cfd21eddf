//! Checks of endpoints that are real servers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::client::{PATIENCE, Served, id, profile};

/// A server that answers every request with one status, and keeps the heads of requests.
struct Server {
    port: u16,
    heads: Arc<watch::Sender<Vec<String>>>,
    /// The status; 0 for no answer.
    status: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    async fn start(address: &str, port: u16, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind((address, port)).await?;
        let port = listener.local_addr()?.port();
        let heads: Arc<watch::Sender<Vec<String>>> = Arc::default();
        let status = Arc::new(AtomicUsize::new(200));
        let (kept, answered) = (heads.clone(), status.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answered, tls) = (kept.clone(), answered.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &kept, &answered).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &kept, &answered).await,
                            Err(_) => kept.send_modify(|heads| heads.push("no TLS".to_owned())),
                        },
                    }
                });
            }
        });
        Ok(Self { port, heads, status, serving })
    }

    fn answer(&self, status: usize) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn n_checks(&self) -> usize {
        self.heads.borrow().len()
    }

    /// Waits until there have been so many checks.
    async fn checked(&self, n: usize) -> Vec<String> {
        let mut heads = self.heads.subscribe();
        let checked = heads.wait_for(|heads| heads.len() >= n);
        tokio::time::timeout(PATIENCE, checked).await.expect("checks").unwrap().clone()
    }
}

/// Starts a server at 127.0.0.2, with TLS if there is any, and a plain one at the same port of 127.0.0.3.
async fn pair(tls: Option<TlsAcceptor>) -> (Server, Server) {
    for _ in 0..20 {
        let first = Server::start("127.0.0.2", 0, tls.clone()).await.unwrap();
        if let Ok(second) = Server::start("127.0.0.3", first.port, None).await {
            return (first, second);
        }
    }
    panic!("no port is free at both addresses")
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    kept: &watch::Sender<Vec<String>>,
    status: &AtomicUsize,
) {
    let mut bytes = Vec::new();
    // What is no text is the beginning of TLS.
    while !bytes.ends_with(b"\r\n\r\n") && !bytes.starts_with(&[0x16]) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    kept.send_modify(|heads| heads.push(String::from_utf8_lossy(&bytes).into_owned()));
    let status = status.load(Ordering::SeqCst);
    let answer = format!("HTTP/1.1 {status} It\r\nlocation: /\r\ncontent-length: 5\r\n\r\nhello");
    if status > 0 {
        let _gone = stream.write_all(answer.as_bytes()).await;
    }
}

fn acceptor() -> TlsAcceptor {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["nobody.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// How endpoints at the port of a server are checked, where no failure is tolerated.
fn monitor(port: u16, more: Value) -> Value {
    let mut monitor = json!({
        "intervalInSeconds": 10, "timeoutInSeconds": 5, "toleratedNumberOfFailures": 0, "port": port,
    });
    monitor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    monitor
}

/// Asks until only these addresses are answered; so many answers alike are no chance.
async fn only(served: &Served, want: &[&str]) {
    let mut client = served.client().await;
    let settled = async {
        loop {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..40 {
                seen.extend(client.address().await);
            }
            if seen.iter().map(String::as_str).eq(want.iter().copied()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "never only {want:?}");
}

#[tokio::test]
async fn only_status_200_counts_as_healthy() {
    for status in [200, 204, 301, 404, 503, 0] {
        let (good, tried) = pair(None).await;
        let port = good.port;
        tried.answer(status);
        let served = Served::start().await;
        served.fill(monitor(port, json!({})), &[("127.0.0.2", 1), ("127.0.0.3", 1)]);
        let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
        let want: &[&str] =
            if status == 200 { &["127.0.0.2", "127.0.0.3"] } else { &["127.0.0.2"] };
        tried.checked(1).await;
        only(&served, want).await;
        checking.abort();
    }
}

#[tokio::test]
async fn a_check_says_what_the_profile_says() {
    let server = Server::start("127.0.0.2", 0, None).await.unwrap();
    let port = server.port;
    let served = Served::start().await;
    let headers =
        json!([{"name": "Host", "value": "shop.example"}, {"name": "X-Check", "value": "a b"}]);
    let more = json!({"path": "/healthz?deep=1", "customHeaders": headers});
    served.fill(monitor(port, more), &[("127.0.0.2", 1)]);
    let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
    let head = server.checked(1).await.remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    for line in ["host: shop.example", "x-check: a b", "connection: close"] {
        assert_eq!(head.lines().filter(|one| *one == line).count(), 1, "{line} in {head}");
    }
    // Changed, it is checked anew at once and not at the end of the interval.
    let plain = profile(monitor(port, json!({"path": "/other"})));
    served.directory.put_profile(&id(), &plain).unwrap();
    let head = server.checked(2).await.remove(1).to_ascii_lowercase();
    assert!(head.starts_with("get /other http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: 127.0.0.2:{port}\r\n")), "{head}");
    checking.abort();
}

#[tokio::test]
async fn https_takes_any_certificate_but_no_plain_text() {
    let (server, plain) = pair(Some(acceptor())).await;
    let port = server.port;
    let served = Served::start().await;
    let more = json!({"protocol": "HTTPS"});
    served.fill(monitor(port, more), &[("127.0.0.2", 1), ("127.0.0.3", 1)]);
    let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
    let head = server.checked(1).await.remove(0);
    assert!(head.starts_with("GET / HTTP/1.1"), "{head}");
    let spoken = plain.checked(1).await.remove(0);
    assert!(!spoken.contains("GET"), "nothing is asked in plain text: {spoken}");
    only(&served, &["127.0.0.2"]).await;
    checking.abort();
}

#[tokio::test]
async fn a_tcp_check_connects_and_asks_nothing() {
    let server = Server::start("127.0.0.2", 0, None).await.unwrap();
    let port = server.port;
    let served = Served::start().await;
    let more = json!({"protocol": "TCP"});
    // Nobody listens at the other address.
    served.fill(monitor(port, more), &[("127.0.0.2", 1), ("127.0.0.4", 1)]);
    let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
    assert_eq!(server.checked(1).await, [""]);
    only(&served, &["127.0.0.2"]).await;
    checking.abort();
}

#[tokio::test]
async fn when_all_are_down_all_are_answered() {
    let served = Served::start().await;
    // Port 1: nobody listens.
    served.fill(monitor(1, json!({"protocol": "TCP"})), &[("127.0.0.2", 1)]);
    let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
    only(&served, &["127.0.0.2"]).await;
    served.fill(monitor(1, json!({"protocol": "TCP"})), &[("127.0.0.3", 1)]);
    only(&served, &["127.0.0.2", "127.0.0.3"]).await;
    checking.abort();
}

/// The one test here that takes the time of an interval, as nothing shorter can be asked for.
#[tokio::test]
async fn an_endpoint_leaves_with_the_failure_that_is_not_tolerated() {
    let (good, bad) = pair(None).await;
    bad.answer(503);
    let served = Served::start().await;
    let more = json!({"toleratedNumberOfFailures": 1});
    served.fill(monitor(good.port, more), &[("127.0.0.2", 1), ("127.0.0.3", 1)]);
    let checking = tokio::spawn(stolos_dns::check(served.directory.clone()));
    bad.checked(1).await;
    only(&served, &["127.0.0.2", "127.0.0.3"]).await;
    assert_eq!(bad.n_checks(), 1, "one failure is tolerated");
    only(&served, &["127.0.0.2"]).await;
    assert_eq!(bad.n_checks(), 2, "and no second one");
    checking.abort();
}
