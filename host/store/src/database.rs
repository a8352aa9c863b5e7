//! The write connection and its mirror in memory: transactions, checkpoints, sizes, and the clean end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use roundsman_model::silence::MAX_SILENCES;
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::entry::Entry;
use crate::error::is_full;
use crate::queue::furthest;
use crate::reserve::Reserve;
use crate::retention::Budget;
use crate::row::Cursor;
use crate::subjects::Subjects;

/// Memory for pages of the write connection, in KiB. What is written is appended; little is read again.
const CACHE_KIB: i64 = 4_096;

/// How long to wait for somebody else who holds the file, for instance a person with the shell of SQLite.
const BUSY_MS: i64 = 1_000;

/// The write-ahead log is cut back to this part of the budget when it starts anew, within bounds.
const WAL_DIVISOR: u64 = 32;
const LEAST_WAL: u64 = 128 << 10;
const MOST_WAL: u64 = 4 << 20;

/// Up to this size every page is looked at after the agent has died: about a second per 512 MiB, if the file is in
/// the kernel's memory.
const INSPECTED_BYTES: u64 = 1 << 30;

/// Bytes of rows after which a checkpoint is due, whatever the time: a small log, and no more than the reserve.
const MOST_CHECKPOINT: usize = 2 << 20;
const LEAST_CHECKPOINT: usize = 64 << 10;

/// Of the free space on the disk, the part by which the file may grow before the next checkpoint: as much again goes to
/// the log, and others want some, too.
const FREE_DIVISOR: u64 = 4;

/// Prepared statements that are kept: more than this crate has.
const STATEMENTS: usize = 64;

/// The one connection that writes.
pub(crate) struct Database {
    pub(crate) conn: Connection,
    pub(crate) path: PathBuf,
    pub(crate) subjects: Subjects,
    pub(crate) tally: Tally,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    pub(crate) cursors_changed: bool,
    /// The ids of the silences that there are once everything that was let in is written.
    pub(crate) silences: BTreeSet<u64>,
    pub(crate) budget: Budget,
    pub(crate) reserve: Reserve,
    /// The time of the record that was written last: what ages are measured from.
    pub(crate) newest: Timestamp,
    /// Bytes of rows written since the last checkpoint.
    pub(crate) unchecked: usize,
    /// Used for every row's body in turn.
    pub(crate) buffer: Vec<u8>,
    /// Hard changes without a row, because they were not later than the one before them in their series.
    pub(crate) unordered: u64,
}

/// The single row of table `tally`, written in every transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The newest record whose effect on its subject stands in `subject`.
    pub(crate) snapshot: i64,
    pub(crate) records: i64,
    pub(crate) transitions: i64,
    /// Below this id, records that say "still ok" have been removed.
    pub(crate) thinned: i64,
    /// Records below `thinned`.
    pub(crate) kept: i64,
    pub(crate) dropped_unsent: i64,
}

impl Database {
    /// Sets a connection up for writing. The first statement reads the file, so this fails when it is damaged.
    pub(crate) fn configure(conn: &Connection, max_size: u64) -> rusqlite::Result<()> {
        let wal_bytes = (max_size / WAL_DIVISOR).clamp(LEAST_WAL, MOST_WAL);
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.execute_batch(&format!(
            "PRAGMA busy_timeout = {BUSY_MS};
             PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = {wal_bytes};
             PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA temp_store = MEMORY;"
        ))
    }

    /// Whether the file was closed in order the last time.
    pub(crate) fn was_clean(conn: &Connection) -> rusqlite::Result<bool> {
        conn.query_row("SELECT clean FROM tally WHERE id = 1", [], |row| row.get(0))
    }

    /// Looks at every page, but for the records of a very large file. None: all is well.
    pub(crate) fn inspect(conn: &Connection, bytes: u64) -> rusqlite::Result<Option<String>> {
        let pragmas: &[&str] = if bytes <= INSPECTED_BYTES {
            &["PRAGMA quick_check(1)"]
        } else {
            &[
                "PRAGMA quick_check(subject)",
                "PRAGMA quick_check(tagset)",
                "PRAGMA quick_check(transition)",
                "PRAGMA quick_check(finding)",
                "PRAGMA quick_check(silence)",
                "PRAGMA quick_check(plugin)",
            ]
        };
        for pragma in pragmas {
            let verdict: String = conn.query_row(pragma, [], |row| row.get(0))?;
            if verdict != "ok" {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    /// Whether an entry is taken: a record must be later than the one before it in its series, and there are not more
    /// silences than are allowed.
    pub(crate) fn admit(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Record(recorded) => self.subjects.admit(&recorded.record),
            Entry::Silenced(silence) => {
                let known = self.silences.contains(&silence.id);
                known || (self.silences.len() < MAX_SILENCES && self.silences.insert(silence.id))
            }
            Entry::Unsilenced { id } => {
                self.silences.remove(id);
                true
            }
            Entry::Turned(_) | Entry::Counted { .. } | Entry::Forget { .. } | Entry::Supervised { .. } => true,
        }
    }

    /// Moves a cursor forward; unknown destinations are not destinations.
    pub(crate) fn acknowledge(&mut self, destination: &str, cursor: Cursor) {
        match self.cursors.get_mut(destination) {
            Some(known) => {
                *known = furthest(*known, cursor);
                self.cursors_changed = true;
            }
            None => tracing::warn!(destination, "acknowledged by a destination that is not configured"),
        }
    }

    /// All of `work`, or nothing of it.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = work(self).and_then(|value| self.conn.prepare_cached("COMMIT")?.execute([]).map(|_| value));
        if result.is_err()
            && !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a failed transaction could not be rolled back");
        }
        result
    }

