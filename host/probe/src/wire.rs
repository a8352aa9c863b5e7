//! A connection, plain or TLS, that notes when the first byte came and ends when the peer sends without measure.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::connect::Socket;
use crate::failure::socket_code;

/// What a peer may send in one exchange: the largest head and body with room for chunks of a few bytes each. It bounds
/// what interim responses, trailers, chunk framing and frames of HTTP/2 can cost, which have no other limit.
pub(crate) const MAX_WIRE: usize = 4 << 20;
/// What is read before whoever waits for the answer may take some of it: small frames cost many times their size in
/// memory until then.
const MAX_TURN: usize = 64 << 10;

/// What came over the connection; shared with whoever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    first_byte: OnceLock<Instant>,
    broken: OnceLock<&'static str>,
}

impl Meter {
    /// When the first byte came.
    pub(crate) fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get().copied()
    }

    /// The word for how the connection itself broke, which not every protocol passes on.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.broken.get().copied()
    }
}

/// The connection of one exchange.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    meter: Arc<Meter>,
    /// Bytes that the peer may still send.
    left: usize,
    /// Bytes that were read without a pause.
    turn: usize,
}

/// What a connection is made of.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    /// Takes a connection on which nothing was asked yet.
    pub(crate) fn new(stream: Stream, meter: Arc<Meter>) -> Wire {
        Wire { stream, meter, left: MAX_WIRE, turn: 0 }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn >= MAX_TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(result) = self.read(cx, buf) else {
            self.turn = 0;
            return Poll::Pending;
        };
        if let Err(error) = result {
            self.meter.broken.get_or_init(|| socket_code(&error));
            return Poll::Ready(Err(error));
        }
        let read = buf.filled().len() - before;
        self.turn += read;
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
