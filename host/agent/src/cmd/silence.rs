//! `roundsman silence add|list|remove`, `roundsman check ack`: what operators know already and are not to be called for.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use roundsman_model::units::format_duration;
use roundsman_web::view;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Change;
use super::history::encode;
use super::table::{Table, age, plain, say, say_json};
use super::{Changing, Format, Remote, block_on, client, duration};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Begin a silence: what it covers goes on to run and to be recorded, but alarms nobody
    Add(Add),
    /// The silences in force, newest first
    List {
        /// Only those that cover this check
        #[arg(long)]
        check: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a silence
    Remove {
        /// Its number, as `silence list` shows it
        id: u64,
        #[command(flatten)]
        changing: Changing,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// The check
    #[arg(required_unless_present_any = ["target", "all"])]
    check: Option<String>,
    /// Only this target; without CHECK, of every check
    #[arg(long)]
    target: Option<String>,
    /// Everything that the node checks
    #[arg(long, conflicts_with_all = ["check", "target"])]
    all: bool,
    #[command(flatten)]
    end: End,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct End {
    /// For so long, for instance 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    span: Option<Duration>,
    /// Until this instant, for instance 2026-11-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What others need to know of a silence.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for those who wonder
    #[arg(long)]
    reason: String,
    /// Who wants it; without it, the name of the user
    #[arg(long, default_value_t = user())]
    author: String,
}

#[derive(Debug, Deserialize)]
struct One {
    silence: view::Silence,
}

#[derive(Debug, Deserialize)]
struct Many {
    silences: Vec<view::Silence>,
}

#[derive(Debug, Deserialize)]
struct Board {
    status: Vec<view::Subject>,
}

pub(super) fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add(arguments) => add(arguments),
        Command::List { check, remote } => list(check.as_deref(), &remote),
        Command::Remove { id, changing } => remove(id, changing),
    }
}

fn add(arguments: Add) -> anyhow::Result<ExitCode> {
    let Add { check, target, all: _, end, why, changing } = arguments;
    let mut body = json!({"author": why.author, "reason": why.reason});
    let words = [("check", check), ("target", target), ("for", end.span.map(format_duration)), ("until", end.until)];
    for (key, word) in words {
        if let Some(word) = word {
            body[key] = word.into();
        }
    }
    begin(&changing.remote(), &[body])
}

/// Acknowledges what is wrong with a check: silent until it is ok again.
pub(super) fn acknowledge(name: &str, target: Option<&str>, why: &Why, changing: Changing) -> anyhow::Result<ExitCode> {
    let remote = changing.remote();
    let targets = match target {
        Some(target) => vec![target.to_owned()],
        None => {
            let path = format!("/api/v1/status?check={}", encode(name));
            let board: Board = block_on(client::get(&remote, &path))?;
            problems(name, &board.status)?
        }
    };
    let body = |target: &String| json!({"check": name, "target": target, "until_ok": true, "author": why.author, "reason": why.reason});
    begin(&remote, &targets.iter().map(body).collect::<Vec<_>>())
}

/// The targets that are not ok and that nobody has silenced.
fn problems(name: &str, board: &[view::Subject]) -> anyhow::Result<Vec<String>> {
    if board.is_empty() {
        bail!("there is no check `{name}` on this node; `roundsman check list` shows what there is");
    }
    let bad: Vec<&view::Subject> = board.iter().filter(|s| !s.state.is_healthy() || s.soft.is_some()).collect();
    if bad.is_empty() {
        bail!("`{name}` is ok: there is nothing to acknowledge; `roundsman silence add` silences it for a time");
    }
    let open: Vec<String> =
        bad.iter().filter(|s| s.silence.is_none()).map(|s| s.target_or_empty().to_owned()).collect();
    if open.is_empty() {
        bail!("all that is wrong with `{name}` is silenced already: `roundsman silence list --check {name}`");
    }
    Ok(open)
}

