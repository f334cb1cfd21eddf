//! Answers over UDP and TCP, with bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::debug;

use crate::Directory;
use crate::respond::{MAX_QUERY, Transport, respond};
use crate::tcp;

/// TCP connections that are open at once. Whoever comes later waits until one ends, which takes its idle time at most.
const MAX_CONNECTIONS: usize = 256;

/// Pause after an error of a socket, such as no more file descriptors: it will not pass at once.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a port is looked for that is free for both protocols.
const ATTEMPTS: usize = 16;

/// Sockets that queries arrive at. Nothing is answered before [`Listener::serve`].
#[derive(Debug)]
pub struct Listener {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes an address for both protocols; port 0 takes any that is free.
    ///
    /// # Errors
    ///
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let tcp = TcpListener::bind(address).await?;
            let bound = tcp.local_addr()?;
            match UdpSocket::bind(bound).await {
                Ok(udp) => return Ok(Self { udp, tcp, address: bound }),
                Err(error) if address.port() == 0 => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from a directory until the future is dropped.
    pub async fn serve(self, directory: Directory) {
        tokio::join!(serve_udp(self.udp, &directory), serve_tcp(self.tcp, &directory));
    }
}

async fn serve_udp(socket: UdpSocket, directory: &Directory) {
    // One byte more than a query may have, to tell that one is too long.
    let mut buffer = [0; MAX_QUERY + 1];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "failed to receive a query");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(answer) = respond(&buffer[..length], directory, Transport::Udp, rand::random())
        else {
            continue;
        };
        if let Err(error) = socket.send_to(&answer, peer).await {
            debug!(%peer, %error, "failed to send an answer");
        }
    }
}

async fn serve_tcp(listener: TcpListener, directory: &Directory) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends the connections with this future.
    let mut connections = JoinSet::new();
    loop {
        let permit = free.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "failed to accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let directory = directory.clone();
        connections.spawn(async move {
            if let Err(error) = tcp::serve(stream, &directory).await {
                debug!(%error, "a connection broke");
            }
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}
