//! Standard output and error of a guest: the beginning and the end are kept, what lies between is taken and dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::redaction::Redaction;

/// Bytes of the beginning, where programs say what they are about.
const MAX_HEAD: usize = 4 << 10;
/// Bytes of the end, where they say why they break off: a panic with its place and message fits.
const MAX_TAIL: usize = 4 << 10;
/// What a guest may hand over in one piece.
const CHUNK: usize = 64 << 10;

/// Shared by the guest's streams and the run that reads them at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: bool,
}

impl Kept {
    fn append(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(MAX_HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(MAX_TAIL)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(MAX_TAIL);
        self.dropped |= surplus > 0 || head.len() + rest.len() < bytes.len();
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// Everything that is kept, without secrets. Where something was dropped, what is left of a secret at the edges is
    /// not recognised any more: as much is left out as may be such a rest.
    fn text(&self, redaction: &Redaction) -> String {
        let (before, after) = self.tail.as_slices();
        let redactor = redaction.redactor();
        let Some(redactor) = redactor else {
            let cut: &[u8] = if self.dropped { b"\n...\n" } else { b"" };
            return String::from_utf8_lossy(&[&self.head, cut, before, after].concat()).into_owned();
        };
        if !self.dropped {
            return redactor.redact(&String::from_utf8_lossy(&[&self.head, before, after].concat())).into_owned();
        }
        let head = redactor.redact(&String::from_utf8_lossy(&self.head)).into_owned();
        let tail = redactor.redact(&String::from_utf8_lossy(&[before, after].concat())).into_owned();
        let end = head.floor_char_boundary(head.len().saturating_sub(redactor.longest()));
        let begin = tail.ceil_char_boundary(redactor.longest().min(tail.len()));
        [&head[..end], "\n...\n", &tail[begin..]].concat()
    }
}

impl Captured {
    pub(crate) fn append(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(bytes);
    }

    /// What was printed, line by line, without control characters.
    pub(crate) fn lines(&self, redaction: &Redaction) -> Vec<String> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).text(redaction);
        text.lines().map(crate::gather::printable).filter(|line| !line.trim().is_empty()).collect()
    }

    /// The last line, and those before it as far as they go into `most` bytes together: what a language's runtime says before it gives up.
    pub(crate) fn last_words(&self, redaction: &Redaction, most: usize) -> String {
        let lines = self.lines(redaction);
        let mut room = most;
        let fits = |line: &&String| {
            let left = room.checked_sub(line.len() + 2);
            room = left.unwrap_or(0);
            left.is_some()
        };
        let count = lines.iter().rev().take_while(fits).count().max(1).min(lines.len());
        lines[lines.len() - count..].join("; ")
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_beginning_and_the_end() {
        let (captured, none) = (Captured::default(), Redaction::default());
        captured.append(b"one\n\n\x1b[31mtwo\x07\n");
        assert_eq!(captured.lines(&none), ["one", "[31mtwo"]);
        captured.append(&[b'x'; 100 << 10]);
        captured.append(b"\nlast\n");
        captured.append(b"words\n");
        let lines = captured.lines(&none);
        assert_eq!(
            (&lines[..2], &lines[lines.len() - 2..]),
            (&["one", "[31mtwo"].map(String::from)[..], &["last", "words"].map(String::from)[..])
        );
        assert!(lines.contains(&"...".to_owned()));
        assert!(lines.iter().map(String::len).sum::<usize>() <= MAX_HEAD + MAX_TAIL + 3);
        assert_eq!(captured.last_words(&none, 100), "last; words");
        assert_eq!(captured.last_words(&none, 8), "words");
    }

    #[test]
    fn what_fits_stays_whole() {
        let (captured, none) = (Captured::default(), Redaction::default());
        for n in 0..1000 {
            captured.append(format!("{n}\n").as_bytes());
        }
        assert_eq!(captured.lines(&none).len(), 1000);
        assert_eq!(captured.last_words(&none, 0), "999");
        assert_eq!(Captured::default().last_words(&none, 100), "");
    }
}
