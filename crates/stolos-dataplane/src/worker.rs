//! One thread with a runtime of its own: connections stay on the thread that accepted them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::pools;
use crate::sockets::Socket;
use crate::vip::{Shared, Vip};
use crate::{tcp, udp};

/// A running worker. Its connections are cut when it is dropped.
pub(crate) struct Worker {
    runtime: Handle,
    /// Ends the thread when it is dropped.
    _alive: oneshot::Sender<()>,
}

/// A socket of a VIP port from which a worker takes connections.
pub(crate) struct Listening {
    socket: Listener,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

/// Kept beside the worker's own reference, so that the socket can be handed over.
#[derive(Clone)]
pub(crate) enum Listener {
    Tcp(Arc<TcpListener>),
    Udp(Arc<UdpSocket>),
}

impl Worker {
    /// Starts a worker with at most `max_pipes` pipes.
    pub(crate) fn start(index: usize, max_pipes: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        thread::Builder::new().name(format!("dataplane-{index}")).spawn(move || {
            pools::limit_pipes(max_pipes);
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Takes connections or datagrams from `socket`.
    pub(crate) fn listen(
        &self,
        socket: Socket,
        vip: Arc<Vip>,
        shared: Arc<Shared>,
    ) -> io::Result<Listening> {
        // Sockets are registered with the runtime that is entered.
        let _entered = self.runtime.enter();
        let (stop, stopped) = oneshot::channel();
        let (socket, done) = match socket {
            Socket::Tcp(socket) => {
                let socket = Arc::new(TcpListener::from_std(socket)?);
                let task = tcp::accept(socket.clone(), vip, shared, stopped);
                (Listener::Tcp(socket), self.runtime.spawn(task))
            }
            Socket::Udp(socket) => {
                let socket = Arc::new(UdpSocket::from_std(socket)?);
                let task = udp::receive(socket.clone(), vip, shared, stopped);
                (Listener::Udp(socket), self.runtime.spawn(task))
            }
        };
        Ok(Listening { socket, stop, done })
    }
}

impl Listening {
    pub(crate) fn socket(&self) -> Listener {
        self.socket.clone()
    }

    /// Takes no more connections; returns when the socket is closed.
    pub(crate) async fn close(self) {
        drop(self.socket);
        let _ = self.stop.send(());
        // An error means that the worker is gone, and the socket with it.
        let _ = self.done.await;
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}
