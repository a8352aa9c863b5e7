//! The kernel's parameters and its log.

use std::time::SystemTime;

use super::Failure;
use crate::bindings::roundsman::host::system;
use crate::exchange::at;

/// A piece of the kernel's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelLog {
    /// In order.
    pub lines: Vec<KernelLine>,
    /// Where to go on: store it with [`state`](crate::state). It is good for this boot, and harmless after the next.
    pub cursor: String,
    /// Lines that the kernel had overwritten before they could be read.
    pub lost: u64,
    /// Whether there are more lines than were asked for: ask again.
    pub more: bool,
}

/// One line of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelLine {
    /// 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// 0 is the kernel itself.
    pub facility: u8,
    /// Counts up by one from line to line.
    pub sequence: u64,
    /// As near as the kernel's own clock allows.
    pub at: SystemTime,
    /// What it says.
    pub text: String,
}

/// Instead of a cursor: everything that the kernel still has.
pub const START: &str = "start";

/// A kernel parameter by its name with dots, `net.ipv4.ip_forward`; as in /proc/sys, trimmed. Grant `sysctl`.
///
/// # Errors
/// `not-found` where the kernel has none of this name; otherwise as the kernel or the policy says.
pub fn sysctl(name: &str) -> Result<String, Failure> {
    Ok(system::sysctl(name)?)
}

/// What came after a cursor; without one nothing but a cursor for what will come; with [`START`] everything that the
/// kernel still has. Grant `kernel-log`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn kernel_log(cursor: Option<&str>, max_lines: u32) -> Result<KernelLog, Failure> {
    let log = system::kernel_log(cursor, max_lines)?;
    let lines = log.lines().into_iter().map(KernelLine::from).collect();
    Ok(KernelLog { lines, cursor: log.cursor(), lost: log.lost(), more: log.more() })
}

impl From<system::KernelLine> for KernelLine {
    fn from(line: system::KernelLine) -> Self {
        let system::KernelLine { priority, facility, sequence, at_ns, text } = line;
        Self { priority, facility, sequence, at: at(at_ns), text }
    }
}
