//! Echo requests, as `ping` sends them.
//!
//! ```no_run
//! # fn ping() -> Result<(), roundsman_sdk::net::Failure> {
//! use roundsman_sdk::icmp::Echo;
//!
//! let answers = Echo::new("gateway.example").count(5).send()?;
//! roundsman_sdk::info!("{:.0} % lost, {:?}", answers.loss_percent(), answers.round_trips());
//! # Ok(())
//! # }
//! ```
//!
//! Grant: the check's target, or `allow: {network: ["icmp://gateway.example"]}`. Needs no privilege where the kernel's
//! `net.ipv4.ping_group_range` allows it; elsewhere the failure says what to set.

use std::fmt;
use std::time::Duration;

use crate::bindings::roundsman::net::icmp;
use crate::exchange::nanoseconds;
pub use crate::exchange::{Failure, Family, Timings};

/// Some requests to one host.
pub struct Echo(icmp::Echo);

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// One for each request, in order.
    pub replies: Vec<Reply>,
    /// Answers that came twice.
    pub duplicates: u32,
}

/// What became of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// From request to answer; none without one.
    pub round_trip: Option<Duration>,
    /// `reply`, `lost`, `unreachable`, `time-exceeded`, `too-big`, `not-sent`.
    pub kind: String,
    /// Who answered, which is a router where something was in the way.
    pub from: Option<String>,
    /// Hops that the answer could still have made.
    pub ttl: Option<u8>,
}

/// The times of the answers that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrips {
    /// The shortest.
    pub min: Duration,
    /// Their mean.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
    /// The mean difference of one to the next: how much they waver.
    pub jitter: Duration,
}

impl Echo {
    /// A host, by name or address.
    pub fn new(address: &str) -> Self {
        Self(icmp::Echo::new(address))
    }

    /// How many: 3 unless set, at most 100.
    #[must_use]
    pub fn count(self, count: u32) -> Self {
        self.0.set_count(count);
        self
    }

    /// Between two requests: 100 ms unless set, at least 1 ms.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        self.0.set_interval_ns(nanoseconds(interval));
        self
    }

    /// Of the payload: 56 bytes unless set.
    #[must_use]
    pub fn size(self, bytes: u32) -> Self {
        self.0.set_size(bytes);
        self
    }

    /// Hops after which a router gives up, and says so.
    #[must_use]
    pub fn ttl(self, hops: u8) -> Self {
        self.0.set_ttl(hops);
        self
    }

    /// Whether no router may cut a request into pieces; one that would have to makes it `too-big`.
    #[must_use]
    pub fn dont_fragment(self, wanted: bool) -> Self {
        self.0.set_dont_fragment(wanted);
        self
    }

    /// Which of the name's addresses are tried.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.0.set_address_family(family.as_str());
        self
    }

    /// The address of this node from which to send.
    #[must_use]
    pub fn source_address(self, address: &str) -> Self {
        self.0.set_source_address(address);
        self
    }

    /// How long each answer is waited for: 1 s unless set.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.set_timeout_ns(nanoseconds(timeout));
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// Sends them and waits.
    ///
    /// # Errors
    /// When nothing could be sent. Loss is no failure.
    pub fn send(&self) -> Result<Answers, Failure> {
        self.0.send()?;
        let replies = self.0.results().into_iter().map(Reply::from).collect();
        Ok(Answers { replies, duplicates: self.0.duplicates() })
    }

    /// `resolve` and `total`.
    pub fn timings(&self) -> Timings {
        Timings::asked(|phase| self.0.timing_ns(phase))
    }

    /// The address that was sent to.
    pub fn peer_address(&self) -> Option<String> {
        self.0.peer_address()
    }

    /// A fact by name: `mtu` of a refusal to fragment, `local-address`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

impl Answers {
    /// How many answers came.
    pub fn received(&self) -> usize {
        self.replies.iter().filter(|reply| reply.round_trip.is_some()).count()
    }

    /// How many requests, of a hundred, had no answer.
    #[expect(clippy::cast_precision_loss, reason = "at most 100 of them")]
    pub fn loss_percent(&self) -> f64 {
        if self.replies.is_empty() {
            return 100.0;
        }
        100.0 - 100.0 * self.received() as f64 / self.replies.len() as f64
    }

    /// The times of the answers; none when none came.
    pub fn round_trips(&self) -> Option<RoundTrips> {
        let times: Vec<Duration> = self.replies.iter().filter_map(|reply| reply.round_trip).collect();
        let (min, max) = (*times.iter().min()?, *times.iter().max()?);
        let mean = |sum: Duration, count: usize| sum / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let wavering = times.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        Some(RoundTrips {
            min,
            mean: mean(times.iter().sum(), times.len()),
            max,
            jitter: mean(wavering, times.len() - 1),
        })
    }
}

impl From<icmp::Reply> for Reply {
    fn from(reply: icmp::Reply) -> Self {
        let icmp::Reply { round_trip_ns, kind, from, ttl } = reply;
        Self { round_trip: round_trip_ns.map(Duration::from_nanos), kind, from, ttl }
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Echo").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_times() {
        let ms = Duration::from_millis;
        let trips = |min, mean, max, jitter| {
            Some(RoundTrips { min: ms(min), mean: ms(mean), max: ms(max), jitter: ms(jitter) })
        };
        for (replies, loss, expected) in [
            (vec![], 100.0, None),
            (vec![None], 100.0, None),
            (vec![Some(3)], 0.0, trips(3, 3, 3, 0)),
            (vec![Some(3), None, Some(4), Some(8)], 25.0, trips(3, 5, 8, 2)),
        ] {
            let replies: Vec<_> =
                replies.into_iter().map(|trip| Reply { round_trip: trip.map(ms), ..Reply::default() }).collect();
            let answers = Answers { replies, duplicates: 0 };
            assert_eq!(answers.loss_percent(), loss);
            let found = answers.round_trips();
            if let Some(expected) = expected {
                let found = found.unwrap();
                assert_eq!((found.min, found.mean, found.max), (expected.min, expected.mean, expected.max));
                assert_eq!(found.jitter.as_micros() / 1000, expected.jitter.as_millis());
            } else {
                assert_eq!(found, None);
            }
        }
    }
}
