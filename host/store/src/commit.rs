//! One batch of entries becomes one transaction.

use roundsman_model::record::Status;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::database::Database;
use crate::entry::{Entry, LogLine, Recorded};
use crate::row::{Body, ENCODER, Interned, TransitionBody, encode};
use crate::subjects::{Slot, Stored, Subjects};

/// Failing runs of a subject whose log lines are kept: enough to see whether they fail alike.
pub const LOGS_KEPT: i64 = 5;

impl Database {
    /// Writes the batch, what it means for its subjects, and the cursors. When it fails, nothing has changed, neither
    /// in the file nor here.
    pub(crate) fn commit(&mut self, entries: &[Entry], snapshot: bool) -> rusqlite::Result<()> {
        let before = self.tally;
        match self.transaction(|database| database.write(entries, snapshot)) {
            Ok(written) => {
                self.subjects.committed(&written);
                self.cursors_changed = false;
                Ok(())
            }
            Err(error) => {
                self.subjects.rolled_back();
                self.tally = before;
                Err(error)
            }
        }
    }

    fn write(&mut self, entries: &[Entry], snapshot: bool) -> rusqlite::Result<Vec<usize>> {
        self.write_entries(entries)?;
        let written = self.subjects.to_write(snapshot);
        for at in &written {
            write_subject(&self.conn, self.subjects.touch(*at))?;
        }
        if snapshot {
            let newest = "SELECT coalesce(max(id), 0) FROM record";
            let newest: i64 = self.conn.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
            self.tally.snapshot = self.tally.snapshot.max(newest);
        }
        if self.cursors_changed {
            let sql = "UPDATE cursor SET record = ?2, transition = ?3 WHERE destination = ?1";
            let mut statement = self.conn.prepare_cached(sql)?;
            for (destination, cursor) in &self.cursors {
                statement.execute(params![destination, cursor.record, cursor.transition])?;
            }
        }
        self.tally.write(&self.conn)?;
        Ok(written)
    }

