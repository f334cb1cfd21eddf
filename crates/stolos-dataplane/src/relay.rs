//! Moves bytes between the two sockets of a connection, both ways, until both sides have ended.
//!
//! Small turns go through a pooled buffer, long streams through a pipe by `splice`, which leaves the bytes in the kernel.
//! Each direction ends on its own (half close); a reset on one side becomes a reset on the other. Sockmap would be faster
//! still but loses bytes at a half close, and is not used.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::pools::{self, PIPE, Pipe};

mod stream;

pub(crate) use stream::StreamRelay;

/// Bytes in a row without a pause after which a direction counts as a stream.
const STREAM: usize = 256 * 1024;
/// A read of less than this is a pause: the direction carries messages, for which a copy is cheaper than a pipe.
const PAUSE: usize = 4 * 1024;

/// A connection whose bytes are being moved.
pub(crate) struct Relay {
    from_client: Direction,
    from_endpoint: Direction,
    /// While only one direction has ended, its source is not read from any more; this tells when it breaks.
    broken: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    last_active: Instant,
}

/// Bytes that went through since they were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from_client: u64,
    pub(crate) from_endpoint: u64,
}

/// A side of the connection broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Client,
    Endpoint,
}

/// One of the two directions.
struct Direction {
    source: Option<OwnedReadHalf>,
    sink: OwnedWriteHalf,
    held: Held,
    /// Bytes since the last pause.
    in_a_row: usize,
    state: State,
    moved: u64,
}

/// Bytes that were read and not yet written.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Buffer {
        bytes: Box<[u8]>,
        from: usize,
        to: usize,
    },
    Pipe {
        pipe: Pipe,
        n_bytes: usize,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source ended; its last bytes may still be held.
    SourceEnded,
    /// The end was passed on.
    Done,
}

/// Which end of a direction failed.
enum Failed {
    Source,
    Sink,
}

/// A connection whose bytes are being moved, one way or the other.
pub(crate) trait Moving {
    /// Returns when bytes last moved.
    fn last_active(&self) -> Instant;
    /// Returns and forgets how many bytes were moved.
    fn take_moved(&mut self) -> Moved;
    /// Closes both sockets so that both peers see a reset and no orderly end.
    fn reset(self);
    /// Moves what can be moved; ready when both directions have ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

impl Failed {
    /// Returns who broke off a direction from the client to the endpoint.
    fn upwards(self) -> Broken {
        match self {
            Self::Source => Broken::Client,
            Self::Sink => Broken::Endpoint,
        }
    }

    /// Returns who broke off a direction from the endpoint to the client.
    fn downwards(self) -> Broken {
        match self {
            Self::Source => Broken::Endpoint,
            Self::Sink => Broken::Client,
        }
    }
}

impl Relay {
    /// Joins two connected sockets.
    pub(crate) fn new(client: TcpStream, endpoint: TcpStream, now: Instant) -> Self {
        let (client_source, client_sink) = client.into_split();
        let (endpoint_source, endpoint_sink) = endpoint.into_split();
        Self {
            from_client: Direction::new(client_source, endpoint_sink),
            from_endpoint: Direction::new(endpoint_source, client_sink),
            broken: None,
            last_active: now,
        }
    }
}

impl Moving for Relay {
    fn last_active(&self) -> Instant {
        self.last_active
    }

    fn take_moved(&mut self) -> Moved {
        Moved {
            from_client: std::mem::take(&mut self.from_client.moved),
            from_endpoint: std::mem::take(&mut self.from_endpoint.moved),
        }
    }

    fn reset(self) {
        self.from_client.reset();
        self.from_endpoint.reset();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let before = (self.from_client.moved, self.from_endpoint.moved);
        let up = self.from_client.poll(cx).map_err(Failed::upwards)?;
        let down = self.from_endpoint.poll(cx).map_err(Failed::downwards)?;
        if before != (self.from_client.moved, self.from_endpoint.moved) {
            self.last_active = Instant::now();
        }
        match (up.is_ready(), down.is_ready()) {
            (true, true) => Poll::Ready(Ok(())),
            (false, false) => Poll::Pending,
            (true, false) => {
                ready!(poll_broken(&mut self.broken, &mut self.from_client, cx));
                Poll::Ready(Err(Broken::Client))
            }
            (false, true) => {
                ready!(poll_broken(&mut self.broken, &mut self.from_endpoint, cx));
                Poll::Ready(Err(Broken::Endpoint))
            }
        }
    }
}

/// Ready when the source of the `ended` direction was reset.
fn poll_broken(
    broken: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ended: &mut Direction,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if let Some(source) = ended.source.take() {
        *broken = Some(Box::pin(async move {
            // Dropped with the socket, so an error of waiting means that there is nothing to wait for.
            let _ = source.ready(Interest::ERROR).await;
        }));
    }
    broken.as_mut().map_or(Poll::Pending, |broken| broken.as_mut().poll(cx))
}

/// Makes the coming close of `socket` a reset.
pub(crate) fn reset(socket: &TcpStream) {
    // Fails on a socket that is already gone only.
    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

impl Direction {
    fn new(source: OwnedReadHalf, sink: OwnedWriteHalf) -> Self {
        let (held, state) = (Held::Nothing, State::Open);
        Self { source: Some(source), sink, held, in_a_row: 0, state, moved: 0 }
    }

    fn reset(self) {
        reset(self.sink.as_ref());
        // An ordinary drop would end the stream in order first.
        self.sink.forget();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Open => ready!(self.poll_write(cx)).map_err(|_| Failed::Sink)?,
                State::SourceEnded => {
                    ready!(Pin::new(&mut self.sink).poll_shutdown(cx)).map_err(|_| Failed::Sink)?;
                    self.state = State::Done;
                    continue;
                }
            }
            match ready!(self.poll_fill(cx)).map_err(|_| Failed::Source)? {
                0 => self.state = State::SourceEnded,
                n if n < PAUSE => self.in_a_row = 0,
                n => self.in_a_row = self.in_a_row.saturating_add(n),
            }
        }
    }

