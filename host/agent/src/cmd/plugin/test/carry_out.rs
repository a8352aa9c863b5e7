//! One case: the plugin in a sandbox of its own, with the case's answers in place of the world.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use roundsman_model::check::Limits;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_plugin::job::{Assignment, Job, Node, Report};
use roundsman_plugin::load::Plugin;
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Probe};
use roundsman_probe::secrets::{Place, Secrets, Source};

use super::case::Case;
use super::expect::End;
use super::{Told, judge, ms};

/// What plugins see as the node.
const NODE: &str = "node-a";
/// The folder that stands for the file system's root.
const FILES: &str = "root";

pub(super) async fn carry_out(plugin: &Plugin, case: Case) -> anyhow::Result<Told> {
    let directory = tempfile::tempdir().context("there is no room for a case's files")?;
    let began = Instant::now();
    let (name, line) = (case.name.clone(), case.line);
    let (wrong, log) = attempt(plugin, case, directory.path()).await?;
    Ok(Told { name, line, passed: wrong.is_empty(), wrong, log, duration_ms: ms(began.elapsed()) })
}

/// What is not as expected, and what was logged.
async fn attempt(plugin: &Plugin, mut case: Case, directory: &Path) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    for (path, bytes) in &case.files {
        write(&directory.join(FILES).join(path.trim_start_matches('/')), bytes)?;
        case.allow.files.push(path.clone());
    }
    case.script.root = Some(directory.join(FILES));
    let grants = match Grants::compile(case.target.as_slice(), &case.allow, &[]) {
        Ok(grants) => grants,
        Err(error) => return Ok((vec![error.to_string()], Vec::new())),
    };
    let refused = plugin.validate(&case.settings).await;
    if !refused.is_empty() {
        return Ok((settings_refused(&case, &refused.join("; ")), Vec::new()));
    }
    let script = Arc::new(std::mem::take(&mut case.script));
    let secrets = secrets(&case, &directory.join("secrets"))?;
    let probe = Probe::new(Options { script: Some(script.clone()), secrets, ..Options::default() });
    let report = plugin.with_probe(Arc::new(probe)).run(Arc::new(job(plugin, &case, grants)?)).await;
    let mut wrong = judge::differences(&case.expect, &report, &case.memory);
    wrong.extend(
        script.unanswered().iter().map(|what| format!("the plugin asked for {what}, which the case does not answer")),
    );
    wrong.extend(script.unused().iter().map(|what| format!("never asked for: {what}")));
    Ok((wrong, lines(&report)))
}

/// The case's secrets as files of their own: one, or a directory of them.
fn secrets(case: &Case, directory: &Path) -> anyhow::Result<Secrets> {
    let mut sources = BTreeMap::new();
    for (number, (name, files)) in case.secrets.iter().enumerate() {
        let at = directory.join(number.to_string());
        let place = match files.as_slice() {
            [(key, text)] if key.is_empty() => {
                write(&at, text.as_bytes())?;
                Place::File(at)
            }
            files => {
                files.iter().try_for_each(|(key, text)| write(&at.join(key), text.as_bytes()))?;
                Place::Directory(at)
            }
        };
        sources.insert(name.clone(), Source { place, destinations: Vec::new() });
    }
    Ok(Secrets::new(sources).of_case())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes));
    written.with_context(|| format!("a file of the case cannot be written: {}", path.display()))
}

/// Settings that are refused before any run are the fault `settings`, as a check's are.
fn settings_refused(case: &Case, why: &str) -> Vec<String> {
    let expected = case.expect.end.as_ref();
    if expected != Some(&End::Fault("settings".to_owned())) {
        let expected = expected.map(ToString::to_string).unwrap_or_default();
        return vec![format!("expected {expected}, but the settings are refused: {why}")];
    }
    let summary = case.expect.summary.as_ref().filter(|words| !words.fit(why));
    summary.map(|words| format!("summary: expected {words}, found `{why}`")).into_iter().collect()
}

fn job(plugin: &Plugin, case: &Case, grants: Grants) -> anyhow::Result<Job> {
    let target = case.target.clone();
    let key = Key::new(CheckName::new(plugin.name().as_str())?, target.as_ref().map(|target| &*target.name));
    let assignment = Assignment {
        key,
        settings: case.settings.to_string(),
        target,
        node: Arc::new(Node { name: NODE.to_owned(), ..Node::default() }),
        grants: Arc::new(grants),
        // On a busy machine a first run may take long; what a run takes is `probe --explain`'s to say.
        limits: Limits { cpu: Duration::from_secs(2), ..Limits::default() },
    };
    Ok(Job {
        assignment: Arc::new(assignment),
        scheduled: case.clock,
        attempt: case.attempt,
        previous: case.previous,
        memory: Arc::new(case.memory.clone()),
        timeout: case.timeout,
    })
}

fn lines(report: &Report) -> Vec<String> {
    report.story.log.iter().map(|line| format!("{} {}", line.level.as_str(), line.text)).collect()
}
