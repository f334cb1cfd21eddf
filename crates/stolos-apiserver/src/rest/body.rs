//! Response bodies: bytes at hand, or a stream that ends when its watch does.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};

/// A response body. It never fails: a watch that breaks says so in an event and ends.
pub struct Body(Kind);

enum Kind {
    Full(Bytes),
    Stream { chunks: Pin<Box<dyn Stream<Item = Bytes> + Send>>, length: Option<u64> },
}

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
        Self(Kind::Stream { chunks: Box::pin(chunks), length: None })
    }

    /// Returns a body of `length` bytes that is produced chunk by chunk.
    pub(crate) fn sized_stream(
        chunks: impl Stream<Item = Bytes> + Send + 'static,
        length: u64,
    ) -> Self {
        Self(Kind::Stream { chunks: Box::pin(chunks), length: Some(length) })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream { chunks, length } => {
                let next = std::task::ready!(chunks.as_mut().poll_next(context));
                if let (Some(left), Some(chunk)) = (length.as_mut(), next.as_ref()) {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { length: Some(length), .. } => SizeHint::with_exact(*length),
            Kind::Stream { length: None, .. } => SizeHint::default(),
        }
    }
}
