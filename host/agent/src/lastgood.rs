//! The last good version of every file, kept in the state directory: what goes on when the file is broken after a
//! restart.
//!
//! On disk: `last-good/<kind>/<name>`, the bytes as they were read, mode 0600. A copy is written beside its place,
//! flushed and renamed over it, so that there is always a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::problem::Problem;
use crate::watch::read::read_stable;

/// Begins the names of copies that are still being written.
const UNFINISHED: &str = ".unfinished-";

/// What file systems allow, less the beginning above.
const MAX_NAME: usize = 200;

/// Why a copy could not be kept, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    #[error("cannot make the directory {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot keep the last good version of {name} in {}", path.display())]
    Keep { name: String, path: PathBuf, source: io::Error },
    #[error("cannot read the last good version {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot remove the last good version {}", path.display())]
    Forget { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be the name of a copy", roundsman_model::name::excerpt(name))]
    Name { name: String },
}

/// The copies of one kind of files.
#[derive(Debug, Clone)]
pub struct LastGood {
    directory: PathBuf,
}

impl LastGood {
    /// Makes the directory where it is not there yet, and removes what an earlier process did not finish.
    pub fn open(state: &Path, kind: &str) -> Result<Self, LastGoodError> {
        let directory = state.join("last-good").join(kind);
        let failed = |source| LastGoodError::Open { path: directory.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self { directory })
    }

    /// Keeps a version; the disk is left alone when it is kept already.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), LastGoodError> {
        let path = self.path(name)?;
        if fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) && fs::read(&path).is_ok_and(|b| b == bytes)
        {
            return Ok(());
        }
        self.replace(&path, bytes).map_err(|source| LastGoodError::Keep { name: name.to_owned(), path, source })
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Made with mode 0600.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(&self.directory)?.sync_all()
    }

    /// The version that is kept, if there is one.
    pub fn load(&self, name: &str, cap: u64) -> Result<Option<Vec<u8>>, LastGoodError> {
        let path = self.path(name)?;
        match read_stable(&path, cap) {
            Ok(read) => Ok(Some(read.bytes)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(LastGoodError::Read { path, source: error.into_io() }),
        }
    }

    /// Every version that is kept and can be read, by name, and what is wrong with the others.
    pub fn load_all(&self, cap: u64) -> (Vec<(String, Vec<u8>)>, Vec<Problem>) {
        let (mut good, mut problems) = (Vec::new(), Vec::new());
        match self.names() {
            Err(error) => problems.push(error.problem()),
            Ok(names) => {
                for name in names {
                    match self.load(&name, cap) {
                        Ok(bytes) => good.extend(bytes.map(|bytes| (name, bytes))),
                        Err(error) => problems.push(error.problem()),
                    }
                }
            }
        }
        (good, problems)
    }

    /// The names of what is kept, sorted.
    pub fn names(&self) -> Result<Vec<String>, LastGoodError> {
        let failed = |source| LastGoodError::Read { path: self.directory.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().into_string();
            names.extend(name.ok().filter(|name| self.path(name).is_ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Forgets a version: its file was removed on purpose.
    pub fn forget(&self, name: &str) -> Result<(), LastGoodError> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LastGoodError::Forget { path, source }),
            _ => Ok(()),
        }
    }

    /// Where a version is kept: one plain file of the directory.
    pub fn path(&self, name: &str) -> Result<PathBuf, LastGoodError> {
        let plain = !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.');
        if plain && !name.contains(['/', '\0']) {
            Ok(self.directory.join(name))
        } else {
            Err(LastGoodError::Name { name: name.to_owned() })
        }
    }
}

impl LastGoodError {
    /// As a warning: the agent runs on, a restart would find less.
    pub fn problem(&self) -> Problem {
        let path = match self {
            Self::Open { path, .. } | Self::Keep { path, .. } | Self::Read { path, .. } | Self::Forget { path, .. } => {
                path
            }
            Self::Name { name } => Path::new(name),
        };
        let reason = std::error::Error::source(self).map(|source| format!(": {source}")).unwrap_or_default();
        Problem::error(path, format!("{self}{reason}"))
            .warning()
            .hint("after a restart a broken file has nothing to fall back on")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn keeps_replaces_and_forgets() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::open(state.path(), "checks").unwrap();
        assert_eq!(kept.load("a.yaml", 100).unwrap(), None);
        kept.keep("a.yaml", b"one").unwrap();
        kept.keep("a.yaml", b"two").unwrap();
        kept.keep("b.yaml", b"").unwrap();
        let again = LastGood::open(state.path(), "checks").unwrap();
        assert_eq!(again.load_all(100).0, [("a.yaml".to_owned(), b"two".to_vec()), ("b.yaml".to_owned(), Vec::new())]);
        again.forget("a.yaml").unwrap();
        again.forget("a.yaml").unwrap();
        assert_eq!(again.names().unwrap(), ["b.yaml"]);
    }

    #[test]
    fn copies_are_private_and_written_once() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::open(state.path(), "checks").unwrap();
        kept.keep("a.yaml", b"one").unwrap();
        let path = kept.path("a.yaml").unwrap();
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        kept.keep("a.yaml", b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
        kept.keep("a.yaml", b"two").unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
    }

    #[test]
    fn unfinished_copies_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::open(state.path(), "checks").unwrap();
        fs::write(kept.directory.join(".unfinished-x"), b"half").unwrap();
        let again = LastGood::open(state.path(), "checks").unwrap();
        assert_eq!(fs::read_dir(&again.directory).unwrap().count(), 0);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::open(state.path(), "checks").unwrap();
        let long = "a".repeat(201);
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a\0b", &long] {
            assert!(matches!(kept.keep(name, b"x"), Err(LastGoodError::Name { .. })), "{name:?}");
            assert!(kept.load(name, 1).is_err() && kept.forget(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn failures_name_the_place_and_the_reason() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("last-good"), b"").unwrap();
        let error = LastGood::open(state.path(), "checks").unwrap_err();
        assert!(error.to_string().starts_with("cannot make the directory "), "{error}");
        let kept = LastGood { directory: state.path().join("gone") };
        let problem = kept.keep("a.yaml", b"x").unwrap_err().problem();
        assert!(problem.message.starts_with("cannot keep the last good version of a.yaml in "), "{problem}");
        assert!(problem.message.contains("No such file"), "{problem}");
        let (good, problems) = kept.load_all(1);
        assert!(good.is_empty() && problems.len() == 1);
    }
}
