//! The packet of NTP, version 4 (RFC 5905), as far as a client needs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A packet without extensions.
pub(crate) const LENGTH: usize = 48;
/// From 1900, where the protocol begins to count, to 1970.
const ERA: u64 = 2_208_988_800;
/// Of a second, in the protocol's fractions.
const FRACTION: f64 = 4_294_967_296.0;

/// What a server says.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) leap: u8,
    pub(crate) stratum: u8,
    pub(crate) root_delay: Duration,
    pub(crate) root_dispersion: Duration,
    pub(crate) reference: [u8; 4],
    /// When our packet came in, and when the answer went out, by the server's clock.
    received: u64,
    sent: u64,
}

/// Why something is no answer to our question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not of the protocol.
    Strange(&'static str),
    /// Of another question, or forged: one goes on listening.
    NotOurs,
    /// The server asks to be left alone: `RATE`, `DENY`, `RSTR` …
    Kiss(String),
}

/// A question. Its transmit time is a random number that the server sends back: it proves whose answer it is, and does
/// not tell what our clock says (draft-ietf-ntp-data-minimization).
pub(crate) fn question(cookie: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    // No leap second announced, version 4, mode client.
    packet[0] = (4 << 3) | 3;
    packet[40..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

impl Answer {
    pub(crate) fn read(packet: &[u8], cookie: u64) -> Result<Self, Refused> {
        let Some(packet) = packet.first_chunk::<LENGTH>() else { return Err(Refused::Strange("it is too short")) };
        let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let long = |at: usize| (u64::from(word(at)) << 32) | u64::from(word(at + 4));
        let mode = packet[0] & 7;
        if mode != 4 {
            return Err(Refused::Strange("it is not an answer of a server"));
        }
        if long(24) != cookie {
            return Err(Refused::NotOurs);
        }
        let reference = word(12).to_be_bytes();
        if packet[1] == 0 {
            let code = reference.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_alphanumeric);
            return Err(Refused::Kiss(code.collect()));
        }
        if packet[1] > 15 {
            return Err(Refused::Strange("its stratum is none"));
        }
        // 16 bits of seconds, 16 of their fractions.
        let short = |at: usize| Duration::from_nanos((u64::from(word(at)) * 1_000_000_000) >> 16);
        let (received, sent) = (long(32), long(40));
        if sent == 0 || received == 0 {
            return Err(Refused::Strange("it does not say when it was sent"));
        }
        Ok(Self {
            leap: packet[0] >> 6,
            stratum: packet[1],
            root_delay: short(4),
            root_dispersion: short(8),
            reference,
            received,
            sent,
        })
    }

    /// How far the server's clock is ahead of ours, in seconds, and how long the way there and back took, for an answer
    /// that came in at an instant of our clock, so long after the question.
    pub(crate) fn measure(&self, at: SystemTime, after: Duration) -> (f64, f64) {
        let ours_in = timestamp(at);
        let held = seconds_between(self.received, self.sent);
        let delay = (after.as_secs_f64() - held).max(0.0);
        // Half of the way is before the server sent, half behind it.
        let offset = seconds_between(ours_in, self.sent) + delay / 2.0;
        (offset, delay)
    }

    /// Who the server follows: a name for a clock of its own, an address or a digest for another server.
    pub(crate) fn follows(&self) -> String {
        if self.stratum == 1 {
            return self.reference.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect();
        }
        self.reference.map(|byte| byte.to_string()).join(".")
    }
}

/// An instant in the protocol's seconds and fractions; the era is left out.
fn timestamp(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(ERA) << 32) | fraction
}

/// From one timestamp to another: up to 68 years either way, across the end of an era.
fn seconds_between(from: u64, to: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        reason = "the difference is signed, and small ones are exact"
    )]
    let difference = to.wrapping_sub(from) as i64 as f64;
    difference / FRACTION
}

#[cfg(test)]
#[path = "packet/holds.rs"]
mod holds;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    /// As a server would answer whose clock showed these instants.
    fn answer(cookie: u64, received: SystemTime, sent: SystemTime) -> [u8; LENGTH] {
        let mut packet = [0; LENGTH];
        packet[0] = (4 << 3) | 4;
        packet[1] = 2;
        packet[4..8].copy_from_slice(&0x0001_8000_u32.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 0, 0, 7]);
        packet[24..32].copy_from_slice(&cookie.to_be_bytes());
        packet[32..40].copy_from_slice(&timestamp(received).to_be_bytes());
        packet[40..].copy_from_slice(&timestamp(sent).to_be_bytes());
        packet
    }

    #[test]
    fn offsets_and_delays() {
        let ms = |n: u64| Duration::from_millis(n);
        // Our clock: asked at 0, answered at 30 ms. The server's: came in at `offset` + 10 ms, sent 10 ms later.
        for (offset_ms, now) in
            [(0_i64, 1_800_000_000_u64), (250, 1_800_000_000), (-250, 1_800_000_000), (86_400_000, 2_085_978_495)]
        {
            let ours = at(now, 5_000_000);
            let theirs = |after: u64| {
                let shifted = ours + ms(after);
                let by = ms(offset_ms.unsigned_abs());
                if offset_ms < 0 { shifted - by } else { shifted + by }
            };
            let packet = answer(7, theirs(10), theirs(20));
            let (offset, delay) = Answer::read(&packet, 7).unwrap().measure(ours + ms(30), ms(30));
            assert!((offset * 1e3 - offset_ms as f64).abs() < 0.01, "{offset} for {offset_ms} ms");
            assert!((delay - 0.020).abs() < 1e-5, "{delay}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        let good = answer(7, at(1, 0), at(1, 0));
        let with = |change: fn(&mut [u8; LENGTH])| {
            let mut packet = good;
            change(&mut packet);
            Answer::read(&packet, 7).unwrap_err()
        };
        assert_eq!(Answer::read(&good[..47], 7).unwrap_err(), Refused::Strange("it is too short"));
        assert_eq!(Answer::read(&good, 8).unwrap_err(), Refused::NotOurs);
        assert_eq!(with(|p| p[0] = 4 << 3 | 3), Refused::Strange("it is not an answer of a server"));
        assert_eq!(with(|p| p[1] = 16), Refused::Strange("its stratum is none"));
        assert_eq!(with(|p| p[40..].fill(0)), Refused::Strange("it does not say when it was sent"));
        let kiss = with(|p| {
            p[1] = 0;
            p[12..16].copy_from_slice(b"RATE");
        });
        assert_eq!(kiss, Refused::Kiss("RATE".to_owned()));
        let read = Answer::read(&good, 7).unwrap();
        assert_eq!(
            (read.stratum, read.leap, read.root_delay, read.follows().as_str()),
            (2, 0, Duration::from_millis(1500), "10.0.0.7")
        );
    }
}
