//! Silences and acknowledgements, as operators order them.

use std::sync::Arc;

use roundsman_model::key::Key;
use roundsman_model::silence::{Silence, Until};
use roundsman_model::state::State;
use roundsman_model::time::Timestamp;
use roundsman_store::Entry;

use crate::engine::command::{SilenceDraft, SilenceRefused};
use crate::engine::core::Core;

impl Core {
    /// A silence that covers something, from now on.
    pub(crate) fn silence(&mut self, draft: SilenceDraft, now: Timestamp) -> Result<Silence, SilenceRefused> {
        // Seconds, because people type it; it grows also when the clock is set back.
        let id = (now.0.unsigned_abs() / 1_000_000_000).max(self.last_silence + 1);
        let SilenceDraft { check, target, author, reason, until } = draft;
        let silence = Silence::new(id, check.as_deref(), target.as_deref(), &author, &reason, now, until)
            .map(Arc::new)
            .map_err(|error| SilenceRefused::Invalid(error.to_string()))?;
        let covered: Vec<&Key> = self.subjects.keys().filter(|key| silence.covers(key)).collect();
        if covered.is_empty() {
            return Err(SilenceRefused::NoSuchKey);
        }
        if silence.until == Until::Recovery && covered.iter().all(|key| self.is_well(key)) {
            return Err(SilenceRefused::NoProblem);
        }
        self.silences.insert(silence.clone()).map_err(|_| SilenceRefused::TooMany)?;
        self.last_silence = id;
        self.entries.push(Entry::Silenced(silence.clone()));
        Ok(Silence::clone(&silence))
    }

    /// Ends a silence. False: there is none of this number.
    pub(crate) fn unsilence(&mut self, id: u64) -> bool {
        let there = self.silences.remove(id).is_some();
        if there {
            self.entries.push(Entry::Unsilenced { id });
        }
        there
    }

    fn is_well(&self, key: &Key) -> bool {
        let standing = self.subjects.get(key).map(|subject| subject.standing);
        standing.is_some_and(|standing| standing.state == State::Ok && standing.soft.is_none())
    }
}
