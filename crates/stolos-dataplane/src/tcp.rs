//! One TCP connection: admission, the choice of an endpoint, the way to it, and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use stolos_core::network::balance::EndpointId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::proxy_protocol::{self, MAX_HEADER, Origin};
use crate::relay::{self, Broken, Moving, Relay, StreamRelay};
use crate::sockets;
use crate::table::{MAX_CANDIDATES, Table};
use crate::tls::{Keys, Side, Socket};
use crate::vip::{Admitted, Endpoint, Place, Shared, Vip};

/// Wait after the kernel could not give a connection for want of memory or descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until `stop`, then those that the kernel had already accepted.
pub(crate) async fn accept(
    listener: Arc<TcpListener>,
    vip: Arc<Vip>,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => start(client, peer, &vip, &shared),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(vip = %vip.port, %error, "connections cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // The peers of these believe to be connected; closing the listener would reset them.
    while let Some(Ok((client, peer))) = next_waiting(&listener).await {
        start(client, peer, &vip, &shared);
    }
}

async fn next_waiting(listener: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    let next = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    });
    tokio::task::unconstrained(next).await
}

/// Errors of `accept` that say something about the connection and nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn start(client: TcpStream, peer: SocketAddr, vip: &Arc<Vip>, shared: &Arc<Shared>) {
    let table = vip.table.load_full();
    let Some(place) = Place::take(vip, shared, table.options.max_connections) else {
        vip.counts.refused.fetch_add(1, Relaxed);
        relay::reset(&client);
        return;
    };
    let (vip, shared) = (vip.clone(), shared.clone());
    tokio::spawn(async move {
        serve(client, peer, table, &vip, &shared).await;
        drop(place);
    });
}

async fn serve(
    client: TcpStream,
    peer: SocketAddr,
    table: Arc<Table>,
    vip: &Arc<Vip>,
    shared: &Shared,
) {
    let mut client = if table.options.is_gateway {
        // Boxed: most connections have no use for the place that it takes.
        let entered = timeout(shared.timeouts.header, Box::pin(shared.keys.accept(client))).await;
        let Ok(Ok(client)) = entered else {
            if let Ok(Err(error)) = entered {
                tracing::debug!(vip = %vip.port, %peer, %error, "a client was not let in");
            }
            vip.counts.malformed.fetch_add(1, Relaxed);
            return;
        };
        client
    } else {
        Side::Plain(Socket::new(client))
    };
    let mut source = peer;
    let mut first_bytes = Vec::new();
    if table.options.accept_proxy_protocol {
        let header = timeout(shared.timeouts.header, read_header(&mut client)).await;
        let Ok(Ok((origin, data))) = header else {
            vip.counts.malformed.fetch_add(1, Relaxed);
            relay::reset(client.tcp());
            return;
        };
        if let Origin::Proxied { source: client, .. } = origin {
            source = client;
        }
        first_bytes = data;
    }
    let Some(admitted) = Admitted::take(vip, source.ip(), &table.access) else {
        vip.counts.refused.fetch_add(1, Relaxed);
        relay::reset(client.tcp());
        return;
    };
    vip.counts.accepted.fetch_add(1, Relaxed);
    if table.options.send_proxy_protocol {
        let mut header = proxy_protocol::write(source, vip.address);
        header.append(&mut first_bytes);
        first_bytes = header;
    }
    let Some((endpoint, socket)) = connect(source, &table, &first_bytes, vip, shared).await else {
        vip.counts.unserved.fetch_add(1, Relaxed);
        relay::reset(client.tcp());
        return;
    };
    if table.options.is_gateway {
        let told = timeout(shared.timeouts.header, Keys::reached(&mut client)).await;
        if !told.is_ok_and(|told| told.is_ok()) {
            relay::reset(client.tcp());
            relay::reset(socket.tcp());
            return;
        }
    }
    drop(table);
    let (idle, now) = (shared.timeouts.idle, std::time::Instant::now());
    match (client, socket) {
        (Side::Plain(client), Side::Plain(socket)) => {
            let relay = Relay::new(client.into_inner(), socket.into_inner(), now);
            run(relay, endpoint, idle).await;
        }
        (client, socket) => {
            Box::pin(run(StreamRelay::new(client, socket, now), endpoint, idle)).await;
        }
    }
    drop(admitted);
}

