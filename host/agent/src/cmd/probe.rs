//! `roundsman probe`: one run of a plugin without an agent, in the same sandbox.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use roundsman_model::check::Limits;
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Value;
use roundsman_model::state::State;
use roundsman_model::target::Target;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::{Engine, EngineLimits, MAX_MEMORY};
use roundsman_plugin::job::{Assignment, Job, Memory, Node, Report};
use roundsman_plugin::load::{MAX_PLUGIN_FILE, Plugin};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Probe};
use roundsman_web::view::PointView;

use super::table::{say, say_json};
use super::{Format, Output, duration, exit_of};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The plugin's file, for instance plugins/http.wasm
    plugin: PathBuf,
    /// Its settings
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = settings)]
    settings: serde_json::Value,
    /// The address of the target; it is allowed to be dialled
    #[arg(long, value_name = "ADDR")]
    target: Option<String>,
    /// More that is allowed: `network=tcp://10.0.0.7:5432`, `system=load`, `files=/etc/hosts`
    #[arg(long, value_name = "LIST=WORD", value_parser = allowance)]
    allow: Vec<(String, String)>,
    /// The run is cut after this
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
}

/// What it takes to run a plugin here and now.
pub(super) struct Bench {
    engine: Engine,
    compiler: Compiler,
    cache: Cache,
    /// Removed with everything in it.
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> anyhow::Result<Self> {
        let limits = EngineLimits { runs: 1, memory: MAX_MEMORY };
        let engine = Engine::new(limits, Arc::new(Probe::new(Options::default())))?;
        let directory = tempfile::tempdir()?;
        let cache = Cache::open(directory.path(), engine.compatibility())?;
        Ok(Self { engine, compiler: Compiler::this_executable()?, cache, _directory: directory })
    }

    pub(super) async fn load(&self, file: &Path) -> anyhow::Result<(Vec<u8>, Plugin)> {
        let read = crate::watch::read::read_stable(file, MAX_PLUGIN_FILE).map_err(|error| {
            let absent = error.is_absent();
            let error = anyhow::Error::from(error);
            if absent { error.context("PLUGIN is the path of a file") } else { error }
        })?;
        let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name")?;
        let name = crate::coordinator::plugin_name(name).map_err(anyhow::Error::msg)?;
        let plugin = Plugin::load(&self.engine, &self.compiler, &self.cache, name, &read.bytes).await?;
        Ok((read.bytes, plugin))
    }
}

pub(super) fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings;
    let target = arguments.target.map(|address| Target {
        name: address.as_str().into(),
        address: address.into(),
        labels: Default::default(),
    });
    let grants = Grants::compile(target.as_slice(), &allow(arguments.allow), &[])?;
    let bench = Bench::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(async {
        let file = arguments.plugin.display();
        let (_, plugin) = bench.load(&arguments.plugin).await.with_context(|| format!("{file} cannot be used"))?;
        let wrong = plugin.validate(&settings).await;
        if !wrong.is_empty() {
            let wrong = wrong.join("; ");
            bail!("the settings are not right: {wrong}; `roundsman plugin inspect {file}` shows what it takes");
        }
        let key = Key::new(CheckName::new(plugin.name().as_str())?, target.as_ref().map(|t| &*t.name));
        let assignment = Assignment {
            key,
            settings: settings.to_string(),
            target,
            node: Arc::new(Node {
                name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                ..Node::default()
            }),
            grants: Arc::new(grants),
            limits: Limits::default(),
        };
        let job = Job {
            assignment: Arc::new(assignment),
            scheduled: crate::clock::system_now(),
            attempt: 1,
            previous: None,
            memory: Arc::new(Memory::new()),
            timeout: arguments.timeout,
        };
        Ok(plugin.run(Arc::new(job)).await)
    })?;
    runtime.shutdown_background();
    match arguments.output.output {
        Format::Json => say_json(&json(&report))?,
        Format::Table => print(&report)?,
    }
    Ok(exit_of(State::from(report.status)))
}

