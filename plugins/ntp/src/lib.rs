//! Asks an NTP server, with packets of its own: how far are the clocks apart, and is the server synchronised?

mod packet;

use std::time::Duration;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::udp::{Exchange, Failure, Family};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Span, Status, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::packet::{Answer, LENGTH, Refused};

/// Whom to ask, and what is too far.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// `host` or `host:port`, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "udp"}))]
    server: Option<String>,
    /// How often the server is asked; the answer that came back fastest counts.
    #[schemars(range(min = 1, max = 8))]
    samples: u32,
    family: Family,
    /// How far the clocks may be apart.
    offset: Limit,
    /// The greatest distance from a clock of reference.
    max_stratum: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    warning: Span,
    critical: Span,
}

impl Default for Settings {
    fn default() -> Self {
        let limit = |ms| Span(Duration::from_millis(ms));
        Self {
            server: None,
            samples: 3,
            family: Family::Any,
            offset: Limit { warning: limit(100), critical: limit(1_000) },
            max_stratum: 15,
        }
    }
}

const NTP: Series = Series {
    name: "ntp",
    help: "One server's clock against the node's.",
    tags: &[],
    fields: &[
        Field::real("offset_ms", "ms", "How far the server's clock is ahead of the node's."),
        Field::real("delay_ms", "ms", "The way there and back, without the time in the server."),
        Field::integer("stratum", "", "Steps to a clock of reference."),
        Field::integer("leap", "", "0, 1 or 2 as a leap second is announced; 3: not synchronised."),
        Field::real("root_delay_ms", "ms", "The server's own way to the clock of reference and back."),
        Field::real("root_dispersion_ms", "ms", "How far off the server thinks that it may be."),
        Field::integer("answers", "", "Questions that were answered."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: clock
    plugin: ntp
    interval: 60s
    timeout: 5s
    target: udp://127.0.0.1:123          # its address is granted; any other needs a line under `allow:`
    settings:
      offset: {warning: 50ms, critical: 500ms}
";

const PORT: u16 = 123;
/// Not synchronised, in the field `leap`.
const UNSYNCHRONISED: u8 = 3;
/// Packets that are read for one question: forged ones are no reason to stop listening, and no reason to do so for ever.
const MAX_PACKETS: usize = 16;

/// The check.
#[derive(Debug)]
pub struct Ntp;

/// One answer, with what it says of the clocks.
#[derive(Debug)]
struct Sample {
    answer: Answer,
    offset: f64,
    delay: f64,
}

/// Why a question has no answer.
#[derive(Debug)]
enum Silent {
    Failed(Failure),
    Said(String),
}

impl Check for Ntp {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Compares the node's clock with an NTP server's.")
            .series(&NTP)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if !(1..=8).contains(&settings.samples) {
            return Err(Fault::settings("`samples` must be 1 to 8"));
        }
        if settings.offset.warning > settings.offset.critical {
            return Err(Fault::settings("`offset`: warning must not be above critical"));
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let server = settings.server.as_deref().or(target.as_deref());
        let server =
            server.ok_or_else(|| Fault::settings("nobody to ask: give the check a `target`, or set `server`"))?;
        let address = with_port(server.strip_prefix("udp://").unwrap_or(server));
        let exchange = Exchange::new(&address).family(settings.family);
        let (mut samples, mut silent) = (Vec::new(), None);
        for left in (1..=settings.samples).rev() {
            exchange.set_timeout(context::budget() / left);
            match ask(&exchange) {
                Ok(sample) => samples.push(sample),
                Err(why) => silent = Some(why),
            }
        }
        // The one that waited least in queues on the way tells most.
        let best = samples.iter().min_by(|a, b| a.delay.total_cmp(&b.delay));
        match (best, silent) {
            (Some(best), _) => {
                report_point(best, samples.len())?;
                report::latency(Duration::from_secs_f64(best.delay));
                Ok(judge(settings, best))
            }
            (None, Some(Silent::Failed(failure))) => failure.into_outcome_or_fault(),
            (None, Some(Silent::Said(why))) => Ok(Outcome::critical(why)),
            (None, None) => Err(Fault::new("internal", "nobody was asked")),
        }
    }
}

/// `host` as `host:123`; what has a port keeps it.
fn with_port(server: &str) -> String {
    let bare_v6 = server.parse::<std::net::Ipv6Addr>().is_ok();
    match server.rsplit_once(':') {
        _ if bare_v6 => format!("[{server}]:{PORT}"),
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:{PORT}"),
    }
}

fn ask(exchange: &Exchange) -> Result<Sample, Silent> {
    let cookie = random();
    exchange.send(packet::question(cookie)).map_err(Silent::Failed)?;
    for _ in 0..MAX_PACKETS {
        let datagram = exchange.receive(LENGTH as u32 * 4).map_err(Silent::Failed)?;
        match Answer::read(&datagram.bytes, cookie) {
            Ok(answer) => {
                let (offset, delay) = answer.measure(datagram.at, datagram.after);
                return Ok(Sample { answer, offset, delay });
            }
            Err(Refused::NotOurs) => {}
            Err(Refused::Strange(why)) => return Err(Silent::Said(format!("the answer makes no sense: {why}"))),
            Err(Refused::Kiss(code)) => return Err(Silent::Said(format!("the server asks to be left alone ({code})"))),
        }
    }
    Err(Silent::Said(format!("{MAX_PACKETS} packets came, and none answers the question")))
}

/// From what the standard library seeds its hash maps with, which is the host's random numbers.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

fn report_point(best: &Sample, answers: usize) -> Result<(), Fault> {
    let Sample { answer, offset, delay } = best;
    Point::of(&NTP)
        .field("offset_ms", offset * 1e3)
        .field("delay_ms", delay * 1e3)
        .field("stratum", i32::from(answer.stratum))
        .field("leap", i32::from(answer.leap))
        .field("root_delay_ms", report::ms(answer.root_delay))
        .field("root_dispersion_ms", report::ms(answer.root_dispersion))
        .field("answers", answers)
        .report()
}

fn judge(settings: &Settings, best: &Sample) -> Outcome {
    let Sample { answer, offset, delay } = best;
    if answer.leap == UNSYNCHRONISED {
        return Outcome::critical(format!(
            "the server is not synchronised (stratum {}, follows {})",
            answer.stratum,
            answer.follows()
        ));
    }
    if answer.stratum > settings.max_stratum {
        return Outcome::critical(format!(
            "the server has stratum {}, at most {} is expected",
            answer.stratum, settings.max_stratum
        ));
    }
    let apart = Duration::from_secs_f64(offset.abs());
    let status = match apart {
        apart if apart >= settings.offset.critical.0 => Status::Critical,
        apart if apart >= settings.offset.warning.0 => Status::Warning,
        _ => Status::Ok,
    };
    let (apart, delay, side) = (report::ms(apart), delay * 1e3, if *offset < 0.0 { "ahead" } else { "behind" });
    Outcome::new(
        status,
        format!("the node's clock is {apart:.2} ms {side} (delay {delay:.2} ms, stratum {})", answer.stratum),
    )
}

roundsman_sdk::plugin!(Ntp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"samples": 9}"#, "`samples` must be 1 to 8"),
            (r#"{"offset": {"warning": "2s", "critical": "1s"}}"#, "`offset`: warning must not be above critical"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Ntp>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn servers_with_and_without_a_port() {
        for (server, address) in [
            ("ntp.example", "ntp.example:123"),
            ("ntp.example:1123", "ntp.example:1123"),
            ("::1", "[::1]:123"),
            ("[::1]", "[::1]:123"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(with_port(server), address);
        }
    }

    #[test]
    fn verdicts() {
        let mut packet = [0; LENGTH];
        packet[0] = (4 << 3) | 4;
        packet[1] = 3;
        packet[32..48].fill(1);
        let sample = |leap: u8, offset| {
            let mut packet = packet;
            packet[0] |= leap << 6;
            Sample { answer: Answer::read(&packet, 0).unwrap(), offset, delay: 0.002 }
        };
        let settings = |json: &str| roundsman_sdk::settings::<Ntp>(json).unwrap();
        for (json, sample, expected) in [
            ("{}", sample(0, 0.05), Outcome::ok("the node's clock is 50.00 ms behind (delay 2.00 ms, stratum 3)")),
            ("{}", sample(0, -0.5), Outcome::warning("the node's clock is 500.00 ms ahead (delay 2.00 ms, stratum 3)")),
            (
                "{}",
                sample(0, 90.0),
                Outcome::critical("the node's clock is 90000.00 ms behind (delay 2.00 ms, stratum 3)"),
            ),
            ("{}", sample(3, 0.0), Outcome::critical("the server is not synchronised (stratum 3, follows 0.0.0.0)")),
            (
                r#"{"maxStratum": 2}"#,
                sample(0, 0.0),
                Outcome::critical("the server has stratum 3, at most 2 is expected"),
            ),
        ] {
            assert_eq!(judge(&settings(json), &sample), expected);
        }
    }
}
