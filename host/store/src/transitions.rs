//! Hard changes become rows: each with an instant of its own, in an order that never differs.

use roundsman_model::findings::FindingChange;
use roundsman_model::state::Change;
use roundsman_model::time::Timestamp;
use rusqlite::{Connection, params};

use crate::database::Tally;
use crate::entry::{Recorded, Turned};
use crate::row::{Changed, ENCODER, TransitionBody, encode};
use crate::subjects::Slot;

/// The changes that a record brought about: that of its subject first, then those of findings by name. Returns how many
/// came too late.
pub(crate) fn of_record(
    conn: &Connection,
    slot: &mut Slot,
    recorded: &Recorded,
    record: i64,
    tally: &mut Tally,
) -> rusqlite::Result<u64> {
    let mut group = Group::begin(conn, slot, tally);
    if let Some(change) = recorded.change {
        group.write(&TransitionBody { change, finding: None, summary: &recorded.record.summary, record })?;
    }
    let mut findings: Vec<&FindingChange> = recorded.findings.iter().collect();
    findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    for finding in findings {
        if let Some(change) = finding.change {
            let (name, summary) = (Some(&*finding.subject), &*finding.summary);
            group.write(&TransitionBody { change, finding: name, summary, record })?;
        }
    }
    Ok(group.unordered)
}

/// The change that came without a record. Returns how many came too late.
pub(crate) fn of_turned(
    conn: &Connection,
    slot: &mut Slot,
    turned: &Turned,
    tally: &mut Tally,
) -> rusqlite::Result<u64> {
    let mut group = Group::begin(conn, slot, tally);
    group.write(&TransitionBody { change: turned.change, finding: None, summary: &turned.summary, record: 0 })?;
    Ok(group.unordered)
}

/// Changes of one subject that belong together and may be of the same instant.
struct Group<'a> {
    conn: &'a Connection,
    slot: &'a mut Slot,
    tally: &'a mut Tally,
    /// The instant of the last change before them.
    before: Option<Timestamp>,
    unordered: u64,
}

impl<'a> Group<'a> {
    fn begin(conn: &'a Connection, slot: &'a mut Slot, tally: &'a mut Tally) -> Self {
        let before = slot.state.changed.map(|changed| changed.at);
        // Where a series of changes stands is known from the subject's row alone.
        slot.urgent = true;
        Self { conn, slot, tally, before, unordered: 0 }
    }

    fn write(&mut self, body: &TransitionBody<'_>) -> rusqlite::Result<()> {
        let Change { at, .. } = body.change;
        if self.before.is_some_and(|before| at <= before) {
            self.unordered += 1;
            return Ok(());
        }
        let last = self.slot.state.changed.unwrap_or(Changed { at, time: Timestamp(at.0.saturating_sub(1)) });
        let time = at.max(Timestamp(last.time.0.saturating_add(1)));
        let sql = "INSERT INTO transition (subject, tagset, time, encoder, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (row, tagset) = (self.slot.stored.row, self.slot.stored.tagset);
        self.conn.prepare_cached(sql)?.execute(params![row, tagset, time.0, ENCODER, encode(body, Vec::new())])?;
        self.slot.state.changed = Some(Changed { at: at.max(last.at), time });
        self.tally.transitions += 1;
        Ok(())
    }
}
