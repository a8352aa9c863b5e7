//! What one call has gone through so far. It lives outside of the call, so that a deadline which cuts the call leaves it.

use std::net::SocketAddr;
use std::sync::Arc;

use roundsman_model::name::excerpt;
use tokio::time::Instant;

use super::{Exchange, Facts, Response, Timings};
use crate::certificate::Certificate;
use crate::failure::{Failure, code, phase};
use crate::script::exchange::Told;
use crate::script::http::Answer;
use crate::tls::Recorder;
use crate::wire::Meter;

/// Phases, times and facts of a call under way.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    /// What is being done, and since when.
    phase: &'static str,
    since: Instant,
    timings: Timings,
    pub(super) facts: Facts,
    pub(super) peer: Option<SocketAddr>,
    /// The path of the unix socket that was dialled.
    pub(super) unix: Option<String>,
    meter: Option<Arc<Meter>>,
    recorder: Option<Arc<Recorder>>,
    certificates: Vec<Arc<Certificate>>,
    /// What a script says that it took, in place of the clock.
    told: Option<Timings>,
}

impl Trace {
    /// A call begins now.
    pub fn begin() -> Trace {
        let begun = Instant::now();
        Trace {
            begun,
            phase: phase::POLICY,
            since: begun,
            timings: Timings::default(),
            facts: Facts::default(),
            peer: None,
            unix: None,
            meter: None,
            recorder: None,
            certificates: Vec::new(),
            told: None,
        }
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Forgets what was of the hop before.
    pub(super) fn begin_hop(&mut self, url: String) {
        self.facts = Facts { final_url: Some(url), redirects: self.facts.redirects, ..Facts::default() };
        self.peer = None;
        self.unix = None;
        self.meter = None;
        self.recorder = None;
        self.certificates.clear();
        self.phase = phase::POLICY;
    }

    pub(super) fn enter(&mut self, phase: &'static str) {
        self.phase = phase;
        self.since = Instant::now();
    }

    /// The phase has come to its end; the next one begins.
    pub(super) fn pass(&mut self, next: &'static str) {
        let now = Instant::now();
        self.end(now, next);
    }

    fn end(&mut self, now: Instant, next: &'static str) {
        self.timings.add(self.phase, now.saturating_duration_since(self.since));
        self.phase = next;
        self.since = now;
    }

    /// From here on the answer's first byte is waited for.
    pub(super) fn watch(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// The phase after the request was sent: which of the two, is for the first byte to say.
    pub(super) fn answering(&mut self) -> &'static str {
        if self.phase == phase::FIRST_BYTE
            && let Some(at) = self.meter.as_ref().and_then(|meter| meter.first_byte())
        {
            self.end(at, phase::TRANSFER);
        }
        self.phase
    }

    /// A handshake begins; what it sees is found in the recorder, however it ends.
    pub(super) fn record(&mut self, recorder: Arc<Recorder>) {
        self.recorder = Some(recorder);
    }

    /// What a script says of a hop, in place of what would have been seen. Hops add up.
    pub(super) fn tell(&mut self, answer: &Answer, peer: Option<SocketAddr>) {
        let told = self.told.get_or_insert_default();
        for phase in [phase::RESOLVE, phase::CONNECT, phase::TLS, phase::FIRST_BYTE, phase::TRANSFER] {
            if let Some(took) = answer.times.get(phase) {
                told.add(phase, took);
            }
        }
        told.total = Some(told.total.unwrap_or_default() + answer.times.get("total").unwrap_or_default());
        self.peer = peer;
        self.certificates = answer.certificates.iter().map(|shown| Arc::new(Certificate::told(shown))).collect();
        for (name, value) in &answer.facts {
            self.facts.tell(name, value);
        }
        self.phase = answer.reply.as_ref().map_or_else(Told::phase, |_| phase::POLICY);
        self.since = Instant::now();
    }

    pub(super) fn phase(&self) -> &'static str {
        self.phase
    }

    /// Who was dialled, for a person.
    pub(super) fn peer_in_words(&self) -> String {
        match (self.peer, &self.unix) {
            (Some(peer), _) => peer.to_string(),
            (None, Some(path)) => excerpt(path),
            (None, None) => "the peer".to_owned(),
        }
    }

    /// The deadline has cut the call where it stands.
    pub(super) fn timed_out(&mut self) -> Failure {
        let peer = self.peer_in_words();
        let doing = match self.answering() {
            phase::RESOLVE => "no answer from DNS".to_owned(),
            phase::CONNECT => format!("{peer} does not take the connection"),
            phase::TLS => format!("{peer} does not end the TLS handshake"),
            phase::FIRST_BYTE => format!("{peer} took the request and does not answer"),
            phase::TRANSFER => format!("{peer} does not end its answer"),
            _ => "no time was left to begin".to_owned(),
        };
        let waited = self.begun.elapsed().as_millis();
        Failure::new(code::TIMEOUT, self.phase, format!("{doing} (after {waited} ms in all)"))
    }

    /// Of a call that was dropped before its end: what it was doing, and for how long.
    pub fn cut(mut self) -> Exchange {
        let failure = self.timed_out();
        self.finish(Err(failure))
    }

    /// Of a call that came to its end.
    pub fn finish(mut self, result: Result<Response, Failure>) -> Exchange {
        if let Some(recorder) = self.recorder.take() {
            let seen = recorder.take();
            self.certificates = seen.chain;
            self.facts.certificate_error = seen.error;
        }
        let now = Instant::now();
        self.timings.total = Some(now.saturating_duration_since(self.begun));
        self.timings = self.told.unwrap_or(self.timings);
        let in_phase = result.is_err() && self.phase != phase::POLICY;
        let broken_off = in_phase.then(|| (self.phase, now.saturating_duration_since(self.since)));
        let Trace { timings, facts, peer, certificates, .. } = self;
        Exchange { result, timings, broken_off, peer, certificates, facts }
    }
}