fn settings(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

type ListOf = fn(&mut Allow) -> &mut Vec<String>;

/// The lists of `allow:`, by name.
const LISTS: [(&str, ListOf); 6] = [
    ("network", |allow| &mut allow.network),
    ("files", |allow| &mut allow.files),
    ("system", |allow| &mut allow.system),
    ("secrets", |allow| &mut allow.secrets),
    ("commands", |allow| &mut allow.commands),
    ("kubernetes", |allow| &mut allow.kubernetes),
];

fn allowance(text: &str) -> Result<(String, String), String> {
    let (list, word) = text.split_once('=').ok_or("write LIST=WORD, for instance system=load")?;
    if LISTS.iter().any(|(name, _)| *name == list) {
        return Ok((list.to_owned(), word.to_owned()));
    }
    Err(format!("the lists are {}", LISTS.map(|(name, _)| name).join(", ")))
}

/// `LIST=WORD` as the lists of `allow:`.
fn allow(words: Vec<(String, String)>) -> Allow {
    let mut allow = Allow::default();
    for (list, word) in words {
        let found = LISTS.iter().find(|(name, _)| *name == list);
        let (_, of) = found.expect("the parser of arguments knows the lists");
        of(&mut allow).push(word);
    }
    allow
}

/// The flag that does here what the line that a refusal names does in a check: `allow: {system: [load]}`.
fn flag_for(denial: &str) -> Option<String> {
    let (_, line) = denial.split_once("allow: {")?;
    let (list, words) = line.split_once(": [")?;
    let word = words.split_once("]}")?.0.trim_matches('"');
    Some(format!("--allow {list}={word}"))
}

fn took(report: &Report) -> Duration {
    report.began.map_or(Duration::ZERO, |began| report.ended.duration_since(began))
}

fn print(report: &Report) -> anyhow::Result<()> {
    let code = report.code.as_deref().map(|code| format!(" ({code}, blame {})", report.blame.as_str()));
    say(&format!("{}{}: {}\n", report.status.as_str(), code.unwrap_or_default(), report.summary))?;
    if let Some(flag) = flag_for(&report.summary).filter(|_| report.code.as_deref() == Some("denied")) {
        say(&format!("here     {flag}\n"))?;
    }
    let latency = report.latency.map_or("-".to_owned(), |latency| format!("{:.1} ms", latency.as_secs_f64() * 1e3));
    say(&format!(
        "latency {latency}, duration {:.1} ms, processor {:.2} ms, memory {} KiB\n",
        took(report).as_secs_f64() * 1e3,
        report.cpu.as_secs_f64() * 1e3,
        report.memory_bytes >> 10
    ))?;
    for finding in &report.findings {
        say(&format!("finding  {} {}: {}\n", finding.status.as_str(), finding.subject, finding.summary))?;
    }
    for point in &report.points {
        let tags: String = point.tags.iter().map(|(key, value)| format!(",{key}={value}")).collect();
        let fields: Vec<String> = point.fields.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        say(&format!("point    {}{tags} {}\n", point.series, fields.join(" ")))?;
    }
    for line in &report.story.log {
        say(&format!("log      {} {}\n", line.level.as_str(), line.text))?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Real(real) => real.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}

fn json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "status": report.status,
        "blame": report.blame,
        "code": report.code,
        "summary": report.summary,
        "latency_ms": report.latency.map(|latency| latency.as_secs_f64() * 1e3),
        "duration_ms": took(report).as_secs_f64() * 1e3,
        "cpu_ms": report.cpu.as_secs_f64() * 1e3,
        "memory_bytes": report.memory_bytes,
        "points": report.points.iter().map(PointView::of).collect::<Vec<_>>(),
        "findings": report.findings,
        "log": report.story.log.iter().map(|line| format!("{} {}", line.level.as_str(), line.text)).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowances() {
        let allowed = allow(["network=tcp://a:1", "system=load"].map(|word| allowance(word).unwrap()).to_vec());
        assert_eq!(
            (&allowed.network[..], &allowed.system[..]),
            (&["tcp://a:1".to_owned()][..], &["load".to_owned()][..])
        );
        for (word, hint) in [("load", "LIST=WORD"), ("sys=load", "the lists are")] {
            assert!(allowance(word).unwrap_err().contains(hint));
        }
    }

    #[test]
    fn refusals_become_flags() {
        for (denial, flag) in [
            ("system `load` is not granted; add to the check: allow: {system: [load]}", Some("--allow system=load")),
            (
                "tcp://a:1 is not granted; add to the check: allow: {network: [\"tcp://a:1\"]}",
                Some("--allow network=tcp://a:1"),
            ),
            ("no", None),
        ] {
            assert_eq!(flag_for(denial).as_deref(), flag);
        }
    }
}
