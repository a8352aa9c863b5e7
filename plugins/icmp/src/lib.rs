//! Pings a host and looks at loss, round trips and jitter.

mod judge;

use std::time::Duration;

use roundsman_sdk::icmp::{Answers, Echo, Family};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Size, Span, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Limits, Seen};

/// What to ping, and what is too much.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// A host, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "icmp"}))]
    host: Option<String>,
    /// How many requests are sent.
    #[schemars(range(min = 1, max = 100))]
    count: u32,
    /// Between two of them.
    interval: Span,
    /// How long each answer is waited for.
    timeout: Span,
    /// Of the payload: 28 bytes more are on the way, 48 with IPv6.
    size: Size,
    /// No router may cut a request into pieces: with `size: 1472`, whether 1,500 bytes get through.
    dont_fragment: bool,
    /// Hops after which a router gives up.
    ttl: Option<u8>,
    family: Family,
    /// The address of this node from which to send.
    source_address: Option<String>,
    limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: None,
            count: 3,
            interval: Span(Duration::from_millis(100)),
            timeout: Span(Duration::from_secs(1)),
            size: Size(56),
            dont_fragment: false,
            ttl: None,
            family: Family::Any,
            source_address: None,
            limits: Limits::default(),
        }
    }
}

const ICMP: Series = Series {
    name: "icmp",
    help: "One series of echo requests.",
    tags: &[],
    fields: &[
        Field::integer("sent", "", "Requests."),
        Field::integer("received", "", "Answers."),
        Field::real("loss_percent", "%", "Requests without an answer."),
        Field::real("rtt_min_ms", "ms", "The shortest round trip."),
        Field::real("rtt_mean_ms", "ms", "The mean of all."),
        Field::real("rtt_max_ms", "ms", "The longest."),
        Field::real("jitter_ms", "ms", "The mean difference of one round trip to the next."),
        Field::integer("duplicates", "", "Answers that came twice."),
        Field::integer("ttl", "", "Hops that the first answer could still have made."),
        Field::integer("mtu", "B", "What a router could pass on that refused to; absent otherwise."),
        Field::real("resolve_ms", "ms", "From the name to addresses; absent for an address."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: ping
    plugin: icmp
    interval: 10s
    timeout: 5s
    target: icmp://127.0.0.1             # its address is granted; any other needs a line under `allow:`
    settings:
      count: 5
      limits: {loss: {warning: 20, critical: 60}, roundTrip: {warning: 100ms, critical: 500ms}}
";

/// The check.
#[derive(Debug)]
pub struct Icmp;

impl Check for Icmp {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Pings a host and looks at loss, round trips and jitter.")
            .series(&ICMP)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if !(1..=100).contains(&settings.count) {
            return Err(Fault::settings("`count` must be 1 to 100"));
        }
        if settings.interval.0 < Duration::from_millis(1) {
            return Err(Fault::settings("`interval` must be at least 1ms"));
        }
        settings.limits.validate()
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let host =
            settings.host.as_deref().or(target.as_deref()).map(|host| host.strip_prefix("icmp://").unwrap_or(host));
        let host = host.ok_or_else(|| Fault::settings("nobody to ping: give the check a `target`, or set `host`"))?;
        let echo = settings.echo(host)?;
        let answers = match echo.send() {
            Ok(answers) => answers,
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let seen = Seen::of(&answers);
        let mtu = echo.fact("mtu").and_then(|mtu| mtu.parse::<u32>().ok());
        report_point(&seen, &answers, mtu, echo.timings().resolve)?;
        if let Some(times) = &seen.times {
            report::latency(times.mean);
        }
        Ok(seen.judge(&settings.limits, mtu))
    }
}

impl Settings {
    fn echo(&self, host: &str) -> Result<Echo, Fault> {
        let size = u32::try_from(self.size.0).map_err(|_| Fault::settings("`size` is too large for one packet"))?;
        let mut echo = Echo::new(host)
            .count(self.count)
            .interval(self.interval.0)
            .timeout(self.timeout.0)
            .size(size)
            .dont_fragment(self.dont_fragment)
            .family(self.family);
        if let Some(ttl) = self.ttl {
            echo = echo.ttl(ttl);
        }
        if let Some(address) = &self.source_address {
            echo = echo.source_address(address);
        }
        Ok(echo)
    }
}

fn report_point(seen: &Seen, answers: &Answers, mtu: Option<u32>, resolve: Option<Duration>) -> Result<(), Fault> {
    let time = |of: fn(&roundsman_sdk::icmp::RoundTrips) -> Duration| seen.times.as_ref().map(|times| ms(of(times)));
    Point::of(&ICMP)
        .field("sent", seen.sent)
        .field("received", seen.received)
        .field("loss_percent", seen.loss_percent)
        .field("rtt_min_ms", time(|times| times.min))
        .field("rtt_mean_ms", time(|times| times.mean))
        .field("rtt_max_ms", time(|times| times.max))
        .field("jitter_ms", time(|times| times.jitter))
        .field("duplicates", answers.duplicates)
        .field("ttl", answers.replies.iter().find_map(|reply| reply.ttl).map(i32::from))
        .field("mtu", mtu)
        .field("resolve_ms", resolve.map(ms))
        .report()
}

roundsman_sdk::plugin!(Icmp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"count": 0}"#, "`count` must be 1 to 100"),
            (r#"{"count": 1000}"#, "`count` must be 1 to 100"),
            (r#"{"interval": "10us"}"#, "`interval` must be at least 1ms"),
            (
                r#"{"limits": {"loss": {"warning": 50, "critical": 20}}}"#,
                "`limits.loss`: warning must not be above critical",
            ),
            (
                r#"{"limits": {"roundTrip": {"warning": "2s", "critical": "1s"}}}"#,
                "`limits.roundTrip`: warning must not be above critical",
            ),
            (r#"{"ttl": 300}"#, "`ttl`: invalid value: integer `300`, expected u8"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Icmp>(settings).unwrap_err().message, message);
        }
    }
}
