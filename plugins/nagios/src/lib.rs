//! Runs a Nagios plugin of the node, and takes what it says: exit status, text, performance data.

mod output;

use std::collections::BTreeMap;

use roundsman_sdk::command::{Failure, Program, Ran};
use roundsman_sdk::report::{self, Point};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, info, warn};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::output::{Metric, Output, Range};

/// Which program is run, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The program by its absolute path; needs the same under `allow: {commands: […]}`.
    command: Command,
    /// Its arguments, one by one: there is no shell.
    #[serde(default)]
    arguments: Vec<String>,
    /// Variables of its environment, which is empty but for `PATH` and `LANG`.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Variables whose values are secrets of the agent's configuration; each needs `allow: {secrets: […]}`.
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    /// What an exit status beyond 3 means, such as 127 of a shell that did not find something.
    #[serde(default)]
    otherwise: Otherwise,
}

/// An absolute path of a program.
#[derive(Debug, Deserialize)]
struct Command(String);

/// A secret by name, and by the key under which a directory holds it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secret {
    secret: String,
    /// Empty for a secret that is one file.
    #[serde(default)]
    key: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Otherwise {
    /// Nothing is known of the target.
    #[default]
    Fault,
    Critical,
    Unknown,
}

impl JsonSchema for Command {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Command".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^/", "x-roundsman": {"kind": "command"}})
    }
}

const PERFDATA: Series = Series {
    name: "perfdata",
    help: "One piece of a Nagios plugin's performance data; times in seconds, sizes in bytes.",
    tags: &[Tag::bounded("label", "What the plugin calls it.")],
    fields: &[
        Field::real("value", "", "Its value."),
        Field::text("unit", "`s`, `B`, `%`, `c` (a counter), or what the plugin wrote."),
        Field::real("warning_low", "", "Below it, or not below where the range alarms inside, is a warning."),
        Field::real("warning_high", "", "The other end of the range."),
        Field::boolean("warning_inside", "Whether the range alarms inside instead of outside."),
        Field::real("critical_low", "", "The same for critical."),
        Field::real("critical_high", "", "The other end of the range."),
        Field::boolean("critical_inside", "Whether the range alarms inside instead of outside."),
        Field::real("min", "", "The least that it can be."),
        Field::real("max", "", "The most that it can be."),
    ],
};

