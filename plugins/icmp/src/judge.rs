//! What a series of echo requests came to, and what is too much.

use std::time::Duration;

use roundsman_sdk::icmp::{Answers, RoundTrips};
use roundsman_sdk::report::ms;
use roundsman_sdk::{Fault, Outcome, Span, Status};
use schemars::JsonSchema;
use serde::Deserialize;

/// What is too much. A limit set to `null` is not looked at; a host that answers nothing at all is always critical.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Limits {
    /// Per cent of the requests that have no answer.
    loss: Option<Percent>,
    /// The mean round trip.
    round_trip: Option<Time>,
    jitter: Option<Time>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Percent {
    warning: f64,
    critical: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Time {
    warning: Span,
    critical: Span,
}

impl Default for Limits {
    /// One of three lost is noise of the network.
    fn default() -> Self {
        Self { loss: Some(Percent { warning: 34.0, critical: 67.0 }), round_trip: None, jitter: None }
    }
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), Fault> {
        let turned = [
            ("loss", self.loss.as_ref().is_some_and(|limit| limit.warning > limit.critical)),
            ("roundTrip", self.round_trip.as_ref().is_some_and(|limit| limit.warning > limit.critical)),
            ("jitter", self.jitter.as_ref().is_some_and(|limit| limit.warning > limit.critical)),
        ];
        match turned.into_iter().find(|(_, turned)| *turned) {
            Some((name, _)) => Err(Fault::settings(format!("`limits.{name}`: warning must not be above critical"))),
            None => Ok(()),
        }
    }
}

/// What became of a series.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) sent: usize,
    pub(crate) received: usize,
    pub(crate) loss_percent: f64,
    pub(crate) times: Option<RoundTrips>,
    /// What was in the way of the first request that was not answered.
    in_the_way: Option<String>,
}

impl Seen {
    pub(crate) fn of(answers: &Answers) -> Self {
        let in_the_way = answers.replies.iter().find(|reply| !matches!(reply.kind.as_str(), "reply" | "lost"));
        let in_the_way = in_the_way.map(|reply| match &reply.from {
            Some(from) => format!("{} says {}", from, reply.kind),
            None => reply.kind.clone(),
        });
        Self {
            sent: answers.replies.len(),
            received: answers.received(),
            loss_percent: answers.loss_percent(),
            times: answers.round_trips(),
            in_the_way,
        }
    }

    pub(crate) fn judge(&self, limits: &Limits, mtu: Option<u32>) -> Outcome {
        let way = self.in_the_way.as_ref().map(|way| format!(" ({way})")).unwrap_or_default();
        let mtu = mtu.map(|mtu| format!("; {mtu} bytes would pass")).unwrap_or_default();
        let Some(times) = &self.times else {
            return Outcome::critical(format!("none of {} requests was answered{way}{mtu}", self.sent));
        };
        let mut status = Status::Ok;
        let mut worse = |value: f64, warning: f64, critical: f64| {
            status = status.worst(if value >= critical {
                Status::Critical
            } else if value >= warning {
                Status::Warning
            } else {
                Status::Ok
            });
        };
        if let Some(limit) = &limits.loss {
            worse(self.loss_percent, limit.warning, limit.critical);
        }
        for (time, limit) in [(times.mean, &limits.round_trip), (times.jitter, &limits.jitter)] {
            if let Some(limit) = limit {
                worse(ms(time), ms(limit.warning.0), ms(limit.critical.0));
            }
        }
        let spell = |time: Duration| format!("{:.2} ms", ms(time));
        let text = format!(
            "{} of {} answered{way}, round trip {} (jitter {}){mtu}",
            self.received,
            self.sent,
            spell(times.mean),
            spell(times.jitter)
        );
        Outcome::new(status, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundsman_sdk::icmp::Reply;

    fn reply(kind: &str, ms: Option<u64>) -> Reply {
        Reply {
            round_trip: ms.map(Duration::from_millis),
            kind: kind.to_owned(),
            from: Some("10.0.0.1".to_owned()),
            ttl: None,
        }
    }

    #[test]
    fn verdicts() {
        let limits = |json: &str| serde_json::from_str::<Limits>(json).unwrap();
        let replies = |replies: &[(&str, Option<u64>)]| Answers {
            replies: replies.iter().map(|(kind, ms)| reply(kind, *ms)).collect(),
            duplicates: 0,
        };
        let (good, lost) = (("reply", Some(10)), ("lost", None));
        for (answers, limit, mtu, expected) in [
            (
                replies(&[good, good, good]),
                "{}",
                None,
                Outcome::ok("3 of 3 answered, round trip 10.00 ms (jitter 0.00 ms)"),
            ),
            (
                replies(&[good, good, lost]),
                "{}",
                None,
                Outcome::ok("2 of 3 answered, round trip 10.00 ms (jitter 0.00 ms)"),
            ),
            (
                replies(&[good, lost, lost]),
                "{}",
                None,
                Outcome::warning("1 of 3 answered, round trip 10.00 ms (jitter 0.00 ms)"),
            ),
            (replies(&[lost, lost]), r#"{"loss": null}"#, None, Outcome::critical("none of 2 requests was answered")),
            (
                replies(&[("time-exceeded", None)]),
                "{}",
                None,
                Outcome::critical("none of 1 requests was answered (10.0.0.1 says time-exceeded)"),
            ),
            (
                replies(&[("too-big", None)]),
                "{}",
                Some(1400),
                Outcome::critical("none of 1 requests was answered (10.0.0.1 says too-big); 1400 bytes would pass"),
            ),
            (
                replies(&[good]),
                r#"{"roundTrip": {"warning": "5ms", "critical": "20ms"}}"#,
                None,
                Outcome::warning("1 of 1 answered, round trip 10.00 ms (jitter 0.00 ms)"),
            ),
        ] {
            assert_eq!(Seen::of(&answers).judge(&limits(limit), mtu), expected);
        }
    }
}
