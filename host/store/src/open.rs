//! From a directory to a database that can be trusted: the lock, the modes, and what becomes of a damaged file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use roundsman_model::time::{Timestamp, nanos};
use rusqlite::Connection;

use crate::database::Database;
use crate::entry::Config;
use crate::error::{StoreError, is_damage, is_full};
use crate::load::Past;
use crate::reserve::Reserve;
use crate::schema;

const DATABASE: &str = "roundsman.db";
const LOCK: &str = "roundsman.lock";

/// Written when damage is found while the agent runs; says that the file has to be set aside at the next start.
const DAMAGED: &str = "roundsman.damaged";

/// Damaged files that are kept: each may be as large as the budget.
const KEPT_ASIDE: usize = 3;

/// What belongs to a database besides its file.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// A store that is ready for its writer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) past: Past,
    /// Held while the store is open.
    pub(crate) lock: File,
    pub(crate) note: Option<String>,
}

/// Opens the history in a directory, or begins one.
pub(crate) fn open(config: &Config) -> Result<Opened, StoreError> {
    let directory = &config.directory;
    let lock = lock(directory)?;
    let path = directory.join(DATABASE);
    let mut note = None;
    if let Some(reason) = marked(directory) {
        note = Some(set_aside(&path, &reason)?);
    }
    let mut database = open_file(&path, config);
    if matches!(&database, Err(Trouble::Other(StoreError::Open { source, .. })) if is_full(source))
        && Reserve::new(directory, config.max_size).release()
    {
        database = open_file(&path, config);
    }
    let database = match database {
        Err(Trouble::Damaged { reason, .. }) => {
            note = Some(set_aside(&path, &reason)?);
            open_file(&path, config)
        }
        other => other,
    };
    let (database, past) = database.map_err(|trouble| match trouble {
        Trouble::Damaged { source, .. } => StoreError::Open { path, source },
        Trouble::Other(error) => error,
    })?;
    Ok(Opened { database, past, lock, note })
}

/// Where the database of a directory is.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

/// Leaves word for the next start that the file is damaged.
pub(crate) fn mark_damaged(directory: &Path, reason: &str) -> io::Result<()> {
    fs::write(directory.join(DAMAGED), reason)
}

/// Why a file could not be opened.
enum Trouble {
    Damaged { reason: String, source: rusqlite::Error },
    Other(StoreError),
}

fn open_file(path: &Path, config: &Config) -> Result<(Database, Past), Trouble> {
    let sort = |source: rusqlite::Error| {
        if is_damage(&source) {
            Trouble::Damaged { reason: source.to_string(), source }
        } else {
            Trouble::Other(StoreError::Open { path: path.to_owned(), source })
        }
    };
    make_file(path)
        .map_err(|source| Trouble::Other(StoreError::Directory { directory: config.directory.clone(), source }))?;
    let conn = Connection::open(path).map_err(sort)?;
    Database::configure(&conn, config.max_size).map_err(sort)?;
    schema::prepare(&conn, path).map_err(|error| match error {
        StoreError::Open { source, .. } => sort(source),
        other => Trouble::Other(other),
    })?;
    // Every page is looked at only when the agent did not end in order, which a restart by an operator need not wait
    // for. What slips through is found when it is read, and set aside at the next start.
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if !Database::was_clean(&conn).map_err(sort)?
        && let Some(reason) = Database::inspect(&conn, bytes).map_err(sort)?
    {
        return Err(Trouble::Damaged { reason, source: rusqlite::Error::InvalidQuery });
    }
    Database::load(conn, path, config).map_err(sort)
}

/// Makes the file before SQLite does, so that nobody else can read it. Its log inherits the mode.
fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        other => other.map(drop),
    }
}

/// Makes the directory if there is none, and takes its lock. Also shows that one can write there.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let unusable = |source| StoreError::Directory { directory: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(directory.join(LOCK)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn marked(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(DAMAGED)).ok()
}

/// Renames the file with all that belongs to it; returns what to tell.
fn set_aside(path: &Path, reason: &str) -> Result<String, StoreError> {
    let failed = |source| StoreError::SetAside { path: path.to_owned(), source };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let time: String = Timestamp(nanos(since)).to_string().chars().filter(|c| !matches!(c, '-' | ':' | '.')).collect();
    let aside = with_suffix(path, &format!(".corrupt-{time}"));
    for suffix in SUFFIXES {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    match fs::remove_file(path.with_file_name(DAMAGED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if let Err(error) = remove_surplus(path) {
        tracing::warn!(%error, "older damaged histories could not be removed");
    }
    let note =
        format!("the history was damaged ({reason}); it was set aside as {} and a new one was begun", aside.display());
    tracing::error!("{note}");
    Ok(note)
}

/// Removes the oldest of too many files set aside; their names sort by time.
fn remove_surplus(path: &Path) -> io::Result<()> {
    let prefix = format!("{DATABASE}.corrupt-");
    let mut aside = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm") {
            aside.push(path.with_file_name(name));
        }
    }
    aside.sort();
    let surplus = aside.len().saturating_sub(KEPT_ASIDE);
    for old in &aside[..surplus] {
        for suffix in SUFFIXES {
            match fs::remove_file(with_suffix(old, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
