//! One batch of entries becomes one transaction.

use roundsman_model::findings::FindingChange;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Status, Story};
use roundsman_model::silence::Silence;
use roundsman_model::supervision::Conduct;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::database::{Database, Tally};
use crate::entry::{Entry, Recorded, TagSet, Turned};
use crate::row::{Body, ENCODER, Interned, encode};
use crate::subjects::{Slot, Stored, Subjects};
use crate::transitions;

/// Failing runs of a subject whose story is kept: enough to see whether they fail alike.
pub const STORIES_KEPT: usize = 5;

/// What a transaction wrote.
struct Written {
    subjects: Vec<usize>,
    /// Changes that came too late.
    unordered: u64,
}

impl Database {
    /// Writes the batch, what it means for its subjects, and the cursors. When it fails, nothing has changed, neither
    /// in the file nor here.
    pub(crate) fn commit(&mut self, entries: &[Entry], snapshot: bool) -> rusqlite::Result<()> {
        let (tally, newest) = (self.tally, self.newest);
        match self.transaction(|database| database.write(entries, snapshot)) {
            Ok(written) => {
                self.subjects.committed(&written.subjects);
                self.unordered += written.unordered;
                self.cursors_changed = false;
                Ok(())
            }
            Err(error) => {
                self.subjects.rolled_back();
                (self.tally, self.newest) = (tally, newest);
                Err(error)
            }
        }
    }

    fn write(&mut self, entries: &[Entry], snapshot: bool) -> rusqlite::Result<Written> {
        let unordered = self.write_entries(entries)?;
        let subjects = self.subjects.to_write(snapshot);
        for at in &subjects {
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
        Ok(Written { subjects, unordered })
    }

    /// Returns how many changes have no row because they came too late.
    fn write_entries(&mut self, entries: &[Entry]) -> rusqlite::Result<u64> {
        let Self { conn, subjects, tally, buffer, unchecked, newest, .. } = self;
        let sql = "INSERT INTO record (subject, tagset, time, previous, status, notable, encoder, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let mut insert = conn.prepare_cached(sql)?;
        let mut unordered = 0;
        for entry in entries {
            // A record's subject was taken in when it was admitted; it may have been forgotten and removed since, while
            // the record waited for a full disk.
            match entry {
                Entry::Record(recorded) => {
                    let slot = touch(subjects, &recorded.record.key);
                    buffer.clear();
                    *buffer = encode(&Body::of(recorded), std::mem::take(buffer));
                    *unchecked += buffer.len();
                    unordered += write_record(conn, &mut insert, slot, recorded, buffer, tally)?;
                    *newest = recorded.record.time;
                }
                Entry::Turned(turned) => {
                    unordered += write_turned(conn, touch(subjects, &turned.key), turned, tally)?;
                }
                Entry::Counted { key, counts, last_tick } => touch(subjects, key).count(*counts, *last_tick),
                Entry::Forget { key } => {
                    if let Some(at) = subjects.find(key) {
                        write_forgotten(conn, subjects.touch(at))?;
                    }
                }
                Entry::Silenced(silence) => write_silence(conn, silence)?,
                Entry::Unsilenced { id } => {
                    conn.prepare_cached("DELETE FROM silence WHERE id = ?1")?.execute([id.cast_signed()])?;
                }
                Entry::Supervised { plugin, conduct } => write_conduct(conn, plugin, conduct.as_deref())?,
            }
        }
        Ok(unordered)
    }
}

fn touch<'a>(subjects: &'a mut Subjects, key: &Key) -> &'a mut Slot {
    let at = subjects.position(key);
    subjects.touch(at)
}

fn write_record(
    conn: &Connection,
    insert: &mut CachedStatement<'_>,
    slot: &mut Slot,
    recorded: &Recorded,
    body: &[u8],
    tally: &mut Tally,
) -> rusqlite::Result<u64> {
    let record = &recorded.record;
    if slot.stored.row == 0 {
        write_subject(conn, slot)?;
    }
    let tagset = intern(conn, slot, &record.plugin, &recorded.tags)?;
    let Stored { row: subject, last_record: previous, .. } = slot.stored;
    let (ok, was_ok) = (record.status == Status::Ok, slot.state.last_status == Some(Status::Ok));
    let changes = recorded.change.is_some() || recorded.findings.iter().any(|finding| finding.change.is_some());
    let status = record.status as i64;
    let notable = !ok || !was_ok || changes;
    insert.execute(params![subject, tagset, record.time.0, previous, status, notable, ENCODER, body])?;
    let id = conn.last_insert_rowid();
    slot.record(recorded);
    slot.stored.last_record = id;
    tally.records += 1;
    let unordered = if changes { transitions::of_record(conn, slot, recorded, id, tally)? } else { 0 };
    write_findings(conn, subject, &recorded.findings)?;
    if !recorded.memory.is_empty() {
        write_memory(conn, subject, &recorded.memory)?;
    }
    if !ok && !recorded.story.is_empty() {
        write_story(conn, subject, id, &recorded.story)?;
    }
    if let Some(conduct) = &recorded.conduct {
        write_conduct(conn, &record.plugin, Some(conduct))?;
    }
    Ok(unordered)
}

