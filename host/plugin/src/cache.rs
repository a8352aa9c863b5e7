//! Machine code on disk: private, named by what it was made from and for, never overwritten.
//!
//! Loading machine code is executing it. So the directory belongs to the agent alone (0700), files are written under
//! another name, synced, made read-only and renamed; and nothing is ever loaded from the plugins' directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;

/// Files that stay when they were not used for a while: a rollback finds its old version compiled.
const KEEP: usize = 64;
/// The ending of machine code; anything else in the directory is a file that is being written, or was.
const ENDING: &str = ".cwasm";
/// Nobody writes a file for so long: what is older and has no name yet was left behind by a process that ended.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot use the cache directory {}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the cache directory {} can be written by others (mode {mode:o}): machine code from it cannot be trusted; run `chmod 700` on it", path.display())]
    Unsafe { path: PathBuf, mode: u32 },
    #[error("the cache directory {} belongs to user {owner}: machine code from it cannot be trusted; give it to the user that the agent runs as", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("cannot write machine code to {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// The directory of compiled plugins.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    compatibility: u64,
}

impl Cache {
    /// Opens or makes the directory; what was compiled for another engine is left out.
    pub fn open(directory: &Path, compatibility: u64) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Directory { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let metadata = fs::metadata(directory).map_err(failed)?;
        // Root can write everywhere anyway.
        if metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(CacheError::Foreign { path: directory.to_owned(), owner: metadata.uid() });
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Unsafe { path: directory.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        Ok(Self { directory: directory.to_owned(), compatibility })
    }

    /// Where the machine code of a component is, if it is there.
    pub fn find(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.path(digest);
        let file = fs::File::open(&path).ok()?;
        // Marks it as used, for `prune`; that this fails on a read-only file system does no harm.
        file.set_modified(SystemTime::now()).ok();
        Some(path)
    }

    /// Stores machine code; complete or not at all.
    pub fn store(&self, digest: &Digest, code: &[u8]) -> Result<PathBuf, CacheError> {
        let path = self.path(digest);
        let failed = |source| CacheError::Write { path: path.clone(), source };
        let write = || -> std::io::Result<()> {
            // Under a name of its own: the same component may be loaded twice at once, and what has its final name must
            // never change again. Removed when it does not come so far.
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory)?;
            file.write_all(code)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o400))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            fs::File::open(&self.directory)?.sync_all()
        };
        write().map_err(failed)?;
        self.prune(&path);
        Ok(path)
    }

    /// Takes out machine code that the engine refused.
    pub fn discard(&self, digest: &Digest) {
        // Not there is as good as removed.
        drop(fs::remove_file(self.path(digest)));
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}{ENDING}", self.compatibility))
    }

    /// Removes the longest unused files beyond [`KEEP`], and those of other engines first. Mapped files live on.
    fn prune(&self, keep: &Path) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let ours = format!("-{:016x}{ENDING}", self.compatibility);
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if name.ends_with(ENDING) {
                files.push((name.ends_with(&ours), modified, entry.path()));
            } else if modified.elapsed().is_ok_and(|age| age > LEFT_BEHIND) {
                drop(fs::remove_file(entry.path()));
            }
        }
        files.retain(|(_, _, path)| path != keep);
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(KEEP);
        for (_, _, path) in files.into_iter().take(surplus) {
            drop(fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_stored_and_refuses_a_shared_directory() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("cache");
        let cache = Cache::open(&directory, 7).unwrap();
        let digest = Digest::of(b"component");
        assert_eq!(cache.find(&digest), None);
        let path = cache.store(&digest, b"code").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        assert_eq!(cache.find(&digest), Some(path));
        assert_eq!(Cache::open(&directory, 8).unwrap().find(&digest), None, "another engine's code");
        cache.discard(&digest);
        assert_eq!(cache.find(&digest), None);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Cache::open(&directory, 7), Err(CacheError::Unsafe { mode: 0o777, .. })));
    }

    #[test]
    fn old_files_go_first() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path(), 7).unwrap();
        let foreign = Cache::open(root.path(), 8).unwrap();
        let old = foreign.store(&Digest::of(b"foreign"), b"code").unwrap();
        for n in 0..KEEP as u32 {
            cache.store(&Digest::of(&n.to_le_bytes()), b"code").unwrap();
        }
        assert!(!old.exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), KEEP);
    }

    #[test]
    fn the_longest_unused_go_before_the_oldest() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path(), 7).unwrap();
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        let long_ago = SystemTime::now() - 2 * LEFT_BEHIND;
        for n in 0..KEEP {
            let path = cache.store(&digest(n), b"code").unwrap();
            fs::File::open(path).unwrap().set_modified(long_ago + Duration::from_secs(n as u64)).unwrap();
        }
        let left_behind = root.path().join(".new-1");
        let being_written = root.path().join(".new-2");
        fs::write(&left_behind, "").unwrap();
        fs::write(&being_written, "").unwrap();
        fs::File::open(&left_behind).unwrap().set_modified(long_ago).unwrap();
        assert!(cache.find(&digest(0)).is_some(), "used again");
        cache.store(&digest(KEEP), b"code").unwrap();
        assert!(cache.find(&digest(0)).is_some() && cache.find(&digest(1)).is_none());
        assert!(!left_behind.exists() && being_written.exists());
    }

    /// The same component under two names is compiled twice at once: nobody may see half a file.
    #[test]
    fn writers_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path(), 7).unwrap();
        let code = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        let path = cache.store(&Digest::of(b"same"), &code).unwrap();
                        assert!(fs::read(path).unwrap() == code);
                    }
                });
            }
        });
    }
}
