//! Sending and receiving over a connection that stands, each with its bounds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::{CHUNK, Connection, MAX_DELIMITER, MAX_DIALOGUE, MAX_RECEIVE, MAX_RECEIVED, MAX_SENT, Stream};
use crate::endpoint::Endpoint;
use crate::failure::{Failure, code, phase};
use crate::grants::Denied;
use crate::pattern::Scheme;

impl Connection {
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.seen.sent;
        if bytes.len() > MAX_SENT.saturating_sub(sent) {
            self.standing()?;
            return Err(Failure::limit(format!("a connection sends at most {MAX_SENT} bytes")));
        }
        self.write(bytes).await?;
        self.seen.sent += bytes.len();
        Ok(())
    }

    /// Sends without counting: how long a secret is, is nobody's to know.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let peer = self.peer_or_address();
        let open = self.standing()?;
        if open.closed {
            return Err(Failure::invalid("nothing can be sent any more: `close` was called"));
        }
        open.speak_in_clear(bytes.len())?;
        self.course.pass(phase::TRANSFER);
        let open = self.standing()?;
        // Before it is written: on one machine, the answer may be there before the write is told to have ended.
        let begun = Instant::now();
        let sent = async {
            open.stream.write_all(bytes).await?;
            open.stream.flush().await
        };
        sent.await.map_err(|error| Failure::socket(&error, phase::TRANSFER, format_args!("sending to {peer}")))?;
        self.standing()?.waiting = Some(begun);
        self.seen.first_byte = None;
        Ok(())
    }

    pub(super) async fn receive(&mut self, max_bytes: usize) -> Result<Vec<u8>, Failure> {
        let ended = self.standing()?.ended;
        if max_bytes == 0 {
            return Err(Failure::invalid("no bytes are asked for: `max-bytes` is 0"));
        }
        if self.buffer.is_empty() && !ended {
            self.fill(max_bytes.min(CHUNK)).await?;
        }
        let count = self.buffer.len().min(max_bytes).min(MAX_RECEIVE);
        Ok(self.take(count))
    }

    pub(super) async fn receive_until(&mut self, delimiter: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
        self.standing()?;
        let most = max_bytes.min(MAX_RECEIVE);
        if delimiter.is_empty() || delimiter.len() > MAX_DELIMITER {
            return Err(Failure::invalid(format!("what ends an answer has 1 to {MAX_DELIMITER} bytes")));
        }
        let mut searched = 0;
        loop {
            let within = self.buffer.get(..self.buffer.len().min(most)).unwrap_or_default();
            if let Some(end) = find(within, delimiter, searched) {
                return Ok(self.take(end));
            }
            if self.buffer.len() >= most {
                let message = format!("what ends the answer is not among its first {most} bytes");
                return Err(Failure::new(code::LIMIT, phase::TRANSFER, message));
            }
            if self.standing()?.ended {
                let message = format!("{} has closed before the end of its answer", self.peer_or_address());
                return Err(Failure::new(code::CLOSED, phase::TRANSFER, message));
            }
            searched = (self.buffer.len() + 1).saturating_sub(delimiter.len());
            self.fill(CHUNK.min(most - self.buffer.len())).await?;
        }
    }

    pub(super) async fn close(&mut self) -> Result<(), Failure> {
        let peer = self.peer_or_address();
        let open = self.standing()?;
        if open.closed {
            return Ok(());
        }
        open.closed = true;
        self.course.pass(phase::TRANSFER);
        let closed = self.standing()?.stream.shutdown().await;
        closed.map_err(|error| Failure::socket(&error, phase::TRANSFER, format_args!("closing towards {peer}")))
    }

    /// Waits for the peer to say something, and takes at most so many bytes of it into the buffer.
    async fn fill(&mut self, most: usize) -> Result<(), Failure> {
        let left = MAX_RECEIVED.saturating_sub(self.seen.received);
        let peer = self.peer_or_address();
        let open = match &mut self.state {
            super::State::Open(open) => open,
            _ => return self.standing().map(drop),
        };
        if left == 0 {
            return Err(Failure::limit(format!("a connection receives at most {MAX_RECEIVED} bytes")));
        }
        let most = most.min(left).min(open.hear_in_clear()?);
        let phase = if open.waiting.is_some() { phase::FIRST_BYTE } else { phase::TRANSFER };
        self.course.pass(phase);
        self.buffer.reserve(most);
        // Nothing is lost when the time runs out: the buffer grows only by what was read.
        let read = open.stream.read_buf(&mut (&mut self.buffer).limit(most)).await;
        let count = read.map_err(|error| {
            open.ended |= error.kind() == io::ErrorKind::UnexpectedEof;
            Failure::socket(&error, phase, format_args!("the answer of {peer}"))
        })?;
        if count == 0 {
            open.ended = true;
        } else if let Some(since) = open.waiting.take() {
            self.seen.first_byte = Some(since.elapsed());
        }
        self.seen.received += count;
        open.in_clear = open.in_clear.map(|left| left.saturating_sub(count));
        Ok(())
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.buffer.split_to(count).to_vec();
        if self.buffer.is_empty() {
            // What was large once is not kept large.
            self.buffer = bytes::BytesMut::new();
        }
        taken
    }

    pub(super) fn peer_or_address(&self) -> String {
        self.peer().unwrap_or_else(|| roundsman_model::name::excerpt(&self.wishes.address))
    }
}

