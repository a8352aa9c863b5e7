//! What the store is told, reduced to what a model can say beforehand.

use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Blame, Origin, Status};
use roundsman_model::silence::Until;
use roundsman_model::state::{Change, Standing, State};
use roundsman_model::supervision::{Conduct, Phase};
use roundsman_model::time::Timestamp;
use roundsman_store::{Entry, Recorded, Turned};

/// An entry for the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Record(Box<Row>),
    Turned { key: Key, stand: Stand, change: Change, why: Why, counts: Counts, last_tick: Timestamp },
    Counted { key: Key, counts: Counts, last_tick: Timestamp },
    Forget(Key),
    Supervised(PluginName, Option<Behaved>),
    Silenced { id: u64, until: Until },
    Unsilenced(u64),
}

/// A record, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) origin: Origin,
    pub(super) time: Timestamp,
    pub(super) started: Timestamp,
    pub(super) status: Status,
    pub(super) blame: Blame,
    pub(super) code: Option<Arc<str>>,
    pub(super) attempt: u32,
    pub(super) interval_ns: u64,
    pub(super) stand: Stand,
    pub(super) change: Option<Change>,
    pub(super) findings: Vec<FindingTold>,
    pub(super) memory: Vec<(String, Option<Vec<u8>>)>,
    pub(super) counts: Counts,
    pub(super) last_tick: Timestamp,
    pub(super) suspect: bool,
    pub(super) conduct: Option<Behaved>,
}

/// A `Conduct`, but for what the last failure said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Behaved {
    pub(super) digest: Arc<str>,
    pub(super) phase: Phase,
    pub(super) since: Timestamp,
    pub(super) backoffs: u32,
    pub(super) failures: u32,
    pub(super) runs: u32,
}

impl From<&Conduct> for Behaved {
    fn from(conduct: &Conduct) -> Self {
        let Conduct { digest, phase, since, backoffs, failures, runs, last: _ } = conduct.clone();
        Self { digest, phase, since, backoffs, failures, runs }
    }
}

/// Subject, where it stands unless it is forgotten, and the hard change.
pub(super) type FindingTold = (Arc<str>, Option<Stand>, Option<Change>);

/// A `Standing`, as far as it can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stand {
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) soft: Option<(Status, u32)>,
    pub(super) flapping: bool,
    pub(super) flap_percent: f64,
}

/// Why a change came without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Maintenance,
    Dependency,
    Plugin,
    Silence,
    Gone,
    Other,
}

impl From<&Standing> for Stand {
    fn from(standing: &Standing) -> Self {
        Self {
            state: standing.state,
            since: standing.since,
            soft: standing.soft.map(|soft| (soft.status, soft.count)),
            flapping: standing.flap.is_flapping(),
            flap_percent: standing.flap.percent(),
        }
    }
}

impl From<&Entry> for Told {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Record(recorded) => Self::Record(Box::new(Row::from(&**recorded))),
            Entry::Turned(turned) => {
                let Turned { key, standing, change, summary, counts, last_tick, .. } = &**turned;
                let (key, stand, why) = (key.clone(), Stand::from(standing), Why::of(summary));
                Self::Turned { key, stand, change: *change, why, counts: *counts, last_tick: *last_tick }
            }
            Entry::Counted { key, counts, last_tick } => {
                Self::Counted { key: key.clone(), counts: *counts, last_tick: *last_tick }
            }
            Entry::Forget { key } => Self::Forget(key.clone()),
            Entry::Silenced(silence) => Self::Silenced { id: silence.id, until: silence.until },
            Entry::Unsilenced { id } => Self::Unsilenced(*id),
            Entry::Supervised { plugin, conduct } => {
                Self::Supervised(plugin.clone(), conduct.as_deref().map(Behaved::from))
            }
        }
    }
}

impl Told {
    /// Whose counts it tells, and up to which instant they know everything.
    pub(super) fn last_tick(&mut self) -> Option<(&Key, &mut Timestamp)> {
        match self {
            Self::Record(row) => Some((&row.key, &mut row.last_tick)),
            Self::Turned { key, last_tick, .. } | Self::Counted { key, last_tick, .. } => Some((key, last_tick)),
            Self::Forget(_) | Self::Silenced { .. } | Self::Unsilenced(_) | Self::Supervised(..) => None,
        }
    }
}

impl From<&Recorded> for Row {
    fn from(recorded: &Recorded) -> Self {
        let Recorded { record, change, findings, memory, counts, last_tick, conduct, .. } = recorded;
        Self {
            key: record.key.clone(),
            origin: record.origin,
            time: record.time,
            started: record.started,
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            attempt: record.attempt,
            interval_ns: record.interval_ns,
            stand: Stand::from(&record.standing),
            change: *change,
            findings: findings
                .iter()
                .map(|told| (told.subject.clone(), told.standing.as_ref().map(Stand::from), told.change))
                .collect(),
            memory: memory.clone(),
            counts: *counts,
            last_tick: *last_tick,
            suspect: record.suspect,
            conduct: conduct.as_deref().map(Behaved::from),
        }
    }
}

impl Why {
    fn of(summary: &str) -> Self {
        let words = [
            ("maintenance until ", Self::Maintenance),
            ("depends on ", Self::Dependency),
            ("plugin ", Self::Plugin),
            ("not heard of since ", Self::Silence),
            ("never heard of", Self::Silence),
            ("no longer configured", Self::Gone),
        ];
        words.into_iter().find(|(begin, _)| summary.starts_with(begin)).map_or(Self::Other, |(_, why)| why)
    }
}
