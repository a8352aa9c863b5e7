//! Encoded lines on their way: one body, which can be halved, and the cursor that its delivery moves.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use roundsman_store::Cursor;

/// Most lines in one request: what the vendor recommends.
pub(crate) const MAX_LINES: usize = 5_000;

/// Most text in one request, before compression: far below every server's limit (10 MiB and up).
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Smaller bodies are sent plain: compressing them saves no packet.
const GZIP_ABOVE: usize = 1 << 10;

/// Lines that are sent together.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The lines, each with its end: kept until they are delivered, so that they can be halved and set aside.
    text: Bytes,
    pub(crate) lines: usize,
    pub(crate) body: Body,
    /// Where the cursor stands once this is delivered; none while part of a row is still to come.
    pub(crate) acknowledge: Option<Cursor>,
}

/// The bytes on the wire. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Plain(Bytes),
    Gzip(Bytes),
}

impl Request {
    pub(crate) fn new(text: Bytes, lines: usize, acknowledge: Option<Cursor>) -> Self {
        let body = if text.len() > GZIP_ABOVE { Body::Gzip(gzip(&text)) } else { Body::Plain(text.clone()) };
        Self { text, lines, body, acknowledge }
    }

    /// Both halves, none when there is only one line. The second one carries the cursor.
    pub(crate) fn halve(&self) -> Option<(Self, Self)> {
        let first = self.lines / 2;
        let (end, _) = self.text.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(first.checked_sub(1)?)?;
        let (left, right) = (self.text.slice(..=end), self.text.slice(end + 1..));
        Some((Self::new(left, first, None), Self::new(right, self.lines - first, self.acknowledge)))
    }

    /// The lines.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Body {
    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) | Self::Gzip(bytes) => bytes.len(),
        }
    }
}

fn gzip(text: &[u8]) -> Bytes {
    // Level 1: lines repeat themselves so much that higher levels gain little and cost several times as much.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail").into()
}

/// Rows being gathered into requests.
#[derive(Debug)]
pub(crate) struct Gather {
    text: Vec<u8>,
    lines: usize,
    /// Where the last whole row ends.
    cursor: Cursor,
    done: Vec<Request>,
}

impl Gather {
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self { text: Vec::new(), lines: 0, cursor, done: Vec::new() }
    }

    /// Adds a row: `encode` appends its lines and tells how many; `cursor` is where the row ends.
    pub(crate) fn row(&mut self, cursor: Cursor, encode: impl FnOnce(&mut Vec<u8>) -> usize) {
        let start = self.text.len();
        let lines = encode(&mut self.text);
        if self.lines > 0 && (self.lines + lines > MAX_LINES || self.text.len() > MAX_BYTES) {
            let row = self.text.split_off(start);
            self.close(Some(self.cursor));
            self.text = row;
        }
        self.lines += lines;
        // Only a row that is too large by itself goes out in pieces.
        while let Some((end, lines)) = self.overfull() {
            let rest = self.text.split_off(end);
            let rest_lines = self.lines - lines;
            self.lines = lines;
            self.close(None);
            (self.text, self.lines) = (rest, rest_lines);
        }
        self.cursor = cursor;
    }

    /// The requests, the last of which moves the cursor to `next`.
    pub(crate) fn finish(mut self, next: Cursor) -> Vec<Request> {
        if self.lines > 0 {
            self.close(Some(next));
        } else if let Some(last) = self.done.last_mut() {
            last.acknowledge = Some(next);
        }
        self.done
    }

    fn close(&mut self, acknowledge: Option<Cursor>) {
        let room = Vec::with_capacity(self.text.len());
        let text = std::mem::replace(&mut self.text, room);
        self.done.push(Request::new(text.into(), std::mem::take(&mut self.lines), acknowledge));
    }

    /// When there is more than one request may hold: where the first one ends, and its lines, at least one.
    fn overfull(&self) -> Option<(usize, usize)> {
        if self.lines <= 1 || (self.lines <= MAX_LINES && self.text.len() <= MAX_BYTES) {
            return None;
        }
        let ends = self.text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
        let fitting = ends.enumerate().take(MAX_LINES.min(self.lines - 1));
        let fits = |(i, end): &(usize, usize)| *i == 0 || *end <= MAX_BYTES;
        fitting.take_while(fits).last().map(|(i, end)| (end, i + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn at(record: i64) -> Cursor {
        Cursor { record, transition: 0 }
    }

    fn lines(count: usize, length: usize) -> impl Fn(&mut Vec<u8>) -> usize {
        move |out| {
            for _ in 0..count {
                out.extend(std::iter::repeat_n(b'x', length - 1));
                out.push(b'\n');
            }
            count
        }
    }

    fn gathered(rows: &[(usize, usize)]) -> Vec<Request> {
        let mut gather = Gather::new(at(0));
        for (i, (count, length)) in rows.iter().enumerate() {
            gather.row(at(i as i64 + 1), lines(*count, *length));
        }
        gather.finish(at(99))
    }

    #[test]
    fn rows_are_gathered_up_to_the_limits() {
        for (rows, expected) in [
            (&[][..], vec![]),
            (&[(1, 10), (2, 10)], vec![(3, Some(99))]),
            (&[(3_000, 10), (2_000, 10), (1, 10)], vec![(5_000, Some(2)), (1, Some(99))]),
            (&[(3_000, 10), (2_001, 10)], vec![(3_000, Some(1)), (2_001, Some(99))]),
            // 1 MiB holds 1,048 lines of 1,000 bytes.
            (&[(1_000, 1_000), (100, 1_000)], vec![(1_000, Some(1)), (100, Some(99))]),
            // One row in pieces: only the last one moves the cursor beyond it.
            (&[(1, 10), (12_000, 10), (1, 10)], vec![(1, Some(1)), (5_000, None), (5_000, None), (2_001, Some(99))]),
            (&[(1_500, 1_000)], vec![(1_048, None), (452, Some(99))]),
            (&[(2, 2 << 20)], vec![(1, None), (1, Some(99))]),
        ] {
            let requests = gathered(rows);
            let shape: Vec<_> = requests.iter().map(|r| (r.lines, r.acknowledge.map(|c| c.record))).collect();
            assert_eq!(shape, expected, "{rows:?}");
            for request in &requests {
                assert_eq!(request.text().iter().filter(|b| **b == b'\n').count(), request.lines);
                assert!(request.lines == 1 || request.text().len() <= MAX_BYTES);
            }
        }
    }

    #[test]
    fn halves_are_whole() {
        let request = Request::new(Bytes::from_static(b"a\nb\nc\n"), 3, Some(at(7)));
        let (left, right) = request.halve().unwrap();
        assert_eq!((left.text(), left.lines, left.acknowledge), (&b"a\n"[..], 1, None));
        assert_eq!((right.text(), right.lines, right.acknowledge), (&b"b\nc\n"[..], 2, Some(at(7))));
        assert!(left.halve().is_none());
    }

    #[test]
    fn large_bodies_are_compressed_and_read_back() {
        let request = gathered(&[(200, 50)]).remove(0);
        let Body::Gzip(bytes) = &request.body else { panic!("10,000 bytes are compressed") };
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, request.text());
        assert!(matches!(gathered(&[(1, 50)])[0].body, Body::Plain(_)));
    }
}
