//! The processes at one moment, from the kernel's own text (`proc(5)`).
//!
//! Reading the arguments of a process takes the lock of its memory, which a process that hangs in the kernel may hold for
//! ever. So each thread writes down whose arguments it is about to read: those that come after it pass that one over.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{failed, printable, read};
use crate::failure::{Failure, chain, code};

/// Processes that are looked at, by ascending number. Nodes are full with some thousands.
const MAX_PROCESSES: usize = 8192;
/// Bytes of arguments that are kept of one process: a Java server's fill it.
const MAX_ARGUMENTS: u64 = 4 << 10;
/// Bytes of arguments that are kept of all: a guest has to hold them in its own memory.
const MAX_TEXT: usize = 4 << 20;
/// Of `stat` and `status`, which have one and some sixty lines.
const MAX_FILE: u64 = 16 << 10;
/// Threads that may hang here while others still get an answer.
pub(super) const MAX_HANGING: usize = 3;
/// Arguments that another thread has been reading for so long are not asked for. They take microseconds.
const HANGS_AFTER: Duration = Duration::from_millis(900);
/// The kernel gives the time of start in ticks of 10 ms: finer differences between two clocks are noise.
const GRAIN_NS: i128 = 10_000_000;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// At most 15 bytes.
    pub name: String,
    /// The arguments, joined by spaces; the name in brackets where there are none.
    pub command_line: String,
    /// `R`, `S`, `D`, `Z`, `T` …
    pub state: char,
    /// Whose rights it has: the effective one.
    pub user_id: u32,
    pub threads: u32,
    pub resident_bytes: u64,
    /// Processor time so far.
    pub cpu_ns: u64,
    /// Since 1970 (UTC).
    pub started_ns: i64,
}

/// The processes at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    pub list: Vec<Process>,
    /// Whether there were more than are looked at, or may be.
    pub truncated: bool,
}

/// Whose arguments are being read, by which thread of the pool ever.
#[derive(Debug, Default)]
pub(super) struct Reading(Mutex<Vec<(u32, Instant)>>);

impl Reading {
    /// Reads, unless another thread hangs there.
    fn arguments(&self, proc: &Path, pid: u32) -> Option<Result<Vec<u8>, Failure>> {
        let now = Instant::now();
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut reading = lock();
            if reading.iter().any(|(other, since)| *other == pid && now - *since >= HANGS_AFTER) {
                return None;
            }
            reading.push((pid, now));
        }
        let arguments = read(&proc.join(format!("{pid}/cmdline")), MAX_ARGUMENTS);
        let mut reading = lock();
        if let Some(place) = reading.iter().position(|entry| *entry == (pid, now)) {
            reading.swap_remove(place);
        }
        Some(arguments)
    }
}

