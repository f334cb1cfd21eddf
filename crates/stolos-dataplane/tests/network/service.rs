//! What runs in the namespaces of endpoints and clients, on plain threads.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::world::{Space, service};

/// A service of an endpoint; it takes no more connections when dropped.
pub(crate) struct Service {
    listener: TcpListener,
    /// Connections that it got.
    pub(crate) accepted: Arc<AtomicUsize>,
}

impl Service {
    /// Serves every connection with `serve`, one after the other if it is quick.
    pub(crate) fn start(
        space: &Space,
        endpoint: u8,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(space, service(endpoint), serve)
    }

    /// Serves every connection to `address` with `serve`.
    pub(crate) fn start_at(
        space: &Space,
        address: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = space.run(|| listen(address));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (incoming, counted) = (listener.try_clone().unwrap(), accepted.clone());
        // Sockets stay in the namespace where they were made, wherever their thread is.
        thread::spawn(move || {
            while let Ok((connection, _)) = incoming.accept() {
                counted.fetch_add(1, SeqCst);
                serve(connection);
            }
        });
        Self { listener, accepted }
    }

    /// Sends back what it gets.
    pub(crate) fn echo(space: &Space, endpoint: u8) -> Self {
        Self::start(space, endpoint, |mut connection| {
            thread::spawn(move || {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(n @ 1..) = connection.read(&mut buffer) {
                    if connection.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        })
    }

    /// Says which endpoint it is and ends.
    pub(crate) fn name(space: &Space, endpoint: u8) -> Self {
        Self::start(space, endpoint, move |mut connection| {
            let _ = connection.write_all(&[endpoint]);
        })
    }

    pub(crate) fn n_accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

/// Makes the coming close a reset.
fn end(connection: &TcpStream) {
    let _ = SockRef::from(connection).set_linger(Some(Duration::ZERO));
}

/// Connects from one of the client's addresses.
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Asks for the name of the endpoint that a connection reaches.
pub(crate) fn ask_name(from: Ipv4Addr, to: SocketAddr) -> io::Result<u8> {
    read_name(&connect_from(from, to)?)
}

/// Reads the name of the endpoint and ends the connection by a reset, which keeps no port busy.
pub(crate) fn read_name(mut connection: &TcpStream) -> io::Result<u8> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut name = [0];
    connection.read_exact(&mut name)?;
    end(connection);
    Ok(name[0])
}

/// Clients that make requests until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<io::Error>>>,
}

impl Load {
    /// Starts `n` clients that connect to `address`, make `requests` requests and begin again.
    pub(crate) fn start(space: &Space, address: SocketAddr, n: usize, requests: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stop, served) = (stop.clone(), served.clone());
            thread::spawn(move || {
                let mut errors = Vec::new();
                while !stop.load(SeqCst) {
                    match echo(address, requests) {
                        Ok(()) => drop(served.fetch_add(1, SeqCst)),
                        Err(error) => errors.push(error),
                    }
                }
                errors
            })
        };
        let clients = space.run(|| (0..n).map(client).collect());
        Self { stop, served, clients }
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(SeqCst)
    }

    /// Stops the clients and returns what went wrong.
    pub(crate) fn stop(self) -> Vec<io::Error> {
        self.stop.store(true, SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn echo(address: SocketAddr, requests: usize) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut back = [0; 64];
    for i in 0..requests {
        let request = [u8::try_from(i % 251).unwrap(); 64];
        connection.write_all(&request)?;
        connection.read_exact(&mut back)?;
        if back != request {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another answer"));
        }
    }
    end(&connection);
    Ok(())
}

/// Answers datagrams with the name of the endpoint; lives as long as the process.
pub(crate) fn name_datagrams(space: &Space, endpoint: u8) {
    let socket = space.run(|| UdpSocket::bind(service(endpoint)).unwrap());
    thread::spawn(move || {
        let mut question = [0; 64];
        loop {
            if let Ok((_, from)) = socket.recv_from(&mut question) {
                let _ = socket.send_to(&[endpoint], from);
            }
        }
    });
}
