//! `roundsman history`: what runs found out, newest first.

use std::process::ExitCode;
use std::time::Duration;

use roundsman_model::units::format_duration;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::table::{Table, say, say_json};
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
    if arguments.transitions {
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
    let mut table = Table::new(["TIME", "CHECK", "TARGET", "STATUS", "STATE", "LATENCY", "DURATION", "SUMMARY"]);
    for record in &answer.records {
        table.row([
            record.time.0.to_string(),
            record.check.to_string(),
            record.target.as_deref().unwrap_or("-").to_owned(),
            status(record),
            super::table::state_word(record.state, record.soft.is_some()),
            record.latency_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms")),
            format!("{:.1} ms", record.duration_ms),
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

fn transitions(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.path("transitions", None, arguments.limit);
    let answer: Transitions = block_on(client::get(&arguments.remote, &path))?;
    if arguments.remote.output.output == Format::Json {
        return say_json(&answer);
    }
    let mut table = Table::new(["TIME", "CHECK", "TARGET", "FROM", "TO", "SUMMARY"]);
    for change in &answer.transitions {
        table.row([
            change.at.0.to_string(),
            change.check.to_string(),
            change.target.as_deref().unwrap_or("-").to_owned(),
            change.from.as_str().to_owned(),
            change.to.as_str().to_owned(),
            change.summary.to_string(),
        ]);
    }
    table.print()?;
    if answer.transitions.is_empty() {
        say(&arguments.nothing("transitions"))?;
    }
    Ok(())
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
