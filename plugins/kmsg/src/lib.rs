//! Follows the kernel's log and looks for lines that mean trouble: killed for want of memory, stuck tasks, broken disks.

mod judge;
mod rule;

use std::time::SystemTime;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::system::{self, KernelLog};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, state, warn};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Memory, Seen};
use crate::rule::Rule;

/// Which lines mean trouble.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Whether the plugin's own rules are applied: oom, hung-task, kernel-bug, machine-check, io-error, filesystem,
    /// read-only, network-device.
    built_in: bool,
    /// More rules; one with the name of a rule of the plugin's own takes its place.
    rules: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { built_in: true, rules: Vec::new() }
    }
}

const KMSG: Series = Series {
    name: "kmsg",
    help: "What the kernel said since the run before.",
    tags: &[],
    fields: &[
        Field::integer("lines", "", "All lines."),
        Field::integer("errors", "", "Lines of the priority error or worse."),
        Field::integer("lost", "", "Lines that were overwritten before they could be read."),
    ],
};

const MATCHES: Series = Series {
    name: "kmsg_rule",
    help: "Lines that mean trouble, since the run before.",
    tags: &[Tag::bounded("rule", "The name of the rule.")],
    fields: &[Field::integer("matches", "", "Lines in which its pattern is found.")],
};

const EXAMPLE: &str = "\
checks:
  - name: kmsg
    plugin: kmsg
    interval: 30s
    timeout: 5s
    allow: {system: [kernel-log]}
    settings:
      rules:
        - {rule: usb, pattern: \"usb .*: device descriptor read.*error\", status: warning, hold: 10m}
";

/// Under this key is remembered how far the log was read, and when each rule matched last.
const MEMORY: &str = "memory";
/// Lines that are asked for at once, and how often in one run: what is beyond is read in the next one.
const LINES: u32 = 1_000;
const PIECES: u32 = 8;

/// The check.
#[derive(Debug)]
pub struct Kmsg;

impl Check for Kmsg {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Looks for lines in the kernel's log that mean trouble.")
            .series(&KMSG)
            .series(&MATCHES)
            .findings("The name of a rule.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if !settings.built_in && settings.rules.is_empty() {
            return Err(Fault::settings("there is no rule: write some under `rules`, or leave `builtIn` on"));
        }
        rule::validate(&settings.rules)
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let rules = rule::all(settings.built_in, &settings.rules)?;
        let now = SystemTime::now();
        let mut memory: Memory = state::load(MEMORY).unwrap_or_default();
        let mut seen = Seen::new(rules.len());
        for _ in 0..PIECES {
            // What happened before anybody looked counts as well, as long as it is not older than its rule holds.
            let cursor = memory.cursor.as_deref().unwrap_or(system::START);
            let KernelLog { lines, cursor, lost, more } = system::kernel_log(Some(cursor), LINES)?;
            seen.take(&rules, &lines, lost);
            memory.cursor = Some(cursor);
            if !more {
                break;
            }
        }
        memory.remember(&rules, &seen);
        report_points(&rules, &seen)?;
        let mut wrong = Vec::new();
        for rule in &rules {
            let (status, text) = memory.judge(rule, now);
            report::finding(&rule.rule, status, &text)?;
            wrong.extend((status != Status::Ok).then_some((status, text)));
        }
        if let Err(fault) = state::save(MEMORY, &memory) {
            warn!("the next run reads the same lines again: {}", fault.message);
        }
        Ok(outcome(&seen, &wrong))
    }
}

fn report_points(rules: &[Rule], seen: &Seen) -> Result<(), Fault> {
    Point::of(&KMSG).field("lines", seen.lines).field("errors", seen.errors).field("lost", seen.lost).report()?;
    for (rule, found) in rules.iter().zip(&seen.found) {
        Point::of(&MATCHES).tag("rule", rule.rule.as_str()).field("matches", found.count).report()?;
    }
    Ok(())
}

fn outcome(seen: &Seen, wrong: &[(Status, String)]) -> Outcome {
    let lost = if seen.lost == 0 { String::new() } else { format!(", {} lost", seen.lost) };
    if wrong.is_empty() {
        return Outcome::ok(format!("{} new lines{lost}, none that means trouble", seen.lines));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Kmsg);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"builtIn": false}"#, "there is no rule: write some under `rules`, or leave `builtIn` on"),
            (
                r#"{"rules": [{"rule": "a", "pattern": "x"}, {"rule": "a", "pattern": "y"}]}"#,
                "`rules[1]`: there is a rule a already",
            ),
            (r#"{"rules": [{"rule": "", "pattern": "x"}]}"#, "`rules[0]`: the rule has no name"),
            (
                r#"{"rules": [{"rule": "a", "pattern": "x", "priority": 9}]}"#,
                "`rules[0]`: priority is 0 (emergency) to 7 (debug)",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Kmsg>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let seen = Seen { lines: 3, lost: 2, ..Seen::new(0) };
        assert_eq!(outcome(&seen, &[]), Outcome::ok("3 new lines, 2 lost, none that means trouble"));
        let wrong = [(Status::Warning, "a".to_owned()), (Status::Critical, "b".to_owned())];
        assert_eq!(outcome(&seen, &wrong), Outcome::critical("a; b"));
    }
}