    fn write_entries(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let Self { conn, subjects, tally, buffer, unchecked, newest, .. } = self;
        let sql = "INSERT INTO record (subject, tagset, time, previous, status, notable, encoder, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let mut insert = conn.prepare_cached(sql)?;
        for entry in entries {
            match entry {
                Entry::Record(recorded) => {
                    let at = position(subjects, entry);
                    let slot = subjects.touch(at);
                    buffer.clear();
                    *buffer = encode(&Body::of(recorded), std::mem::take(buffer));
                    *unchecked += buffer.len();
                    write_record(conn, &mut insert, slot, recorded, buffer)?;
                    tally.records += 1;
                    tally.transitions += i64::from(recorded.change.is_some());
                    *newest = recorded.record.time;
                }
                Entry::Counted { .. } => {}
                Entry::Forget { key } => {
                    if let Some(at) = subjects.find(key) {
                        write_forgotten(conn, subjects.touch(at))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where the subject of an entry is. It was taken in when the entry was admitted, and may only be missing when it was
/// forgotten and removed while the entry waited for a full disk.
fn position(subjects: &mut Subjects, entry: &Entry) -> usize {
    match subjects.find(entry.key()) {
        Some(at) => at,
        None => subjects.insert(Slot::new(entry.key().clone())),
    }
}

fn write_record(
    conn: &Connection,
    insert: &mut CachedStatement<'_>,
    slot: &mut Slot,
    recorded: &Recorded,
    body: &[u8],
) -> rusqlite::Result<()> {
    let record = &recorded.record;
    if slot.stored.row == 0 {
        write_subject(conn, slot)?;
    }
    let tagset = intern(conn, slot, recorded)?;
    let Stored { row: subject, last_record: previous, last_ok, .. } = slot.stored;
    let ok = record.status == Status::Ok;
    let notable = !ok || !last_ok || recorded.change.is_some();
    let status = record.status as i64;
    insert.execute(params![subject, tagset, record.time.0, previous, status, notable, ENCODER, body])?;
    let id = conn.last_insert_rowid();
    slot.stored.last_record = id;
    slot.stored.last_ok = ok;
    if recorded.change.is_some() {
        write_transition(conn, slot, recorded, id)?;
    }
    if !recorded.memory.is_empty() {
        write_memory(conn, subject, &recorded.memory)?;
    }
    if !ok && !recorded.log.is_empty() {
        write_log(conn, subject, id, &recorded.log)?;
    }
    Ok(())
}

/// The number of the record's tag set. The set that it replaces is marked with the last record that used it, so that
/// it can be removed with that record.
fn intern(conn: &Connection, slot: &mut Slot, recorded: &Recorded) -> rusqlite::Result<i64> {
    let (plugin, tags) = (&recorded.record.plugin, &recorded.tags);
    if let Some((id, known_plugin, known_tags)) = &slot.tags
        && *id == slot.stored.tagset
        && known_plugin == plugin
        && known_tags.same(tags)
    {
        return Ok(*id);
    }
    let body = encode(&Interned { key: slot.key.clone(), plugin: plugin.clone(), tags: tags.clone() }, Vec::new());
    let find = "SELECT id FROM tagset WHERE body = ?1";
    let id = match conn.prepare_cached(find)?.query_row([&body], |row| row.get(0)).optional()? {
        Some(id) => id,
        None => {
            conn.prepare_cached("INSERT INTO tagset (body) VALUES (?1)")?.execute([&body])?;
            conn.last_insert_rowid()
        }
    };
    if slot.stored.tagset != id {
        retire(conn, &slot.stored)?;
        conn.prepare_cached("UPDATE tagset SET retired = NULL WHERE id = ?1")?.execute([id])?;
    }
    slot.stored.tagset = id;
    slot.tags = Some((id, plugin.clone(), tags.clone()));
    Ok(id)
}

fn retire(conn: &Connection, stored: &Stored) -> rusqlite::Result<()> {
    let sql = "UPDATE tagset SET retired = ?2 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute([stored.tagset, stored.last_record])?;
    Ok(())
}

fn write_transition(conn: &Connection, slot: &Slot, recorded: &Recorded, id: i64) -> rusqlite::Result<()> {
    let Some(change) = recorded.change else { return Ok(()) };
    let body = encode(&TransitionBody { change, summary: &recorded.record.summary, record: id }, Vec::new());
    let sql = "INSERT INTO transition (subject, tagset, time, encoder, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    let Stored { row, tagset, .. } = slot.stored;
    conn.prepare_cached(sql)?.execute(params![row, tagset, change.at.0, ENCODER, body])?;
    Ok(())
}

fn write_memory(conn: &Connection, subject: i64, memory: &[(String, Option<Vec<u8>>)]) -> rusqlite::Result<()> {
    for (name, value) in memory {
        match value {
            Some(value) => conn
                .prepare_cached("INSERT OR REPLACE INTO memory VALUES (?1, ?2, ?3)")?
                .execute(params![subject, name, value])?,
            None => conn
                .prepare_cached("DELETE FROM memory WHERE subject = ?1 AND name = ?2")?
                .execute(params![subject, name])?,
        };
    }
    Ok(())
}

fn write_log(conn: &Connection, subject: i64, id: i64, lines: &[LogLine]) -> rusqlite::Result<()> {
    let lines = encode(&lines, Vec::new());
    conn.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3)")?.execute(params![subject, id, lines])?;
    let sql = "DELETE FROM log WHERE subject = ?1 AND record <= \
               (SELECT record FROM log WHERE subject = ?1 ORDER BY record DESC LIMIT 1 OFFSET ?2)";
    conn.prepare_cached(sql)?.execute([subject, LOGS_KEPT])?;
    Ok(())
}

fn write_forgotten(conn: &Connection, slot: &mut Slot) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM memory WHERE subject = ?1")?.execute([slot.stored.row])?;
    retire(conn, &slot.stored)?;
    slot.stored.tagset = 0;
    Ok(())
}

fn write_subject(conn: &Connection, slot: &mut Slot) -> rusqlite::Result<()> {
    let Stored { row, last_record, tagset, .. } = slot.stored;
    let state = encode(&slot.state(), Vec::new());
    if row == 0 {
        let sql = "INSERT INTO subject (check_name, target, forgotten, last_record, tagset, state) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (check, target) = (slot.key.check.as_str(), slot.key.target.as_deref());
        conn.prepare_cached(sql)?.execute(params![check, target, slot.forgotten, last_record, tagset, state])?;
        slot.stored.row = conn.last_insert_rowid();
    } else {
        let sql = "UPDATE subject SET forgotten = ?2, last_record = ?3, tagset = ?4, state = ?5 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![row, slot.forgotten, last_record, tagset, state])?;
    }
    Ok(())
}
