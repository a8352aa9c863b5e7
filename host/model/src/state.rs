//! From records to states: a change counts once it has been confirmed (soft), then it is a fact (hard).
//!
//! | hard state | results | what they take to become hard |
//! |---|---|---|
//! | pending | ok | `success` in a row |
//! | pending, ok | warning, critical, unknown | `failure` in a row, counted together; the last one names the state |
//! | warning, critical | the other of the two | nothing: at once |
//! | warning, critical | ok | `success` in a row |
//! | warning, critical | unknown | `failure` in a row |
//! | unknown | ok | `success` in a row |
//! | unknown | warning, critical | `failure` in a row, counted together; the last one names the state |
//!
//! Until then the hard state stays and the change is soft. A result that agrees with the hard state ends a soft change,
//! and a result that speaks for another change begins the count anew. Skipped and stale are never confirmed by a record;
//! an entry that is found in them goes on as if it were pending.

use serde::{Deserialize, Serialize};

use crate::record::Status;
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
pub struct Thresholds {
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
    /// Away from ok or pending, from a problem to unknown, or from unknown to a problem.
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
}

impl Standing {
    /// Where everything begins: nothing is known yet.
    pub fn pending(now: Timestamp) -> Self {
        Self { state: State::Pending, since: now, soft: None }
    }

