//! Questions about the past: the newest rows of some subjects, or of all, from a point backwards.

use std::collections::{BinaryHeap, HashSet};

use roundsman_model::record::Status;
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StoreError;
use crate::reader::{MAX_ROWS, Reader, TagCache, read_record, read_transition, select_records};
use crate::row::{Query, RecordRow, TransitionRow};
use crate::store::Shared;

/// Rows looked at for one question; then what was found by then is the answer. About a second of reading.
const MAX_VISITED: usize = 500_000;

/// A row is written at most so long after the instant it is about: where a search for younger rows may stop.
const LATEST_COMMIT_NS: i64 = 3_600_000_000_000;

impl Reader {
    /// Records, the newest first.
    pub fn records(&mut self, query: &Query) -> Result<Vec<RecordRow>, StoreError> {
        self.find_records(query).map_err(|source| self.failed("records", source))
    }

    /// Transitions, the newest first. A status selects those that lead to it.
    pub fn transitions(&mut self, query: &Query) -> Result<Vec<TransitionRow>, StoreError> {
        self.find_transitions(query).map_err(|source| self.failed("transitions", source))
    }

    fn find_records(&mut self, query: &Query) -> rusqlite::Result<Vec<RecordRow>> {
        let Self { conn, tags, shared } = self;
        // What one question reads is all of one moment; the transaction ends with the question.
        let _moment = conn.unchecked_transaction()?;
        let mut search = Search { conn, tags, shared, query, rows: Vec::new(), visited: 0 };
        let failing = query.status.is_some_and(|status| status != Status::Ok);
        if failing {
            let subjects = subjects(conn, query)?;
            let heads = subjects.iter().map(|subject| next_notable(conn, subject.id, search.before()));
            let heads: Vec<Option<Head>> = heads.collect::<rusqlite::Result<_>>()?;
            search.walk(heads.into_iter().flatten().collect())?;
        } else if query.check.is_none() && query.target.is_none() {
            search.scan(0, None)?;
        } else {
            search.chains(&subjects(conn, query)?)?;
        }
        Ok(search.rows)
    }

    fn find_transitions(&mut self, query: &Query) -> rusqlite::Result<Vec<TransitionRow>> {
        let Self { conn, tags, shared } = self;
        let _moment = conn.unchecked_transaction()?;
        let subjects: HashSet<i64> = subjects(conn, query)?.into_iter().map(|subject| subject.id).collect();
        let sql = "SELECT id, subject, tagset, encoder, body FROM transition WHERE id < ?1 AND time >= ?2 \
                   ORDER BY id DESC LIMIT ?3";
        let mut statement = conn.prepare_cached(sql)?;
        let since = query.since.map_or(i64::MIN, |since| since.0);
        let most = i64::try_from(MAX_VISITED).unwrap_or(i64::MAX);
        let mut rows = statement.query([query.before.unwrap_or(i64::MAX), since, most])?;
        let mut found = Vec::new();
        while found.len() < query.limit.min(MAX_ROWS)
            && let Some(row) = rows.next()?
        {
            if subjects.contains(&row.get(1)?) {
                let row = shared.keep(read_transition(conn, tags, row))?;
                found.extend(row.filter(|row| query.status.is_none_or(|status| row.change.to as i64 == status as i64)));
            }
        }
        Ok(found)
    }
}

/// A subject that the question is about.
struct Subject {
    id: i64,
    last_record: i64,
}

/// The next record of a subject, while going back.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    /// First, so that the heap gives the newest.
    id: i64,
    subject: i64,
}

/// The answer as it grows.
struct Search<'a> {
    conn: &'a Connection,
    tags: &'a mut TagCache,
    shared: &'a Shared,
    query: &'a Query,
    rows: Vec<RecordRow>,
    visited: usize,
}

