//! From records to states: a change counts once it has been confirmed (soft), then it is a fact (hard).
//!
//! | hard state | results | what they take to become hard |
//! |---|---|---|
//! | pending, skipped, stale | ok | `success` in a row |
//! | pending, ok, skipped, stale | warning, critical, unknown | `failure` in a row, counted together; the last one names the state |
//! | warning, critical | the other of the two | nothing: at once |
//! | warning, critical | ok | `success` in a row |
//! | warning, critical | unknown | `failure` in a row |
//! | unknown | ok | `success` in a row |
//! | unknown | warning, critical | `failure` in a row, counted together; the last one names the state |
//!
//! Until then the hard state stays and the change is soft. A result that agrees with the hard state ends a soft change,
//! and a result that speaks for another change begins the count anew.
//!
//! Skipped and stale do not outlive a record: something was heard again. Where it does not confirm a state at once, the
//! hard state becomes pending, and the record is the first that speaks for a change from there. Whoever skips, or finds
//! that nothing was heard for too long, says so by `turn`; no record leads there.

use serde::{Deserialize, Serialize};

use crate::flap::Flap;
use crate::record::{Blame, Status};
use crate::time::Timestamp;

/// The state of a (check, target). The numbers are those of the field `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
    /// No change has been confirmed yet.
    Pending = 4,
    /// Not run on purpose.
    Skipped = 5,
    /// Nothing was heard for too long; never shown as healthy.
    Stale = 6,
}

/// How many equal results in a row confirm a change: the words and defaults of the kubelet's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    pub success: u32,
    pub failure: u32,
}

/// Where a (check, target) stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The hard state: pending until something was confirmed.
    pub state: State,
    /// When the hard state began: the time of the record that confirmed it.
    pub since: Timestamp,
    /// A change that is not confirmed yet: the state it would lead to. None: the last record agrees with `state`.
    pub soft: Option<Soft>,
    pub flap: Flap,
}

/// A change that is being confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soft {
    pub status: Status,
    /// Records in a row that speak for it.
    pub count: u32,
}

/// Where a result would lead the hard state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Nowhere that has to be confirmed: it agrees, or it is the other of warning and critical.
    None,
    Recovery,
    /// Away from ok, or from where nothing is known; from a problem to unknown, or from unknown to a problem.
    Failure,
}

/// A hard change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub from: State,
    pub to: State,
    /// When `from` had begun.
    pub since: Timestamp,
    pub at: Timestamp,
    /// Why nobody is to be alarmed by it. None: it counts.
    pub quiet: Option<Quiet>,
}

/// Why a change of state alarms nobody. Where several apply, the first of these is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quiet {
    /// The check is `shadow: true`.
    Shadow,
    /// A silence covers it.
    Silenced,
    /// This node's own way out was down.
    Suspect,
    /// It changes too often.
    Flapping,
}

impl Standing {
    /// Where everything begins: nothing is known yet.
    pub fn pending(now: Timestamp) -> Self {
        Self { state: State::Pending, since: now, soft: None, flap: Flap::default() }
    }

    /// What a record of this status, stamped `at`, makes of it. A threshold of 0 works as 1.
    ///
    /// Flapping is about the target: a status that somebody else is to blame for leaves that as it is.
    pub fn apply(&self, status: Status, blame: Blame, confirm: Confirm, at: Timestamp) -> (Self, Option<Change>) {
        let flap = if blame == Blame::Target { self.flap.after(status) } else { self.flap };
        let to = State::from(status);
        if to == self.state {
            return (Self { soft: None, flap, ..*self }, None);
        }
        let count = self.attempt(status);
        let needed = match self.direction(status) {
            Direction::None => 1,
            Direction::Recovery => confirm.success,
            Direction::Failure => confirm.failure,
        };
        let turned = |to: State, soft: Option<Soft>| {
            let change = Change { from: self.state, to, since: self.since, at, quiet: None };
            (Self { state: to, since: at, soft, flap }, Some(change))
        };
        if count >= needed {
            turned(to, None)
        } else if self.is_silent() {
            turned(State::Pending, Some(Soft { status, count }))
        } else {
            (Self { soft: Some(Soft { status, count }), flap, ..*self }, None)
        }
    }

    /// The attempt number of a record of this status, applied next: 1 unless it goes on with a soft change.
    pub fn attempt(&self, status: Status) -> u32 {
        match self.soft {
            Some(soft) if self.direction(soft.status) == self.direction(status) => soft.count.saturating_add(1),
            _ => 1,
        }
    }

    /// Which change of the hard state a result speaks for: results in one direction count together.
    fn direction(&self, status: Status) -> Direction {
        let to = State::from(status);
        match status {
            _ if to == self.state || (to.is_problem() && self.state.is_problem()) => Direction::None,
            Status::Ok => Direction::Recovery,
            Status::Warning | Status::Critical | Status::Unknown => Direction::Failure,
        }
    }

    /// A change that no record brings about: nothing was heard for too long, or it is not run on purpose. A soft change
    /// ends; flapping stays as it is. None: it is there already.
    pub fn turn(&self, to: State, at: Timestamp) -> Option<(Self, Change)> {
        let change = Change { from: self.state, to, since: self.since, at, quiet: None };
        (to != self.state).then_some((Self { state: to, since: at, soft: None, ..*self }, change))
    }

    /// Whether nothing was heard last, by intent or not.
    fn is_silent(&self) -> bool {
        matches!(self.state, State::Skipped | State::Stale)
    }

    /// Whether a change waits for its confirmation: the time for retries.
    pub fn is_soft(&self) -> bool {
        self.soft.is_some()
    }
}

impl Quiet {
    /// The word of the API and of the field `quiet`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Silenced => "silenced",
            Self::Suspect => "suspect",
            Self::Flapping => "flapping",
        }
    }
}

impl State {
    /// Every state, by number.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Warning, Self::Critical, Self::Unknown, Self::Pending, Self::Skipped, Self::Stale];

    /// The number of the field `state`.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// From the stored number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i64 == number)
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
        }
    }

    /// Whether all is well and known to be: ok alone.
    pub fn is_healthy(self) -> bool {
        self == Self::Ok
    }

    /// Whether the target is known to have a problem.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Warning | Self::Critical)
    }

    /// For sorting and for the worst of many: the greater, the sooner somebody should look.
    pub fn severity(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Skipped => 1,
            Self::Pending => 2,
            Self::Warning => 3,
            Self::Stale => 4,
            Self::Unknown => 5,
            Self::Critical => 6,
        }
    }
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Warning => Self::Warning,
            Status::Critical => Self::Critical,
            Status::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
