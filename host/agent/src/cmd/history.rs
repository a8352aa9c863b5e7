//! `roundsman history`: what runs found out, newest first.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use roundsman_model::state::Quiet;
use roundsman_model::units::format_duration;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::table::{Table, age, millis, say, say_json};
use super::{Format, Remote, block_on, client, duration};

/// What one page of the API holds at most.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only of this check
    #[arg(long)]
    check: Option<String>,
    /// Only of this target
    #[arg(long)]
    target: Option<String>,
    /// How far back
    #[arg(long, default_value = "1h", value_parser = duration)]
    since: Duration,
    /// At most so many records
    #[arg(long, default_value_t = 100, value_parser = limit)]
    limit: usize,
    /// Changes of state instead of records
    #[arg(long)]
    transitions: bool,
    /// The last failing runs of each target that is not ok, or of CHECK, with what they logged and called
    #[arg(long, conflicts_with = "transitions")]
    failures: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Records {
    records: Vec<view::Record>,
    next_before: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Transitions {
    transitions: Vec<view::Transition>,
    next_before: Option<i64>,
}

pub(super) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.failures {
        failures(arguments)?
    } else if arguments.transitions {
        transitions(arguments)?
    } else {
        records(arguments)?
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn nothing(&self, what: &str) -> String {
        let since = format_duration(self.since);
        let of = self.check.as_ref().map(|check| format!(" of check `{check}`")).unwrap_or_default();
        format!("(no {what}{of} in the last {since}; --since looks further back)\n")
    }

    fn path(&self, list: &str, before: Option<i64>, left: usize) -> String {
        let mut path = format!("/api/v1/{list}?since={}&limit={}", format_duration(self.since), left.min(PAGE));
        for (key, value) in [("check", &self.check), ("target", &self.target)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", encode(value)));
            }
        }
        if let Some(before) = before {
            path.push_str(&format!("&before={before}"));
        }
        path
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

fn records(arguments: &Arguments) -> anyhow::Result<()> {
    let answer = block_on(async {
        let mut all = Records::default();
        loop {
            let left = arguments.limit - all.records.len();
            let path = arguments.path("records", all.next_before, left);
            let page: Records = client::get(&arguments.remote, &path).await?;
            all.records.extend(page.records);
            all.records.truncate(arguments.limit);
            all.next_before = page.next_before;
            if all.next_before.is_none() || all.records.len() >= arguments.limit {
                return Ok(all);
            }
        }
    })?;
    if arguments.remote.output.output == Format::Json {
        return say_json(&answer);
    }
    let head =
        ["TIME", "CHECK", "TARGET", "STATUS", "STATE", "ORIGIN", "ATTEMPT", "MARKS", "LATENCY", "DURATION", "SUMMARY"];
    let mut table = Table::new(head);
    for record in &answer.records {
        table.row([
            record.time.0.to_string(),
            record.check.to_string(),
            record.target.as_deref().unwrap_or("-").to_owned(),
            status(record),
            super::table::state_word(record.state, record.soft.is_some()),
            record.origin.as_str().to_owned(),
            record.attempt.to_string(),
            if record.suspect { "suspect".to_owned() } else { String::new() },
            record.latency_ms.map_or("-".to_owned(), millis),
            millis(record.duration_ms),
            record.summary.to_string(),
        ]);
    }
    table.print()?;
    if answer.records.is_empty() {
        say(&arguments.nothing("records"))?;
    }
    if answer.next_before.is_some() {
        say(&format!("({} shown; --limit shows more)\n", answer.records.len()))?;
    }
    Ok(())
}

/// `critical`, or `unknown: trap (plugin)` where the target is not to blame.
pub(super) fn status(record: &view::Record) -> String {
    let status = record.status.as_str();
    match (&record.code, record.blame) {
        (None, _) => status.to_owned(),
        (Some(code), roundsman_model::record::Blame::Target) => format!("{status}: {code}"),
        (Some(code), blame) => format!("{status}: {code} ({})", blame.as_str()),
    }
}

/// What makes a state mean less, or more, than it says.
pub(super) fn marks_of(subject: &view::Subject) -> Vec<String> {
    let marks = [
        (subject.silence.is_some(), "silenced"),
        (subject.shadow, "shadow"),
        (subject.flapping, "flapping"),
        (subject.suspect, "suspect"),
    ];
    marks.iter().filter(|(there, _)| *there).map(|(_, mark)| (*mark).to_owned()).collect()
}

fn transitions(arguments: &Arguments) -> anyhow::Result<()> {
    let answer = block_on(async {
        let mut all = Transitions::default();
        loop {
            let left = arguments.limit - all.transitions.len();
            let path = arguments.path("transitions", all.next_before, left);
            let page: Transitions = client::get(&arguments.remote, &path).await?;
            all.transitions.extend(page.transitions);
            all.transitions.truncate(arguments.limit);
            all.next_before = page.next_before;
            if all.next_before.is_none() || all.transitions.len() >= arguments.limit {
                return Ok(all);
            }
        }
    })?;
    if arguments.remote.output.output == Format::Json {
        return say_json(&answer);
    }
    transitions_table(&answer.transitions, true).print()?;
    if answer.transitions.is_empty() {
        say(&arguments.nothing("transitions"))?;
    }
    if answer.next_before.is_some() {
        say(&format!("({} shown; --limit shows more)\n", answer.transitions.len()))?;
    }
    Ok(())
}

/// Changes of state, the newest first.
pub(super) fn transitions_table(transitions: &[view::Transition], with_check: bool) -> Table {
    let mut table = Table::new(["TIME", "CHECK", "TARGET", "FINDING", "FROM", "TO", "AFTER", "MARKS", "SUMMARY"]);
    for change in transitions {
        table.row([
            change.at.0.to_string(),
            if with_check { change.check.to_string() } else { String::new() },
            change.target.as_deref().unwrap_or("-").to_owned(),
            change.finding.as_deref().unwrap_or_default().to_owned(),
            change.from.as_str().to_owned(),
            change.to.as_str().to_owned(),
            age((change.at.0.0 - change.since.0.0) / 1_000_000_000),
            change.quiet.map_or("", Quiet::as_str).to_owned(),
            change.summary.to_string(),
        ]);
    }
    table
}

#[derive(Debug, Deserialize)]
struct Board {
    status: Vec<view::Subject>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Failures {
    failures: Vec<view::Record>,
}

/// The stories of failing runs, by check.
fn failures(arguments: &Arguments) -> anyhow::Result<()> {
    let remote = &arguments.remote;
    let target = arguments.target.as_ref().map(|target| format!("?target={}", encode(target))).unwrap_or_default();
    let mut answer = block_on(async {
        let mut checks = BTreeSet::from_iter(arguments.check.clone());
        if checks.is_empty() {
            let board: Board = client::get(remote, "/api/v1/status").await?;
            let asked = |s: &&view::Subject| arguments.target.as_deref().is_none_or(|t| s.target_or_empty() == t);
            let bad = board.status.iter().filter(asked).filter(|s| !s.state.is_healthy() || s.soft.is_some());
            checks = bad.map(|subject| subject.check.to_string()).collect();
        }
        let mut all = Failures::default();
        for check in &checks {
            let path = format!("/api/v1/checks/{}{target}", encode(check));
            let found: Failures = client::get(remote, &path).await?;
            all.failures.extend(found.failures);
        }
        Ok(all)
    })?;
    let since = crate::clock::system_now() - arguments.since;
    answer.failures.retain(|record| record.time.0 >= since);
    answer.failures.sort_by_key(|record| std::cmp::Reverse(record.time));
    answer.failures.truncate(arguments.limit);
    if remote.output.output == Format::Json {
        return say_json(&answer);
    }
    if answer.failures.is_empty() {
        return say(&arguments.nothing("failing runs"));
    }
    super::show::failures(&answer.failures)
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("https://a b/ä?x=1&y"), "https%3A%2F%2Fa%20b%2F%C3%A4%3Fx%3D1%26y");
    }
}