/// Reads the PROXY header and returns what it says and the data that came with it.
async fn read_header(client: &mut Side) -> io::Result<(Origin, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(MAX_HEADER);
    loop {
        // Data after the header may fill the room; the header alone never does.
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match proxy_protocol::read(&bytes) {
            Ok(header) => {
                bytes.drain(..header.n_bytes);
                return Ok((header.origin, bytes));
            }
            Err(proxy_protocol::Error::Incomplete(_)) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Connects to the first candidate that answers and sends it `first_bytes`.
async fn connect(
    source: SocketAddr,
    table: &Table,
    first_bytes: &[u8],
    vip: &Vip,
    shared: &Shared,
) -> Option<(Arc<Endpoint>, Side)> {
    for endpoint in table.candidates(source, &vip.memory) {
        let is_gateway = table.is_gateway(&endpoint.id);
        let attempt = connect_to(&endpoint.id, is_gateway, first_bytes, shared);
        // Who enters by a gateway waits as long for all of its pods as for one endpoint.
        let n_attempts = if table.options.is_gateway { MAX_CANDIDATES } else { 1 };
        let limit = shared.timeouts.connect / u32::try_from(n_attempts).unwrap_or(1);
        let error = match timeout(limit, attempt).await {
            Ok(Ok(socket)) => {
                shared.was_reached(vip, endpoint);
                return Some((endpoint.clone(), socket));
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        if shared.was_not_reached(vip, endpoint) && is_gateway {
            tracing::warn!(vip = %vip.port, endpoint = %endpoint.id, %error, "a gateway was not entered");
        }
    }
    None
}

async fn connect_to(
    endpoint: &EndpointId,
    is_gateway: bool,
    first_bytes: &[u8],
    shared: &Shared,
) -> io::Result<Side> {
    let address = endpoint.socket();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    sockets::set_tcp_options(socket2::SockRef::from(&socket), &shared.timeouts)?;
    let socket = socket.connect(address).await?;
    let mut side = if is_gateway {
        Box::pin(shared.keys.connect(&endpoint.cluster, socket)).await?
    } else {
        Side::Plain(Socket::new(socket))
    };
    if !first_bytes.is_empty() {
        side.write_all(first_bytes).await?;
        side.flush().await?;
    }
    Ok(side)
}

/// Moves bytes until both sides have ended, one breaks off, nothing moves for `idle`, or the endpoint is cut
/// off.
async fn run(mut relay: impl Moving, endpoint: Arc<Endpoint>, idle: Duration) {
    let attached = endpoint.attach();
    let mut cut = endpoint.cut.subscribe();
    let mut timer = std::pin::pin!(sleep(idle));
    let end = loop {
        let moving = std::future::poll_fn(|cx| {
            let end = relay.poll(cx);
            endpoint.counts.add(relay.take_moved());
            end
        });
        tokio::select! {
            biased;
            end = moving => break Some(end),
            // An error would mean that the endpoint is forgotten, and it is held here.
            _ = cut.wait_for(|cut| *cut) => break None,
            () = &mut timer => {
                let ends = Instant::from_std(relay.last_active() + idle);
                if ends <= Instant::now() {
                    break None;
                }
                // Set anew only when it fires: most connections move bytes far more often than they are idle.
                timer.as_mut().reset(ends);
            }
        }
    };
    drop(attached);
    match end {
        Some(Ok(())) => {}
        Some(Err(broken)) => {
            if broken == Broken::Endpoint {
                endpoint.counts.resets.fetch_add(1, Relaxed);
            }
            relay.reset();
        }
        None => relay.reset(),
    }
}
