//! What the node's kernel says: each question behind its grant, those that can hang on a pool of their own.
//!
//! - `mounts`: the table of mounts; `kernel`: load, processors, memory, pressure, uname
//! - `pool`: a bounded number of threads for questions that may never be answered
//!
//! Questions to filesystems can hang for ever in the kernel (a dead NFS server). The table of mounts takes a lock that
//! such a filesystem may hold while it is unmounted, so it is read on the pool, too. All other files of `proc` are made
//! from memory and are read where the question is asked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::failure::{Failure, chain, code, phase};
use crate::grants::Grants;
use crate::probe::Probe;

mod kernel;
mod mounts;
mod pool;

pub use mounts::Mount;
use pool::Pool;

/// The longest path that the kernel takes.
const MAX_PATH: usize = 4096;
/// Bytes read of a file of `proc`: ten times what the largest of the small ones has.
const MAX_SMALL_FILE: u64 = 64 << 10;
/// Bytes read of the table of mounts: room for more mounts than are kept.
const MAX_MOUNT_TABLE: u64 = 4 << 20;

/// Of one mounted filesystem; sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub total: u64,
    pub free: u64,
    /// For users other than root.
    pub available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
    pub read_only: bool,
}

/// Where the kernel is asked.
#[derive(Debug)]
pub(crate) struct Kernel {
    proc: PathBuf,
    sys: PathBuf,
    pool: Pool<Question, Result<Answer, Failure>>,
}

/// What is asked on the pool; equal questions are asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Mounts,
    Usage(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Mounts(Vec<Mount>),
    Usage(Usage),
}

impl Kernel {
    pub(crate) fn new(proc: PathBuf, sys: PathBuf) -> Kernel {
        let table = proc.join("self/mountinfo");
        let pool = Pool::new(move |question: &Question| match question {
            Question::Mounts => {
                read(&table, MAX_MOUNT_TABLE).map(|text| Answer::Mounts(mounts::parse(&String::from_utf8_lossy(&text))))
            }
            Question::Usage(path) => usage(path).map(Answer::Usage),
        });
        Kernel { proc, sys, pool }
    }
}

impl Probe {
    /// The filesystems that are mounted here, each path once. Grant `filesystems`.
    pub async fn mounts(&self, grants: &Grants, deadline: Instant) -> Result<Vec<Mount>, Failure> {
        let result = match grants.permits_system("filesystems") {
            Err(denied) => Err(denied.into()),
            Ok(()) => self.kernel().pool.ask(Question::Mounts, deadline).await.and_then(|answer| match answer? {
                Answer::Mounts(mounts) => Ok(mounts),
                Answer::Usage(_) => Err(failed(code::IO, "the pool gave the answer to another question")),
            }),
        };
        self.counted(result)
    }

    /// How full the filesystem mounted at a path is. Grant `filesystems`.
    pub async fn usage(&self, grants: &Grants, path: &str, deadline: Instant) -> Result<Usage, Failure> {
        let result = match grants.permits_system("filesystems").map_err(Failure::from).and_then(|()| mount_path(path)) {
            Err(failure) => Err(failure),
            Ok(path) => {
                self.kernel().pool.ask(Question::Usage(path), deadline).await.and_then(|answer| match answer? {
                    Answer::Usage(usage) => Ok(usage),
                    Answer::Mounts(_) => Err(failed(code::IO, "the pool gave the answer to another question")),
                })
            }
        };
        self.counted(result)
    }

    /// Over 1, 5 and 15 minutes. Grant `load`.
    pub fn load_average(&self, grants: &Grants) -> Result<[f64; 3], Failure> {
        self.granted(grants, "load", |kernel| kernel::load_average(&kernel.small("loadavg")?))
    }

    /// Processors that are online. Grant `load`.
    pub fn processors(&self, grants: &Grants) -> Result<u32, Failure> {
        let list = |kernel: &Kernel| text(&kernel.sys.join("devices/system/cpu/online"));
        self.granted(grants, "load", |kernel| kernel::processors(&list(kernel)?))
    }

