//! What one question has gone through so far. It lives outside of the call, so that a deadline which cuts it leaves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Exchange};
use crate::course::Course;
use crate::failure::Failure;
use crate::script::dns as script;
use crate::tls::{Recorder, TlsFacts};

/// Phases and facts of a question under way.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    pub(super) course: Course,
    pub(super) peer: Option<SocketAddr>,
    pub(super) transport: Option<&'static str>,
    pub(super) attempts: u32,
    /// Messages that answered something else, or nothing.
    pub(super) ignored: u32,
    pub(super) tls: TlsFacts,
    pub(super) recorder: Option<Arc<Recorder>>,
    /// What a script says of it.
    pub(super) told: Option<Box<script::Answer>>,
}

impl Trace {
    /// A call begins now.
    pub fn begin() -> Trace {
        Trace {
            begun: Instant::now(),
            course: Course::default(),
            peer: None,
            transport: None,
            attempts: 0,
            ignored: 0,
            tls: TlsFacts::default(),
            recorder: None,
            told: None,
        }
    }

    /// The time is over, of the call or of one attempt.
    pub(super) fn timed_out(&self) -> Failure {
        let peer = self.peer.map_or_else(|| "the server".to_owned(), |peer| peer.to_string());
        let mut failure = self.course.timed_out(&peer);
        if self.ignored > 0 {
            failure.message += &format!("; {} messages that answer something else were ignored", self.ignored);
        }
        failure
    }

    /// Of a call that was dropped before its end: what it was doing, and for how long.
    pub fn cut(self) -> Exchange {
        let failure = self.timed_out();
        self.finish(Err(failure))
    }

    /// Of a call that came to its end.
    pub fn finish(self, result: Result<Answer, Failure>) -> Exchange {
        if let Some(told) = self.told {
            return super::scripted::exchange(&told, self.peer, result);
        }
        let mut phases: Vec<(&'static str, Duration)> = Vec::new();
        for (phase, time) in self.course.phases() {
            match phases.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, sum)) => *sum += time,
                None => phases.push((phase, time)),
            }
        }
        let seen = self.recorder.as_ref().map(|recorder| recorder.take()).unwrap_or_default();
        let mut facts = vec![("attempts", self.attempts.to_string()), ("ignored", self.ignored.to_string())];
        let extended_error = result.as_ref().ok().and_then(|answer| answer.extended_error.clone());
        for (name, value) in [
            ("transport", self.transport.map(str::to_owned)),
            ("tls-version", self.tls.version.map(str::to_owned)),
            ("tls-cipher", self.tls.cipher.map(str::to_owned)),
            ("certificate-error", seen.error),
            ("extended-error", extended_error),
        ] {
            facts.extend(value.map(|value| (name, value)));
        }
        Exchange { result, phases, total: self.begun.elapsed(), peer: self.peer, certificates: seen.chain, facts }
    }
}
