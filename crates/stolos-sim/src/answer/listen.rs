//! The sockets of pods.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection;
use super::ports::{Port, Protocol};
use super::sockets::Sockets;

/// Wait after the kernel could not give a connection for want of memory or descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port at which a pod answers, until it is dropped. Connections go on.
pub(super) struct Listening(JoinHandle<()>);

impl Listening {
    /// Closes the port; returns when it can be opened again.
    pub(super) async fn close(mut self) {
        self.0.abort();
        // How it ended is known.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who answers.
#[derive(Clone)]
pub(super) struct Answerer {
    pub(super) address: Ipv4Addr,
    /// What requests of HTTP are answered with.
    pub(super) text: Arc<str>,
    pub(super) sockets: Sockets,
    /// Its connections end with the sender of this.
    pub(super) alive: watch::Receiver<()>,
}

/// Opens a port of a pod.
pub(super) fn open(answerer: &Answerer, port: Port) -> io::Result<Listening> {
    let address = SocketAddr::new(IpAddr::V4(answerer.address), port.number);
    let task = match port.protocol {
        Protocol::Tcp => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            tokio::spawn(accept(TcpListener::from_std(listener)?, answerer.clone()))
        }
        Protocol::Udp => {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            tokio::spawn(connection::echo_datagrams(UdpSocket::from_std(socket)?))
        }
    };
    Ok(Listening(task))
}

/// Takes connections. Never ends.
async fn accept(listener: TcpListener, answerer: Answerer) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One more than there is room for is closed at once.
        let Some(room) = answerer.sockets.connection() else { continue };
        let Answerer { text, sockets, mut alive, .. } = answerer.clone();
        tokio::spawn(async move {
            tokio::select! {
                // How it ended is the client's to know.
                _ = connection::serve(stream, &text, sockets.idle()) => {}
                // Nothing is ever sent: this is the end of the pod.
                _ = alive.changed() => {}
            }
            drop(room);
        });
    }
}