    /// What a record of this status, stamped `at`, makes of it. A threshold of 0 works as 1.
    pub fn apply(&self, status: Status, thresholds: Thresholds, at: Timestamp) -> (Self, Option<Change>) {
        let to = State::from(status);
        if to == self.state {
            return (Self { soft: None, ..*self }, None);
        }
        let count = self.attempt(status);
        let needed = match self.direction(status) {
            Direction::None => 1,
            Direction::Recovery => thresholds.success,
            Direction::Failure => thresholds.failure,
        };
        if count >= needed {
            let change = Change { from: self.state, to, since: self.since, at };
            (Self { state: to, since: at, soft: None }, Some(change))
        } else {
            (Self { soft: Some(Soft { status, count }), ..*self }, None)
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

    /// Whether a change waits for its confirmation: the time for retries.
    pub fn is_soft(&self) -> bool {
        self.soft.is_some()
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KUBELET: Thresholds = Thresholds { success: 1, failure: 3 };

    fn status(letter: char) -> Status {
        match letter {
            'o' => Status::Ok,
            'w' => Status::Warning,
            'c' => Status::Critical,
            'u' => Status::Unknown,
            other => panic!("no status: {other}"),
        }
    }

    fn letter(state: State) -> char {
        match state {
            State::Pending => '-',
            other => other.as_str().chars().next().unwrap(),
        }
    }

    /// The hard states and attempts after each of the results, beginning with pending.
    fn walk(results: &str, thresholds: Thresholds) -> (String, String) {
        let mut standing = Standing::pending(Timestamp(0));
        let (mut states, mut attempts) = (String::new(), String::new());
        for (n, result) in results.chars().enumerate() {
            attempts.push_str(&standing.attempt(status(result)).to_string());
            standing = standing.apply(status(result), thresholds, Timestamp(n as i64 + 1)).0;
            states.push(letter(standing.state));
        }
        (states, attempts)
    }

    #[test]
    fn tables() {
        let strict = Thresholds { success: 3, failure: 2 };
        let loose = Thresholds { success: 0, failure: 0 };
        for (thresholds, results, states, attempts) in [
            // From pending: one good result, or three that are not, whatever they are.
            (KUBELET, "o", "o", "1"),
            (KUBELET, "ccc", "--c", "123"),
            (KUBELET, "cuw", "--w", "123"),
            (KUBELET, "ccoc", "--oo", "1211"),
            (strict, "oco", "---", "111"),
            (strict, "ooo", "--o", "123"),
            (strict, "cooo", "---o", "1123"),
            // From ok.
            (KUBELET, "occoccc", "ooooooc", "1121123"),
            (KUBELET, "owcu", "ooou", "1123"),
            (KUBELET, "ouuw", "ooow", "1123"),
            // A hard problem: the other problem counts at once, a fault needs to be confirmed.
            (KUBELET, "cccw", "--cw", "1231"),
            (KUBELET, "wwwcw", "--wcw", "12311"),
            (KUBELET, "cccuuu", "--cccu", "123123"),
            (KUBELET, "cccuucuuu", "--ccccccu", "123121123"),
            (KUBELET, "cccuuwuuu", "--cccwwwu", "123121123"),
            (KUBELET, "ccco", "--co", "1231"),
            (strict, "ccoowoooc", "-cccwwwoo", "121211231"),
            (strict, "ccououuo", "-cccccuu", "12111121"),
            // Hard unknown: problems count together.
            (KUBELET, "uuucwc", "--uuuc", "123123"),
            (KUBELET, "uuuccucc", "--uuuuuu", "12312112"),
            (KUBELET, "uuuo", "--uo", "1231"),
            (strict, "uuoocooo", "-uuuuuuo", "12121123"),
            // A threshold of nothing is one of one.
            (loose, "ocuwo", "ocuwo", "11111"),
        ] {
            assert_eq!(walk(results, thresholds), (states.to_owned(), attempts.to_owned()), "{results}");
        }
    }

    #[test]
    fn changes_say_since_when() {
        let at = Timestamp;
        let standing = Standing::pending(at(10));
        let (standing, change) = standing.apply(Status::Ok, KUBELET, at(20));
        assert_eq!(change, Some(Change { from: State::Pending, to: State::Ok, since: at(10), at: at(20) }));
        let (standing, change) = standing.apply(Status::Critical, KUBELET, at(30));
        assert_eq!(change, None);
        assert_eq!(standing.soft, Some(Soft { status: Status::Critical, count: 1 }));
        assert_eq!((standing.state, standing.since), (State::Ok, at(20)));
        let (standing, change) = standing.apply(Status::Ok, KUBELET, at(40));
        assert_eq!((standing, change), (Standing { state: State::Ok, since: at(20), soft: None }, None));
    }

    #[test]
    fn words_and_numbers() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.number()), number);
            assert_eq!(State::from_number(number as i64), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.is_healthy(), number == 0);
        }
        assert_eq!(State::from_number(7), None);
    }

    /// The slow and obvious model: keeps all results and looks back over those that came after the last hard change.
    fn hard_state(results: &[Status], thresholds: Thresholds) -> State {
        let mut state = State::Pending;
        let mut changed = 0;
        for end in 1..=results.len() {
            let fresh = &results[changed..end];
            let in_a_row =
                |wanted: &[Status]| fresh.iter().rev().take_while(|status| wanted.contains(status)).count() as u32;
            let last = *fresh.last().unwrap();
            let recovered = in_a_row(&[Status::Ok]) >= thresholds.success && last == Status::Ok;
            let failed = |wanted: &[Status]| in_a_row(wanted) >= thresholds.failure && wanted.contains(&last);
            let (problem, unknown) = (&[Status::Warning, Status::Critical], &[Status::Unknown]);
            let change = match state {
                State::Ok => failed(&[Status::Warning, Status::Critical, Status::Unknown]),
                State::Warning => recovered || failed(unknown) || last == Status::Critical,
                State::Critical => recovered || failed(unknown) || last == Status::Warning,
                State::Unknown => recovered || failed(problem),
                _ => recovered || failed(&[Status::Warning, Status::Critical, Status::Unknown]),
            };
            if change {
                state = State::from(last);
                changed = end;
            }
        }
        state
    }

    proptest! {
        #[test]
        fn as_the_obvious_model(results in prop::collection::vec(0_i64..4, 0..60), success in 0_u32..5, failure in 0_u32..5) {
            let results: Vec<Status> = results.into_iter().map(|n| Status::from_number(n).unwrap()).collect();
            let thresholds = Thresholds { success, failure };
            let mut standing = Standing::pending(Timestamp(0));
            for (n, status) in results.iter().enumerate() {
                let at = Timestamp(n as i64 + 1);
                let before = standing;
                let change;
                (standing, change) = standing.apply(*status, thresholds, at);
                prop_assert_eq!(standing.state, hard_state(&results[..=n], thresholds));
                prop_assert_eq!(change.is_some(), standing.state != before.state);
                prop_assert_eq!(standing.since, if change.is_some() { at } else { before.since });
                prop_assert_eq!(standing.is_soft(), standing.state != State::from(*status));
                if let Some(soft) = standing.soft {
                    prop_assert_eq!((soft.status, soft.count), (*status, before.attempt(*status)));
                }
            }
        }
    }
}
