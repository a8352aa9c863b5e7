//! `roundsman check list|show|run`: what is checked on the node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use roundsman_model::record::Status;
use roundsman_model::state::State;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::history::{encode, status};
use super::table::{Table, count, say, say_json, state_word};
use super::{Format, Remote, block_on, client, exit_of};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every configured check
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// One check: how it is configured, where its targets stand, its last records
    Show {
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Run a check now, beside its schedule; needs the agent's token or its unix socket
    Run {
        name: String,
        /// Only on this target
        #[arg(long)]
        target: Option<String>,
        /// The agent's state directory, whose unix socket is used
        #[arg(long, value_name = "DIR", env = "ROUNDSMAN_PATHS__STATE")]
        state: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Checks {
    checks: Vec<view::Check>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Board {
    status: Vec<view::Subject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Records {
    records: Vec<view::Record>,
}

#[derive(Debug, Serialize)]
struct Shown {
    check: view::Check,
    status: Vec<view::Subject>,
    records: Vec<view::Record>,
}

pub(super) fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { remote } => list(&remote),
        Command::Show { name, remote } => show(&name, &remote),
        Command::Run { name, target, state, remote } => run(&name, target.as_deref(), state, remote),
    }
}

fn list(remote: &Remote) -> anyhow::Result<ExitCode> {
    let answer: Checks = block_on(client::get(remote, "/api/v1/checks"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["CHECK", "PLUGIN", "SCHEDULE", "TARGETS", "FILE", "NOTE"]);
    for check in &answer.checks {
        let disabled = (!check.enabled).then(|| "disabled".to_owned());
        let outdated = check.outdated.then(|| "outdated".to_owned());
        let note: Vec<String> = [disabled, outdated, check.problem.clone()].into_iter().flatten().collect();
        table.row([
            check.name.to_string(),
            check.plugin.to_string(),
            check.schedule.clone(),
            if check.targets.is_empty() { "the node".to_owned() } else { check.targets.len().to_string() },
            check.file.clone().unwrap_or_default(),
            note.join("; "),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, remote: &Remote) -> anyhow::Result<ExitCode> {
    let word = encode(name);
    let shown = block_on(async {
        let checks: Checks = client::get(remote, &format!("/api/v1/checks?check={word}")).await?;
        let Some(check) = checks.checks.into_iter().next() else {
            bail!("there is no check `{name}` on this node; `roundsman check list` shows what there is");
        };
        let board: Board = client::get(remote, &format!("/api/v1/status?check={word}")).await?;
        let records: Records = client::get(remote, &format!("/api/v1/records?check={word}&limit=10")).await?;
        Ok(Shown { check, status: board.status, records: records.records })
    })?;
    if remote.output.output == Format::Json {
        say_json(&shown)?;
    } else {
        print(&shown)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(shown: &Shown) -> anyhow::Result<()> {
    let check = &shown.check;
    let mut facts = vec![
        ("check", check.name.to_string()),
        ("plugin", check.plugin.to_string()),
        ("schedule", format!("{}, timeout {}", check.schedule, plain(&check.timeout)?)),
        ("thresholds", format!("{} ok, {} failed in a row", check.success_threshold, check.failure_threshold)),
        ("settings", serde_json::to_string(&check.settings)?),
        ("file", check.file.clone().unwrap_or_default()),
    ];
    facts.extend(check.owner.clone().map(|owner| ("owner", owner)));
    facts.extend(check.runbook.clone().map(|runbook| ("runbook", runbook)));
    facts.extend(
        check.outdated.then(|| ("outdated", "the file has an error by now; this is the version before it".to_owned())),
    );
    facts.extend(check.problem.clone().map(|problem| ("problem", problem)));
    for (name, value) in facts {
        say(&format!("{name:<11}{value}\n"))?;
    }
    say("\n")?;
    let mut table = Table::new(["TARGET", "STATE", "SINCE", "DUE", "RUN", "MISSED", "OVERLAP", "SKIPPED", "SUMMARY"]);
    for subject in &shown.status {
        let last = subject.last.as_ref();
        let counts = subject.counts;
        table.row([
            subject.target.as_deref().unwrap_or("the node").to_owned(),
            state_word(subject.state, subject.soft.is_some()),
            subject.since.0.to_string(),
            counts.due.to_string(),
            counts.run.to_string(),
            counts.missed.to_string(),
            counts.overlap.to_string(),
            counts.skipped.to_string(),
            subject.note.as_deref().or(last.map(|last| &*last.summary)).unwrap_or("no record yet").to_owned(),
        ]);
    }
    table.print()?;
    say("\n")?;
    records_table(&shown.records).print()
}

/// A duration as an operator writes it.
fn plain(span: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(span)?.as_str().unwrap_or_default().to_owned())
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

fn run(name: &str, target: Option<&str>, state: Option<PathBuf>, mut remote: Remote) -> anyhow::Result<ExitCode> {
    if let Some(state) = state {
        remote.addr = crate::agent::socket_path(&state).display().to_string();
    }
    let mut path = format!("/api/v1/checks/{}/run", encode(name));
    if let Some(target) = target {
        path.push_str(&format!("?target={}", encode(target)));
    }
    let answer: Records = block_on(client::post(&remote, &path)).with_context(|| format!("`{name}` was not run"))?;
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