    /// Carries what was committed from the log into the file, down to the disk: this is what bounds the loss when the
    /// power fails.
    pub(crate) fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))?;
        self.unchecked = 0;
        self.limit_growth()
    }

    /// Whether so much waits in the log that carrying it over should not be put off.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let half = usize::try_from(self.reserve.held() / 2).unwrap_or(usize::MAX);
        self.unchecked >= half.clamp(LEAST_CHECKPOINT, MOST_CHECKPOINT)
    }

    /// A checkpoint when the disk is full, with the reserve if it must be.
    pub(crate) fn relieve(&mut self) -> rusqlite::Result<()> {
        match self.checkpoint() {
            Err(error) if is_full(&error) && self.reserve.release() => self.checkpoint(),
            result => result,
        }
    }

    /// Sets space aside, as far as there is some.
    pub(crate) fn acquire_reserve(&mut self) -> rusqlite::Result<()> {
        self.reserve.acquire();
        self.limit_growth()
    }

    /// Lets the file grow by what the reserve could make up for, or by a part of what is free, and no more until the
    /// next checkpoint. The second matters while a slow reader keeps the log from being carried over.
    fn limit_growth(&self) -> rusqlite::Result<()> {
        let size = self.number("PRAGMA page_size")?.max(1);
        let file = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        // SQLite never goes below what the file has already.
        let growth = self.reserve.held().max(self.reserve.free() / FREE_DIVISOR);
        let pages = ((file + growth) / size).max(1);
        self.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }

    /// Leaves a file that needs no inspection and no log.
    pub(crate) fn close(&mut self) -> rusqlite::Result<()> {
        self.transaction(|database| database.conn.execute("UPDATE tally SET clean = 1", []))?;
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> rusqlite::Result<u64> {
        Ok(self.page_bytes("PRAGMA page_count")? + self.wal_bytes() + self.reserve.held())
    }

    /// Bytes that hold something.
    pub(crate) fn live_bytes(&self) -> rusqlite::Result<u64> {
        Ok(self.page_bytes("PRAGMA page_count")?.saturating_sub(self.page_bytes("PRAGMA freelist_count")?))
    }

    pub(crate) fn wal_bytes(&self) -> u64 {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        std::fs::metadata(wal).map_or(0, |wal| wal.len())
    }

    fn page_bytes(&self, pragma: &str) -> rusqlite::Result<u64> {
        Ok(self.number(pragma)? * self.number("PRAGMA page_size")?)
    }

    fn number(&self, pragma: &str) -> rusqlite::Result<u64> {
        let number: i64 = self.conn.prepare_cached(pragma)?.query_row([], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }

    pub(crate) fn oldest(&self) -> rusqlite::Result<Option<(i64, Timestamp)>> {
        let mut statement = self.conn.prepare_cached("SELECT id, time FROM record ORDER BY id LIMIT 1")?;
        let mut rows = statement.query([])?;
        rows.next()?.map(|row| Ok((row.get(0)?, Timestamp(row.get(1)?)))).transpose()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl Tally {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            snapshot: row.get("snapshot")?,
            records: row.get("records")?,
            transitions: row.get("transitions")?,
            thinned: row.get("thinned")?,
            kept: row.get("kept")?,
            dropped_unsent: row.get("dropped_unsent")?,
        })
    }

    pub(crate) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE tally SET snapshot = ?1, records = ?2, transitions = ?3, thinned = ?4, kept = ?5, \
                   dropped_unsent = ?6";
        let Self { snapshot, records, transitions, thinned, kept, dropped_unsent } = self;
        conn.prepare_cached(sql)?.execute(params![snapshot, records, transitions, thinned, kept, dropped_unsent])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use roundsman_model::key::Key;
    use roundsman_model::name::CheckName;
    use roundsman_model::record::Status;

    use super::*;
    use crate::entry::Config;
    use crate::{open, samples};

    fn outcome(time: i64) -> Entry {
        let key = Key::new(CheckName::new("a").unwrap(), None);
        Entry::Record(Box::new(samples::recorded(&key, time, Status::Ok)))
    }

    fn stored(database: &Database) -> Vec<i64> {
        let mut statement = database.conn.prepare("SELECT time FROM record ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// The file may not grow: SQLite's own limit stands for a full disk.
    #[test]
    fn without_space_nothing_changes_and_trimming_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut database = open::open(&Config::new(directory.path())).unwrap().database;
        database.conn.query_row("PRAGMA max_page_count = 300", [], |_| Ok(())).unwrap();
        let mut time = 0;
        let mut next = |database: &mut Database| {
            let batch: Vec<Entry> = (time + 1..=time + 50).map(outcome).collect();
            time += 50;
            assert!(batch.iter().all(|entry| database.admit(entry)));
            batch
        };
        let mut refused = next(&mut database);
        let error = loop {
            match database.commit(&refused, false) {
                Ok(()) => refused = next(&mut database),
                Err(error) => break error,
            }
        };
        assert!(is_full(&error), "{error}");
        let before = stored(&database);
        assert_eq!(database.tally.records, before.len() as i64);
        let slot = database.subjects.find(refused[0].key().unwrap()).unwrap();
        assert_eq!(database.subjects.get(slot).stored.last_record, before.len() as i64);

        database.trim().unwrap();
        assert_eq!(database.number("PRAGMA max_page_count").unwrap(), 300);
        while database.retain(64).unwrap() {}
        database.commit(&refused, false).unwrap();
        let after = stored(&database);
        assert_eq!(after[after.len() - 50..], (before.len() as i64 + 1..=before.len() as i64 + 50).collect::<Vec<_>>());
        assert_eq!(after.len() as i64, database.tally.records);
        assert!(after.len() > before.len() * 3 / 4, "{} of {} are left", after.len(), before.len());
    }
}
