//! A call on a socket of ours, noted for the story of the run also when the run is cut in the midst of it.

use roundsman_probe::course::Course;
use roundsman_probe::failure::{Failure, code};
use roundsman_probe::{tcp, udp};
use tokio::time::Instant;

use crate::bindings::roundsman::net::types;
use crate::calls::{CallId, Came, nanoseconds};
use crate::host::explain;
use crate::state::RunState;
use crate::trace::Trace;

/// What a call is about.
pub(super) trait Subject {
    fn course(&self) -> &Course;
    fn cut(&self) -> Failure;
}

impl Subject for tcp::Connection {
    fn course(&self) -> &Course {
        self.course()
    }

    fn cut(&self) -> Failure {
        self.cut()
    }
}

impl Subject for udp::Exchange {
    fn course(&self) -> &Course {
        self.course()
    }

    fn cut(&self) -> Failure {
        self.cut()
    }
}

/// A call under way. A run that is cut drops it where it stands.
pub(super) struct Watch<'a, S: Subject> {
    trace: Trace,
    what: String,
    begun: Instant,
    /// None: the call is noted only if it fails.
    id: Option<CallId>,
    ended: bool,
    pub(super) subject: &'a mut S,
}

impl<'a, S: Subject> Watch<'a, S> {
    /// A call that can take its time.
    pub(super) fn begin(trace: &Trace, what: String, subject: &'a mut S) -> Self {
        let id = trace.begin(&what, None);
        let mut watch = Self::quietly(trace, what, subject);
        watch.id = Some(id);
        watch
    }

    /// A call that seldom does: it is worth a note only if it fails.
    pub(super) fn quietly(trace: &Trace, what: String, subject: &'a mut S) -> Self {
        Self { trace: trace.clone(), what, begun: Instant::now(), id: None, ended: false, subject }
    }

    /// The call has come to its end, and this is to be said if it went well.
    pub(super) fn end<T>(mut self, result: &Result<T, Failure>, well: impl FnOnce(&S, &T) -> String) {
        self.ended = true;
        match result {
            Ok(value) => {
                let came = Came::well(well(self.subject, value));
                self.note(came);
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&self, failure: &Failure) {
        match self.id {
            Some(_) => self.note(Came::to_nothing(explain(failure))),
            None => self.trace.failed(self.begun, &self.what, explain(failure)),
        }
    }

    fn note(&self, came: Came) {
        if let Some(id) = self.id {
            let phases = self.subject.course().phases();
            let phases = phases.map(|(phase, time)| (phase.to_owned(), nanoseconds(time))).collect();
            self.trace.end(id, Came { phases, ..came });
        }
    }
}

impl<S: Subject> Drop for Watch<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            self.fail(&self.subject.cut());
        }
    }
}

impl RunState {
    /// What a guest is told of a call, and what is noted of a refusal: what was refused was not dialled.
    pub(super) fn told<T>(&mut self, before: Option<String>, result: Result<T, Failure>) -> Result<T, types::Failure> {
        result.map_err(|failed| {
            match failed.code {
                code::DENIED => {
                    self.trace.dial(before);
                    self.trace.deny(&failed);
                }
                code::INVALID | code::LIMIT | code::UNSUPPORTED | code::SECRET => {
                    self.trace.dial(before);
                }
                _ => {}
            }
            types::Failure { code: failed.code.to_owned(), phase: failed.phase.to_owned(), message: failed.message }
        })
    }
}
