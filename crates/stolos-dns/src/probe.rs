//! One check of one endpoint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use stolos_core::network::traffic::{Check, Monitor, Request, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

mod any_certificate;

/// Bytes of the head of an answer that are read. Of its body none is.
const MAX_HEAD: usize = 16 << 10;

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    target: Target,
    monitor: Monitor,
}

/// What went wrong; only that something did counts.
type Error = Box<dyn std::error::Error + Send + Sync>;

impl Probe {
    pub(crate) fn new(target: Target, monitor: Monitor) -> Self {
        Self { target, monitor }
    }

    /// Tells whether it checks this target in this way.
    pub(crate) fn is_for(&self, target: &Target, monitor: &Monitor) -> bool {
        (&self.target, &self.monitor) == (target, monitor)
    }

    /// Returns the time between two checks.
    pub(crate) fn interval(&self) -> Duration {
        self.monitor.interval
    }

    /// Tells whether the endpoint answers as it should, and in time.
    pub(crate) async fn make(&self, tls: &Arc<ClientConfig>) -> bool {
        let answered = async {
            let stream = self.connect().await?;
            match &self.monitor.check {
                Check::Tcp => Ok(true),
                Check::Http(request) => self.ask(stream, request, 80).await,
                Check::Https(request) => {
                    let name = self.server_name(request)?;
                    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
                    self.ask(stream, request, 443).await
                }
            }
        };
        let answered: Result<Result<bool, Error>, _> =
            timeout(self.monitor.timeout, answered).await;
        matches!(answered, Ok(Ok(true)))
    }

    async fn connect(&self) -> Result<TcpStream, Error> {
        let port = self.monitor.port;
        Ok(match &self.target {
            Target::V4(address) => TcpStream::connect((*address, port)).await?,
            Target::V6(address) => TcpStream::connect((*address, port)).await?,
            Target::Host(name) => TcpStream::connect((name.as_str(), port)).await?,
        })
    }

    async fn ask<S>(&self, stream: S, request: &Request, usual_port: u16) -> Result<bool, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut client = http1::Builder::new();
        let (mut sender, connection) =
            client.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
        let mut asked = http::Request::new(Empty::<Bytes>::new());
        *asked.method_mut() = Method::GET;
        *asked.uri_mut() = request.path.parse::<Uri>()?;
        *asked.headers_mut() = self.headers(request, usual_port)?;
        let answer = async {
            let answer = sender.send_request(asked).await?;
            Ok(answer.status() == StatusCode::OK)
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = drive(connection) => Ok(false),
        }
    }

    /// Returns the headers of a request; those of the profile go before ours.
    fn headers(&self, request: &Request, usual_port: u16) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let host = match (&self.target, self.monitor.port) {
            (Target::V6(address), port) if port == usual_port => format!("[{address}]"),
            (Target::V6(address), port) => format!("[{address}]:{port}"),
            (target, port) if port == usual_port => target.to_string(),
            (target, port) => format!("{target}:{port}"),
        };
        headers.insert(HOST, HeaderValue::try_from(host)?);
        headers.insert(USER_AGENT, HeaderValue::from_static("stolos-dns"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &request.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(headers)
    }

    /// Returns the name that the endpoint is asked for over TLS: the host of the profile's headers, or itself.
    fn server_name(&self, request: &Request) -> Result<ServerName<'static>, Error> {
        let mut headers = request.headers.iter();
        let host = headers.find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let named = host.and_then(|(_, host)| {
            let name = host.split_once(':').map_or(host.as_str(), |(name, _port)| name);
            ServerName::try_from(name.to_owned()).ok()
        });
        Ok(match (named, &self.target) {
            (Some(name), _) => name,
            (None, Target::V4(address)) => ServerName::from(std::net::IpAddr::from(*address)),
            (None, Target::V6(address)) => ServerName::from(std::net::IpAddr::from(*address)),
            (None, Target::Host(name)) => ServerName::try_from(name.clone())?,
        })
    }
}

/// Drives a connection until the answer is there. Its end alone says nothing: the answer may be there already.
async fn drive(connection: impl Future<Output = hyper::Result<()>>) {
    if connection.await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Returns how endpoints are spoken to over TLS.
pub(crate) fn tls() -> Arc<ClientConfig> {
    Arc::new(any_certificate::config())
}
