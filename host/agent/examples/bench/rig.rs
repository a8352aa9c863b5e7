//! An agent in this process with everything on, and what it did between two moments.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roundsman_agent::agent::{Agent, Handle};
use roundsman_agent::config::Config;
use roundsman_model::counts::Counts;
use roundsman_model::name::BUILT_IN;
use roundsman_model::record::{Record, Status};
use roundsman_model::time::Timestamp;
use roundsman_plugin::compile::Compiler;
use roundsman_store::{Cursor, Reader};
use roundsman_web::agent::Agent as Face;
use roundsman_web::view;
use tempfile::TempDir;

use crate::measure::{cpu, now};
use crate::servers::{Kind, Server};
use crate::table::Setting;

/// Rows that are read at once.
const PAGE: usize = 10_000;
/// For compilation, the first tick of every check, and commits.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// A folder with a configuration, plugins and checks, and a database that takes everything.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) directory: TempDir,
    subjects: usize,
    _sink: Server,
}

/// A running agent, all of whose checks have run once.
#[derive(Debug)]
pub(crate) struct Live {
    handle: Handle,
    agent: Arc<dyn Face>,
}

/// A moment.
#[derive(Debug)]
pub(crate) struct Mark {
    at: Instant,
    wall: Timestamp,
    cpu: Duration,
    runs: u64,
}

/// What happened since a moment.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) wall: Duration,
    /// Processor time of this process.
    pub(crate) cpu: Duration,
    pub(crate) runs: u64,
}

impl Window {
    pub(crate) fn cpu_us_per_run(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.runs as f64
    }

    pub(crate) fn runs_per_second(&self) -> f64 {
        self.runs as f64 / self.wall.as_secs_f64()
    }
}

/// As many checks as asked for, in YAML; each the text that the function returns for its number.
pub(crate) fn checks(count: usize, check: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(|number| format!("name: c{number}, {}", check(number))).collect()
}

impl Rig {
    pub(crate) fn new(setting: &Setting, plugins: &[&str], checks: &[String]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let sink = Server::start(Kind::Sink, &setting.place)?;
        let at = |name: &str| directory.path().join(name);
        for folder in ["plugins", "checks", "state"] {
            fs::create_dir(at(folder))?;
        }
        for name in plugins {
            let from = setting.place.plugin(name);
            fs::copy(&from, at("plugins").join(format!("{name}.wasm")))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
        let mut text = "checks:\n".to_owned();
        for check in checks {
            writeln!(text, "  - {{{check}}}")?;
        }
        fs::write(at("checks/bench.yaml"), text)?;
        fs::write(at("roundsman.yaml"), configuration(directory.path(), sink.address(0)?))?;
        Ok(Self { directory, subjects: checks.len(), _sink: sink })
    }

    /// Starts an agent and returns when every check has run.
    pub(crate) async fn start(&self) -> Result<Live> {
        let path = self.directory.path().join("roundsman.yaml");
        let text = fs::read(&path)?;
        let flags: [&str; 0] = [];
        let loaded = Config::load(Some((&path, &text)), [], &flags, "bench")
            .map_err(|problems| anyhow::anyhow!("the configuration is no good: {problems:?}"))?;
        let handle = Agent::start(loaded.config, Compiler::this_executable()?).await?;
        let agent: Arc<dyn Face> = handle.agent();
        let until = Instant::now() + PATIENCE;
        loop {
            let board = board(&*agent);
            let begun = board.iter().filter(|line| line.last.is_some()).count();
            if begun == self.subjects {
                let bad =
                    board.iter().filter_map(|line| line.last.as_ref()).find(|last| last.status == Status::Unknown);
                ensure!(bad.is_none(), "a check does not do its work: {bad:?}");
                return Ok(Live { handle, agent });
            }
            if Instant::now() > until {
                bail!("only {begun} of {} checks have run: {:?}", self.subjects, agent.about().problems);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn configuration(directory: &Path, sink: &str) -> String {
    let directory = directory.display();
    format!(
        "node: {{name: bench, cluster: bench}}\n\
         paths: {{plugins: {directory}/plugins, checks: {directory}/checks, state: {directory}/state}}\n\
         http: {{listen: \"127.0.0.1:0\"}}\n\
         influx:\n  - {{name: sink, url: \"http://{sink}\", api: v2, org: bench, bucket: bench}}\n\
         store: {{maxSize: 4Gi}}\n"
    )
}

impl Live {
    pub(crate) fn mark(&self) -> Mark {
        let runs = self.agent.sample().run.counts.iter().sum();
        Mark { at: Instant::now(), wall: now(), cpu: cpu(), runs }
    }

    pub(crate) fn since(&self, mark: &Mark) -> Window {
        let end = self.mark();
        Window {
            from: mark.wall,
            until: end.wall,
            wall: end.at - mark.at,
            cpu: end.cpu - mark.cpu,
            runs: end.runs - mark.runs,
        }
    }

    /// What the agent does for so long.
    pub(crate) async fn watch(&self, length: Duration) -> Window {
        let mark = self.mark();
        tokio::time::sleep(length).await;
        self.since(&mark)
    }

    /// Every configured check.
    pub(crate) fn board(&self) -> Vec<view::Subject> {
        board(&*self.agent)
    }

    /// Ticks of all checks, by what became of them.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for line in self.board() {
            sum.due += line.counts.due;
            sum.run += line.counts.run;
            sum.missed += line.counts.missed;
            sum.overlap += line.counts.overlap;
            sum.skipped += line.counts.skipped;
        }
        sum
    }

    /// Something of every record that was due in a window.
    pub(crate) async fn records<T: Send + 'static>(
        &self,
        window: &Window,
        each: impl Fn(Record) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>> {
        let (from, until) = (window.from, window.until);
        let patience = Instant::now() + PATIENCE;
        // Until a record of a later tick is committed, some of the window may not be.
        while !board(&*self.agent).iter().any(|line| line.last.as_ref().is_some_and(|last| last.time.0 > until + LOOK))
        {
            ensure!(Instant::now() < patience, "nothing runs any more");
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(LOOK * 6).await;
        let reader = self.agent.reader()?;
        tokio::task::spawn_blocking(move || read(reader, from, until, each)).await?
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.handle.stop().await
    }
}

/// What was configured: without the agent's own check, whose cost counts as overhead.
fn board(agent: &dyn Face) -> Vec<view::Subject> {
    agent.board().into_iter().filter(|line| *line.check != *BUILT_IN).collect()
}

fn read<T>(
    mut reader: Reader,
    from: Timestamp,
    until: Timestamp,
    each: impl Fn(Record) -> Option<T>,
) -> Result<Vec<T>> {
    let (mut found, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let batch = reader.outbox(cursor, PAGE)?;
        if batch.next == cursor {
            return Ok(found);
        }
        cursor = batch.next;
        let records = batch.records.into_iter().map(|row| row.record);
        let counts =
            |record: &Record| record.time >= from && record.time < until && record.key.check.as_str() != BUILT_IN;
        found.extend(records.filter(counts).filter_map(&each));
    }
}
