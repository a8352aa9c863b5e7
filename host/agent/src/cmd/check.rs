//! `roundsman check list|show|run|ack`: what is checked on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Context;
use roundsman_model::record::Status;
use roundsman_model::state::State;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::client::Change;
use super::history::{encode, marks_of, status};
use super::table::{Table, count, say, say_json};
use super::{Changing, Format, Remote, block_on, client, exit_of, show, silence};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every configured check
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Everything about one check: where it stands, whose it is, what its last failing runs saw, how to silence it
    Show {
        name: String,
        /// Only this target
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Run a check now, beside its schedule; needs the agent's token or its unix socket
    Run {
        name: String,
        /// Only on this target
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        changing: Changing,
    },
    /// Acknowledge what is wrong with a check: silent until it is ok again
    Ack {
        name: String,
        /// Only of this target; without it, all that are not ok
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        why: silence::Why,
        #[command(flatten)]
        changing: Changing,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Checks {
    checks: Vec<view::Check>,
}

#[derive(Debug, Deserialize)]
struct Board {
    status: Vec<view::Subject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Records {
    records: Vec<view::Record>,
}

pub(super) fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { remote } => list(&remote),
        Command::Show { name, target, remote } => show::execute(&name, target.as_deref(), &remote),
        Command::Run { name, target, changing } => run(&name, target.as_deref(), &changing.remote()),
        Command::Ack { name, target, why, changing } => silence::acknowledge(&name, target.as_deref(), &why, changing),
    }
}

fn list(remote: &Remote) -> anyhow::Result<ExitCode> {
    let answer: serde_json::Value = block_on(client::get(remote, "/api/v1/checks"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Checks { checks } = serde_json::from_value(answer)?;
    let board: Board = block_on(client::get(remote, "/api/v1/status"))?;
    let mut by_check: BTreeMap<&str, Vec<&view::Subject>> = BTreeMap::new();
    for subject in &board.status {
        by_check.entry(&subject.check).or_default().push(subject);
    }
    let mut table = Table::new(["CHECK", "STATE", "PLUGIN", "SCHEDULE", "TARGETS", "FILE", "NOTE"]);
    for check in &checks {
        let subjects = by_check.get(&*check.name).map(Vec::as_slice).unwrap_or_default();
        let worst = subjects.iter().map(|subject| subject.state).max_by_key(|state| state.severity());
        table.row([
            check.name.to_string(),
            worst.map_or("-", State::as_str).to_owned(),
            check.plugin.to_string(),
            check.schedule.clone(),
            if check.targets.is_empty() { "the node".to_owned() } else { check.targets.len().to_string() },
            check.file.clone().unwrap_or_default(),
            note(check, subjects),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be known of a check and of its targets, beside the state.
fn note(check: &view::Check, subjects: &[&view::Subject]) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend((!check.enabled).then(|| "disabled".to_owned()));
    notes.extend(check.outdated.then(|| "outdated".to_owned()));
    notes.extend(check.problem.clone());
    let mut marks: BTreeMap<String, usize> = BTreeMap::new();
    for mark in subjects.iter().flat_map(|subject| marks_of(subject)) {
        *marks.entry(mark).or_default() += 1;
    }
    for (mark, times) in marks {
        let all = times == subjects.len();
        notes.push(if all { mark } else { format!("{mark} ({times} of {})", subjects.len()) });
    }
    let why: BTreeSet<&str> = subjects.iter().filter_map(|subject| subject.skipped.as_deref()).collect();
    notes.extend(why.into_iter().next().map(|why| format!("not run: {why}")));
    notes.join("; ")
}

fn records_table(records: &[view::Record]) -> Table {
    let mut table = Table::new(["TIME", "TARGET", "STATUS", "DURATION", "SUMMARY"]);
    for record in records {
        table.row([
            record.time.0.to_string(),
            record.target.as_deref().unwrap_or("the node").to_owned(),
            status(record),
            format!("{:.1} ms", record.duration_ms),
            record.summary.to_string(),
        ]);
    }
    table
}

fn run(name: &str, target: Option<&str>, remote: &Remote) -> anyhow::Result<ExitCode> {
    let mut path = format!("/api/v1/checks/{}/run", encode(name));
    if let Some(target) = target {
        path.push_str(&format!("?target={}", encode(target)));
    }
    let answer: Records =
        block_on(client::change(remote, &Change::post(&path))).with_context(|| format!("`{name}` was not run"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
    } else {
        records_table(&answer.records).print()?;
        for finding in answer.records.iter().flat_map(|record| &record.findings) {
            say(&format!("  {} {}: {}\n", finding.status.as_str(), finding.subject, finding.summary))?;
        }
        if answer.records.len() > 1 {
            say(&format!("({})\n", count(answer.records.len(), "record")))?;
        }
    }
    let worst = answer.records.iter().map(|record| record.status).max_by_key(|s| State::from(*s).severity());
    Ok(exit_of(State::from(worst.unwrap_or(Status::Unknown))))
}
