//! What a run did to the network, as the host saw it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use roundsman_probe::grants::{Denied, Grants, Seen};
use roundsman_probe::pattern::Scheme;

/// Names that one run may look up.
const MAX_LOOKUPS: usize = 16;

/// Shared with the checks that WASI makes on its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Traced>>);

#[derive(Debug, Default)]
struct Traced {
    /// What was dialled last, of what is granted.
    dialled: Option<String>,
    /// The first refusal, with the line to add.
    denied: Option<String>,
    /// What look-ups of this run answered: an address counts as granted under the name that led to it.
    seen: Vec<Seen>,
}

impl Trace {
    fn with<T>(&self, f: impl FnOnce(&mut Traced) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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

    pub(crate) fn dialled(&self) -> Option<String> {
        self.with(|t| t.dialled.clone())
    }

    pub(crate) fn denied(&self) -> Option<String> {
        self.with(|t| t.denied.clone())
    }
}
