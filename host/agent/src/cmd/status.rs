//! `roundsman status`: the board, worst first.

use std::process::ExitCode;

use roundsman_model::state::State;
use roundsman_web::view;
use serde::Deserialize;
use serde_json::Value;

use super::history::marks_of;
use super::show::summary;
use super::table::{Table, age, count, millis, say, say_json, state_word};
use super::{Format, Remote, block_on, client, exit_of};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only states other than ok
    #[arg(long)]
    problems: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Deserialize)]
struct Answer {
    node: String,
    /// Of what is neither silenced nor in the shadow.
    worst: Option<State>,
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
        let answer: Value = client::get(&arguments.remote, "/api/v1/status").await?;
        Ok((about.agent, answer))
    })?;
    if let Some(status) = answer.get_mut("status").and_then(Value::as_array_mut).filter(|_| arguments.problems) {
        status.retain(|subject| subject.get("state").is_none_or(|state| state != State::Ok.as_str()));
    }
    if arguments.remote.output.output == Format::Json {
        say_json(&answer)?;
    }
    let answer: Answer = serde_json::from_value(answer)?;
    if arguments.remote.output.output == Format::Table {
        print(&about, &answer)?;
    }
    Ok(exit_of(answer.worst.unwrap_or(State::Ok)))
}

fn print(about: &view::About, answer: &Answer) -> anyhow::Result<()> {
    let mut table = Table::new(["CHECK", "TARGET", "STATE", "FOR", "MARKS", "LATENCY", "SUMMARY"]);
    for subject in &answer.status {
        let last = subject.last.as_ref();
        table.row([
            subject.check.to_string(),
            subject.target.as_deref().unwrap_or("-").to_owned(),
            state_word(subject.state, subject.soft.is_some()),
            age((about.now.0.0 - subject.since.0.0) / 1_000_000_000),
            marks_of(subject).join(", "),
            last.and_then(|last| last.latency_ms).map_or("-".to_owned(), millis),
            summary(subject),
        ]);
    }
    let shown =
        if answer.status.len() < answer.total { format!(", {} shown", answer.status.len()) } else { String::new() };
    let quiet = answer.status.iter().filter(|subject| subject.is_quiet() && subject.state != State::Ok).count();
    let quiet = if quiet > 0 { format!(", {quiet} not ok but quiet") } else { String::new() };
    say(&format!("node {}: {}{shown}{quiet}\n", answer.node, count(answer.total, "target")))?;
    table.print()?;
    for problem in &about.problems {
        say(&format!("! {problem}\n"))?;
    }
    Ok(())
}
