//! What one call has gone through so far. It lives outside of the call, so that a deadline which cuts it leaves it.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Exchange, Kind, Reply};
use crate::course::Course;
use crate::failure::{Failure, phase};
use crate::script::exchange::Times;

/// Those that a script may tell.
const PHASES: [&str; 4] = [phase::RESOLVE, phase::CONNECT, phase::FIRST_BYTE, phase::TRANSFER];

/// Phases and facts of echo requests under way.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    pub(super) course: Course,
    pub(super) peer: Option<IpAddr>,
    pub(super) local: Option<IpAddr>,
    /// One for each request: when it was sent, and what became of it.
    pub(super) requests: Vec<(Option<Instant>, Option<Reply>)>,
    pub(super) duplicates: u32,
    /// Packets that are nobody's answer.
    pub(super) ignored: u32,
    pub(super) mtu: Option<u32>,
    /// Why the kernel did not send, the last time.
    pub(super) refusal: Option<String>,
    /// What a script says that it took.
    pub(super) told: Option<Times>,
}

impl Trace {
    /// A call begins now.
    pub fn begin() -> Trace {
        Trace {
            begun: Instant::now(),
            course: Course::default(),
            peer: None,
            local: None,
            requests: Vec::new(),
            duplicates: 0,
            ignored: 0,
            mtu: None,
            refusal: None,
            told: None,
        }
    }

    /// Of a call that was dropped before its end.
    pub fn cut(self) -> Exchange {
        let peer = self.peer.map_or_else(|| "the host".to_owned(), |peer| peer.to_string());
        let failure = self.course.timed_out(&peer);
        self.finish(Err(failure))
    }

    /// Of a call that came to its end. What has no answer by then has none.
    pub fn finish(self, result: Result<(), Failure>) -> Exchange {
        let mut phases: Vec<(&'static str, Duration)> = Vec::new();
        match &self.told {
            Some(told) => phases.extend(PHASES.into_iter().filter_map(|phase| Some((phase, told.get(phase)?)))),
            None => phases.extend(self.course.phases()),
        }
        let became = |(sent, reply): &(Option<Instant>, Option<Reply>)| match (sent, reply) {
            (_, Some(reply)) => *reply,
            (Some(_), None) => Reply::without(Kind::Lost),
            (None, None) => Reply::without(Kind::NotSent),
        };
        let mut facts = vec![("ignored", self.ignored.to_string())];
        for (name, value) in [
            ("mtu", self.mtu.map(|mtu| mtu.to_string())),
            ("local-address", self.local.map(|ip| ip.to_string())),
            ("refusal", self.refusal),
        ] {
            facts.extend(value.map(|value| (name, value)));
        }
        Exchange {
            result,
            replies: self.requests.iter().map(became).collect(),
            duplicates: self.duplicates,
            peer: self.peer,
            phases,
            total: self.told.and_then(|told| told.get("total")).unwrap_or_else(|| self.begun.elapsed()),
            facts,
        }
    }
}
