//! An upgrade without a refused connection: the new process gets the listening sockets of the old one.
//!
//! The old process waits at a unix socket. Who connects to it as the same user gets all listening sockets, begins to
//! take connections from them, and says so; only then does the old one stop taking any. Connections that it has stay
//! with it until they end or their drain time is over. Flows of UDP begin anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::Type;
use stolos_core::network::balance::{Protocol, VipPort};
use tokio::net::UnixListener;

use crate::desired::socket;
use crate::sockets::Socket;
use crate::worker::Listener;

/// Sockets in one message; the kernel takes 253.
const MAX_RIGHTS: usize = 250;
/// Bytes of a message, zeros at its end included; a VIP port takes about a hundred.
const MESSAGE: usize = 512;
/// How long each step of the other process may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a successor may wait for its first state before it serves.
const PATIENCE_FOR_STATE: Duration = Duration::from_secs(600);
/// The message after the last socket, and the answer to it.
const END: &[u8] = b"end";
const READY: &[u8] = b"ready";

/// The listening sockets cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket at which a successor knocks cannot be used.
    #[error("failed to wait for a successor at `{path}`")]
    Door {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The other process did not do its part.
    #[error("failed to hand over the listening sockets at `{path}`")]
    Peer {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a successor knocks.
pub(crate) struct Door(UnixListener);

/// Sockets that came from a predecessor, who still takes connections from them as well.
pub(crate) struct Taken {
    pub(crate) sockets: BTreeMap<VipPort, Vec<Socket>>,
    peer: UnixStream,
}

impl Door {
    /// Begins to wait at `path`, in place of whoever waited there before.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            // Put in place only once it is ours alone and complete.
            let aside = path.with_extension("new");
            let _ = fs::remove_file(&aside);
            let listener = UnixListener::bind(&aside)?;
            fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
            fs::rename(&aside, path)?;
            Ok(Self(listener))
        };
        open().map_err(|source| Error::Door { path: path.to_owned(), source })
    }

    /// Waits for a successor of the same user. Cancel safe.
    pub(crate) async fn knock(&self) -> io::Result<UnixStream> {
        loop {
            let (peer, _) = self.0.accept().await?;
            if peer.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
                let peer = peer.into_std()?;
                peer.set_nonblocking(false)?;
                return Ok(peer);
            }
        }
    }
}

/// Gives all sockets to the successor and returns when it takes connections from them. Blocks.
pub(crate) fn give(peer: &UnixStream, sockets: &[(VipPort, Vec<Listener>)]) -> io::Result<()> {
    peer.set_write_timeout(Some(PATIENCE))?;
    peer.set_read_timeout(Some(PATIENCE_FOR_STATE))?;
    for (port, listeners) in sockets {
        let name = serde_json::to_vec(port)?;
        for some in listeners.chunks(MAX_RIGHTS) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
            send(peer, &name, &some)?;
        }
    }
    send(peer, END, &[])?;
    let (answer, _) = receive(peer)?;
    if answer == READY { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Takes the sockets of the predecessor at `path`, if there is one. Blocks.
pub(crate) fn take(path: &Path) -> Result<Option<Taken>, Error> {
    let peer = match UnixStream::connect(path) {
        Ok(peer) => peer,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(source) => return Err(Error::Door { path: path.to_owned(), source }),
    };
    let sockets =
        take_all(&peer).map_err(|source| Error::Peer { path: path.to_owned(), source })?;
    Ok(Some(Taken { sockets, peer }))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn take_all(peer: &UnixStream) -> io::Result<BTreeMap<VipPort, Vec<Socket>>> {
    peer.set_read_timeout(Some(PATIENCE))?;
    let mut sockets: BTreeMap<VipPort, Vec<Socket>> = BTreeMap::new();
    loop {
        let (message, rights) = receive(peer)?;
        if message == END {
            return Ok(sockets);
        }
        if message.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let port: VipPort = serde_json::from_slice(&message)?;
        for right in rights {
            sockets.entry(port).or_default().push(recognise(right, &port)?);
        }
    }
}

/// Makes sure that a socket is what the message says.
fn recognise(right: OwnedFd, port: &VipPort) -> io::Result<Socket> {
    let given = socket2::Socket::from(right);
    let is_at = given.local_addr()?.as_socket() == Some(socket(port));
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("not a socket of `{port}`"));
    match (port.protocol, given.r#type()?) {
        (Protocol::Tcp, Type::STREAM) if is_at => Ok(Socket::Tcp(TcpListener::from(given))),
        (Protocol::Udp, Type::DGRAM) if is_at => Ok(Socket::Udp(UdpSocket::from(given))),
        (Protocol::Tcp | Protocol::Udp | Protocol::Sctp, _) => Err(wrong()),
    }
}

impl Taken {
    /// Tells the predecessor that connections are taken here.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.peer.set_write_timeout(Some(PATIENCE))?;
        send(&self.peer, READY, &[])
    }
}

fn send(peer: &UnixStream, message: &[u8], rights: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_RIGHTS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(rights)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut padded = message.to_vec();
    padded.resize(MESSAGE, 0);
    let sent = sendmsg(peer, &[IoSlice::new(&padded)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == MESSAGE { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives a message and the sockets that came with it. An empty one means that the peer is gone.
fn receive(peer: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; MESSAGE];
    let mut rights = Vec::new();
    let mut filled = 0;
    while filled < MESSAGE {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_RIGHTS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(&mut message[filled..])];
        let received = recvmsg(peer, &mut room, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = part {
                rights.extend(some);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "sockets were lost on the way"));
        }
        if received.bytes == 0 {
            break;
        }
        filled += received.bytes;
    }
    // Text never ends with a zero.
    while message.last() == Some(&0) {
        message.pop();
    }
    Ok((message, rights))
}
