//! Response bodies: bytes at hand, chunks that must be taken in time, or a stream that ends when its watch does.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

/// A response body. A watch never fails: one that breaks says so in an event and ends.
pub struct Body(Kind);

enum Kind {
    Full(Bytes),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    Chunks(Chunks),
}

/// The client did not take the whole body in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client did not read the response in time")]
pub struct Abandoned;

/// Chunks of known length together. They are dropped when the client has not taken all of them in time, because they keep
/// alive what they show.
struct Chunks {
    left: u64,
    chunks: SharedChunks,
    watchdog: JoinHandle<()>,
}

type SharedChunks = Arc<Mutex<Option<Box<dyn Iterator<Item = Bytes> + Send>>>>;

impl Body {
    /// Returns a body without content.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// Returns a body of bytes at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    /// Returns a body that is produced chunk by chunk and has no known end.
    pub fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(chunks)))
    }

    /// Returns a body of `length` bytes that is produced chunk by chunk, and fails if it is not taken in time.
    pub(crate) fn chunks(
        chunks: impl Iterator<Item = Bytes> + Send + 'static,
        length: u64,
        within: Duration,
    ) -> Self {
        let chunks: SharedChunks = Arc::new(Mutex::new(Some(Box::new(chunks))));
        let watched = Arc::clone(&chunks);
        let watchdog = tokio::spawn(async move {
            tokio::time::sleep(within).await;
            watched.lock().unwrap_or_else(PoisonError::into_inner).take();
        });
        Self(Kind::Chunks(Chunks { left: length, chunks, watchdog }))
    }
}

impl Chunks {
    fn next(&mut self) -> Result<Option<Bytes>, Abandoned> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = chunks.as_mut().ok_or(Abandoned)?.next();
        drop(chunks);
        self.left = self.left.saturating_sub(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        Ok(chunk)
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.watchdog.abort();
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        match &mut self.0 {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream(chunks) => {
                let next = std::task::ready!(chunks.as_mut().poll_next(context));
                Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
            }
            Kind::Chunks(chunks) => {
                Poll::Ready(chunks.next().transpose().map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Chunks(chunks) => SizeHint::with_exact(chunks.left),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn body() -> Body {
        let chunks = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")].into_iter();
        Body::chunks(chunks, 3, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_that_nobody_takes_are_given_up() {
        let mut slow = body();
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(slow.frame().await.unwrap().unwrap_err(), Abandoned);
        let Kind::Chunks(chunks) = &slow.0 else { panic!("it is made of chunks") };
        assert!(chunks.chunks.lock().unwrap().is_none(), "and hold nothing any more");
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_that_are_taken_in_time_are_all_there() {
        let whole = body();
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "abc");
    }
}
