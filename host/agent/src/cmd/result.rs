//! `roundsman result`: tells the agent what was found out elsewhere, for a check with `ttl:`.

use std::process::ExitCode;

use anyhow::Context;
use roundsman_model::record::Status;
use roundsman_web::view;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Change;
use super::table::{plain, say, say_json};
use super::{Changing, Format, block_on, client};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The check, one with `ttl:`
    check: String,
    /// Its target; without it, the node itself
    #[arg(long)]
    target: Option<String>,
    /// What was found: ok, warning, critical, unknown, or the exit code 0, 1, 2, 3 of a Nagios plugin
    #[arg(long, value_parser = status)]
    status: Status,
    /// One line on what was found
    #[arg(long, default_value = "")]
    summary: String,
    /// What it took
    #[arg(long, value_name = "MS")]
    latency_ms: Option<f64>,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Deserialize)]
struct Taken {
    record: view::Record,
}

pub(super) fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { check, target, status, summary, latency_ms, changing } = arguments;
    let remote = changing.remote();
    let mut body = json!({"check": check, "status": status, "summary": summary});
    if let Some(target) = target {
        body["target"] = target.into();
    }
    if let Some(ms) = latency_ms {
        body["latency_ms"] = ms.into();
    }
    let answer: Value = block_on(client::change(&remote, &Change::send("/api/v1/results", &body)))
        .with_context(|| format!("the result of `{check}` was not taken"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Taken { record } = serde_json::from_value(answer)?;
    let target = record.target.as_deref().map(|target| format!("/{}", plain(target))).unwrap_or_default();
    let (status, time) = (record.status.as_str(), record.time.0);
    say(&format!("taken: {}{target} {status} at {time}\n", record.check))?;
    Ok(ExitCode::SUCCESS)
}

fn status(text: &str) -> Result<Status, String> {
    let all = [Status::Ok, Status::Warning, Status::Critical, Status::Unknown];
    let found = all.into_iter().find(|status| status.as_str() == text || (*status as u8).to_string() == text);
    found.ok_or_else(|| "write ok, warning, critical or unknown, or 0, 1, 2 or 3".to_owned())
}