const NAGIOS: Series = Series {
    name: "nagios",
    help: "One run of a Nagios plugin.",
    tags: &[],
    fields: &[
        Field::integer("exit", "", "Its exit status; absent when a signal ended it."),
        Field::real("duration_ms", "ms", "From its start to its end."),
        Field::real("cpu_ms", "ms", "Processor time that it took."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: time
    plugin: nagios
    interval: 60s
    timeout: 10s
    allow: {commands: [/usr/lib/nagios/plugins/check_ntp_time]}    # and under `trust:` in roundsman.yaml
    settings:
      command: /usr/lib/nagios/plugins/check_ntp_time
      arguments: [-H, pool.ntp.org, -w, \"0.5\", -c, \"1\"]
";

/// The check.
#[derive(Debug)]
pub struct Nagios;

impl Check for Nagios {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Runs a Nagios plugin of the node.")
            .series(&NAGIOS)
            .series(&PERFDATA)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if !settings.command.0.starts_with('/') {
            return Err(Fault::settings("`command`: write the whole path from /"));
        }
        match settings.secrets.keys().find(|name| settings.environment.contains_key(*name)) {
            Some(name) => Err(Fault::settings(format!("`secrets`: {name} is set under `environment` already"))),
            None => Ok(()),
        }
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let mut program = Program::new(&settings.command.0).arguments(&settings.arguments);
        for (name, value) in &settings.environment {
            program = program.environment(name, value);
        }
        for (name, Secret { secret, key }) in &settings.secrets {
            program = program.environment_secret(name, secret, key);
        }
        let ran = match program.run() {
            Ok(ran) => ran,
            // What hung is most likely what it looks at; it is said with whatever the program had printed.
            Err(Failure { code, message, .. }) if code == "timeout" => {
                let said = Output::read(&program.partial().text()).text;
                let said = if said.is_empty() { String::new() } else { format!("; it had said: {said}") };
                return Ok(Outcome::critical(format!("{message}{said}")));
            }
            Err(failure) => return Err(failure.into()),
        };
        let output = Output::read(&ran.text());
        report_points(&ran, &output)?;
        output.long.iter().for_each(|line| info!("{line}"));
        output.unread.iter().for_each(|piece| warn!("not performance data: {piece}"));
        if !ran.errors.is_empty() {
            info!("standard error: {}", ran.error_text().trim());
        }
        judge(&ran, &output, settings.otherwise)
    }
}

fn report_points(ran: &Ran, output: &Output) -> Result<(), Fault> {
    Point::of(&NAGIOS)
        .field("exit", ran.exit)
        .field("duration_ms", ran.duration.map(report::ms))
        .field("cpu_ms", ran.cpu.map(report::ms))
        .report()?;
    if let Some(duration) = ran.duration {
        report::latency(duration);
    }
    for metric in &output.metrics {
        let Metric { label, value, unit, warning, critical, min, max } = metric;
        let low = |range: &Option<Range>| range.as_ref().and_then(|range| range.low);
        let high = |range: &Option<Range>| range.as_ref().and_then(|range| range.high);
        let inside = |range: &Option<Range>| range.as_ref().map(|range| range.inside);
        Point::of(&PERFDATA)
            .tag("label", label.as_str())
            .field("value", *value)
            .field("unit", (!unit.is_empty()).then(|| unit.clone()))
            .field("warning_low", low(warning))
            .field("warning_high", high(warning))
            .field("warning_inside", inside(warning))
            .field("critical_low", low(critical))
            .field("critical_high", high(critical))
            .field("critical_inside", inside(critical))
            .field("min", *min)
            .field("max", *max)
            .report()?;
    }
    Ok(())
}

fn judge(ran: &Ran, output: &Output, otherwise: Otherwise) -> Result<Outcome, Fault> {
    let text = if output.text.is_empty() {
        ran.error_text().lines().next().unwrap_or_default().trim().to_owned()
    } else {
        output.text.clone()
    };
    let text = if text.is_empty() { "the program printed nothing".to_owned() } else { text };
    let status = match ran.exit {
        Some(0) => Status::Ok,
        Some(1) => Status::Warning,
        Some(2) => Status::Critical,
        Some(3) => Status::Unknown,
        other => {
            let ended = match (other, ran.signal) {
                (Some(exit), _) => format!("the program ended with {exit}, which is no status of Nagios: {text}"),
                (None, Some(signal)) => format!("the program was killed by signal {signal}: {text}"),
                (None, None) => format!("nobody knows how the program ended: {text}"),
            };
            return match otherwise {
                Otherwise::Fault => Err(Fault::new("command", ended)),
                Otherwise::Critical => Ok(Outcome::critical(ended)),
                Otherwise::Unknown => Ok(Outcome::unknown(ended)),
            };
        }
    };
    Ok(Outcome::new(status, text))
}

roundsman_sdk::plugin!(Nagios);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{}"#, "missing field `command`"),
            (r#"{"command": "check_ping"}"#, "`command`: write the whole path from /"),
            (
                r#"{"command": "/x", "arguments": "-a -b"}"#,
                "`arguments`: invalid type: string \"-a -b\", expected a sequence",
            ),
            (
                r#"{"command": "/x", "environment": {"A": "1"}, "secrets": {"A": {"secret": "s"}}}"#,
                "`secrets`: A is set under `environment` already",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Nagios>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn ends() {
        let ran = |exit, signal, errors: &str| Ran { exit, signal, errors: errors.into(), ..Ran::default() };
        let output = |text: &str| Output::read(text);
        for (ran, printed, otherwise, expected) in [
            (ran(Some(0), None, ""), "OK - fine|a=1", Otherwise::Fault, Ok(Outcome::ok("OK - fine"))),
            (ran(Some(1), None, ""), "W", Otherwise::Fault, Ok(Outcome::warning("W"))),
            (ran(Some(2), None, "why"), "", Otherwise::Fault, Ok(Outcome::critical("why"))),
            (ran(Some(3), None, ""), "", Otherwise::Fault, Ok(Outcome::unknown("the program printed nothing"))),
            (
                ran(Some(127), None, ""),
                "sh: no",
                Otherwise::Critical,
                Ok(Outcome::critical("the program ended with 127, which is no status of Nagios: sh: no")),
            ),
            (
                ran(None, Some(11), ""),
                "x",
                Otherwise::Fault,
                Err(Fault::new("command", "the program was killed by signal 11: x")),
            ),
        ] {
            assert_eq!(judge(&ran, &output(printed), otherwise), expected);
        }
    }
}
