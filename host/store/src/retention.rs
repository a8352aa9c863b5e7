//! What goes when it is too old or too much: a few rows at a time, the dull ones before the telling ones.

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::time::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::database::Database;
use crate::entry::Config;
use crate::row::Cursor;

/// A budget below this could not hold what is always there.
const MIN_SIZE: u64 = 1 << 20;

/// Rows looked at in one step when little was written: a few milliseconds of work.
pub(crate) const STEP: usize = 1_000;

/// Of the budget, what the write-ahead log and the reserve take: 8 MiB each.
const BESIDE: u64 = 16 << 20;

/// Once the budget is reached, this part of it is freed in one go, so that it is not reached again at once.
const SLACK_DIVISOR: u64 = 64;

/// When the disk is full before the budget is reached, this part of the history makes room for what is new: enough for
/// a while, and not at all when it is so little that nothing would be left.
const TRIM_DIVISOR: u64 = 16;
const LEAST_TRIM: u64 = 32 << 10;
const MOST_TRIM: u64 = 4 << 20;

/// Transitions may take a quarter of the budget, at this estimate of the size of one with its index entries.
const TRANSITION_BYTES: u64 = 256;

/// What removing a row adds to the log, roughly.
const ROW_BYTES: usize = 64;

/// Free pages given back to the file system in one step: 1 MiB.
const VACUUM_PAGES: i64 = 256;

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    max_size: u64,
    max_age: std::time::Duration,
    transitions_max_age: std::time::Duration,
    /// The budget was reached, and the slack is not free yet.
    trimming: bool,
    /// The disk turned out to be full: what holds something has to shrink to this once.
    trim_to: Option<u64>,
}

impl Budget {
    pub(crate) fn new(config: &Config) -> Self {
        let Config { max_size, max_age, transitions_max_age, .. } = *config;
        Self { max_size: max_size.max(MIN_SIZE), max_age, transitions_max_age, trimming: false, trim_to: None }
    }

    /// Whether rows have to go, given the bytes that hold something and those of the log and the reserve.
    fn is_over(&mut self, live: u64, beside: u64) -> bool {
        self.trim_to = self.trim_to.filter(|target| live > *target);
        if self.trim_to.is_some() {
            return true;
        }
        // A log that a slow reader holds up must not cost more than half of the history.
        let beside = beside.clamp((self.max_size / 4).min(BESIDE), self.max_size / 2);
        let allowed = self.max_size.saturating_sub(beside);
        let slack = if self.trimming { self.max_size / SLACK_DIVISOR } else { 0 };
        self.trimming = live + slack > allowed;
        self.trimming
    }

    fn max_transitions(&self) -> i64 {
        i64::try_from(self.max_size / 4 / TRANSITION_BYTES).unwrap_or(i64::MAX)
    }
}

impl Database {
    /// Makes room within the file once, because the disk is full: the pages that become free take the next rows.
    pub(crate) fn trim(&mut self) -> rusqlite::Result<()> {
        if self.budget.trim_to.is_some() {
            return Ok(());
        }
        let live = self.live_bytes()?;
        let part = (live / TRIM_DIVISOR).min(MOST_TRIM);
        self.budget.trim_to = (part >= LEAST_TRIM).then_some(live - part);
        Ok(())
    }

