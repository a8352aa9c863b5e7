//! Looks at the ports on which this node listens: those that must be open, and those that must not.

mod judge;

use std::collections::BTreeMap;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::system::{self, Port};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Severity, Status, Tag};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Complaint, Rule};

/// What is expected of the node's listening ports.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Ports on which something must listen.
    expect: Vec<Rule>,
    /// Ports on which nothing may listen.
    forbid: Vec<Rule>,
    /// What a port is that is neither expected nor tolerated; without it, every other port is left alone.
    others: Option<Severity>,
    /// Ports that `others` leaves alone.
    tolerate: Vec<Rule>,
}

const PORTS: Series = Series {
    name: "ports",
    help: "Sockets on which this node listens.",
    tags: &[Tag::bounded("protocol", "`tcp`, `tcp6`, `udp` or `udp6`.")],
    fields: &[
        Field::integer("listening", "", "All of them."),
        Field::integer("reachable", "", "Those that can be reached from other machines: not on the loopback."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: ports
    plugin: ports
    interval: 60s
    timeout: 5s
    allow: {system: [ports]}
    settings:
      expect:
        - {port: 22, protocol: tcp}
      forbid:
        - {port: 23}
        - {port: 2375, reach: any}
";

/// The check.
#[derive(Debug)]
pub struct Ports;

impl Check for Ports {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Looks for ports that must or must not be open on this node.")
            .series(&PORTS)
            .findings("A port of the settings, such as tcp/22.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        for (list, rules) in
            [("expect", &settings.expect), ("forbid", &settings.forbid), ("tolerate", &settings.tolerate)]
        {
            for (n, rule) in rules.iter().enumerate() {
                let fits = if list == "expect" { rule.single() } else { Ok(()) };
                fits.and(rule.validate()).map_err(|reason| Fault::settings(format!("`{list}[{n}]`: {reason}")))?;
            }
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let list = system::listening_ports()?;
        report_counts(&list.items)?;
        let mut wrong: Vec<Complaint> = Vec::new();
        for rule in &settings.expect {
            let complaint = rule.missing(&list.items, list.truncated);
            tell(rule, complaint.as_ref(), "is open")?;
            wrong.extend(complaint);
        }
        for rule in &settings.forbid {
            let complaint = rule.present(&list.items);
            tell(rule, complaint.as_ref(), "is closed")?;
            wrong.extend(complaint);
        }
        if let Some(severity) = settings.others {
            let known: Vec<_> =
                [&settings.expect, &settings.forbid, &settings.tolerate].into_iter().flatten().collect();
            wrong.extend(judge::others(&list.items, &known, severity));
        }
        Ok(outcome(list.items.len(), settings, &wrong))
    }
}

fn report_counts(ports: &[Port]) -> Result<(), Fault> {
    let mut counts: BTreeMap<&str, (i32, i32)> = BTreeMap::new();
    for port in ports {
        let (listening, reachable) = counts.entry(&port.protocol).or_default();
        *listening += 1;
        *reachable += i32::from(!judge::is_loopback(&port.address));
    }
    for (protocol, (listening, reachable)) in counts {
        let point = Point::of(&PORTS).tag("protocol", protocol);
        point.field("listening", listening).field("reachable", reachable).report()?;
    }
    Ok(())
}

fn tell(rule: &Rule, complaint: Option<&Complaint>, well: &str) -> Result<(), Fault> {
    let subject = rule.subject();
    match complaint {
        Some((status, text)) => report::finding(&subject, *status, text),
        None => report::finding(&subject, Status::Ok, &format!("{subject} {well}")),
    }
}

fn outcome(listening: usize, settings: &Settings, wrong: &[Complaint]) -> Outcome {
    if wrong.is_empty() {
        let (open, closed) = (settings.expect.len(), settings.forbid.len());
        return Outcome::ok(format!(
            "{listening} ports listen; {open} expected ones are open, {closed} forbidden ones are closed"
        ));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Ports);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"expect": [{"port": 0}]}"#, "`expect[0]`: port 0 is none"),
            (r#"{"forbid": [{"port": 70000}]}"#, "`forbid[0].port`: invalid value: integer `70000`, expected u16"),
            (
                r#"{"forbid": [{"port": 7, "protocol": "sctp"}]}"#,
                "`forbid[0].protocol`: unknown variant `sctp`, expected `tcp` or `udp`",
            ),
            (r#"{"tolerate": [{"port": 9, "to": 8}]}"#, "`tolerate[0]`: the range ends before it begins"),
            (r#"{"expect": [{"port": 9, "to": 10}]}"#, "`expect[0]`: one port must be expected, not a range"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Ports>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let settings = roundsman_sdk::settings::<Ports>(r#"{"expect": [{"port": 22}]}"#).unwrap();
        assert_eq!(
            outcome(3, &settings, &[]),
            Outcome::ok("3 ports listen; 1 expected ones are open, 0 forbidden ones are closed")
        );
        let wrong = [(Status::Warning, "a".to_owned()), (Status::Critical, "b".to_owned())];
        assert_eq!(outcome(3, &settings, &wrong), Outcome::critical("a; b"));
    }
}