impl super::Open {
    /// Whether so many bytes may be sent as the connection is now.
    fn speak_in_clear(&mut self, count: usize) -> Result<(), Failure> {
        match (&self.stream, self.in_clear) {
            (Stream::Clear(_), Some(left)) if left < count => Err(self.in_clear_denied()),
            (Stream::Clear(_), Some(left)) => {
                self.in_clear = Some(left - count);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// How many bytes may be received as the connection is now.
    fn hear_in_clear(&self) -> Result<usize, Failure> {
        match (&self.stream, self.in_clear) {
            (Stream::Clear(_), Some(0)) => Err(self.in_clear_denied()),
            (Stream::Clear(_), Some(left)) => Ok(left),
            _ => Ok(usize::MAX),
        }
    }

    /// Only TLS is granted, and this is not TLS.
    pub(super) fn in_clear_denied(&self) -> Failure {
        let (host, port) = match &self.endpoint {
            Endpoint::Host { host, port } => (host.in_url(), *port),
            Endpoint::Unix(path) => (path.clone(), 0),
        };
        let line = Scheme::Tcp.destination(&host, port);
        let what = format!("{line} beyond the {MAX_DIALOGUE} bytes before TLS");
        Denied::by_check(what, format!("allow: {{network: [\"{line}\"]}}")).into()
    }
}

/// Where the first delimiter ends, if it begins at `from` or behind it.
fn find(bytes: &[u8], delimiter: &[u8], from: usize) -> Option<usize> {
    let behind = bytes.get(from..)?;
    let at = behind.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(from + at + delimiter.len())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Clear(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_of_lines() {
        for (bytes, delimiter, from, expected) in [
            ("220 ok\r\nmore", "\r\n", 0, Some(8)),
            ("220 ok\r", "\r\n", 0, None),
            ("\r\n", "\r\n", 0, Some(2)),
            ("\r\n", "\r\n", 1, None),
            ("a\r\nb\r\n", "\r\n", 2, Some(6)),
            ("", "x", 0, None),
            ("", "x", 5, None),
        ] {
            assert_eq!(find(bytes.as_bytes(), delimiter.as_bytes(), from), expected, "{bytes:?} {from}");
        }
    }

    proptest! {
        /// However the bytes arrive, a search that goes on where the last one ended finds what one over all of them finds.
        #[test]
        fn a_search_in_pieces(bytes in "[ab]{0,40}", delimiter in "[ab]{1,4}", pieces in proptest::collection::vec(1..6_usize, 0..40)) {
            let whole = find(bytes.as_bytes(), delimiter.as_bytes(), 0);
            let (mut there, mut searched, mut found) = (0, 0, None);
            for piece in pieces.into_iter().chain([bytes.len()]) {
                there = (there + piece).min(bytes.len());
                found = found.or_else(|| find(&bytes.as_bytes()[..there], delimiter.as_bytes(), searched));
                searched = (there + 1_usize).saturating_sub(delimiter.len());
            }
            prop_assert_eq!(found, whole);
            prop_assert_eq!(whole, bytes.find(&delimiter).map(|at| at + delimiter.len()));
        }
    }
}
