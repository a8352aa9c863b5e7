//! Space set aside on the disk, so that a full one can always be cleaned up after.
//!
//! What was committed is in the log; carrying it over into the file makes the file grow. On a disk that filled up in
//! between, that would fail for ever, and with it everything else, even removing rows. So a file of zeros is kept that
//! can be removed, and the file may never be allowed to grow by more than that before the log has been carried over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// As much as the largest batch and what waits for a checkpoint, with their index entries.
const FULL_BYTES: u64 = 8 << 20;

/// Less than this is of no use.
const LEAST_BYTES: u64 = 64 << 10;

/// Written at once.
const BLOCK: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    wanted: u64,
    held: u64,
}

impl Reserve {
    /// What there is from before; `max_size` is the budget that it is part of.
    pub(crate) fn new(directory: &Path, max_size: u64) -> Self {
        let path = directory.join("roundsman.reserve");
        let held = fs::metadata(&path).map_or(0, |file| file.len());
        Self { path, wanted: FULL_BYTES.min(max_size / 8), held }
    }

    /// Bytes that can be had by `release`.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Takes what is missing, or as much as leaves the others on the disk the same again.
    pub(crate) fn acquire(&mut self) {
        if self.held >= self.wanted {
            return;
        }
        let free = self.free().saturating_add(self.held);
        let mut size = self.wanted;
        while size >= LEAST_BYTES && (free < 2 * size || !self.write(size)) {
            size /= 2;
        }
    }

    /// Gives the space back. False: there is none.
    pub(crate) fn release(&mut self) -> bool {
        let had = self.held > 0;
        self.held = 0;
        match fs::remove_file(&self.path) {
            Ok(()) => had,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "the reserve of disk space cannot be removed");
                }
                false
            }
        }
    }

    /// What is free on the disk; nothing, if it does not say.
    pub(crate) fn free(&self) -> u64 {
        let file_system = rustix::fs::statvfs(self.path.parent().unwrap_or(Path::new(".")));
        file_system.map_or(0, |file_system| file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }

    /// Zeros are written, because a file with holes takes no space.
    fn write(&mut self, size: u64) -> bool {
        if size <= self.held {
            return true;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        let written = file.and_then(|mut file| append(&mut file, size - self.held));
        match written {
            Ok(()) => self.held = size,
            Err(_) => {
                self.release();
            }
        }
        self.held == size
    }
}

fn append(file: &mut File, mut bytes: u64) -> io::Result<()> {
    let block = vec![0; BLOCK];
    while bytes > 0 {
        let part = bytes.min(BLOCK as u64);
        file.write_all(&block[..usize::try_from(part).unwrap_or(BLOCK)])?;
        bytes -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_given_back_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::new(directory.path(), 1 << 20);
        assert!(!reserve.release());
        reserve.acquire();
        assert_eq!(reserve.held(), 128 << 10);
        assert_eq!(fs::metadata(&reserve.path).unwrap().len(), 128 << 10);
        let mut again = Reserve::new(directory.path(), 2 << 20);
        assert_eq!(again.held(), 128 << 10);
        again.acquire();
        assert_eq!((again.held(), fs::metadata(&again.path).unwrap().len()), (256 << 10, 256 << 10));
        assert!(again.release() && !again.release());
        assert!(!again.path.exists());
    }
}
