//! Reading a file that somebody may be writing: whole and unchanged, or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::read::format_size;
use crate::problem::Problem;
use crate::watch::snapshot::{Stamp, kind_of};

/// A file's content and which version of it that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFile {
    pub bytes: Vec<u8>,
    pub stamp: Stamp,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file of {} is larger than {}", format_size(*len), format_size(*cap))]
    TooBig { len: u64, cap: u64 },
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("it is {kind}, not a file")]
    NotAFile { kind: &'static str },
    #[error("it is a link to a file that is not there")]
    Dangling,
    #[error("the file was changed while it was read; it is read again once it rests")]
    ChangedWhileRead,
}

/// Reads a file of at most `cap` bytes. A larger one is refused by its size, without reading it; what is no file (a
/// pipe, a device) is neither waited for nor read.
pub fn read_stable(path: &Path, cap: u64) -> Result<ReadFile, ReadError> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("flags of open(2) are an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        // Opening a directory for reading works; a socket refuses, and its kind says more than the error.
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => ReadError::NotAFile { kind: kind_of(&metadata) },
            Err(_) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => ReadError::Dangling,
            _ => ReadError::Unreadable(error),
        }
    })?;
    let metadata = file.metadata().map_err(ReadError::Unreadable)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { kind: kind_of(&metadata) });
    }
    if metadata.len() > cap {
        return Err(ReadError::TooBig { len: metadata.len(), cap });
    }
    let stamp = Stamp::of(&metadata);
    let bytes = read_at_most(&file, metadata.len(), cap)?;
    let after = Stamp::of(&file.metadata().map_err(ReadError::Unreadable)?);
    if after != stamp || bytes.len() as u64 != stamp.len {
        return Err(ReadError::ChangedWhileRead);
    }
    Ok(ReadFile { bytes, stamp })
}

fn read_at_most(file: &File, len: u64, cap: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(ReadError::Unreadable)?;
    Ok(bytes)
}

impl ReadError {
    /// Whether there is nothing of that name.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreadable(source) if source.kind() == io::ErrorKind::NotFound)
    }

    /// As an input/output error, for who knows only those.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Unreadable(source) => source,
            other => io::Error::other(other),
        }
    }

    /// As a problem of the file.
    pub fn problem(&self, path: &Path) -> Problem {
        match self {
            Self::Unreadable(source) => Problem::error(path, format!("{self}: {source}")),
            _ => Problem::error(path, self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn outcomes() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("good"), b"12345").unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        File::create(at("huge")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("good", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for (name, expected) in [
            ("good", "5 bytes"),
            ("link", "5 bytes"),
            ("empty", "0 bytes"),
            ("huge", "the file of 1Gi is larger than 5"),
            ("dir", "it is a directory, not a file"),
            ("pipe", "it is a pipe, not a file"),
            ("socket", "it is a socket, not a file"),
            ("dangling", "it is a link to a file that is not there"),
            ("missing", "the file cannot be read: No such file or directory (os error 2)"),
        ] {
            let told = match read_stable(&at(name), 5) {
                Ok(read) => format!("{} bytes", read.bytes.len()),
                Err(error) => error.problem(&at(name)).message,
            };
            assert_eq!(told, expected, "{name}");
        }
    }

    #[test]
    fn files_of_proc_are_refused_rather_than_taken_for_empty() {
        // Their size is 0 whatever they hold.
        assert!(matches!(read_stable(Path::new("/proc/self/status"), 1 << 20), Err(ReadError::ChangedWhileRead)));
    }
}