/// May never return.
pub(super) fn processes(proc: &Path, reading: &Reading) -> Result<Processes, Failure> {
    let pids = pids(proc)?;
    let units = Units::of_this_kernel();
    let mut found = Processes { list: Vec::with_capacity(pids.len().min(MAX_PROCESSES)), truncated: false };
    let mut text = 0;
    for pid in pids {
        if found.list.len() == MAX_PROCESSES || text >= MAX_TEXT {
            found.truncated = true;
            break;
        }
        match process(proc, pid, &units, reading) {
            Ok(process) => {
                text += process.command_line.len();
                found.list.push(process);
            }
            Err(failure) if failure.code == code::DENIED => found.truncated = true,
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// All numbers of processes, ascending.
pub(super) fn pids(proc: &Path) -> Result<Vec<u32>, Failure> {
    let cannot = |error| failed(code::IO, format!("cannot list {}: {}", proc.display(), chain(&error)));
    let entries = fs::read_dir(proc).map_err(cannot)?;
    let mut pids: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

fn process(proc: &Path, pid: u32, units: &Units, reading: &Reading) -> Result<Process, Failure> {
    let folder = proc.join(pid.to_string());
    let strange = |file: &str| failed(code::IO, format!("{}/{file} is of an unknown form", folder.display()));
    let stat = read(&folder.join("stat"), MAX_FILE)?;
    let stat = Stat::parse(&stat).ok_or_else(|| strange("stat"))?;
    let status = read(&folder.join("status"), MAX_FILE)?;
    let user_id = effective_user(&String::from_utf8_lossy(&status)).ok_or_else(|| strange("status"))?;
    let arguments = reading.arguments(proc, pid).unwrap_or_else(|| Ok(Vec::new()))?;
    Ok(Process {
        pid,
        parent: stat.parent,
        command_line: command_line(arguments, &stat.name),
        name: stat.name,
        state: stat.state,
        user_id,
        threads: stat.threads,
        resident_bytes: stat.resident_pages.saturating_mul(units.page_bytes),
        cpu_ns: stat.cpu_ticks.saturating_mul(units.tick_ns),
        started_ns: units.instant(stat.started_ticks),
    })
}

/// In which the kernel counts.
#[derive(Debug)]
struct Units {
    page_bytes: u64,
    tick_ns: u64,
    /// When the kernel began, in nanoseconds since 1970.
    booted_ns: i128,
}

impl Units {
    fn of_this_kernel() -> Units {
        let ns = |time: Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let booted = ns(clock_gettime(ClockId::Realtime)) - ns(clock_gettime(ClockId::Boottime));
        Units {
            page_bytes: rustix::param::page_size() as u64,
            tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1),
            booted_ns: (booted + GRAIN_NS / 2).div_euclid(GRAIN_NS) * GRAIN_NS,
        }
    }

    fn instant(&self, ticks: u64) -> i64 {
        i64::try_from(self.booted_ns + i128::from(ticks) * i128::from(self.tick_ns)).unwrap_or(i64::MAX)
    }
}

/// What is taken of `stat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    name: String,
    state: char,
    parent: u32,
    /// Its own, in user mode and in the kernel.
    pub(crate) cpu_ticks: u64,
    /// Of its children that it has waited for.
    pub(crate) children_ticks: u64,
    threads: u32,
    started_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    /// `42 (a name (in brackets)) S 1 42 …`: the name may hold anything, so it ends at the last bracket.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Stat> {
        let first = bytes.iter().position(|byte| *byte == b'(')?;
        let last = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = printable(bytes.get(first + 1..last)?);
        let rest = std::str::from_utf8(bytes.get(last + 1..)?).ok()?;
        // Numbered as in proc(5), where the state is the third.
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let word = |number: usize| words.get(number - 3).copied();
        let number = |place: usize| word(place)?.parse::<u64>().ok();
        // Waited-for times are signed there, and never negative.
        Some(Stat {
            name,
            state: word(3)?.chars().next()?,
            parent: word(4)?.parse().ok()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            children_ticks: number(16)?.saturating_add(number(17)?),
            threads: word(20)?.parse().ok()?,
            started_ticks: number(22)?,
            resident_pages: number(24)?,
        })
    }
}

/// The second of `Uid: 0 0 0 0`: real, effective, saved, of the filesystem.
fn effective_user(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn command_line(mut arguments: Vec<u8>, name: &str) -> String {
    arguments.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    let line = printable(&arguments);
    if line.trim().is_empty() { format!("[{name}]") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_one() {
        let line =
            b"4242 (tmux: (server) x) D 17 4242 4242 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 3 0 123456 1000 77 18 1 1\n";
        let stat = Stat {
            name: "tmux: (server) x".into(),
            state: 'D',
            parent: 17,
            cpu_ticks: 200,
            children_ticks: 15,
            threads: 3,
            started_ticks: 123_456,
            resident_pages: 77,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        let odd = b"1 (a\x1b[31m\xff\n) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n";
        assert_eq!(Stat::parse(odd).map(|stat| stat.name), Some("a [31m\u{fffd}".to_owned()));
        for short in
            [&b""[..], b"1", b"1 (a", b"1 )a(", b"1 (a) S 0 1", b"1 (a) S x 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0"]
        {
            assert_eq!(Stat::parse(short), None, "{short:?}");
        }
    }

    #[test]
    fn users() {
        for (text, user) in [
            ("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n", Some(0)),
            ("Uid:\t1\t2\t3\t4", Some(2)),
            ("Uid:\t1", None),
            ("Uid:\tx\ty", None),
            ("", None),
        ] {
            assert_eq!(effective_user(text), user, "{text:?}");
        }
    }

    #[test]
    fn command_lines() {
        for (bytes, line) in [
            (&b"/bin/sh\0-c\0echo a  b\0"[..], "/bin/sh -c echo a  b"),
            (b"postgres: writer\0\0\0\0", "postgres: writer"),
            (b"a\0\x1b[31mred\nline\0", "a  [31mred line"),
            (b"", "[name]"),
            (b"\0\0", "[name]"),
        ] {
            assert_eq!(command_line(bytes.to_vec(), "name"), line, "{bytes:?}");
        }
    }

    #[test]
    fn arguments_that_another_thread_hangs_at_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("7/cmdline");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "seven").unwrap();
        let reading = Reading::default();
        let arguments = |pid| reading.arguments(folder.path(), pid).map(Result::ok);
        assert_eq!(arguments(7), Some(Some(b"seven".to_vec())));
        reading.0.lock().unwrap().push((7, Instant::now()));
        assert_eq!(arguments(7), Some(Some(b"seven".to_vec())));
        reading.0.lock().unwrap().push((7, Instant::now() - HANGS_AFTER));
        assert_eq!(arguments(7), None);
        assert_eq!(arguments(8), Some(None));
        assert_eq!(reading.0.lock().unwrap().len(), 2);
    }
}