    /// Looks at `step` rows and removes those that have to go. Returns whether there may be more to do.
    pub(crate) fn retain(&mut self, step: usize) -> rusqlite::Result<bool> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let beside = self.wal_bytes() + self.reserve.held();
        let over = self.budget.is_over(self.live_bytes()?, beside);
        let old = self.has_old()?;
        if !over && !old && !self.has_old_transitions()? {
            return self.give_back();
        }
        let before = self.tally;
        let result = self.transaction(|database| {
            let mut removed = database.remove_old(step)? + database.remove_old_transitions(step)?;
            if over && removed == 0 {
                removed = database.make_room(step)?;
            }
            let unused = if removed > 0 { database.remove_unused()? } else { Vec::new() };
            database.tally.write(&database.conn)?;
            Ok((removed, unused))
        });
        let (removed, unused) = match result {
            Ok(done) => done,
            Err(error) => {
                self.tally = before;
                return Err(error);
            }
        };
        for key in &unused {
            self.subjects.remove(key);
        }
        self.unchecked += usize::try_from(removed).unwrap_or(0) * ROW_BYTES;
        if (over || old) && removed == 0 && self.tally.snapshot < self.newest_record()? {
            // What is left was written after the last snapshot: it can go once there is a newer one.
            self.commit(&[], true)?;
            return Ok(true);
        }
        Ok(self.give_back()? || removed > 0)
    }

    fn has_old(&self) -> rusqlite::Result<bool> {
        Ok(self.oldest()?.is_some_and(|(_, time)| time < self.newest - self.budget.max_age))
    }

    fn has_old_transitions(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT time FROM transition ORDER BY id LIMIT 1";
        let oldest = self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()?;
        let cutoff = self.newest - self.budget.transitions_max_age;
        Ok(self.tally.transitions > self.budget.max_transitions() || oldest.is_some_and(|time| time < cutoff.0))
    }

    /// By age.
    fn remove_old(&mut self, step: i64) -> rusqlite::Result<i64> {
        if self.has_old()? { self.remove_first(step, self.newest - self.budget.max_age) } else { Ok(0) }
    }

    /// By size. Records that say "still ok" go first, from the oldest on. What was kept of that stretch may grow to
    /// half of all records; then the oldest go, whatever they say. Transitions go when there is nothing else.
    fn make_room(&mut self, step: i64) -> rusqlite::Result<i64> {
        let mut removed = 0;
        if self.tally.kept * 2 <= self.tally.records {
            removed = self.thin(step)?;
        }
        if removed == 0 {
            removed = self.remove_first(step, Timestamp(i64::MAX))?;
        }
        if removed == 0 && self.tally.snapshot >= self.newest_record()? {
            removed = self.remove_transitions(step, Timestamp(i64::MAX))?;
        }
        Ok(removed)
    }

    /// Removes what says "still ok" from the next records above `thinned`; passing over others is progress, too.
    fn thin(&mut self, step: i64) -> rusqlite::Result<i64> {
        let sql = "SELECT count(*), max(id) FROM \
                   (SELECT id FROM record WHERE id >= ?1 AND id <= ?2 ORDER BY id LIMIT ?3)";
        let range = params![self.tally.thinned, self.tally.snapshot, step];
        let (seen, last): (i64, Option<i64>) =
            self.conn.prepare_cached(sql)?.query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(last) = last else { return Ok(0) };
        let removed = self.remove_records(self.tally.thinned, last, Timestamp(i64::MAX), false)?;
        self.tally.kept += seen - removed;
        self.tally.thinned = last + 1;
        Ok(seen)
    }

    /// Removes from the oldest records those before an instant.
    fn remove_first(&mut self, step: i64, before: Timestamp) -> rusqlite::Result<i64> {
        let sql = "SELECT max(id) FROM (SELECT id FROM record WHERE id <= ?1 ORDER BY id LIMIT ?2)";
        let last: Option<i64> =
            self.conn.prepare_cached(sql)?.query_row([self.tally.snapshot, step], |row| row.get(0))?;
        match last {
            Some(last) => self.remove_records(0, last, before, true),
            None => Ok(0),
        }
    }

    /// Removes records by id, in pieces in which all were acknowledged or none, and all stood below `thinned` or none.
    fn remove_records(&mut self, from: i64, to: i64, before: Timestamp, notable: bool) -> rusqlite::Result<i64> {
        let acknowledged = self.acknowledged().record;
        let mut removed = 0;
        let mut first = from;
        while first <= to {
            let cuts = [acknowledged, self.tally.thinned - 1];
            let last = cuts.into_iter().filter(|cut| (first..to).contains(cut)).min().unwrap_or(to);
            let sql = "DELETE FROM record WHERE id BETWEEN ?1 AND ?2 AND time < ?3 AND notable <= ?4";
            let range = params![first, last, before.0, notable];
            let count = i64::try_from(self.conn.prepare_cached(sql)?.execute(range)?).unwrap_or(i64::MAX);
            self.tally.records -= count;
            if first > acknowledged {
                self.tally.dropped_unsent += count;
            }
            if last < self.tally.thinned {
                self.tally.kept -= count;
            }
            removed += count;
            first = last + 1;
        }
        Ok(removed)
    }

    fn remove_old_transitions(&mut self, step: i64) -> rusqlite::Result<i64> {
        let surplus = self.tally.transitions - self.budget.max_transitions();
        if surplus > 0 {
            self.remove_transitions(step.min(surplus), Timestamp(i64::MAX))
        } else if self.has_old_transitions()? {
            self.remove_transitions(step, self.newest - self.budget.transitions_max_age)
        } else {
            Ok(0)
        }
    }

    fn remove_transitions(&mut self, step: i64, before: Timestamp) -> rusqlite::Result<i64> {
        let acknowledged = self.acknowledged().transition;
        let sql = "SELECT max(id) FROM (SELECT id FROM transition ORDER BY id LIMIT ?1)";
        let last: Option<i64> = self.conn.prepare_cached(sql)?.query_row([step], |row| row.get(0))?;
        let Some(last) = last else { return Ok(0) };
        let mut statement =
            self.conn.prepare_cached("DELETE FROM transition WHERE id > ?1 AND id <= ?2 AND time < ?3")?;
        let mut remove = |above: i64, to: i64| {
            let removed = statement.execute(params![above, to, before.0])?;
            Ok::<_, rusqlite::Error>(i64::try_from(removed).unwrap_or(i64::MAX))
        };
        let sent = remove(0, last.min(acknowledged))?;
        let unsent = remove(acknowledged, last)?;
        self.tally.transitions -= sent + unsent;
        self.tally.dropped_unsent += unsent;
        Ok(sent + unsent)
    }

    /// Tag sets and forgotten subjects that no row refers to any more; the latter are returned.
    fn remove_unused(&self) -> rusqlite::Result<Vec<Key>> {
        let oldest = self.oldest()?.map_or(i64::MAX, |(id, _)| id);
        let sql = "DELETE FROM tagset WHERE retired < ?1 \
                   AND NOT EXISTS (SELECT 1 FROM transition WHERE transition.tagset = tagset.id)";
        self.conn.prepare_cached(sql)?.execute([oldest])?;
        let sql = "SELECT id, check_name, target FROM subject WHERE forgotten = 1 AND last_record < ?1 \
                   AND NOT EXISTS (SELECT 1 FROM transition WHERE transition.subject = subject.id)";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([oldest])?;
        let mut unused = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let Ok(check) = CheckName::new(row.get_ref(1)?.as_str()?) else { continue };
            let key = Key { check, target: row.get(2)? };
            if self.subjects.is_unused(&key) {
                for sql in [
                    "DELETE FROM subject WHERE id = ?1",
                    "DELETE FROM finding WHERE subject = ?1",
                    "DELETE FROM story WHERE subject = ?1",
                ] {
                    self.conn.prepare_cached(sql)?.execute([id])?;
                }
                unused.push(key);
            }
        }
        Ok(unused)
    }

    /// Returns some free pages to the file system while the file is larger than it may be, for instance because the
    /// budget was lowered. Returns whether there were any.
    fn give_back(&mut self) -> rusqlite::Result<bool> {
        if self.bytes()? <= self.budget.max_size || self.freelist_is_empty()? {
            return Ok(false);
        }
        let mut statement = self.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        self.unchecked += ROW_BYTES * STEP;
        Ok(true)
    }

    fn freelist_is_empty(&self) -> rusqlite::Result<bool> {
        self.conn.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| Ok(row.get::<_, i64>(0)? == 0))
    }

    /// What every destination has; everything, when there is none.
    fn acknowledged(&self) -> Cursor {
        let all = Cursor { record: i64::MAX, transition: i64::MAX };
        self.cursors.values().fold(all, |least, cursor| Cursor {
            record: least.record.min(cursor.record),
            transition: least.transition.min(cursor.transition),
        })
    }

    fn newest_record(&self) -> rusqlite::Result<i64> {
        let newest = "SELECT coalesce(max(id), 0) FROM record";
        self.conn.prepare_cached(newest)?.query_row([], |row| row.get(0))
    }
}
