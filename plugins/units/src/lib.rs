//! Looks at the units of systemd: those that failed, and those that must be active.

mod judge;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Pattern, Series, Severity, Status, Tag, system};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Complaint, NAMED};

/// What is expected of systemd's units.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// What a unit is that failed; `null` looks only at those of `active`.
    failed: Option<Severity>,
    /// Failed units that are left alone: regular expressions that must be found in the name.
    ignore: Vec<Pattern>,
    /// Units that must be active, by their full names.
    active: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failed: Some(Severity::Critical), ignore: Vec::new(), active: Vec::new() }
    }
}

const UNITS: Series = Series {
    name: "units",
    help: "Units of systemd that failed.",
    tags: &[],
    fields: &[
        Field::integer("failed", "", "All of them."),
        Field::integer("ignored", "", "Those that the check leaves alone."),
    ],
};

const UNIT: Series = Series {
    name: "unit",
    help: "One unit that must be active.",
    tags: &[Tag::bounded("unit", "Its name.")],
    fields: &[
        Field::boolean("active", "Whether it is."),
        Field::text("state", "`active`, `failed`, `inactive`, `activating` …"),
        Field::text("sub_state", "`running`, `dead`, `auto-restart` …"),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: units
    plugin: units
    interval: 60s
    timeout: 5s
    allow: {system: [units]}
    settings:
      active: [kubelet.service, containerd.service]
      ignore: [\"^user@\"]
";

/// The check.
#[derive(Debug)]
pub struct Units;

impl Check for Units {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(
            env!("CARGO_PKG_VERSION"),
            "Looks for failed units of systemd, and for units that must be active.",
        )
        .series(&UNITS)
        .series(&UNIT)
        .findings("The name of a unit.", true)
        .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.failed.is_none() && settings.active.is_empty() {
            return Err(Fault::settings("nothing is looked at: set `failed`, or name units under `active`"));
        }
        match settings.active.iter().position(|name| !name.contains('.')) {
            Some(n) => Err(Fault::settings(format!(
                "`active[{n}]`: {0} has no type: write, for instance, {0}.service",
                settings.active[n]
            ))),
            None => Ok(()),
        }
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let mut wrong: Vec<Complaint> = Vec::new();
        let mut active = 0;
        if !settings.active.is_empty() {
            let units = system::units(&settings.active)?;
            for name in &settings.active {
                let unit = units.items.iter().find(|unit| unit.name == *name);
                let complaint = judge::inactive(name, unit);
                Point::of(&UNIT)
                    .tag("unit", name.as_str())
                    .field("active", complaint.is_none())
                    .field("state", unit.map(|unit| unit.active_state.clone()))
                    .field("sub_state", unit.map(|unit| unit.sub_state.clone()))
                    .report()?;
                let (status, text) = complaint.clone().unwrap_or_else(|| (Status::Ok, format!("{name} is active")));
                report::finding(name, status, &text)?;
                active += usize::from(complaint.is_none());
                wrong.extend(complaint);
            }
        }
        if let Some(severity) = settings.failed {
            wrong.extend(failed(settings, severity)?);
        }
        Ok(outcome(active, &wrong))
    }
}

/// The units that failed; those of `active` have been told already.
fn failed(settings: &Settings, severity: Severity) -> Result<Vec<Complaint>, Fault> {
    let units = system::failed_units()?;
    let ignored = |name: &str| settings.ignore.iter().any(|pattern| pattern.0.is_match(name));
    let (left_alone, others): (Vec<_>, Vec<_>) = units.items.iter().partition(|unit| ignored(&unit.name));
    let count = |units: usize| i64::try_from(units).unwrap_or(i64::MAX);
    Point::of(&UNITS).field("failed", count(units.items.len())).field("ignored", count(left_alone.len())).report()?;
    let mut wrong = Vec::new();
    for unit in others.into_iter().filter(|unit| !settings.active.contains(&unit.name)) {
        let text = format!("{} ({}) failed", unit.name, unit.description);
        report::finding(&unit.name, severity.into(), &text)?;
        wrong.push((severity.into(), text));
    }
    Ok(wrong)
}

fn outcome(active: usize, wrong: &[Complaint]) -> Outcome {
    if wrong.is_empty() {
        let active = if active == 0 { String::new() } else { format!(", {active} are active as they must be") };
        return Outcome::ok(format!("no unit failed{active}"));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let named: Vec<_> = wrong.iter().take(NAMED).map(|(_, text)| text.as_str()).collect();
    let more = wrong.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Outcome::new(status, format!("{}{more}", named.join("; ")))
}

roundsman_sdk::plugin!(Units);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"failed": null}"#, "nothing is looked at: set `failed`, or name units under `active`"),
            (r#"{"active": ["kubelet"]}"#, "`active[0]`: kubelet has no type: write, for instance, kubelet.service"),
            (r#"{"failed": "bad"}"#, "`failed`: unknown variant `bad`, expected `warning` or `critical`"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Units>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let wrong: Vec<_> =
            (0..7).map(|n| (if n == 6 { Status::Critical } else { Status::Warning }, format!("u{n}"))).collect();
        for (active, wrong, expected) in [
            (0, &wrong[..0], Outcome::ok("no unit failed")),
            (2, &wrong[..0], Outcome::ok("no unit failed, 2 are active as they must be")),
            (0, &wrong[..2], Outcome::warning("u0; u1")),
            (0, &wrong[..], Outcome::critical("u0; u1; u2; u3; u4; and 2 more")),
        ] {
            assert_eq!(outcome(active, wrong), expected);
        }
    }
}
