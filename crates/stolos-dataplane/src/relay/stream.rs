//! Moves bytes between two sides of which one or both are TLS, which leaves nothing for the kernel to splice.
//!
//! An end of one side (`close_notify`) is passed on as the end of the other one, each direction on its own. A side that ends
//! without saying so is broken: somebody may have cut off its last bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{Broken, Failed, Moved, Moving, State, reset};
use crate::pools;
use crate::tls::Side;

/// A connection whose bytes are being moved.
pub(crate) struct StreamRelay {
    client: Side,
    endpoint: Side,
    from_client: Way,
    from_endpoint: Way,
    /// While only one direction has ended, its source is not read from any more; this tells when it breaks.
    broken: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    last_active: Instant,
}

/// One of the two directions.
#[derive(Default)]
struct Way {
    /// Bytes that were read and not yet written, from the second number on up to the third one.
    held: Option<(Box<[u8]>, usize, usize)>,
    /// Whether the sink may hold bytes back.
    is_unflushed: bool,
    state: State,
    moved: u64,
}

impl StreamRelay {
    /// Joins two sides.
    pub(crate) fn new(client: Side, endpoint: Side, now: Instant) -> Self {
        let (from_client, from_endpoint) = (Way::default(), Way::default());
        Self { client, endpoint, from_client, from_endpoint, broken: None, last_active: now }
    }
}

impl Moving for StreamRelay {
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
        reset(self.client.tcp());
        reset(self.endpoint.tcp());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let before = (self.from_client.moved, self.from_endpoint.moved);
        let Self { client, endpoint, .. } = self;
        let up = self.from_client.poll(cx, client, endpoint).map_err(Failed::upwards)?;
        let down = self.from_endpoint.poll(cx, endpoint, client).map_err(Failed::downwards)?;
        if before != (self.from_client.moved, self.from_endpoint.moved) {
            self.last_active = Instant::now();
        }
        let (source, broken) = match (up.is_ready(), down.is_ready()) {
            (true, true) => return Poll::Ready(Ok(())),
            (false, false) => return Poll::Pending,
            (true, false) => (&self.client, Broken::Client),
            (false, true) => (&self.endpoint, Broken::Endpoint),
        };
        let watched = self.broken.get_or_insert_with(|| Box::pin(source.broken()));
        ready!(watched.as_mut().poll(cx));
        Poll::Ready(Err(broken))
    }
}

impl Way {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Side,
        sink: &mut Side,
    ) -> Poll<Result<(), Failed>> {
        loop {
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Open => ready!(self.poll_write(cx, sink)).map_err(|_| Failed::Sink)?,
                State::SourceEnded => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(|_| Failed::Sink)?;
                    self.state = State::Done;
                    continue;
                }
            }
            match self.poll_fill(cx, source) {
                Poll::Ready(Ok(0)) => self.state = State::SourceEnded,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Source)),
                Poll::Pending => {
                    if self.is_unflushed {
                        ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(|_| Failed::Sink)?;
                        self.is_unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes bytes from the source while nothing is held and returns how many; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, source: &mut Side) -> Poll<io::Result<usize>> {
        let mut bytes = pools::take_buffer();
        let mut unfilled = ReadBuf::new(&mut bytes);
        let read = Pin::new(source).poll_read(cx, &mut unfilled);
        let n = unfilled.filled().len();
        if n == 0 {
            pools::give_buffer(bytes);
        } else {
            self.held = Some((bytes, 0, n));
        }
        read.map_ok(|()| n)
    }

    /// Writes all that is held.
    fn poll_write(&mut self, cx: &mut Context<'_>, sink: &mut Side) -> Poll<io::Result<()>> {
        while let Some((bytes, from, to)) = &mut self.held {
            let written = ready!(Pin::new(&mut *sink).poll_write(cx, &bytes[*from..*to]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.moved += written as u64;
            *from += written;
            if from == to
                && let Some((bytes, ..)) = self.held.take()
            {
                pools::give_buffer(bytes);
            }
        }
        Poll::Ready(Ok(()))
    }
}