    /// Takes bytes from the source while nothing is held and returns how many; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Only a direction that is done gives its source away.
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(0)) };
        let filled = match (self.in_a_row >= STREAM).then(pools::take_pipe).flatten() {
            Some(pipe) => ready!(poll_fill_pipe(cx, source, pipe)),
            None => ready!(poll_fill_buffer(cx, source)),
        };
        self.held = filled?;
        Poll::Ready(Ok(match &self.held {
            Held::Nothing => 0,
            Held::Buffer { from, to, .. } => to - from,
            Held::Pipe { n_bytes, .. } => *n_bytes,
        }))
    }

    /// Writes all that is held.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let written = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Buffer { bytes, from, to } => {
                    let n = ready!(Pin::new(&mut self.sink).poll_write(cx, &bytes[*from..*to]))?;
                    *from += n;
                    n
                }
                Held::Pipe { pipe, n_bytes } => {
                    let n = ready!(poll_drain_pipe(cx, pipe, *n_bytes, self.sink.as_ref()))?;
                    *n_bytes -= n;
                    n
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += written as u64;
            self.held = match std::mem::take(&mut self.held) {
                Held::Buffer { bytes, from, to } if from == to => {
                    pools::give_buffer(bytes);
                    Held::Nothing
                }
                Held::Pipe { pipe, n_bytes: 0 } => {
                    pools::give_pipe(pipe);
                    Held::Nothing
                }
                rest => rest,
            };
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

fn poll_fill_buffer(cx: &mut Context<'_>, source: &mut OwnedReadHalf) -> Poll<io::Result<Held>> {
    let mut bytes = pools::take_buffer();
    let mut unfilled = ReadBuf::new(&mut bytes);
    let read = Pin::new(source).poll_read(cx, &mut unfilled);
    let to = unfilled.filled().len();
    if to == 0 {
        pools::give_buffer(bytes);
        return read.map_ok(|()| Held::Nothing);
    }
    read.map_ok(|()| Held::Buffer { bytes, from: 0, to })
}

/// Moves from the source into the empty `pipe`.
fn poll_fill_pipe(
    cx: &mut Context<'_>,
    source: &OwnedReadHalf,
    pipe: Pipe,
) -> Poll<io::Result<Held>> {
    let socket: &TcpStream = source.as_ref();
    let moved = loop {
        match socket.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => break Err(error),
            Poll::Pending => {
                pools::give_pipe(pipe);
                return Poll::Pending;
            }
        }
        // The pipe is empty, so "would block" means that the socket is.
        let moved = socket.try_io(Interest::READABLE, || {
            Ok(splice(socket, None, &pipe.writer, None, PIPE, FLAGS)?)
        });
        if !is_would_block(&moved) {
            break moved;
        }
    };
    match moved {
        Ok(n_bytes) if n_bytes > 0 => Poll::Ready(Ok(Held::Pipe { pipe, n_bytes })),
        ended => {
            pools::give_pipe(pipe);
            Poll::Ready(ended.map(|_| Held::Nothing))
        }
    }
}

fn poll_drain_pipe(
    cx: &mut Context<'_>,
    pipe: &Pipe,
    n_bytes: usize,
    sink: &TcpStream,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(sink.poll_write_ready(cx))?;
        let moved = sink.try_io(Interest::WRITABLE, || {
            Ok(splice(&pipe.reader, None, sink, None, n_bytes, FLAGS)?)
        });
        if !is_would_block(&moved) {
            return Poll::Ready(moved);
        }
    }
}

fn is_would_block(moved: &io::Result<usize>) -> bool {
    moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
