//! What an opened file says: subjects where they stand, their findings, silences, conducts of plugins, cursors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use roundsman_model::findings::Findings;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::Status;
use roundsman_model::silence::Silence;
use roundsman_model::supervision::Conduct;
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, Row};

use crate::database::{Database, Tally};
use crate::entry::Config;
use crate::reserve::Reserve;
use crate::retention::Budget;
use crate::row::{Body, Cursor, SubjectState};
use crate::subjects::{Slot, Stored, Subjects};

/// What is read for the agent alone.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) findings: HashMap<Key, Findings>,
    /// In the order of their ids.
    pub(crate) silences: Vec<Silence>,
    pub(crate) conducts: HashMap<PluginName, Conduct>,
}

impl Database {
    /// Reads what is remembered, follows the records that are newer than the snapshot, and marks the file as in use.
    pub(crate) fn load(conn: Connection, path: &Path, config: &Config) -> rusqlite::Result<(Self, Past)> {
        let mut database = Self {
            tally: conn.query_row("SELECT * FROM tally WHERE id = 1", [], Tally::read)?,
            conn,
            path: path.to_owned(),
            subjects: Subjects::default(),
            cursors: BTreeMap::new(),
            cursors_changed: false,
            silences: BTreeSet::new(),
            budget: Budget::new(config),
            reserve: Reserve::new(&config.directory, config.max_size),
            newest: Timestamp(0),
            unchecked: 0,
            buffer: Vec::new(),
            unordered: 0,
        };
        let positions = database.load_subjects()?;
        database.follow_tail(&positions)?;
        let past = Past {
            findings: database.findings(&positions)?,
            silences: read_silences(&database.conn)?,
            conducts: read_conducts(&database.conn)?,
        };
        database.silences = past.silences.iter().map(|silence| silence.id).collect();
        database.newest = database.newest_time()?;
        database.transaction(|database| {
            database.conn.execute("UPDATE tally SET clean = 0", [])?;
            database.register(&config.destinations)
        })?;
        database.acquire_reserve()?;
        Ok((database, past))
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

    /// A subject's row knows all that came before it was written, its own record included: only later ones are told.
    fn follow_tail(&mut self, positions: &BTreeMap<i64, usize>) -> rusqlite::Result<()> {
        let sql = "SELECT id, subject, tagset, time, status, body FROM record WHERE id > ?1 ORDER BY id";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([self.tally.snapshot])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let Some(at) = positions.get(&row.get(1)?) else { continue };
            if id > self.subjects.get(*at).stored.last_record {
                follow(self.subjects.restore(*at), id, row)?;
            }
        }
        Ok(())
    }

    fn findings(&self, positions: &BTreeMap<i64, usize>) -> rusqlite::Result<HashMap<Key, Findings>> {
        let mut findings: HashMap<Key, Findings> = HashMap::new();
        let mut statement = self.conn.prepare("SELECT subject, name, standing FROM finding")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(at) = positions.get(&row.get(0)?) else { continue };
            let standing = postcard::from_bytes(row.get_ref(2)?.as_blob()?).map_err(|error| garbled(2, error))?;
            let key = self.subjects.get(*at).key.clone();
            findings.entry(key).or_default().insert(row.get(1)?, standing);
        }
        Ok(findings)
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

    fn newest_time(&self) -> rusqlite::Result<Timestamp> {
        let sql = "SELECT time FROM record ORDER BY id DESC LIMIT 1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        Ok(Timestamp(rows.next()?.map_or(Ok(0), |row| row.get(0))?))
    }
}

pub(crate) fn read_cursors(conn: &Connection) -> rusqlite::Result<Vec<(String, Cursor)>> {
    let mut statement = conn.prepare_cached("SELECT destination, record, transition FROM cursor")?;
    let cursors =
        statement.query_map([], |row| Ok((row.get(0)?, Cursor { record: row.get(1)?, transition: row.get(2)? })))?;
    cursors.collect()
}

fn read_silences(conn: &Connection) -> rusqlite::Result<Vec<Silence>> {
    let mut statement = conn.prepare("SELECT body FROM silence")?;
    let silences = statement
        .query_map([], |row| postcard::from_bytes(row.get_ref(0)?.as_blob()?).map_err(|error| garbled(0, error)))?;
    let mut silences: Vec<Silence> = silences.collect::<rusqlite::Result<_>>()?;
    silences.sort_by_key(|silence| silence.id);
    Ok(silences)
}

fn read_conducts(conn: &Connection) -> rusqlite::Result<HashMap<PluginName, Conduct>> {
    let mut statement = conn.prepare("SELECT name, body FROM plugin")?;
    let conducts = statement.query_map([], |row| {
        let name = PluginName::new(row.get_ref(0)?.as_str()?).map_err(|error| garbled(0, error))?;
        let conduct = postcard::from_bytes(row.get_ref(1)?.as_blob()?).map_err(|error| garbled(1, error))?;
        Ok((name, conduct))
    })?;
    conducts.collect()
}

fn read_slot(row: &Row<'_>) -> rusqlite::Result<Slot> {
    let check = CheckName::new(row.get_ref(1)?.as_str()?).map_err(|error| garbled(1, error))?;
    let key = Key { check, target: row.get(2)? };
    let state = postcard::from_bytes(row.get_ref(6)?.as_blob()?).map_err(|error| garbled(6, error))?;
    let stored = Stored { row: row.get(0)?, last_record: row.get(4)?, tagset: row.get(5)?, forgotten: row.get(3)? };
    Ok(Slot::restored(key, state, stored))
}

/// Applies a record that was committed after its subject was written.
fn follow(slot: &mut Slot, id: i64, row: &Row<'_>) -> rusqlite::Result<()> {
    let time = Timestamp(row.get(3)?);
    let body: Body<'_> = postcard::from_bytes(row.get_ref(5)?.as_blob()?).map_err(|error| garbled(5, error))?;
    slot.follow(SubjectState {
        standing: Some(body.standing),
        counts: body.counts,
        last_tick: body.last_tick(time),
        high_water: time,
        last_status: Status::from_number(row.get(4)?),
        changed: None,
    });
    (slot.stored.last_record, slot.stored.tagset) = (id, row.get(2)?);
    Ok(())
}

/// A column whose content is not what was written there: the file is damaged, whatever SQLite thinks of it.
fn garbled(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
}
