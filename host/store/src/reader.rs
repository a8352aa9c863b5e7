//! Read-only connections: the outbox, cursors, memory and stories. What people ask of the history is in `history`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use roundsman_model::key::Key;
use roundsman_model::record::{Status, Story};
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::commit::STORIES_KEPT;
use crate::error::{StoreError, is_damage};
use crate::load::read_cursors;
use crate::row::{Batch, Body, Cursor, ENCODER, Interned, RecordRow, TransitionBody, TransitionRow};
use crate::store::Shared;

/// Rows that one call returns at most: with a thousand points each they are large.
pub const MAX_ROWS: usize = 10_000;

/// Tag sets that a reader remembers: about as many as there are subjects. Beyond it begins anew.
const CACHED_TAG_SETS: usize = 16_384;

/// Memory for pages of a reader, in KiB: the outbox is read once, in order.
const CACHE_KIB: i64 = 1_024;

/// Writers do not block readers; recovery of the log after a crash does, for a moment.
const BUSY_MS: i64 = 5_000;

/// One connection that reads. Calls block for the time that the disk takes.
pub struct Reader {
    pub(crate) conn: Connection,
    pub(crate) tags: TagCache,
    pub(crate) shared: Arc<Shared>,
}

/// Tag sets by number; what a number stands for never changes.
#[derive(Debug, Default)]
pub(crate) struct TagCache {
    by_id: HashMap<i64, Arc<Interned>>,
}

/// Why a row could not be read.
pub(crate) enum RowError {
    Sqlite(rusqlite::Error),
    /// The row is there, but not its meaning.
    Garbled(i64),
}

