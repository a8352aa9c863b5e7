//! The tables, and which version of them a file has.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;

/// The version of the tables that this crate reads and writes.
pub(crate) const SCHEMA: i64 = 1;

/// Index entries exist for the few records that are not just "still ok": an index over all of them would cost a page
/// per record and subject in every commit. The others are found by `previous`, from the newest one backwards.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clean INTEGER NOT NULL,
    snapshot INTEGER NOT NULL,
    records INTEGER NOT NULL,
    transitions INTEGER NOT NULL,
    thinned INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    dropped_unsent INTEGER NOT NULL
);
CREATE TABLE tagset (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL UNIQUE, retired INTEGER);
CREATE INDEX tagset_retired ON tagset (retired) WHERE retired IS NOT NULL;
CREATE TABLE subject (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    check_name TEXT NOT NULL,
    target TEXT,
    forgotten INTEGER NOT NULL,
    last_record INTEGER NOT NULL,
    tagset INTEGER NOT NULL,
    state BLOB NOT NULL
);
CREATE INDEX subject_forgotten ON subject (last_record) WHERE forgotten = 1;
CREATE TABLE record (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject INTEGER NOT NULL,
    tagset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    status INTEGER NOT NULL,
    notable INTEGER NOT NULL,
    encoder INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX record_notable ON record (subject) WHERE notable = 1;
CREATE TABLE transition (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject INTEGER NOT NULL,
    tagset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    encoder INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX transition_subject ON transition (subject);
CREATE INDEX transition_tagset ON transition (tagset);
CREATE TABLE memory (subject INTEGER, name TEXT, value BLOB NOT NULL, PRIMARY KEY (subject, name)) WITHOUT ROWID;
CREATE TABLE cursor (
    destination TEXT PRIMARY KEY,
    record INTEGER NOT NULL,
    transition INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE story (subject INTEGER, record INTEGER, body BLOB NOT NULL, PRIMARY KEY (subject, record)) WITHOUT ROWID;
CREATE TABLE finding (subject INTEGER, name TEXT, standing BLOB NOT NULL, PRIMARY KEY (subject, name)) WITHOUT ROWID;
CREATE TABLE silence (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE plugin (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO tally VALUES (1, 1, 0, 0, 0, 0, 0, 0);
";

/// Makes the tables in a new file; refuses the file of a newer version, or of something else.
pub(crate) fn prepare(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let open = |source| StoreError::Open { path: path.to_owned(), source };
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(open)?;
    if tables == 0 {
        return create(conn).map_err(open);
    }
    let known = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'";
    if conn.query_row(known, [], |_| Ok(())).optional().map_err(open)?.is_none() {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let version = "SELECT value FROM meta WHERE name = 'schema'";
    match conn.query_row(version, [], |row| row.get::<_, i64>(0)).optional().map_err(open)? {
        Some(SCHEMA) => Ok(()),
        Some(found) if found > SCHEMA => Err(StoreError::Newer { path: path.to_owned(), found }),
        _ => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.execute_batch(TABLES)?;
    conn.execute("INSERT INTO meta VALUES ('schema', ?1)", [SCHEMA])?;
    conn.execute_batch("COMMIT")
}
