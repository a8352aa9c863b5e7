//! `roundsman status`: the board, worst first.

use std::process::ExitCode;

use roundsman_model::state::State;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::table::{Table, age, count, say, say_json, state_word};
use super::{Format, Remote, block_on, client, exit_of};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only states other than ok
    #[arg(long)]
    problems: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    node: String,
    status: Vec<view::Subject>,
    total: usize,
}

#[derive(Debug, Deserialize)]
struct About {
    agent: view::About,
}

pub(super) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (about, mut answer) = block_on(async {
        let about: About = client::get(&arguments.remote, "/api/v1/agent").await?;
        let answer: Answer = client::get(&arguments.remote, "/api/v1/status").await?;
        Ok((about.agent, answer))
    })?;
    let worst = answer.status.iter().map(|s| s.state).max_by_key(|state| state.severity()).unwrap_or(State::Ok);
    answer.status.retain(|subject| !arguments.problems || subject.state != State::Ok);
    match arguments.remote.output.output {
        Format::Json => say_json(&answer)?,
        Format::Table => print(&about, &answer)?,
    }
    Ok(exit_of(worst))
}

fn print(about: &view::About, answer: &Answer) -> anyhow::Result<()> {
    let mut table = Table::new(["CHECK", "TARGET", "STATE", "SINCE", "LATENCY", "SUMMARY"]);
    for subject in &answer.status {
        let last = subject.last.as_ref();
        let since = (about.now.0.0 - subject.since.0.0) / 1_000_000_000;
        table.row([
            subject.check.to_string(),
            subject.target.as_deref().unwrap_or("-").to_owned(),
            state_word(subject.state, subject.soft.is_some()),
            age(since),
            last.and_then(|last| last.latency_ms).map_or("-".to_owned(), |ms| format!("{ms:.1} ms")),
            subject.note.as_deref().or(last.map(|last| &*last.summary)).unwrap_or("no record yet").to_owned(),
        ]);
    }
    let shown =
        if answer.status.len() < answer.total { format!(", {} shown", answer.status.len()) } else { String::new() };
    say(&format!("node {}: {}{shown}\n", answer.node, count(answer.total, "target")))?;
    table.print()?;
    for problem in &about.problems {
        say(&format!("! {problem}\n"))?;
    }
    Ok(())
}
