//! `roundsman probe`: one run of a plugin without an agent, in the same sandbox.

mod explain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use roundsman_model::check::Limits;
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::Value;
use roundsman_model::state::State;
use roundsman_model::target::Target;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::{Engine, EngineLimits, MAX_MEMORY};
use roundsman_plugin::job::{Assignment, Job, Memory, Node, Report};
use roundsman_plugin::load::{LoadError, MAX_PLUGIN_FILE, Plugin};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Probe};
use roundsman_probe::secrets::{Place, Secrets, Source};
use roundsman_web::view::PointView;

use self::explain::Explained;
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
    /// A secret that may be used by its name: a file, or a directory with `token`, `username`, `tls.crt` …
    #[arg(long, value_name = "NAME=PATH", value_parser = secret)]
    secret: Vec<(String, PathBuf)>,
    /// The run is cut after this
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Tell also which grants were used, what was asked of the host and how long it took, and how much of each limit
    #[arg(long)]
    explain: bool,
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
        Self::with(Options::default())
    }

    /// With what the world is to be asked by.
    fn with(options: Options) -> anyhow::Result<Self> {
        let limits = EngineLimits { runs: 1, memory: MAX_MEMORY };
        let engine = Engine::new(limits, Arc::new(Probe::new(options)))?;
        let directory = tempfile::tempdir()?;
        let cache = Cache::open(directory.path(), engine.compatibility())?;
        Ok(Self { engine, compiler: Compiler::this_executable()?, cache, _directory: directory })
    }

    pub(super) async fn load(&self, file: &Path) -> anyhow::Result<(Vec<u8>, Plugin)> {
        let (name, bytes) = Self::read(file)?;
        let plugin = self.load_bytes(name, &bytes).await?;
        Ok((bytes, plugin))
    }

    /// What a plugin's file holds, and what the plugin is called.
    pub(super) fn read(file: &Path) -> anyhow::Result<(PluginName, Vec<u8>)> {
        let read = crate::watch::read::read_stable(file, MAX_PLUGIN_FILE).map_err(|error| {
            let absent = error.is_absent();
            let error = anyhow::Error::from(error);
            if absent { error.context("PLUGIN is the path of a file") } else { error }
        })?;
        let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name")?;
        // Cargo writes `disk_usage.wasm` for what is called `disk-usage` where it is put to use.
        let name = crate::coordinator::plugin_name(&name.replace('_', "-")).map_err(anyhow::Error::msg)?;
        Ok((name, read.bytes))
    }

    /// Makes a plugin of bytes that were read before.
    pub(super) async fn load_bytes(&self, name: PluginName, bytes: &[u8]) -> Result<Plugin, LoadError> {
        Plugin::load(&self.engine, &self.compiler, &self.cache, name, bytes).await
    }
}

pub(super) fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings;
    let target = arguments.target.as_deref().map(target);
    let mut allow = allow(arguments.allow);
    allow.secrets.extend(arguments.secret.iter().map(|(name, _)| name.clone()));
    let (grants, ledger) = Grants::watched(target.as_slice(), &allow)?;
    let bench = Bench::with(Options { secrets: secrets(arguments.secret), ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(async {
        let file = arguments.plugin.display();
        let (_, plugin) = bench.load(&arguments.plugin).await.with_context(|| format!("{file} cannot be used"))?;
        let wrong = plugin.validate(&settings).await;
        if !wrong.is_empty() {
            let wrong = wrong.join("; ");
            bail!("the settings are not right: {wrong}; `roundsman plugin inspect {file}` shows what it takes");
        }
        let job = job(&plugin, &settings, target, grants, arguments.timeout)?;
        Ok(plugin.run(Arc::new(job)).await)
    })?;
    runtime.shutdown_background();
    let explained = arguments
        .explain
        .then(|| Explained::of(&report, &ledger, bench.engine.probe().stats(), &Limits::default(), arguments.timeout));
    match arguments.output.output {
        Format::Json => say_json(&json(&report, explained.as_ref()))?,
        Format::Table => print(&report, explained.as_ref())?,
    }
    Ok(exit_of(State::from(report.status)))
}

/// An argument like `etcd=/run/secrets/etcd`.
fn secret(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH, for instance etcd=/run/secrets/etcd")?;
    let whole = std::path::absolute(path).map_err(|error| error.to_string())?;
    if whole.exists() { Ok((name.to_owned(), whole)) } else { Err(format!("there is nothing at {path}")) }
}

fn secrets(named: Vec<(String, PathBuf)>) -> Secrets {
    let source = |(name, path): (String, PathBuf)| {
        let place = if path.is_dir() { Place::Directory(path) } else { Place::File(path) };
        (name, Source { place, destinations: Vec::new() })
    };
    Secrets::new(named.into_iter().map(source).collect())
}

/// A target of which nothing but the address is known.
pub(super) fn target(address: &str) -> Target {
    Target { name: address.into(), address: address.into(), labels: Default::default() }
}

/// One run here and now.
pub(super) fn job(
    plugin: &Plugin,
    settings: &serde_json::Value,
    target: Option<Target>,
    grants: Grants,
    timeout: Duration,
) -> anyhow::Result<Job> {
    let assignment = Assignment {
        key: Key::new(CheckName::new(plugin.name().as_str())?, target.as_ref().map(|t| &*t.name)),
        settings: settings.to_string(),
        target,
        node: Arc::new(Node {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            ..Node::default()
        }),
        grants: Arc::new(grants),
        limits: Limits::default(),
    };
    Ok(Job {
        assignment: Arc::new(assignment),
        scheduled: crate::clock::system_now(),
        attempt: 1,
        previous: None,
        memory: Arc::new(Memory::new()),
        timeout,
    })
}

/// An argument that is JSON.
pub(super) fn settings(text: &str) -> Result<serde_json::Value, String> {
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

/// An argument like `system=load`.
pub(super) fn allowance(text: &str) -> Result<(String, String), String> {
    let (list, word) = text.split_once('=').ok_or("write LIST=WORD, for instance system=load")?;
    if LISTS.iter().any(|(name, _)| *name == list) {
        return Ok((list.to_owned(), word.to_owned()));
    }
    Err(format!("the lists are {}", LISTS.map(|(name, _)| name).join(", ")))
}

/// `LIST=WORD` as the lists of `allow:`.
pub(super) fn allow(words: Vec<(String, String)>) -> Allow {
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

/// From the first instruction to the end.
pub(super) fn took(report: &Report) -> Duration {
    report.began.map_or(Duration::ZERO, |began| report.ended.duration_since(began))
}

fn print(report: &Report, explained: Option<&Explained>) -> anyhow::Result<()> {
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
    for line in explained.map(Explained::lines).unwrap_or_default() {
        say(&format!("{line}\n"))?;
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

fn json(report: &Report, explained: Option<&Explained>) -> serde_json::Value {
    let mut json = serde_json::json!({
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
    });
    if let (Some(object), Some(explained)) = (json.as_object_mut(), explained) {
        object.insert("explained".to_owned(), serde_json::json!(explained));
    }
    json
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
