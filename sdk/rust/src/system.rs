//! What the node's kernel says. Each function needs its word in the check's `allow: {system: […]}`.
//!
//! ```no_run
//! # fn look() -> Result<(), roundsman_sdk::Fault> {
//! use roundsman_sdk::system;
//!
//! let [one, _, _] = system::load_average()?;
//! let ssh = system::listening_ports()?.into_iter().find(|port| port.port == 22);
//! # let _ = (one, ssh);
//! # Ok(())
//! # }
//! ```

mod kernel;
mod lists;

use std::collections::BTreeMap;
use std::fmt;

use crate::Fault;
use crate::bindings::roundsman::host::system;

pub use self::kernel::{KernelLine, KernelLog, START, kernel_log, sysctl};
pub use self::lists::{List, Port, Process, Unit, failed_units, listening_ports, processes, units};

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `/dev/sda1`, `tmpfs`, `server:/export` …
    pub source: String,
    /// Where it is mounted.
    pub path: String,
    /// `ext4`, `xfs`, `nfs4`, `overlay` …
    pub kind: String,
    /// Whether this mount cannot be written to.
    pub read_only: bool,
    /// As the kernel prints them: `rw`, `noatime`, `errors=remount-ro` …
    pub options: Vec<String>,
}

/// How full a filesystem is; sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its size.
    pub total: u64,
    /// What holds nothing.
    pub free: u64,
    /// What is left for users other than root.
    pub available: u64,
    /// 0 where the filesystem does not count them.
    pub inodes: u64,
    /// Inodes that are not taken.
    pub inodes_free: u64,
    /// Whether the filesystem as a whole cannot be written to.
    pub read_only: bool,
}

/// What can be short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// Disks.
    Io,
}

/// Why the kernel was not asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `denied`, `timeout`, `hung`, `not-found`, `io`, `unsupported`.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// All mounted filesystems, in the order of mounting. Grant `filesystems`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn mounts() -> Result<Vec<Mount>, Failure> {
    Ok(system::mounts()?.into_iter().map(Mount::from).collect())
}

/// How full the filesystem mounted at `path` is. Grant `filesystems`.
///
/// # Errors
/// `hung` when it does not answer; otherwise as the kernel or the policy says.
pub fn usage(path: &str) -> Result<Usage, Failure> {
    Ok(system::usage(path)?.into())
}

/// Over 1, 5 and 15 minutes. Grant `load`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn load_average() -> Result<[f64; 3], Failure> {
    let (one, five, fifteen) = system::load_average()?;
    Ok([one, five, fifteen])
}

/// Processors that are online. Grant `load`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn processors() -> Result<u32, Failure> {
    Ok(system::processors()?)
}

/// /proc/meminfo in bytes, for instance `MemTotal`, `MemAvailable`, `SwapFree`. Grant `memory`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn memory() -> Result<BTreeMap<String, u64>, Failure> {
    Ok(system::memory()?.into_iter().collect())
}

/// Pressure stall information, for instance `some.avg10` in per cent and `full.total` in microseconds. Grant `pressure`.
///
/// # Errors
/// `unsupported` where the kernel has none; otherwise as the kernel or the policy says.
pub fn pressure(of: Resource) -> Result<BTreeMap<String, f64>, Failure> {
    Ok(system::pressure(of.as_str())?.into_iter().collect())
}

/// `sysname`, `release`, `version`, `machine`, `boot-id`, `uptime-s`. Grant `uname`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn uname() -> Result<BTreeMap<String, String>, Failure> {
    Ok(system::uname()?.into_iter().collect())
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Io];

    /// The kernel's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// A question that the node's kernel does not answer is a check that could not be carried out. A plugin that can tell
/// something from the failure, as from a filesystem that hangs, looks at the code first.
impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<system::Failure> for Failure {
    fn from(failure: system::Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<system::Mount> for Mount {
    fn from(mount: system::Mount) -> Self {
        Self {
            source: mount.source(),
            path: mount.path(),
            kind: mount.kind(),
            read_only: mount.read_only(),
            options: mount.options(),
        }
    }
}

impl From<system::Filesystem> for Usage {
    fn from(usage: system::Filesystem) -> Self {
        Self {
            total: usage.total(),
            free: usage.free(),
            available: usage.available(),
            inodes: usage.inodes(),
            inodes_free: usage.inodes_free(),
            read_only: usage.read_only(),
        }
    }
}
