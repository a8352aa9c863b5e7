//! What a run did to the network, as the host saw it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use roundsman_model::record::Call;
use roundsman_probe::grants::{Denied, Grants, Seen};
use roundsman_probe::pattern::Scheme;
use tokio::time::Instant;

use crate::calls::{CallId, Calls, Came};
use crate::redaction::Redaction;

/// Names that one run may look up.
const MAX_LOOKUPS: usize = 16;

/// Shared with the checks that WASI makes on its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    traced: Arc<Mutex<Traced>>,
    redaction: Redaction,
}

#[derive(Debug, Default)]
struct Traced {
    /// What was dialled last, of what is granted.
    dialled: Option<String>,
    /// What took the network or could hang.
    calls: Calls,
    /// The first refusal, with the line to add.
    denied: Option<String>,
    /// What look-ups of this run answered: an address counts as granted under the name that led to it.
    seen: Vec<Seen>,
}

impl Trace {
    /// Of a run that may not say these secrets.
    pub(crate) fn new(redaction: Redaction) -> Self {
        Self { traced: Arc::default(), redaction }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Traced) -> T) -> T {
        f(&mut self.traced.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of what is being dialled; returns what was before.
    pub(crate) fn dial(&self, what: Option<String>) -> Option<String> {
        self.with(|t| std::mem::replace(&mut t.dialled, what))
    }

    pub(crate) fn deny(&self, why: impl ToString) {
        self.with(|t| {
            t.denied.get_or_insert_with(|| why.to_string());
        });
    }

    /// Takes note of a look-up; false when the run has made too many.
    pub(crate) fn saw(&self, seen: Seen) -> bool {
        self.with(|t| {
            let room = t.seen.len() < MAX_LOOKUPS;
            if room {
                t.seen.push(seen);
            }
            room
        })
    }

    pub(crate) fn permits(&self, grants: &Grants, scheme: Scheme, address: SocketAddr) -> Result<(), Denied> {
        let plain = grants.permits_address(scheme, address, &Seen::default());
        if plain.is_ok() {
            return plain;
        }
        let by_name = self.with(|t| t.seen.iter().any(|seen| grants.permits_address(scheme, address, seen).is_ok()));
        if by_name { Ok(()) } else { plain }
    }

    /// A call of the guest's begins.
    pub(crate) fn begin(&self, what: &str, socket: Option<u32>) -> CallId {
        let what = self.redaction.line(what);
        self.with(|t| t.calls.begin(Instant::now(), &what, socket))
    }

    pub(crate) fn end(&self, id: CallId, came: Came) {
        let came = self.conceal(came);
        self.with(|t| t.calls.end(Instant::now(), id, came));
    }

    fn conceal(&self, came: Came) -> Came {
        let concealed = match self.redaction.line(&came.result) {
            Cow::Borrowed(_) => return came,
            Cow::Owned(result) => result,
        };
        Came { result: concealed, ..came }
    }

    /// What is under way about a socket ends.
    pub(crate) fn end_about(&self, socket: u32, came: Came) {
        let came = self.conceal(came);
        self.with(|t| {
            if let Some(id) = t.calls.about(socket) {
                t.calls.end(Instant::now(), id, came);
            }
        });
    }

    /// A call that is noted only because it failed.
    pub(crate) fn failed(&self, begun: Instant, what: &str, why: impl Into<String>) {
        let (what, came) = (self.redaction.line(what), self.conceal(Came::to_nothing(why)));
        self.with(|t| {
            let id = t.calls.begin(begun, &what, None);
            t.calls.end(Instant::now(), id, came);
        });
    }

    /// The run was cut while the guest itself waited for its peer, since `waiting`.
    pub(crate) fn cut_waiting(&self, waiting: Instant) {
        self.with(|t| {
            if let (Some(peer), false) = (&t.dialled, t.calls.any_open()) {
                let what = format!("wait for {peer}");
                t.calls.begin(waiting, &self.redaction.line(&what), None);
            }
        });
    }

    /// Everything that was called, at the end of the run.
    pub(crate) fn take_story(&self) -> Vec<Call> {
        self.with(|t| std::mem::take(&mut t.calls)).into_story(Instant::now())
    }

    pub(crate) fn dialled(&self) -> Option<String> {
        self.with(|t| t.dialled.clone())
    }

    pub(crate) fn denied(&self) -> Option<String> {
        self.with(|t| t.denied.clone())
    }
}
