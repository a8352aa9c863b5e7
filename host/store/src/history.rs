//! Questions about the past: the newest rows of some subjects, or of all, from a point backwards.

use std::collections::{BinaryHeap, HashSet};

use roundsman_model::record::Status;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StoreError;
use crate::reader::{MAX_ROWS, Reader, TagCache, read_record, read_transition, select_records, select_transitions};
use crate::row::{Page, Query, RecordRow, TransitionRow};
use crate::store::Shared;

/// How far one question may go; then what was found by then is the answer.
#[derive(Debug, Clone, Copy)]
struct Most {
    /// Rows looked at.
    visited: usize,
    /// Of the records that are found, as they are stored; one may have 64 KiB of its plugin's making, and more.
    bytes: usize,
}

/// About a second of reading, and an answer that a small agent can hold several of.
const MOST: Most = Most { visited: 500_000, bytes: 4 << 20 };

/// A row is written at most so long after the instant it is about: where a search for younger rows may stop, and one for
/// older rows may begin.
const LATEST_COMMIT_NS: i64 = 3_600_000_000_000;

impl Reader {
    /// Records, the newest first.
    pub fn records(&mut self, query: &Query) -> Result<Page<RecordRow>, StoreError> {
        self.find_records(query, MOST).map_err(|source| self.failed("records", source))
    }

    /// Transitions, the newest first. A status selects those that lead to it.
    pub fn transitions(&mut self, query: &Query) -> Result<Page<TransitionRow>, StoreError> {
        self.find_transitions(query, MOST).map_err(|source| self.failed("transitions", source))
    }

    fn find_records(&mut self, query: &Query, most: Most) -> rusqlite::Result<Page<RecordRow>> {
        let Self { conn, tags, shared } = self;
        // What one question reads is all of one moment; the transaction ends with the question.
        let _moment = conn.unchecked_transaction()?;
        let top = top(conn, "record", query)?;
        let mut search =
            Search { conn, tags, shared, query, top, most, rows: Vec::new(), visited: 0, bytes: 0, reached: None };
        let failing = query.status.is_some_and(|status| status != Status::Ok);
        if failing {
            let subjects = subjects(conn, query)?;
            let heads = subjects.iter().map(|subject| next_notable(conn, subject.id, top));
            let heads: Vec<Option<Head>> = heads.collect::<rusqlite::Result<_>>()?;
            search.walk(heads.into_iter().flatten().collect())?;
        } else if query.check.is_none() && query.target.is_none() {
            search.scan(0, None)?;
        } else {
            search.chains(&subjects(conn, query)?)?;
        }
        Ok(Page { rows: search.rows, searched_down_to: search.reached })
    }

    fn find_transitions(&mut self, query: &Query, most: Most) -> rusqlite::Result<Page<TransitionRow>> {
        let Self { conn, tags, shared } = self;
        let _moment = conn.unchecked_transaction()?;
        let subjects: HashSet<i64> = subjects(conn, query)?.into_iter().map(|subject| subject.id).collect();
        let mut statement = conn.prepare_cached(&select_transitions("WHERE id < ?1 ORDER BY id DESC"))?;
        let mut rows = statement.query([top(conn, "transition", query)?])?;
        let mut page = Page { rows: Vec::new(), searched_down_to: None };
        let mut visited = 0;
        while let Some(row) = rows.next()? {
            if is_before(query, row.get(3)?) {
                break;
            }
            visited += 1;
            if subjects.contains(&row.get(1)?) {
                let row = shared.keep(read_transition(conn, tags, row))?;
                page.rows.extend(row.filter(|row| is_wanted(query, row)));
            }
            if page.rows.len() >= limit(query) || visited >= most.visited {
                page.searched_down_to = Some(row.get(0)?);
                break;
            }
        }
        Ok(page)
    }
}

fn is_wanted(query: &Query, row: &TransitionRow) -> bool {
    query.status.is_none_or(|status| row.change.to as i64 == status as i64) && is_within(query, row.change.at.0)
}

fn is_within(query: &Query, time: i64) -> bool {
    query.since.is_none_or(|since| time >= since.0) && query.until.is_none_or(|until| time <= until.0)
}

/// Whether this row and all that were written earlier are of instants before those that were asked for.
fn is_before(query: &Query, time: i64) -> bool {
    query.since.is_some_and(|since| time.saturating_add(LATEST_COMMIT_NS) < since.0)
}

/// A page holds one row at least, so that the next one begins elsewhere.
fn limit(query: &Query) -> usize {
    query.limit.clamp(1, MAX_ROWS)
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
    /// Only rows below this id can be wanted.
    top: i64,
    most: Most,
    rows: Vec<RecordRow>,
    visited: usize,
    bytes: usize,
    /// Where the search stopped although there is more to look at.
    reached: Option<i64>,
}