    /// What `meminfo` gives in bytes. Grant `memory`.
    pub fn memory(&self, grants: &Grants) -> Result<Vec<(String, u64)>, Failure> {
        self.granted(grants, "memory", |kernel| kernel::memory(&kernel.small("meminfo")?))
    }

    /// Pressure stall information of `cpu`, `memory` or `io`. Grant `pressure`.
    pub fn pressure(&self, grants: &Grants, what: &str) -> Result<Vec<(String, f64)>, Failure> {
        self.granted(grants, "pressure", |kernel| {
            let file = ["cpu", "memory", "io"].into_iter().find(|known| *known == what);
            let file = file.ok_or_else(|| failed(code::UNSUPPORTED, "pressure is of `cpu`, `memory` or `io`"))?;
            let text = kernel.small(&format!("pressure/{file}")).map_err(|error| match error.code {
                code::NOT_FOUND => failed(code::UNSUPPORTED, "this kernel has no pressure stall information"),
                _ => error,
            })?;
            kernel::pressure(&text)
        })
    }

    /// `sysname`, `release`, `version`, `machine`, `boot-id`, `uptime-s`. Grant `uname`.
    pub fn uname(&self, grants: &Grants) -> Result<Vec<(&'static str, String)>, Failure> {
        self.granted(grants, "uname", |kernel| {
            let (boot_id, uptime) = (kernel.small("sys/kernel/random/boot_id")?, kernel.small("uptime")?);
            Ok(kernel::uname(boot_id.trim(), kernel::uptime(&uptime)?))
        })
    }

    fn granted<T>(
        &self,
        grants: &Grants,
        word: &str,
        ask: impl FnOnce(&Kernel) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.counted(grants.permits_system(word).map_err(Failure::from).and_then(|()| ask(self.kernel())))
    }

    fn counted<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.stats().system.count(&result);
        result
    }
}

impl Kernel {
    fn small(&self, name: &str) -> Result<String, Failure> {
        text(&self.proc.join(name))
    }
}

fn failed(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(code, phase::SYSTEM, message)
}

fn text(path: &Path) -> Result<String, Failure> {
    read(path, MAX_SMALL_FILE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
    result.map(|_| bytes).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => code::NOT_FOUND,
            io::ErrorKind::Unsupported => code::UNSUPPORTED,
            _ => code::IO,
        };
        failed(code, format!("cannot read {}: {}", path.display(), chain(&error)))
    })
}

/// A path in the one spelling by which a stuck filesystem is recognised.
fn mount_path(path: &str) -> Result<PathBuf, Failure> {
    let parsed = Path::new(path);
    let plain = parsed.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.len() > MAX_PATH || !parsed.is_absolute() || !plain || path.contains('\0') {
        return Err(failed(code::NOT_FOUND, "a mounted filesystem has an absolute path without `.` and `..`"));
    }
    Ok(parsed.components().collect())
}

/// May never return. The path must be a mount point: a directory of another filesystem, which the missing one was to
/// cover, would else be taken for it.
fn usage(path: &Path) -> Result<Usage, Failure> {
    let trouble = |error: Errno| {
        let code = if matches!(error, Errno::NOENT | Errno::NOTDIR) { code::NOT_FOUND } else { code::IO };
        failed(code, format!("cannot ask {}: {error}", path.display()))
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Links would give one filesystem many names. Kernels before 5.6 and some sandboxes lack this way to open.
    let opened = match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        opened => opened,
    };
    let opened = opened.map_err(trouble)?;
    let none = StatxFlags::empty();
    // A kernel that cannot tell (before 5.8) is believed.
    if let Ok(status) = rustix::fs::statx(&opened, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, none)
        && status.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
        && !status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    {
        return Err(failed(code::NOT_FOUND, format!("no filesystem is mounted at {}", path.display())));
    }
    let found = rustix::fs::fstatvfs(&opened).map_err(trouble)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Usage {
        total: bytes(found.f_blocks),
        free: bytes(found.f_bfree),
        available: bytes(found.f_bavail),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
        read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}
