//! Accepting connections and handing their requests to a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::{BoxError, Service, ServiceExt};
use tracing::{debug, warn};

use crate::auth::{Peer, user_of_certificate};

/// Bounds of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; more wait in the backlog of the kernel.
    pub connections: usize,
    /// Time for the TLS handshake, or for the first byte without TLS.
    pub handshake: Duration,
    /// Time for the first request of a connection, and for the head of an HTTP/1.1 request, which is also how long an idle connection stays open. Go clients
    /// drop idle connections after 90 s; closing later than they do keeps their next request off a dead connection.
    pub header_read: Duration,
    /// Requests at once on one HTTP/2 connection. Go clients send all their watches over one connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(100),
            streams: 1000,
        }
    }
}

/// HTTP/2 flow control: large enough that a list of some megabytes does not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A peer that vanished is noticed after the interval and the timeout, and its watches end.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Impersonation can carry many groups in headers.
const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;
/// What a connection holds of a request's head, and of responses that the client does not read. With HTTP/2 that is for each
/// stream, and a chunk of a response is not larger.
const BUFFER_BYTES: usize = 128 << 10;
/// How long to leave the kernel alone after it refused a connection, mostly for want of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// A running listener. Dropping it ends every connection at once; [`Server::stop`] is the polite way.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves every connection of `listener` with clones of `service`, which finds a [`Peer`] in the extensions of
    /// each request. Without `tls` it speaks plain HTTP.
    pub fn start<S, B>(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        service: S,
        limits: Limits,
    ) -> std::io::Result<Self>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(None);
        let connection = Connection {
            tls: tls.map(TlsAcceptor::from),
            service,
            limits,
            stopping: stopping.clone(),
        };
        let task = tokio::spawn(accept_until_stopped(listener, connection, stopping));
        Ok(Self { address, stop, task })
    }

    /// Returns the address it listens on, with the port that the system has chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests in flight finish for `grace`, then ends what is left, such as watches.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        if let Err(error) = (&mut self.task).await {
            warn!(%error, "listener did not stop cleanly");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_until_stopped<S, B>(
    listener: TcpListener,
    connection: Connection<S>,
    mut stopping: watch::Receiver<Option<Duration>>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let slots = Arc::new(Semaphore::new(connection.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (slot, accepted) = accept(&listener, &slots) => match accepted {
                Ok((stream, address)) => {
                    let connection = connection.clone();
                    connections.spawn(async move {
                        let _slot = slot;
                        connection.serve(stream, address).await;
                    });
                }
                Err(error) => {
                    warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told_to_stop(&mut stopping) => break,
        }
    }
    drop(listener);
    let grace = (*stopping.borrow()).unwrap_or_default();
    let all_done = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_done).await.is_err() {
        connections.shutdown().await;
    }
}

/// Takes a slot before a connection, so that a full server leaves newcomers in the backlog.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, std::io::Result<(TcpStream, SocketAddr)>) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    (slot, listener.accept().await)
}

/// Waits for the order to stop, or for the server to be dropped.
async fn told_to_stop(stopping: &mut watch::Receiver<Option<Duration>>) {
    let _ = stopping.wait_for(Option::is_some).await;
}

/// What every connection needs.
#[derive(Clone)]
struct Connection<S> {
    tls: Option<TlsAcceptor>,
    service: S,
    limits: Limits,
    stopping: watch::Receiver<Option<Duration>>,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn serve(mut self, stream: TcpStream, address: SocketAddr) {
        // Watch events are small and must not wait for more to fill a packet.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "failed to disable Nagle's algorithm");
        }
        let mut peer = Peer { address: Some(address), certificate: None };
        let Some(acceptor) = self.tls.take() else {
            // The protocol is told apart by the first bytes; nothing else would bound the wait for them.
            if let Ok(Ok(1)) = timeout(self.limits.handshake, stream.peek(&mut [0])).await {
                let builder = self.builder();
                self.http(stream, peer, builder).await;
            } else {
                debug!(%address, "connection closed before its first request");
            }
            return;
        };
        let stream = match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%address, %error, "TLS handshake failed"),
            Err(_) => return debug!(%address, "TLS handshake took too long"),
        };
        let (_, session) = stream.get_ref();
        let certificates = session.peer_certificates().unwrap_or_default();
        peer.certificate = certificates.first().and_then(|first| user_of_certificate(first));
        let builder = match session.alpn_protocol() {
            Some(b"h2") => self.builder().http2_only(),
            _ => self.builder().http1_only(),
        };
        self.http(stream, peer, builder).await;
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read)
            .max_buf_size(BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_send_buf_size(BUFFER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }

    async fn http<I>(mut self, stream: I, peer: Peer, builder: auto::Builder<TokioExecutor>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let address = peer.address;
        let asked = AtomicBool::new(false);
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            self.service.clone().oneshot(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // HTTP/2 has no time limit of its own for a client that connects and then says nothing.
        let silent = async {
            tokio::time::sleep(self.limits.header_read).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silent => return debug!(?address, "connection closed before its first request"),
            () = told_to_stop(&mut self.stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(?address, error, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests;