fn write_turned(conn: &Connection, slot: &mut Slot, turned: &Turned, tally: &mut Tally) -> rusqlite::Result<u64> {
    if slot.stored.row == 0 {
        write_subject(conn, slot)?;
    }
    intern(conn, slot, &turned.plugin, &turned.tags)?;
    slot.turn(turned);
    transitions::of_turned(conn, slot, turned, tally)
}

/// The number of a row's tag set. The set that it replaces is marked with the last record that used it, so that it can
/// be removed with that record.
fn intern(conn: &Connection, slot: &mut Slot, plugin: &PluginName, tags: &TagSet) -> rusqlite::Result<i64> {
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

fn write_findings(conn: &Connection, subject: i64, findings: &[FindingChange]) -> rusqlite::Result<()> {
    for FindingChange { subject: name, standing, .. } in findings {
        match standing {
            Some(standing) => conn
                .prepare_cached("INSERT OR REPLACE INTO finding VALUES (?1, ?2, ?3)")?
                .execute(params![subject, name, encode(standing, Vec::new())])?,
            None => conn
                .prepare_cached("DELETE FROM finding WHERE subject = ?1 AND name = ?2")?
                .execute(params![subject, name])?,
        };
    }
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

fn write_story(conn: &Connection, subject: i64, id: i64, story: &Story) -> rusqlite::Result<()> {
    let body = encode(story, Vec::new());
    conn.prepare_cached("INSERT INTO story VALUES (?1, ?2, ?3)")?.execute(params![subject, id, body])?;
    let sql = "DELETE FROM story WHERE subject = ?1 AND record <= \
               (SELECT record FROM story WHERE subject = ?1 ORDER BY record DESC LIMIT 1 OFFSET ?2)";
    conn.prepare_cached(sql)?.execute([subject, STORIES_KEPT as i64])?;
    Ok(())
}

fn write_silence(conn: &Connection, silence: &Silence) -> rusqlite::Result<()> {
    let body = encode(silence, Vec::new());
    conn.prepare_cached("INSERT OR REPLACE INTO silence VALUES (?1, ?2)")?
        .execute(params![silence.id.cast_signed(), body])?;
    Ok(())
}

fn write_conduct(conn: &Connection, plugin: &PluginName, conduct: Option<&Conduct>) -> rusqlite::Result<()> {
    match conduct {
        Some(conduct) => conn
            .prepare_cached("INSERT OR REPLACE INTO plugin VALUES (?1, ?2)")?
            .execute(params![plugin.as_str(), encode(conduct, Vec::new())])?,
        None => conn.prepare_cached("DELETE FROM plugin WHERE name = ?1")?.execute([plugin.as_str()])?,
    };
    Ok(())
}

fn write_forgotten(conn: &Connection, slot: &mut Slot) -> rusqlite::Result<()> {
    for sql in ["DELETE FROM memory WHERE subject = ?1", "DELETE FROM finding WHERE subject = ?1"] {
        conn.prepare_cached(sql)?.execute([slot.stored.row])?;
    }
    retire(conn, &slot.stored)?;
    slot.stored.tagset = 0;
    slot.forget();
    Ok(())
}

fn write_subject(conn: &Connection, slot: &mut Slot) -> rusqlite::Result<()> {
    let Stored { row, last_record, tagset, forgotten } = slot.stored;
    let state = encode(&slot.state, Vec::new());
    if row == 0 {
        let sql = "INSERT INTO subject (check_name, target, forgotten, last_record, tagset, state) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (check, target) = (slot.key.check.as_str(), slot.key.target.as_deref());
        conn.prepare_cached(sql)?.execute(params![check, target, forgotten, last_record, tagset, state])?;
        slot.stored.row = conn.last_insert_rowid();
    } else {
        let sql = "UPDATE subject SET forgotten = ?2, last_record = ?3, tagset = ?4, state = ?5 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![row, forgotten, last_record, tagset, state])?;
    }
    Ok(())
}
