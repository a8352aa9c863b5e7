//! `roundsman check show`: what somebody needs who is woken by a check, in one output.

use std::process::ExitCode;

use roundsman_model::record::Status;
use roundsman_model::units::format_duration;
use roundsman_web::view::{self, Record, Subject};
use serde::Deserialize;
use serde_json::Value;

use super::history::{encode, marks_of, status};
use super::table::{Table, age, count, millis, plain, quoted, say, say_json, state_word};
use super::{DEFAULT_ADDR, Format, Remote, block_on, client, silence};

/// Findings of one run that are printed; `--output json` has all of them.
const MAX_FINDINGS: usize = 20;
/// Points of one run that are printed.
const MAX_POINTS: usize = 10;
/// Targets that are told one by one; the table has all of them.
const MAX_TOLD: usize = 10;

#[derive(Debug, Deserialize)]
struct Dossier {
    check: view::Check,
    status: Vec<Subject>,
    failures: Vec<Record>,
    transitions: Vec<view::Transition>,
    silences: Vec<view::Silence>,
}

pub(super) fn execute(name: &str, target: Option<&str>, remote: &Remote) -> anyhow::Result<ExitCode> {
    let target = target.map(|target| format!("?target={}", encode(target))).unwrap_or_default();
    let answer: Value = block_on(client::get(remote, &format!("/api/v1/checks/{}{target}", encode(name))))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dossier: Dossier = serde_json::from_value(answer)?;
    facts(&dossier.check)?;
    targets(&dossier.status)?;
    let bad = dossier.status.iter().filter(|subject| !subject.state.is_healthy() || subject.soft.is_some());
    for subject in bad.take(MAX_TOLD) {
        say(&told(subject))?;
    }
    for silence in &dossier.silences {
        say(&format!("\nsilenced   {}\n", silenced(silence)))?;
    }
    failures(&dossier.failures)?;
    changes(&dossier.transitions)?;
    say(&advice(&dossier, remote))?;
    Ok(ExitCode::SUCCESS)
}

/// What the operator wrote, without what is left at its default.
fn facts(check: &view::Check) -> anyhow::Result<()> {
    let retry = check.retry_interval.map(|retry| format!(", again after {}", format_duration(retry.0)));
    let confirm = format!("{} ok, {} failed in a row", check.success_threshold, check.failure_threshold);
    let thresholds = check.thresholds.iter().map(|threshold| {
        let bound = |word: &str, bound: &Option<String>| bound.as_ref().map(|bound| format!("{word} {bound}"));
        let bounds = [bound("warning", &threshold.warning), bound("critical", &threshold.critical)];
        ("threshold", format!("{}: {}", threshold.field, bounds.into_iter().flatten().collect::<Vec<_>>().join(", ")))
    });
    let mut facts = vec![("check", check.name.to_string())];
    facts.extend(check.owner.clone().map(|owner| ("owner", owner)));
    facts.extend(check.runbook.clone().map(|runbook| ("runbook", runbook)));
    facts.push(("plugin", check.plugin.to_string()));
    facts.push(("schedule", format!("{}, timeout {}", check.schedule, format_duration(check.timeout.0))));
    facts.push(("confirmed", format!("{confirm}{}", retry.unwrap_or_default())));
    facts.extend(thresholds);
    facts.extend((!check.depends_on.is_empty()).then(|| ("depends on", check.depends_on.join(", "))));
    facts.extend(check.maintenance.iter().map(|window| ("closed", window.clone())));
    facts.extend(check.negate.then(|| ("negated", "critical when it succeeds".to_owned())));
    facts.extend(check.shadow.then(|| ("shadow", "alarms nobody".to_owned())));
    if !check.settings.is_empty() {
        facts.push(("settings", serde_json::to_string(&check.settings)?));
    }
    facts.extend(check.file.clone().map(|file| ("file", file)));
    facts.extend((!check.enabled).then(|| ("enabled", "no".to_owned())));
    let outdated = "the file has an error by now; this is the version before it";
    facts.extend(check.outdated.then(|| ("outdated", outdated.to_owned())));
    facts.extend(check.problem.clone().map(|problem| ("problem", problem)));
    for (name, value) in facts {
        say(&format!("{name:<11}{}\n", plain(&value)))?;
    }
    say("\n")
}

fn targets(status: &[Subject]) -> anyhow::Result<()> {
    let now = crate::clock::system_now().0;
    let mut table = Table::new(["TARGET", "STATE", "FOR", "MARKS", "RUN", "MISSED", "OVERLAP", "SKIPPED", "SUMMARY"]);
    let some = |count: u64| if count == 0 { String::new() } else { count.to_string() };
    for subject in status {
        let counts = subject.counts;
        table.row([
            subject.target.as_deref().unwrap_or("the node").to_owned(),
            state_word(subject.state, subject.soft.is_some()),
            age((now - subject.since.0.0) / 1_000_000_000),
            marks_of(subject).join(", "),
            counts.run.to_string(),
            some(counts.missed),
            some(counts.overlap),
            some(counts.skipped),
            summary(subject),
        ]);
    }
    table.print()
}

/// What is most worth knowing of a line of the board.
pub(super) fn summary(subject: &Subject) -> String {
    if let Some(why) = &subject.skipped {
        return format!("not run: {why}");
    }
    if let Some(note) = &subject.note {
        return note.clone();
    }
    let Some(last) = &subject.last else { return "no record yet".to_owned() };
    match subject.findings.len() {
        0 => last.summary.to_string(),
        findings => format!("{} ({})", last.summary, count(findings, "finding")),
    }
}