impl Search<'_> {
    fn before(&self) -> i64 {
        self.query.before.unwrap_or(i64::MAX)
    }

    fn is_complete(&self) -> bool {
        self.rows.len() >= self.query.limit.min(MAX_ROWS) || self.visited >= MAX_VISITED
    }

    /// Rows of some subjects. The table `subject` knows their newest ones up to the snapshot; what came after that is
    /// few, and is looked through.
    fn chains(&mut self, subjects: &[Subject]) -> rusqlite::Result<()> {
        let snapshot = "SELECT snapshot FROM tally";
        let snapshot: i64 = self.conn.prepare_cached(snapshot)?.query_row([], |row| row.get(0))?;
        self.scan(snapshot, Some(&subjects.iter().map(|subject| subject.id).collect()))?;
        let mut heads = BinaryHeap::new();
        for subject in subjects {
            let id = first(self.conn, subject, self.before(), snapshot)?;
            heads.push(Head { id, subject: subject.id });
        }
        self.walk(heads)
    }

    /// Rows above an id, one after the other, from the newest.
    fn scan(&mut self, above: i64, subjects: Option<&HashSet<i64>>) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut statement = conn.prepare_cached(&select_records("WHERE id > ?1 AND id < ?2 ORDER BY id DESC"))?;
        let mut rows = statement.query([above, self.before()])?;
        while !self.is_complete()
            && let Some(row) = rows.next()?
        {
            let latest = row.get::<_, i64>(3)?.saturating_add(LATEST_COMMIT_NS);
            if self.query.since.is_some_and(|since| latest < since.0) {
                break;
            }
            let subject = row.get(1)?;
            if subjects.is_none_or(|subjects| subjects.contains(&subject)) {
                self.look(row)?;
            }
            self.visited += 1;
        }
        Ok(())
    }

    /// Goes back along several subjects at once, always on with the newest row. Each row names the one before it. Where
    /// that one was removed, only rows that are in the index are left.
    fn walk(&mut self, mut heads: BinaryHeap<Head>) -> rusqlite::Result<()> {
        let conn = self.conn;
        let failing = self.query.status.is_some_and(|status| status != Status::Ok);
        let mut statement = conn.prepare_cached(&select_records("WHERE id = ?1"))?;
        while !self.is_complete()
            && let Some(Head { id, subject }) = heads.pop()
        {
            self.visited += 1;
            let mut rows = statement.query([id])?;
            let Some(row) = rows.next()? else {
                heads.extend(next_notable(conn, subject, id)?);
                continue;
            };
            // Within a subject time only grows: what follows is older still.
            if self.query.since.is_some_and(|since| row.get(3).is_ok_and(|time: i64| time < since.0)) {
                continue;
            }
            if id < self.before() {
                self.look(row)?;
            }
            let previous = row.get(4)?;
            if failing {
                heads.extend(next_notable(conn, subject, id)?);
            } else if previous > 0 {
                heads.push(Head { id: previous, subject });
            }
        }
        Ok(())
    }

    fn look(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let since = self.query.since.unwrap_or(Timestamp(i64::MIN));
        let status = self.query.status.map(|status| status as i64);
        if row.get::<_, i64>(3)? >= since.0 && status.is_none_or(|status| row.get(5) == Ok(status)) {
            self.rows.extend(self.shared.keep(read_record(self.conn, self.tags, row))?);
        }
        Ok(())
    }
}

fn subjects(conn: &Connection, query: &Query) -> rusqlite::Result<Vec<Subject>> {
    let sql = "SELECT id, last_record FROM subject WHERE (?1 IS NULL OR check_name = ?1) \
               AND (?2 IS NULL OR ifnull(target, '') = ?2)";
    let mut statement = conn.prepare_cached(sql)?;
    let check = query.check.as_ref().map(|check| check.as_str());
    let rows = statement.query_map(params![check, query.target.as_deref()], |row| {
        Ok(Subject { id: row.get(0)?, last_record: row.get(1)? })
    })?;
    rows.collect()
}

/// Where to begin with a subject: after the last row of the page before when that is one of its own, which makes paging
/// cheap; else its newest one below both bounds.
fn first(conn: &Connection, subject: &Subject, before: i64, snapshot: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT previous FROM record WHERE id = ?1 AND subject = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut previous = |id: i64| statement.query_row([id, subject.id], |row| row.get::<_, i64>(0)).optional();
    let mut id = previous(before)?.unwrap_or(subject.last_record);
    while id > snapshot {
        id = previous(id)?.unwrap_or(0);
    }
    Ok(id)
}

/// The newest row of a subject below an id that says more than "still ok".
fn next_notable(conn: &Connection, subject: i64, below: i64) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT id FROM record WHERE subject = ?1 AND notable = 1 AND id < ?2 ORDER BY id DESC LIMIT 1";
    let id = conn.prepare_cached(sql)?.query_row([subject, below], |row| row.get(0)).optional()?;
    Ok(id.map(|id| Head { id, subject }))
}
