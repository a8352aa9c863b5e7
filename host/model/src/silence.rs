//! Silences: what operators know already and do not want to be alarmed by; an acknowledgement is one that ends with the
//! problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::name::{CheckName, NameError};
use crate::time::Timestamp;

/// The most that a node keeps: all of them are looked at for each state that is shown.
pub const MAX_SILENCES: usize = 1_000;
/// The most that an author's name may hold, in bytes: it stands in every list.
pub const MAX_AUTHOR: usize = 128;
/// The most that a reason may hold, in bytes: a sentence and a link.
pub const MAX_REASON: usize = 1_024;
/// The most that the name of a target may hold, in bytes: a domain name.
pub const MAX_TARGET: usize = 253;

/// What it covers runs and is recorded as ever, but alarms nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Never given twice on a node; grows.
    pub id: u64,
    /// The name of a check; None: all of them.
    pub check: Option<Arc<str>>,
    /// The name of a target; None: all of them. Empty: the node itself.
    pub target: Option<Arc<str>>,
    pub author: Arc<str>,
    pub reason: Arc<str>,
    pub created: Timestamp,
    pub until: Until,
}

/// When it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    Instant(Timestamp),
    /// When what it covers is ok again: an acknowledgement. Covers one (check, target) only.
    Recovery,
}

/// Why there is no such silence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    #[error("{what} is empty: {ask}")]
    Empty { what: &'static str, ask: &'static str },
    #[error("{what} has {bytes} bytes: shorten it to {max}")]
    TooLong { what: &'static str, bytes: usize, max: usize },
    #[error("{what} holds a line break or another control character: write it in one line of plain text")]
    Control { what: &'static str },
    #[error(transparent)]
    Check(#[from] NameError),
    #[error("an acknowledgement is about one thing: name the check and the target (empty for the node itself)")]
    Vague,
    #[error("it would end at {until}, which is not after its beginning at {created}: name a later end")]
    Over { created: Timestamp, until: Timestamp },
    #[error("there are {MAX_SILENCES} silences, and a node keeps no more: remove one first")]
    Full,
}

impl Silence {
    /// Checks what somebody wrote. Spaces around the author and the reason are dropped.
    pub fn new(
        id: u64,
        check: Option<&str>,
        target: Option<&str>,
        author: &str,
        reason: &str,
        created: Timestamp,
        until: Until,
    ) -> Result<Self, SilenceError> {
        let author = line("the author", "say who wants it", author.trim(), MAX_AUTHOR)?;
        let reason = line("the reason", "say why, for those who wonder", reason.trim(), MAX_REASON)?;
        let check = check.map(CheckName::new).transpose()?.map(|check| check.as_str().into());
        // The empty name is the node itself.
        let target = match target {
            Some("") => Some("".into()),
            Some(target) => Some(line("the target", "name one", target, MAX_TARGET)?),
            None => None,
        };
        match until {
            Until::Recovery if check.is_none() || target.is_none() => Err(SilenceError::Vague),
            Until::Instant(until) if until <= created => Err(SilenceError::Over { created, until }),
            _ => Ok(Self { id, check, target, author, reason, created, until }),
        }
    }

    /// Whether it is about this (check, target).
    pub fn covers(&self, key: &Key) -> bool {
        self.check.as_deref().is_none_or(|check| check == key.check.as_str())
            && self.target.as_deref().is_none_or(|target| target == key.target_or_empty())
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.until, Until::Instant(until) if until <= now)
    }

    /// Whether it is an acknowledgement of this (check, target), and of nothing else.
    fn acknowledges(&self, key: &Key) -> bool {
        self.until == Until::Recovery && self.check.is_some() && self.target.is_some() && self.covers(key)
    }
}

/// One line of text that somebody wrote.
fn line(what: &'static str, ask: &'static str, text: &str, max: usize) -> Result<Arc<str>, SilenceError> {
    if text.is_empty() {
        Err(SilenceError::Empty { what, ask })
    } else if text.len() > max {
        Err(SilenceError::TooLong { what, bytes: text.len(), max })
    } else if text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        Err(SilenceError::Control { what })
    } else {
        Ok(text.into())
    }
}

/// The silences of a node, by id. Never more than `MAX_SILENCES`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Silences {
    by_id: BTreeMap<u64, Arc<Silence>>,
}

impl Silences {
    /// Adds one, or puts it in the place of the one with its id, which is returned.
    pub fn insert(&mut self, silence: Arc<Silence>) -> Result<Option<Arc<Silence>>, SilenceError> {
        if self.by_id.len() >= MAX_SILENCES && !self.by_id.contains_key(&silence.id) {
            return Err(SilenceError::Full);
        }
        Ok(self.by_id.insert(silence.id, silence))
    }

    /// Takes one away.
    pub fn remove(&mut self, id: u64) -> Option<Arc<Silence>> {
        self.by_id.remove(&id)
    }

    /// The one with this id.
    pub fn get(&self, id: u64) -> Option<&Arc<Silence>> {
        self.by_id.get(&id)
    }

    /// The one that covers this (check, target) for the longest time. Of an acknowledgement nobody knows how long it
    /// lasts: it stands before all others. Among equals, the oldest.
    pub fn covering(&self, key: &Key, now: Timestamp) -> Option<&Arc<Silence>> {
        let in_force = self.iter().filter(|silence| !silence.is_over(now) && silence.covers(key));
        in_force.reduce(|longest, next| if end(next) > end(longest) { next } else { longest })
    }

    /// Takes away those that have ended by themselves; their ids.
    pub fn expire(&mut self, now: Timestamp) -> Vec<u64> {
        self.take(|silence| silence.is_over(now))
    }

    /// This (check, target) is ok again: takes away what was acknowledged of it until now; the ids.
    pub fn recovered(&mut self, key: &Key) -> Vec<u64> {
        self.take(|silence| silence.acknowledges(key))
    }

    /// All of them, by id, whether or not they have ended.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Silence>> {
        self.by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn take(&mut self, which: impl Fn(&Silence) -> bool) -> Vec<u64> {
        let taken: Vec<u64> = self.iter().filter(|silence| which(silence)).map(|silence| silence.id).collect();
        taken.iter().for_each(|id| drop(self.by_id.remove(id)));
        taken
    }
}

/// For comparing ends.
fn end(silence: &Silence) -> (bool, Timestamp) {
    match silence.until {
        Until::Instant(until) => (false, until),
        Until::Recovery => (true, Timestamp(0)),
    }
}

#[cfg(test)]
mod tests;