/// One target that is not well, in sentences.
fn told(subject: &Subject) -> String {
    let name = subject.target.as_deref().map_or("the node".to_owned(), plain);
    let since = subject.since.0;
    let mut text = format!("\n{name}: {} since {since}", subject.state.as_str());
    if let Some(soft) = subject.soft {
        text.push_str(&format!("; {} times {} by now, not confirmed", soft.count, soft.status.as_str()));
    }
    if let Some(why) = &subject.skipped {
        text.push_str(&format!("\n  not run  {}", plain(why)));
    }
    if let Some(last) = &subject.last {
        let code = last.code.as_deref().map(|code| format!(" ({}, blame {})", plain(code), last.blame.as_str()));
        text.push_str(&format!("\n  last     {} {}{}", last.time.0, last.status.as_str(), code.unwrap_or_default()));
        text.push_str(&format!("\n           {}", plain(&last.summary)));
    }
    for finding in subject.findings.iter().take(MAX_FINDINGS) {
        text.push_str(&told_finding("finding", finding));
    }
    if subject.suspect {
        text.push_str("\n  suspect  this node's own network was down: others may see it differently");
    }
    text.push('\n');
    text
}

fn told_finding(word: &str, finding: &roundsman_model::record::Finding) -> String {
    let status = finding.status.as_str();
    format!("\n  {word:<9}{status} {}: {}", plain(&finding.subject), plain(&finding.summary))
}

fn silenced(silence: &view::Silence) -> String {
    let target = match silence.target.as_deref() {
        None => "all targets".to_owned(),
        Some("") => "the node".to_owned(),
        Some(target) => plain(target),
    };
    let (author, reason, id) = (plain(&silence.author), plain(&silence.reason), silence.id);
    format!(
        "{target}, ends {}, by {author}: {reason}\n           `roundsman silence remove {id}` ends it now",
        silence::ends(silence)
    )
}

/// What failing runs saw: the phase of the call that failed, and what they logged.
pub(super) fn failures(failures: &[Record]) -> anyhow::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    say(&format!("\nlast failing runs ({})\n", count(failures.len(), "run")))?;
    failures.iter().try_for_each(|record| say(&failure(record)))
}

fn failure(record: &Record) -> String {
    let target = record.target.as_deref().map_or("the node".to_owned(), plain);
    let (time, origin, took) = (record.time.0, record.origin.as_str(), millis(record.duration_ms));
    let suspect = if record.suspect { ", suspect" } else { "" };
    let mut text = format!("{time} {}/{target}: {}", record.check, status(record));
    text.push_str(&format!(" ({origin}, attempt {}, took {took}{suspect})", record.attempt));
    text.push_str(&format!("\n  said     {}", plain(&record.summary)));
    for finding in record.findings.iter().filter(|finding| finding.status != Status::Ok).take(MAX_FINDINGS) {
        text.push_str(&told_finding("finding", finding));
    }
    for point in record.points.iter().take(MAX_POINTS) {
        let fields = point.fields.iter().map(|(name, value)| format!("{name}={value}"));
        let tags: String = point.tags.iter().map(|(name, value)| format!(",{name}={value}")).collect();
        let line = format!("{}{tags} {}", point.series, fields.collect::<Vec<_>>().join(" "));
        text.push_str(&format!("\n  point    {}", plain(&line)));
    }
    let story = record.story.as_ref();
    for call in story.map(|story| &story.calls[..]).unwrap_or_default() {
        let phases: Vec<String> =
            call.phases.iter().map(|phase| format!("{} {}", plain(&phase.phase), millis(phase.duration_ms))).collect();
        let phases = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
        let took = millis(call.duration_ms);
        text.push_str(&format!("\n  call     {}: {} after {took}{phases}", plain(&call.what), plain(&call.result)));
    }
    for line in story.map(|story| &story.log[..]).unwrap_or_default() {
        text.push_str(&format!("\n  log      {} {}", line.level.as_str(), plain(&line.text)));
    }
    text.push('\n');
    text
}

fn changes(transitions: &[view::Transition]) -> anyhow::Result<()> {
    if transitions.is_empty() {
        return Ok(());
    }
    say("\n")?;
    super::history::transitions_table(transitions, false).print()
}

/// The exact command that silences it: for what is wrong and not silenced, else for the check.
fn advice(dossier: &Dossier, remote: &Remote) -> String {
    let bad = dossier.status.iter().find(|subject| !subject.state.is_healthy() && subject.silence.is_none());
    let target = bad.and_then(|subject| subject.target.as_deref());
    let mut command = format!("roundsman silence add {}", dossier.check.name);
    if let Some(target) = target {
        command.push_str(&format!(" --target {}", quoted(target)));
    }
    command.push_str(" --for 1h --reason 'looking into it'");
    if remote.addr != DEFAULT_ADDR {
        command.push_str(&format!(" --addr {}", quoted(&remote.addr)));
    }
    if let Some(file) = &remote.token_file {
        command.push_str(&format!(" --token-file {}", quoted(&file.display().to_string())));
    }
    format!("\nto silence it for an hour:\n  {command}\n")
}
