//! Opens the sockets of VIP ports and sets the options of connections.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, SockRef, TcpKeepalive, Type};
use stolos_core::network::balance::{Protocol, VipPort};

use crate::desired::socket;
use crate::timeouts::Timeouts;

/// Connections that the kernel holds until a worker takes them; `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 4096;
/// Unanswered questions of the keep-alive until a peer counts as gone, 10 s apart.
const KEEP_ALIVE_RETRIES: u32 = 3;
const KEEP_ALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// A socket of a VIP port.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Why a VIP port is not served. Other VIP ports are not affected.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// Another program, or another VIP of this one, has it.
    #[error("`{port}` is in use by another program on this machine")]
    AddressInUse {
        /// Which.
        port: VipPort,
    },
    /// The address belongs to none of this machine's interfaces.
    #[error("no network interface of this machine has the address of `{port}`")]
    AddressNotAvailable {
        /// Which.
        port: VipPort,
    },
    /// The process may not have this port.
    #[error(
        "ports below 1024 need the capability CAP_NET_BIND_SERVICE, which `{port}` was refused for"
    )]
    PermissionDenied {
        /// Which.
        port: VipPort,
    },
    /// As many VIP ports are served as file descriptors allow.
    #[error("`{port}` would be one more VIP port than the {most} that the file descriptors allow")]
    TooManyVipPorts {
        /// Which.
        port: VipPort,
        /// How many are served.
        most: usize,
    },
    /// Only TCP and UDP pass through a proxy.
    #[error("`{port}` is of a protocol that a proxy does not carry; it carries TCP and UDP")]
    UnsupportedProtocol {
        /// Which.
        port: VipPort,
    },
    /// The path of the health check cannot be asked for.
    #[error(
        "the path `{path}` of the health check of `{port}` is not one that begins with `/` and has no spaces"
    )]
    CheckPath {
        /// Of which.
        port: VipPort,
        /// The path.
        path: String,
    },
    /// The kernel said something else.
    #[error("failed to listen at `{port}`")]
    Listen {
        /// Which.
        port: VipPort,
        /// What it said.
        source: io::Error,
    },
}

impl NotServed {
    /// Returns the reason in one word, for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AddressInUse { .. } => "AddressInUse",
            Self::AddressNotAvailable { .. } => "AddressNotAvailable",
            Self::PermissionDenied { .. } => "PermissionDenied",
            Self::TooManyVipPorts { .. } => "TooManyVipPorts",
            Self::UnsupportedProtocol { .. } => "UnsupportedProtocol",
            Self::CheckPath { .. } => "CheckPathMalformed",
            Self::Listen { .. } => "ListenFailed",
        }
    }

    fn of(port: VipPort, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { port },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable { port },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { port },
            _ => Self::Listen { port, source },
        }
    }
}

/// Opens `n` sockets at `port`, among which the kernel spreads what comes.
pub(crate) fn open(port: VipPort, n: usize, timeouts: &Timeouts) -> Result<Vec<Socket>, NotServed> {
    let opened = match port.protocol {
        Protocol::Tcp => open_tcp(socket(&port), n, timeouts),
        Protocol::Udp => open_udp(socket(&port), n),
        Protocol::Sctp => return Err(NotServed::UnsupportedProtocol { port }),
    };
    opened.map_err(|source| NotServed::of(port, source))
}

/// Sets what every TCP connection gets. Accepted connections inherit it from their listener.
pub(crate) fn set_tcp_options(socket: SockRef<'_>, timeouts: &Timeouts) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new()
        .with_time(timeouts.keep_alive)
        .with_interval(KEEP_ALIVE_INTERVAL)
        .with_retries(KEEP_ALIVE_RETRIES);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keep_alive)?;
    socket.set_tcp_user_timeout(Some(timeouts.unacknowledged))
}

fn open_tcp(address: SocketAddr, n: usize, timeouts: &Timeouts) -> io::Result<Vec<Socket>> {
    // Sockets that share a port would also share it with another program that wants to. One that does not share finds
    // out whether somebody is there.
    let probe = unbound(address, Type::STREAM)?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())?;
    drop(probe);
    let open = |_| {
        let socket = unbound(address, Type::STREAM)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        set_tcp_options(SockRef::from(&socket), timeouts)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Socket::Tcp(socket.into()))
    };
    (0..n).map(open).collect()
}

fn open_udp(address: SocketAddr, n: usize) -> io::Result<Vec<Socket>> {
    unbound(address, Type::DGRAM)?.bind(&address.into())?;
    let open = |_| {
        let socket = unbound(address, Type::DGRAM)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(Socket::Udp(socket.into()))
    };
    (0..n).map(open).collect()
}

fn unbound(address: SocketAddr, kind: Type) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // The same port of IPv4 is a VIP port of its own.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