impl Reader {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let conn = connect(&shared.path).map_err(|source| StoreError::Open { path: shared.path.clone(), source })?;
        Ok(Self { conn, tags: TagCache::default(), shared })
    }

    /// What a destination has not acknowledged: rows after `cursor`, at most `max_rows` of each table.
    pub fn outbox(&mut self, cursor: Cursor, max_rows: usize) -> Result<Batch, StoreError> {
        let limit = i64::try_from(max_rows.min(MAX_ROWS)).unwrap_or(0);
        let mut batch = Batch { records: Vec::new(), transitions: Vec::new(), next: cursor };
        let result = self.outbox_records(limit, &mut batch).and_then(|()| self.outbox_transitions(limit, &mut batch));
        result.map_err(|source| self.failed("the outbox", source))?;
        Ok(batch)
    }

    fn outbox_records(&mut self, limit: i64, batch: &mut Batch) -> rusqlite::Result<()> {
        let sql = select_records("WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([batch.next.record, limit])?;
        while let Some(row) = rows.next()? {
            batch.next.record = row.get(0)?;
            if let Some(row) = self.shared.keep(read_record(&self.conn, &mut self.tags, row))? {
                batch.records.push(row);
            }
        }
        Ok(())
    }

    fn outbox_transitions(&mut self, limit: i64, batch: &mut Batch) -> rusqlite::Result<()> {
        let sql = select_transitions("WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([batch.next.transition, limit])?;
        while let Some(row) = rows.next()? {
            batch.next.transition = row.get(0)?;
            if let Some(row) = self.shared.keep(read_transition(&self.conn, &mut self.tags, row))? {
                batch.transitions.push(row);
            }
        }
        Ok(())
    }

    /// Where a configured destination stands.
    pub fn cursor(&mut self, destination: &str) -> Result<Option<Cursor>, StoreError> {
        let cursors = read_cursors(&self.conn).map_err(|source| self.failed("a cursor", source))?;
        Ok(cursors.into_iter().find(|(name, _)| name == destination).map(|(_, cursor)| cursor))
    }

    /// What a plugin has stored for a (check, target), by name.
    pub fn memory(&mut self, key: &Key) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let read = || {
            let sql = "SELECT name, value FROM memory WHERE subject = \
                       (SELECT id FROM subject WHERE check_name = ?1 AND target IS ?2)";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement
                .query_map(params![key.check.as_str(), key.target.as_deref()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let result: rusqlite::Result<_> = read();
        result.map_err(|source| self.failed("a plugin's memory", source))
    }

    /// The last failing runs of a (check, target), the newest first, with what explains them: at most `limit`, and never
    /// more than `STORIES_KEPT`. A run that left nothing to tell has an empty story.
    pub fn stories(&mut self, key: &Key, limit: usize) -> Result<Vec<(RecordRow, Story)>, StoreError> {
        let limit = limit.min(STORIES_KEPT);
        self.find_stories(key, limit).map_err(|source| self.failed("the stories of failing runs", source))
    }

    fn find_stories(&mut self, key: &Key, limit: usize) -> rusqlite::Result<Vec<(RecordRow, Story)>> {
        let Self { conn, tags, shared } = self;
        let _moment = conn.unchecked_transaction()?;
        // The index has the few records that say more than "still ok": among them all that failed.
        let condition = "WHERE subject = (SELECT id FROM subject WHERE check_name = ?1 AND target IS ?2) \
                         AND notable = 1 AND status != 0 ORDER BY id DESC LIMIT ?3";
        let mut statement = conn.prepare_cached(&select_records(condition))?;
        let mut rows =
            statement.query(params![key.check.as_str(), key.target.as_deref(), i64::try_from(limit).unwrap_or(0)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let story = read_story(conn, row);
            let run = read_record(conn, tags, row).and_then(|run| Ok((run, story?)));
            found.extend(shared.keep(run)?);
        }
        Ok(found)
    }

    /// An error for the caller; the writer is told when it means that the file is damaged.
    pub(crate) fn failed(&self, what: &'static str, source: rusqlite::Error) -> StoreError {
        if is_damage(&source) {
            self.shared.queue.report_damage(source.to_string());
        }
        StoreError::Read { what, source }
    }
}

impl Shared {
    /// Leaves out a row that is garbled, and counts it: a forwarder must not stop at it for ever.
    pub(crate) fn keep<T>(&self, row: Result<T, RowError>) -> rusqlite::Result<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(RowError::Sqlite(error)) => Err(error),
            Err(RowError::Garbled(id)) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(id, "a row of the history is garbled and was left out");
                Ok(None)
            }
        }
    }
}

impl TagCache {
    fn get(&mut self, conn: &Connection, id: i64, row: i64) -> Result<Arc<Interned>, RowError> {
        if let Some(known) = self.by_id.get(&id) {
            return Ok(known.clone());
        }
        let sql = "SELECT body FROM tagset WHERE id = ?1";
        let body = conn.prepare_cached(sql)?.query_row([id], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        let body = body.ok_or(RowError::Garbled(row))?;
        let interned: Arc<Interned> = Arc::new(postcard::from_bytes(&body).map_err(|_| RowError::Garbled(row))?);
        if self.by_id.len() >= CACHED_TAG_SETS {
            self.by_id.clear();
        }
        self.by_id.insert(id, interned.clone());
        Ok(interned)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.execute_batch(&format!("PRAGMA busy_timeout = {BUSY_MS}; PRAGMA cache_size = -{CACHE_KIB};"))?;
    Ok(conn)
}

/// A query for the columns that `read_record` takes.
pub(crate) fn select_records(condition: &str) -> String {
    format!("SELECT id, subject, tagset, time, previous, status, encoder, body FROM record {condition}")
}

/// A query for the columns that `read_transition` takes.
pub(crate) fn select_transitions(condition: &str) -> String {
    format!("SELECT id, subject, tagset, time, encoder, body FROM transition {condition}")
}

/// From the columns of `select_records`.
pub(crate) fn read_record(conn: &Connection, tags: &mut TagCache, row: &Row<'_>) -> Result<RecordRow, RowError> {
    let id = row.get(0)?;
    let encoder = row.get(6)?;
    let garbled = || RowError::Garbled(id);
    if encoder != ENCODER {
        return Err(garbled());
    }
    let interned = tags.get(conn, row.get(2)?, id)?;
    let status = Status::from_number(row.get(5)?).ok_or_else(garbled)?;
    let body = row.get_ref(7)?.as_blob().map_err(|_| garbled())?;
    let body: Body<'_> = postcard::from_bytes(body).map_err(|_| garbled())?;
    let record = body.into_record(interned.key.clone(), interned.plugin.clone(), Timestamp(row.get(3)?), status);
    Ok(RecordRow { id, tags: interned.tags.clone(), encoder, record })
}

/// What explains the run of a record.
fn read_story(conn: &Connection, record: &Row<'_>) -> Result<Story, RowError> {
    let id = record.get(0)?;
    let sql = "SELECT body FROM story WHERE subject = ?1 AND record = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let body = statement.query_row([record.get(1)?, id], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    body.map_or(Ok(Story::default()), |body| postcard::from_bytes(&body).map_err(|_| RowError::Garbled(id)))
}

/// From the columns of `select_transitions`.
pub(crate) fn read_transition(
    conn: &Connection,
    tags: &mut TagCache,
    row: &Row<'_>,
) -> Result<TransitionRow, RowError> {
    let id = row.get(0)?;
    let encoder = row.get(4)?;
    let garbled = || RowError::Garbled(id);
    if encoder != ENCODER {
        return Err(garbled());
    }
    let interned = tags.get(conn, row.get(2)?, id)?;
    let body = row.get_ref(5)?.as_blob().map_err(|_| garbled())?;
    let body: TransitionBody<'_> = postcard::from_bytes(body).map_err(|_| garbled())?;
    Ok(TransitionRow {
        id,
        key: interned.key.clone(),
        plugin: interned.plugin.clone(),
        tags: interned.tags.clone(),
        encoder,
        time: Timestamp(row.get(3)?),
        finding: body.finding.map(Arc::from),
        change: body.change,
        summary: body.summary.into(),
        record: body.record,
    })
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.shared.path).finish_non_exhaustive()
    }
}
