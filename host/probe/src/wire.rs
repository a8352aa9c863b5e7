//! A connection, plain or TLS, that notes when the first byte came and ends when the peer sends without measure.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// What a peer may send in one exchange: the largest head and body with room for chunks of a few bytes each. It bounds
/// what interim responses, trailers and chunk framing can cost, which have no other limit.
pub(crate) const MAX_WIRE: usize = 4 << 20;

/// When the first byte of the answer came; shared with whoever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    first_byte: OnceLock<Instant>,
}

impl Meter {
    pub(crate) fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get().copied()
    }
}

/// The connection of one exchange.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    meter: Arc<Meter>,
    /// Bytes that the peer may still send.
    left: usize,
}

/// What a connection is made of.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Takes a connection on which nothing was asked yet.
    pub(crate) fn new(stream: Stream, meter: Arc<Meter>) -> Wire {
        Wire { stream, meter, left: MAX_WIRE }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        })?;
        let read = buf.filled().len() - before;
        if read > 0 {
            self.meter.first_byte.get_or_init(Instant::now);
        }
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other(format!("the peer sent more than {MAX_WIRE} bytes")))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