fn begin(remote: &Remote, bodies: &[Value]) -> anyhow::Result<ExitCode> {
    for body in bodies {
        let answer: Value = block_on(client::change(remote, &Change::send("/api/v1/silences", body)))
            .context("the silence did not begin")?;
        if remote.output.output == Format::Json {
            say_json(&answer)?;
            continue;
        }
        let One { silence } = serde_json::from_value(answer)?;
        let end = format!("`roundsman silence remove {}` ends it now", silence.id);
        say(&format!("silenced: {}; ends {}; {end}\n", covered(&silence), ends(&silence)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(check: Option<&str>, remote: &Remote) -> anyhow::Result<ExitCode> {
    let filter = check.map(|check| format!("?check={}", encode(check))).unwrap_or_default();
    let answer: Value = block_on(client::get(remote, &format!("/api/v1/silences{filter}")))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Many { silences } = serde_json::from_value(answer)?;
    if silences.is_empty() {
        say("nothing is silenced\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ID", "CHECK", "TARGET", "ENDS", "BY", "REASON"]);
    for silence in &silences {
        table.row([
            silence.id.to_string(),
            silence.check.as_deref().unwrap_or("(all)").to_owned(),
            match silence.target.as_deref() {
                None => "(all)".to_owned(),
                Some("") => "the node".to_owned(),
                Some(target) => target.to_owned(),
            },
            ends(silence),
            silence.author.to_string(),
            silence.reason.to_string(),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn remove(id: u64, changing: Changing) -> anyhow::Result<ExitCode> {
    let remote = changing.remote();
    let path = format!("/api/v1/silences/{id}");
    let answer: Value = block_on(client::change(&remote, &Change::delete(&path)))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let One { silence } = serde_json::from_value(answer)?;
    say(&format!("ended: the silence of {} by {}\n", covered(&silence), plain(&silence.author)))?;
    Ok(ExitCode::SUCCESS)
}

/// `web`, `web/gone`, `every check`.
fn covered(silence: &view::Silence) -> String {
    let check = silence.check.as_deref().unwrap_or("every check");
    match silence.target.as_deref() {
        None | Some("") => check.to_owned(),
        Some(target) => format!("{check}/{}", plain(target)),
    }
}

/// When a silence ends, in words.
pub(super) fn ends(silence: &view::Silence) -> String {
    match silence.until {
        None => "when it is ok".to_owned(),
        Some(until) => {
            let left = (until.0.0 - crate::clock::system_now().0) / 1_000_000_000;
            format!("in {} ({})", age(left), seconds(&until.0.to_string()))
        }
    }
}

/// Without what nobody wants to know: `2026-11-20T10:54:10Z`.
fn seconds(text: &str) -> String {
    text.split_once('.').map_or(text.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// Who runs this command: in the first place the person behind `sudo`.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok());
    let named = named.map(|name| name.trim().to_owned()).find(|name| !name.is_empty());
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_and_open_is_acknowledged() {
        let subject = |target: &str, state: &str, more: Value| {
            let mut json = json!({
                "check": "web", "target": target, "plugin": "tcp", "state": state, "enabled": true, "labels": {},
                "since": "2026-11-20T10:54:10Z",
                "counts": {"due": 0, "run": 0, "missed": 0, "overlap": 0, "skipped": 0},
            });
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<view::Subject>(json).unwrap()
        };
        let silence = json!({"silence": {"id": 1, "author": "a", "reason": "r", "created": "2026-11-20T10:54:10Z",
            "until_ok": true}});
        let soft = json!({"soft": {"status": "critical", "count": 1}});
        let (good, bad) = (subject("a", "ok", json!({})), subject("b", "critical", json!({})));
        let (known, early) = (subject("c", "critical", silence), subject("d", "ok", soft));
        for (board, found) in [
            (vec![good.clone(), bad.clone(), known.clone(), early], Ok("b d")),
            (vec![], Err("no check `web`")),
            (vec![good.clone()], Err("nothing to acknowledge")),
            (vec![good, known], Err("silenced already")),
        ] {
            let targets = problems("web", &board).map(|targets| targets.join(" ")).map_err(|error| error.to_string());
            match found {
                Ok(names) => assert_eq!(targets.as_deref(), Ok(names)),
                Err(words) => assert!(targets.unwrap_err().contains(words)),
            }
        }
    }
}
