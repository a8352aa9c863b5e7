//! The write connection and its mirror in memory: loading it, transactions, checkpoints, sizes, and the clean end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Status;
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::entry::Config;
use crate::error::is_full;
use crate::queue::furthest;
use crate::reserve::Reserve;
use crate::retention::Budget;
use crate::row::{Body, Cursor, SubjectState};
use crate::subjects::{Slot, Stored, Subjects};

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
    pub(crate) budget: Budget,
    pub(crate) reserve: Reserve,
    /// The time of the record that was written last: what ages are measured from.
    pub(crate) newest: Timestamp,
    /// Bytes of rows written since the last checkpoint.
    pub(crate) unchecked: usize,
    /// Used for every row's body in turn.
    pub(crate) buffer: Vec<u8>,
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
            &["PRAGMA quick_check(subject)", "PRAGMA quick_check(tagset)", "PRAGMA quick_check(transition)"]
        };
        for pragma in pragmas {
            let verdict: String = conn.query_row(pragma, [], |row| row.get(0))?;
            if verdict != "ok" {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    /// Reads what is remembered, follows the records that are newer than the snapshot, and marks the file as in use.
    pub(crate) fn load(conn: Connection, path: &Path, config: &Config) -> rusqlite::Result<Self> {
        let mut database = Self {
            tally: conn.query_row("SELECT * FROM tally WHERE id = 1", [], Tally::read)?,
            conn,
            path: path.to_owned(),
            subjects: Subjects::default(),
            cursors: BTreeMap::new(),
            cursors_changed: false,
            budget: Budget::new(config),
            reserve: Reserve::new(&config.directory, config.max_size),
            newest: Timestamp(0),
            unchecked: 0,
            buffer: Vec::new(),
        };
        let positions = database.load_subjects()?;
        database.follow_tail(&positions)?;
        database.newest = database.newest_time()?;
        database.transaction(|database| {
            database.conn.execute("UPDATE tally SET clean = 0", [])?;
            database.register(&config.destinations)
        })?;
        database.acquire_reserve()?;
        Ok(database)
    }

    fn load_subjects(&mut self) -> rusqlite::Result<BTreeMap<i64, usize>> {
        let mut positions = BTreeMap::new();
        let sql = "SELECT id, check_name, target, forgotten, last_record, tagset, state FROM subject";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let slot = read_slot(row)?;
            positions.insert(slot.stored.row, self.subjects.insert(slot));
        }
        Ok(positions)
    }

    fn follow_tail(&mut self, positions: &BTreeMap<i64, usize>) -> rusqlite::Result<()> {
        let sql = "SELECT id, subject, tagset, time, status, body FROM record WHERE id > ?1 ORDER BY id";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([self.tally.snapshot])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let Some(at) = positions.get(&row.get(1)?) else { continue };
            if id > self.subjects.get(*at).stored.last_record {
                follow(self.subjects.restore(*at), id, row)?;
                self.subjects.mark_dirty(*at);
            }
        }
        Ok(())
    }

    /// Makes cursors for new destinations and forgets those that are gone.
    fn register(&mut self, destinations: &[String]) -> rusqlite::Result<()> {
        for destination in destinations {
            self.conn.execute("INSERT OR IGNORE INTO cursor VALUES (?1, 0, 0)", [destination])?;
        }
        for (destination, cursor) in read_cursors(&self.conn)? {
            if destinations.contains(&destination) {
                self.cursors.insert(destination, cursor);
            } else {
                self.conn.execute("DELETE FROM cursor WHERE destination = ?1", [destination])?;
            }
        }
        Ok(())
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

    fn newest_time(&self) -> rusqlite::Result<Timestamp> {
        let sql = "SELECT time FROM record ORDER BY id DESC LIMIT 1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        Ok(Timestamp(rows.next()?.map_or(Ok(0), |row| row.get(0))?))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl Tally {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
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

pub(crate) fn read_cursors(conn: &Connection) -> rusqlite::Result<Vec<(String, Cursor)>> {
    let mut statement = conn.prepare_cached("SELECT destination, record, transition FROM cursor")?;
    let cursors =
        statement.query_map([], |row| Ok((row.get(0)?, Cursor { record: row.get(1)?, transition: row.get(2)? })))?;
    cursors.collect()
}

fn read_slot(row: &Row<'_>) -> rusqlite::Result<Slot> {
    let check = CheckName::new(row.get_ref(1)?.as_str()?).map_err(|error| garbled(1, error))?;
    let mut slot = Slot::new(Key { check, target: row.get(2)? });
    let state: SubjectState = postcard::from_bytes(row.get_ref(6)?.as_blob()?).map_err(|error| garbled(6, error))?;
    slot.standing = state.standing;
    slot.counts = state.counts;
    slot.last_tick = state.last_tick;
    slot.high_water = state.high_water;
    slot.last_status = state.last_status;
    slot.forgotten = row.get(3)?;
    slot.stored = Stored {
        row: row.get(0)?,
        last_record: row.get(4)?,
        tagset: row.get(5)?,
        last_ok: state.last_status == Some(Status::Ok),
    };
    Ok(slot)
}

/// Applies a record that was committed after the last snapshot to its subject.
fn follow(slot: &mut Slot, id: i64, row: &Row<'_>) -> rusqlite::Result<()> {
    let time = Timestamp(row.get(3)?);
    let body: Body<'_> = postcard::from_bytes(row.get_ref(5)?.as_blob()?).map_err(|error| garbled(5, error))?;
    let status = Status::from_number(row.get(4)?);
    slot.standing = Some(body.standing);
    slot.counts = body.counts;
    slot.last_tick = body.last_tick(time);
    slot.high_water = time;
    slot.last_status = status;
    slot.forgotten = false;
    slot.stored.last_record = id;
    slot.stored.tagset = row.get(2)?;
    slot.stored.last_ok = status == Some(Status::Ok);
    Ok(())
}

/// A column whose content is not what was written there: the file is damaged, whatever SQLite thinks of it.
fn garbled(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
}

#[cfg(test)]
mod tests {
    use roundsman_model::key::Key;
    use roundsman_model::name::{CheckName, PluginName};
    use roundsman_model::record::{Blame, Origin, Record};
    use roundsman_model::state::{Standing, State};

    use super::*;
    use crate::entry::{Entry, Recorded, TagSet};
    use crate::open;

    fn outcome(time: i64) -> Entry {
        let record = Record {
            key: Key::new(CheckName::new("a").unwrap(), None),
            plugin: PluginName::new("p").unwrap(),
            origin: Origin::Schedule,
            time: Timestamp(time),
            started: Timestamp(time),
            status: Status::Ok,
            blame: Blame::Target,
            code: None,
            summary: "x".repeat(200).into(),
            standing: Standing { state: State::Ok, since: Timestamp(1), soft: None },
            attempt: 1,
            latency_ns: None,
            duration_ns: 1,
            lag_ns: 1,
            cpu_ns: 1,
            interval_ns: 1,
            points: Vec::new(),
            findings: Vec::new(),
        };
        Entry::Record(Box::new(Recorded {
            record,
            tags: TagSet::new([("check", "a")]),
            change: None,
            memory: Vec::new(),
            counts: Default::default(),
            last_tick: Timestamp(time),
            log: Vec::new(),
        }))
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
            assert!(batch.iter().all(|entry| database.subjects.admit(entry)));
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
        let slot = database.subjects.find(refused[0].key()).unwrap();
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
