//! The kernel's log since a cursor, from `/dev/kmsg`: one record with each read, numbered since the kernel began.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::failed;
use crate::failure::{Failure, code};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod holds;

/// Lines of one answer.
pub(super) const MAX_LINES: usize = 1000;
/// Bytes of text of one answer; a line has a hundred, and at most some eight thousand.
const MAX_TEXT: usize = 512 << 10;
/// Bytes of one record: the kernel itself prepares them in 8 KiB.
const RECORD: usize = 16 << 10;
/// Records of one look through the log: more than its largest size holds. A kernel that writes faster than it is read
/// must not keep a thread.
const MAX_RECORDS: usize = 1 << 20;
/// Of a cursor: an identity of 36 characters and a number.
const MAX_CURSOR: usize = 64;
/// The cursor that asks for all there is.
const START: &str = "start";

/// One line of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelLine {
    /// 0 (emergency) to 7 (debug).
    pub priority: u8,
    pub facility: u8,
    pub sequence: u64,
    /// Since 1970 (UTC).
    pub at_ns: i64,
    pub text: String,
}

/// A part of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelLines {
    pub lines: Vec<KernelLine>,
    /// Where to go on.
    pub cursor: String,
    /// Lines that were overwritten before they could be read.
    pub lost: u64,
    /// Whether there are more lines than were asked for.
    pub more: bool,
}

/// From where to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum From {
    /// Nothing of what is there.
    Now,
    /// Whatever is there.
    Start,
    /// From a number on, of one boot; of the next, everything is new.
    After { boot: String, next: u64 },
}

impl From {
    pub(super) fn parse(cursor: Option<&str>) -> Result<From, Failure> {
        let Some(cursor) = cursor else { return Ok(From::Now) };
        if cursor == START {
            return Ok(From::Start);
        }
        let parsed = cursor.split_once(':').filter(|(boot, _)| !boot.is_empty() && cursor.len() <= MAX_CURSOR);
        let parsed = parsed.and_then(|(boot, next)| Some((boot.to_owned(), next.parse().ok()?)));
        let (boot, next) = parsed.ok_or_else(|| {
            failed(code::UNSUPPORTED, "a cursor of the kernel's log is what an earlier answer gave, or `start`")
        })?;
        Ok(From::After { boot, next })
    }
}

/// What one read gave.
enum Next {
    /// A record of so many bytes, which are now in the buffer.
    Record(usize),
    /// There is nothing more at present.
    End,
    /// What was to come has been overwritten; the next read goes on with the oldest that is left.
    Overwritten,
}

pub(super) fn read(path: &Path, boot: &str, from: &From, most: usize) -> Result<KernelLines, Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| cannot(path, error))?;
    let mut record = vec![0; RECORD];
    collect(boot, from, most, began_ns(), &mut record, |record| match rustix::io::read(&log, &mut *record) {
        Ok(0) | Err(Errno::AGAIN) => Ok(Next::End),
        Ok(length) => Ok(Next::Record(length)),
        Err(Errno::PIPE | Errno::INTR) => Ok(Next::Overwritten),
        Err(error) => Err(cannot(path, error)),
    })
}

fn cannot(path: &Path, error: Errno) -> Failure {
    let path = path.display();
    match error {
        Errno::PERM | Errno::ACCESS => failed(
            code::DENIED,
            format!(
                "the kernel does not let the agent read {path}: give it CAP_SYSLOG, or set kernel.dmesg_restrict to 0 \
                 and let it read the device"
            ),
        ),
        Errno::NOENT | Errno::NXIO | Errno::NODEV => {
            failed(code::UNSUPPORTED, format!("there is no kernel log at {path}; into a container it must be mounted"))
        }
        error => failed(code::IO, format!("cannot read {path}: {error}")),
    }
}

/// When the clock of the kernel's log began. It stands still while the machine sleeps, like this one: what was logged
/// before the last sleep appears later than it was, by the time slept.
fn began_ns() -> i64 {
    let ns = |time: Timespec| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    ns(clock_gettime(ClockId::Realtime)).saturating_sub(ns(clock_gettime(ClockId::Monotonic)))
}

/// Puts records together to an answer; `next` gives them one by one.
fn collect(
    boot: &str,
    from: &From,
    most: usize,
    began_ns: i64,
    buffer: &mut [u8],
    mut next: impl FnMut(&mut [u8]) -> Result<Next, Failure>,
) -> Result<KernelLines, Failure> {
    // The number that is expected next, where gaps are losses.
    let (mut expected, skip) = match from {
        From::Now => (None, true),
        From::Start => (None, false),
        From::After { boot: of, next } if of == boot => (Some(*next), false),
        From::After { .. } => (Some(0), false),
    };
    let mut found = KernelLines { lines: Vec::new(), cursor: String::new(), lost: 0, more: false };
    let (mut cursor, mut bytes) = (expected.unwrap_or(0), 0);
    for count in 0.. {
        if count == MAX_RECORDS {
            found.more = true;
            break;
        }
        let length = match next(buffer)? {
            Next::Record(length) => length,
            Next::Overwritten => continue,
            Next::End => break,
        };
        let Some(record) = buffer.get(..length).and_then(Record::parse) else { continue };
        if record.sequence < cursor && expected.is_some() {
            continue;
        }
        if !skip {
            if found.lines.len() == most || bytes >= MAX_TEXT {
                found.more = true;
                break;
            }
            found.lost += record.sequence.saturating_sub(expected.unwrap_or(record.sequence));
            bytes += record.text.len();
            expected = Some(record.sequence.saturating_add(1));
        }
        cursor = record.sequence.saturating_add(1);
        match found.lines.last_mut() {
            _ if skip => {}
            Some(line) if record.continues => line.text.push_str(&record.text),
            _ => found.lines.push(record.into_line(began_ns)),
        }
    }
    found.cursor = format!("{boot}:{cursor}");
    Ok(found)
}

/// One record: `6,339,5140900,-;NET: Registered protocol family 10` and lines of a dictionary, which begin with a space.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    priority: u8,
    facility: u8,
    sequence: u64,
    at_us: u64,
    /// It belongs to the line before it. Old kernels only: others put lines together themselves.
    continues: bool,
    text: String,
}

impl Record {
    fn parse(bytes: &[u8]) -> Option<Record> {
        let end = bytes.iter().position(|byte| *byte == b';')?;
        let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let text = bytes.get(end + 1..)?.split(|byte| *byte == b'\n').next()?;
        // What later kernels add stands behind these four.
        let mut words = head.split(',');
        let level: u32 = words.next()?.parse().ok()?;
        Some(Record {
            priority: u8::try_from(level & 7).ok()?,
            facility: u8::try_from((level >> 3) & 0xff).ok()?,
            sequence: words.next()?.parse().ok()?,
            at_us: words.next()?.parse().ok()?,
            continues: words.next()?.starts_with('+'),
            text: super::printable(&unescaped(text)),
        })
    }

    fn into_line(self, began_ns: i64) -> KernelLine {
        let since = i64::try_from(self.at_us.saturating_mul(1000)).unwrap_or(i64::MAX);
        KernelLine {
            priority: self.priority,
            facility: self.facility,
            sequence: self.sequence,
            at_ns: began_ns.saturating_add(since),
            text: self.text,
        }
    }
}

/// The kernel writes everything but printable ASCII, and the backslash, as `\x0a` and the like.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.strip_prefix(b"x").filter(|_| *first == b'\\').and_then(|digits| digits.get(..2));
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    bytes
}

#[cfg(test)]
#[path = "kmsg_tests.rs"]
mod tests;
