//! What can go wrong, in words that say what to do next.

use std::io;
use std::path::PathBuf;

use crate::schema::SCHEMA;

/// Why the store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} is in use by another agent: stop that one, or give this one a `paths.state` of its own", directory.display())]
    InUse { directory: PathBuf },
    #[error("cannot write to the state directory {}: make it writable for this user, or set `paths.state`", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error(
        "{} was written by a newer Roundsman (schema {found}, this one knows {SCHEMA}): run that version, or move the \
         file away to begin a new history", path.display()
    )]
    Newer { path: PathBuf, found: i64 },
    #[error("{} is a database of something else: move it away, or set `paths.state`", path.display())]
    Foreign { path: PathBuf },
    #[error("cannot open the history {}: see whether the disk is full or failing", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot set the damaged history {} aside: move it away by hand", path.display())]
    SetAside { path: PathBuf, source: io::Error },
    #[error("cannot start the store's thread: raise the limit of tasks for this service")]
    Thread { source: io::Error },
    #[error("cannot read {what} from the history")]
    Read { what: &'static str, source: rusqlite::Error },
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the queue of the store is full: the disk is too slow for the configured rate of runs")]
    Overrun,
    #[error("the store is closed")]
    Closed,
}

/// Why what was submitted is not on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    #[error("the store is closed")]
    Closed,
    #[error("the store cannot write: {0}")]
    Degraded(String),
    #[error("the store ended: {0}")]
    Died(String),
}

/// Whether an error says that the file itself is damaged, rather than that it cannot be read or written now.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType, QueryReturnedNoRows};
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        // A page that the file should hold is beyond its end.
        rusqlite::Error::SqliteFailure(e, _) if e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ => true,
        rusqlite::Error::SqliteFailure(e, _) => matches!(e.code, DatabaseCorrupt | NotADatabase),
        // What was written there is not what stands there.
        FromSqlConversionFailure(..) | InvalidColumnType(..) | QueryReturnedNoRows => true,
        _ => false,
    }
}

/// Whether an error says that there is no space left: for the file, or for the index of its log.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    let shm_size = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error().is_some_and(|e| e.code == rusqlite::ErrorCode::DiskFull || e.extended_code == shm_size)
}
