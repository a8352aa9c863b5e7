//! How full one mounted filesystem is.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::failed;
use crate::failure::{Failure, code};

/// The longest path that the kernel takes.
const MAX_PATH: usize = 4096;

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

/// A path in the one spelling by which a stuck filesystem is recognised.
pub(super) fn mount_path(path: &str) -> Result<PathBuf, Failure> {
    let parsed = Path::new(path);
    let plain = parsed.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.len() > MAX_PATH || !parsed.is_absolute() || !plain || path.contains('\0') {
        return Err(failed(code::NOT_FOUND, "a mounted filesystem has an absolute path without `.` and `..`"));
    }
    Ok(parsed.components().collect())
}

/// May never return. The path must be a mount point: a directory of another filesystem, which the missing one was to
/// cover, would else be taken for it.
pub(super) fn usage(path: &Path) -> Result<Usage, Failure> {
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
