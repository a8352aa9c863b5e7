//! What one call goes through: its phases and their times, also of a call that is cut in the midst of one.

use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, code, phase};

/// Phases of a call, in the order in which they came. It lives outside of the call, so that a deadline leaves it.
#[derive(Debug, Default)]
pub struct Course {
    ended: Vec<(&'static str, Duration)>,
    current: Option<(&'static str, Instant)>,
}

impl Course {
    /// A call begins, and with it a phase.
    pub(crate) fn begin(&mut self, phase: &'static str) {
        self.ended.clear();
        self.current = Some((phase, Instant::now()));
    }

    /// The phase has come to its end, and the next one begins; how long it took.
    pub(crate) fn pass(&mut self, next: &'static str) -> Duration {
        let took = self.end();
        self.current = Some((next, Instant::now()));
        took
    }

    /// The phase has come to its end, and with it the call; how long it took.
    pub(crate) fn end(&mut self) -> Duration {
        let Some((phase, since)) = self.current.take() else { return Duration::ZERO };
        let took = since.elapsed();
        if phase != phase::POLICY {
            self.ended.push((phase, took));
        }
        took
    }

    /// What is being done.
    pub(crate) fn phase(&self) -> &'static str {
        self.current.map_or(phase::POLICY, |(phase, _)| phase)
    }

    /// The phases that took place and how long they took; the last one has not ended if the call did not.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        let current = self.current.filter(|(phase, _)| *phase != phase::POLICY);
        self.ended.iter().copied().chain(current.map(|(phase, since)| (phase, since.elapsed())))
    }

    /// The time is over, in the midst of a phase.
    pub(crate) fn timed_out(&self, peer: &str) -> Failure {
        let phase = self.phase();
        let doing = match phase {
            phase::RESOLVE => "no answer from DNS".to_owned(),
            phase::CONNECT => format!("{peer} does not take the connection"),
            phase::TLS => format!("{peer} does not end the TLS handshake"),
            phase::FIRST_BYTE => format!("{peer} does not answer"),
            phase::TRANSFER => format!("{peer} does not go on"),
            _ => "no time was left to begin".to_owned(),
        };
        let waited = self.phases().map(|(_, time)| time).sum::<Duration>().as_millis();
        Failure::new(code::TIMEOUT, phase, format!("{doing} (after {waited} ms)"))
    }
}

/// When a call ends at the latest: by its own timeout or by the deadline of whoever calls.
pub(crate) fn earlier(own: Option<Duration>, deadline: Instant) -> Instant {
    own.and_then(|own| Instant::now().checked_add(own)).map_or(deadline, |own| own.min(deadline))
}
