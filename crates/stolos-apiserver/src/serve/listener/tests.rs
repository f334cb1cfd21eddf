use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty, StreamBody};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;
use crate::serve::{CertificateAuthority, Credentials, server_config};

type TestBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// Answers with the name of the certificate's user, and forever on `/watch`.
async fn who(request: Request<Incoming>) -> Result<Response<TestBody>, Infallible> {
    if request.uri().path() == "/watch" {
        let first = futures::stream::iter([Ok(hyper::body::Frame::data(Bytes::from("event")))]);
        let forever = first.chain(futures::stream::pending());
        return Ok(Response::new(BodyExt::boxed(StreamBody::new(forever))));
    }
    let peer = request.extensions().get::<Peer>().expect("the listener tells the peer");
    let name = peer.certificate.as_ref().map_or("nobody", |user| &user.name);
    Ok(Response::new(http_body_util::Full::from(name.to_owned()).boxed()))
}

struct World {
    authority: CertificateAuthority,
    server: Server,
}

async fn start(limits: Limits) -> World {
    let authority = CertificateAuthority::generate("test", Timestamp::now()).unwrap();
    let credentials = authority.server(&[], Timestamp::now()).unwrap();
    let tls = server_config(&credentials, &authority).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, Some(tls), tower::service_fn(who), limits).unwrap();
    World { authority, server }
}

impl World {
    fn client(&self, alpn: &[u8], login: Option<Credentials>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match login {
            None => builder.with_no_client_auth(),
            Some(login) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(login.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(login.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(
        &self,
        connector: &TlsConnector,
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    async fn ask(&self, alpn: &[u8], login: Option<Credentials>) -> String {
        let stream = TokioIo::new(self.connect(&self.client(alpn, login)).await);
        let request = Request::get("https://localhost/")
            .header("host", "localhost")
            .body(Empty::<Bytes>::new());
        let body = if alpn == b"h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request.unwrap()).await.unwrap().into_body()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request.unwrap()).await.unwrap().into_body()
        };
        String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap()
    }
}

#[tokio::test]
async fn a_client_certificate_names_the_user_over_both_protocols() {
    let world = start(Limits::default()).await;
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        let ann = world.authority.client("ann", Some("team"), Timestamp::now()).unwrap();
        assert_eq!(world.ask(alpn, Some(ann)).await, "ann");
        assert_eq!(world.ask(alpn, None).await, "nobody");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_connection() {
    let world = start(Limits::default()).await;
    let other = CertificateAuthority::generate("test", Timestamp::now()).unwrap();
    let mallory = other.client("ann", Some("system:masters"), Timestamp::now()).unwrap();
    let stream = world.connect(&world.client(b"h2", Some(mallory))).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
}

#[tokio::test]
async fn a_server_certificate_cannot_log_in() {
    let world = start(Limits::default()).await;
    let server = world.authority.server(&[], Timestamp::now()).unwrap();
    let stream = world.connect(&world.client(b"http/1.1", Some(server))).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
}

#[tokio::test]
async fn stopping_ends_watches_after_the_grace_and_frees_the_port() {
    let world = start(Limits::default()).await;
    let address = world.server.address();
    let stream = TokioIo::new(world.connect(&world.client(b"h2", None)).await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/watch").body(Empty::<Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let event = body.frame().await.unwrap().unwrap();
    assert_eq!(event.into_data().unwrap(), "event");

    world.server.stop(Duration::from_millis(1)).await;
    assert!(body.frame().await.is_none_or(|frame| frame.is_err()));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn plain_http_is_served_on_request_and_a_silent_client_is_dropped() {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { handshake: Duration::from_millis(20), ..Limits::default() };
    let server = Server::start(listener, None, tower::service_fn(who), limits).unwrap();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "nobody");

    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_full_server_serves_the_next_client_when_one_leaves() {
    let world = start(Limits { connections: 1, ..Limits::default() }).await;
    let first = world.connect(&world.client(b"http/1.1", None)).await;
    let second = world.ask(b"http/1.1", None);
    tokio::pin!(second);
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await, "nobody");
}

#[tokio::test]
async fn one_connection_carries_hundreds_of_watches() {
    const WATCHES: usize = 300;
    let world = start(Limits::default()).await;
    let stream = TokioIo::new(world.connect(&world.client(b"h2", None)).await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let get = |path: &str| {
        let request = Request::get(format!("https://localhost{path}")).body(Empty::<Bytes>::new());
        sender.clone().send_request(request.unwrap())
    };
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        let mut body = get("/watch").await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "event");
        watches.push(body);
    }
    let body = get("/").await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "nobody");
}

#[tokio::test]
async fn a_client_that_connects_and_says_nothing_is_dropped() {
    use tokio::io::AsyncReadExt;
    let limits = Limits { header_read: Duration::from_millis(50), ..Limits::default() };
    let world = start(limits).await;
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        let mut silent = world.connect(&world.client(alpn, None)).await;
        // What the server says first is not of interest, only that it ends.
        let mut said = Vec::new();
        let _ = silent.read_to_end(&mut said).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, None, tower::service_fn(who), Limits::default()).unwrap();
    for head in [
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
    ] {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        tokio::spawn(async move {
            // The server stops reading at some point.
            let _ = write.write_all(head.as_bytes()).await;
            std::future::pending::<()>().await;
        });
        let mut said = [0; 12];
        read.read_exact(&mut said).await.unwrap();
        let said = String::from_utf8(said.to_vec()).unwrap();
        assert!(said == "HTTP/1.1 414" || said == "HTTP/1.1 431", "{said}");
    }
}