impl Search<'_> {
    /// Notes that a row was dealt with; true when it is time to stop. Only below where the question began: another one
    /// with this row as its beginning must come further.
    fn is_over(&mut self, id: i64) -> bool {
        self.visited += 1;
        let below = self.query.before.is_none_or(|before| id < before);
        let full = self.rows.len() >= limit(self.query) || self.bytes >= self.most.bytes;
        if full || (self.visited >= self.most.visited && below) {
            self.reached = Some(id);
        }
        self.reached.is_some()
    }

    /// Rows of some subjects. The table `subject` knows their newest ones up to the snapshot; what came after that is
    /// few, and is looked through.
    fn chains(&mut self, subjects: &[Subject]) -> rusqlite::Result<()> {
        let snapshot = "SELECT snapshot FROM tally";
        let snapshot: i64 = self.conn.prepare_cached(snapshot)?.query_row([], |row| row.get(0))?;
        self.scan(snapshot, Some(&subjects.iter().map(|subject| subject.id).collect()))?;
        if self.reached.is_some() {
            return Ok(());
        }
        let mut heads = BinaryHeap::new();
        for subject in subjects {
            let id = first(self.conn, subject, self.top, snapshot)?;
            heads.extend((id > 0).then_some(Head { id, subject: subject.id }));
        }
        self.walk(heads)
    }

    /// Rows above an id, one after the other, from the newest.
    fn scan(&mut self, above: i64, subjects: Option<&HashSet<i64>>) -> rusqlite::Result<()> {
        let conn = self.conn;
        let mut statement = conn.prepare_cached(&select_records("WHERE id > ?1 AND id < ?2 ORDER BY id DESC"))?;
        let mut rows = statement.query([above, self.top])?;
        while let Some(row) = rows.next()? {
            if is_before(self.query, row.get(3)?) {
                break;
            }
            let subject = row.get(1)?;
            if subjects.is_none_or(|subjects| subjects.contains(&subject)) {
                self.look(row)?;
            }
            if self.is_over(row.get(0)?) {
                break;
            }
        }
        Ok(())
    }

    /// Goes back along several subjects at once, always on with the newest row. Each row names the one before it. Where
    /// that one was removed, only rows that are in the index are left.
    fn walk(&mut self, mut heads: BinaryHeap<Head>) -> rusqlite::Result<()> {
        let conn = self.conn;
        let failing = self.query.status.is_some_and(|status| status != Status::Ok);
        let mut statement = conn.prepare_cached(&select_records("WHERE id = ?1"))?;
        while let Some(Head { id, subject }) = heads.pop() {
            let mut rows = statement.query([id])?;
            if let Some(row) = rows.next()? {
                // Within a subject time only grows: what follows is older still.
                let time: i64 = row.get(3)?;
                if self.query.since.is_none_or(|since| time >= since.0) {
                    if id < self.top {
                        self.look(row)?;
                    }
                    let previous = row.get(4)?;
                    if failing {
                        heads.extend(next_notable(conn, subject, id)?);
                    } else if previous > 0 {
                        heads.push(Head { id: previous, subject });
                    }
                }
            } else {
                heads.extend(next_notable(conn, subject, id)?);
            }
            // After the last row there is nothing more, however many there were.
            if !heads.is_empty() && self.is_over(id) {
                break;
            }
        }
        Ok(())
    }

    fn look(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let status = self.query.status.map(|status| status as i64);
        if is_within(self.query, row.get(3)?) && status.is_none_or(|status| row.get(5) == Ok(status)) {
            self.bytes += row.get_ref(7)?.as_blob().map_or(0, <[u8]>::len);
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

/// The id below which rows can be wanted: where the page before ended, or lower, where everything is of a later instant.
/// Rows are in the order in which they were written, and none was written before the instant it is about. So where one
/// is of an instant more than `LATEST_COMMIT_NS` after `until`, all that follow are of one after `until`.
fn top(conn: &Connection, table: &'static str, query: &Query) -> rusqlite::Result<i64> {
    let before = query.before.unwrap_or(i64::MAX);
    let Some(until) = query.until else { return Ok(before) };
    let newest = format!("SELECT coalesce(max(id), 0) FROM {table} WHERE id < ?1");
    let newest: i64 = conn.prepare_cached(&newest)?.query_row([before], |row| row.get(0))?;
    let at = format!("SELECT id, time FROM {table} WHERE id >= ?1 ORDER BY id LIMIT 1");
    let mut at = conn.prepare_cached(&at)?;
    let (mut low, mut top) = (0, newest.saturating_add(1));
    while low < top {
        let middle = low + (top - low) / 2;
        let row = at.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        match row {
            // Nothing is from the middle up to this row.
            Some((id, time)) if id >= top || time.saturating_sub(LATEST_COMMIT_NS) > until.0 => top = middle,
            Some((id, _)) => low = id.saturating_add(1),
            None => top = middle,
        }
    }
    Ok(top.min(before))
}

/// Where to begin with a subject: after the last row of the page before when that is one of its own, which makes paging
/// cheap; else at the next one above that is in the index, or at its newest one.
fn first(conn: &Connection, subject: &Subject, top: i64, snapshot: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT previous FROM record WHERE id = ?1 AND subject = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut previous = |id: i64| statement.query_row([id, subject.id], |row| row.get::<_, i64>(0)).optional();
    let mut id = match previous(top)? {
        Some(id) => id,
        None => {
            let sql = "SELECT id FROM record WHERE subject = ?1 AND notable = 1 AND id > ?2 ORDER BY id LIMIT 1";
            let above = conn.prepare_cached(sql)?.query_row([subject.id, top], |row| row.get(0)).optional()?;
            above.unwrap_or(subject.last_record)
        }
    };
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

#[cfg(test)]
mod tests;
