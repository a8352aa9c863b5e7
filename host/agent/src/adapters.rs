//! What the web needs of the agent, given by what the agent shares.

use std::sync::{Arc, PoisonError, RwLock};

use roundsman_influx::stats::Stats as DestinationStats;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Record;
use roundsman_plugin::engine::Engine;
use roundsman_store::{Reader, StoreError};
use roundsman_web::agent::{Agent, Later, RunError};
use roundsman_web::instant::Instant;
use roundsman_web::sample::{Fault, Process, Sample};
use roundsman_web::view;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::clock::system_now;
use crate::config::{self, Config};
use crate::engine::{Command, NotNow};
use crate::process;
use crate::shared::{Loaded, PluginSlot, Shared};

/// What the coordinator last found in the checks' directory.
#[derive(Debug, Default)]
pub(crate) struct Configured {
    pub(crate) checks: Vec<view::Check>,
    /// In words, with file and line.
    pub(crate) problems: Vec<String>,
    /// Whether the first look at plugins and checks is over.
    pub(crate) complete: bool,
}

/// A destination and what its forwarder counts.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) config: config::Influx,
    pub(crate) stats: Arc<DestinationStats>,
}

/// The agent as the web sees it.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) shared: Arc<Shared>,
    pub(crate) configured: Arc<RwLock<Configured>>,
    pub(crate) config: Arc<Config>,
    pub(crate) engine: Engine,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) started: roundsman_model::time::Timestamp,
    pub(crate) stopping: tokio_util::sync::CancellationToken,
    /// What the store said when it was opened.
    pub(crate) note: Option<String>,
}

impl Face {
    fn configured<T>(&self, read: impl FnOnce(&Configured) -> T) -> T {
        read(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn components(&self) -> Vec<view::Component> {
        let engine = match self.shared.standstill() {
            None => (view::Health::Ok, format!("{} runs in flight", self.shared.stats.runs_in_flight())),
            Some(silence) => (view::Health::Failed, format!("has stood still for {} s", silence.as_secs())),
        };
        let complete = self.configured(|c| c.complete);
        let files = match (complete, self.configured(|c| c.problems.len())) {
            (false, _) => (view::Health::Failed, "the first look at plugins and checks is not over".to_owned()),
            (true, 0) => (view::Health::Ok, "every file is in use".to_owned()),
            (true, n) => (view::Health::Degraded, format!("{n} problems; see the agent's problems")),
        };
        let pool = if self.engine.pooled() {
            (view::Health::Ok, "instances come from a pool".to_owned())
        } else {
            (view::Health::Degraded, "no address space for a pool: runs cost more".to_owned())
        };
        [("engine", engine), ("files", files), ("sandbox", pool)]
            .map(|(name, (health, detail))| view::Component { name: name.to_owned(), health, detail })
            .to_vec()
    }

    fn plugin(&self, name: &str, loaded: &Loaded) -> view::Plugin {
        let users = self.configured(|c| {
            c.checks.iter().filter(|check| *check.plugin == *name).map(|check| check.name.clone()).collect()
        });
        let description = loaded.plugin.as_ref().map(|plugin| plugin.description());
        view::Plugin {
            name: name.into(),
            state: loaded.state,
            reason: loaded.reason.as_deref().map(str::to_owned),
            outdated: loaded.plugin.is_some() && loaded.reason.is_some(),
            file: loaded.file.to_string(),
            size_bytes: loaded.size_bytes,
            digest: loaded.plugin.as_ref().map(|plugin| plugin.digest().to_string()),
            version: description.map(|d| d.version.clone()),
            summary: description.map(|d| d.summary.clone()),
            loaded: loaded.loaded.map(Instant),
            compile_ms: loaded.compile_ms,
            describe: description.and_then(|d| serde_json::to_value(&**d).ok()),
            checks: users,
        }
    }

    async fn run_key(&self, key: Key) -> Result<Record, RunError> {
        // The engine's clock may differ from the system's by as much as it tolerates.
        let asked = system_now() - crate::clock::TOLERANCE;
        let told = self.shared.published.await_run(&key, asked).ok_or_else(|| RunError::Busy(key.to_string()))?;
        let (reply, answer) = oneshot::channel();
        let command = Command::RunNow { key: key.clone(), reply };
        self.commands.send(command).await.map_err(|_| RunError::Stopping)?;
        match answer.await {
            Ok(Ok(())) => told.await.map_err(|_| self.no_run(&key)),
            Ok(Err(NotNow::Busy)) => Err(RunError::Busy(key.to_string())),
            Ok(Err(NotNow::Unknown)) => Err(RunError::NotRunnable(format!("{key} is not on the schedule"))),
            Err(_) => Err(RunError::Stopping),
        }
    }

    /// Why a run that was promised did not take place.
    fn no_run(&self, key: &Key) -> RunError {
        if self.stopping.is_cancelled() {
            return RunError::Stopping;
        }
        let board = self.shared.published.board();
        RunError::NotRunnable(match board.get(key) {
            None => format!("{key} was removed meanwhile"),
            Some(line) => match self.shared.plugin(&line.configured.plugin) {
                PluginSlot::Compiling => {
                    format!("plugin `{}` is being compiled; ask again in a moment", line.configured.plugin)
                }
                _ => "its record was not taken: the disk is too slow for the store; see the agent's health".to_owned(),
            },
        })
    }

    fn keys_of(&self, check: &str, target: Option<&str>) -> Result<Vec<Key>, RunError> {
        let missing = || RunError::NoCheck(check.to_owned());
        let name = CheckName::new(check).map_err(|_| missing())?;
        let known = self.configured(|c| c.checks.iter().find(|c| *c.name == *check).cloned()).ok_or_else(missing)?;
        if !known.enabled {
            return Err(RunError::NotRunnable("it is disabled (`enabled: false`)".to_owned()));
        }
        let board = self.shared.published.board();
        let keys: Vec<Key> = board
            .iter()
            .map(|line| &line.key)
            .filter(|key| key.check == name && target.is_none_or(|target| key.target_or_empty() == target))
            .cloned()
            .collect();
        match (keys.is_empty(), target) {
            (false, _) => Ok(keys),
            (true, Some(target)) => Err(RunError::NoTarget { check: check.to_owned(), target: target.to_owned() }),
            (true, None) => Err(RunError::NotRunnable("it is not on the schedule yet".to_owned())),
        }
    }
}

impl Agent for Face {
    fn about(&self) -> view::About {
        let node = &self.config.node;
        let mut problems = self.configured(|c| c.problems.clone());
        problems.extend(self.note.clone());
        let components = self.components();
        let failed = components.iter().any(|c| c.health == view::Health::Failed);
        view::About {
            node: node.name.clone(),
            cluster: Some(node.cluster.clone()).filter(|cluster| !cluster.is_empty()),
            zone: node.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            socket: std::path::absolute(crate::agent::socket_path(&self.config.paths.state))
                .ok()
                .map(|path| path.display().to_string()),
            now: Instant(system_now()),
            started: Instant(self.started),
            ready: !failed && !self.stopping.is_cancelled(),
            components,
            store: view::StoreHealth::of(&self.shared.store().health(), self.config.store.max_size),
            destinations: self.destinations.iter().map(destination).collect(),
            problems,
        }
    }

    fn board(&self) -> Vec<view::Subject> {
        let now = system_now();
        let mut subjects: Vec<_> =
            self.shared.published.board().iter().map(|line| (line.key.clone(), view::Subject::of(line, now))).collect();
        self.shared.published.next_runs(now, |next_run| {
            for (key, subject) in &mut subjects {
                subject.next_run = next_run(key).map(Instant);
            }
        });
        subjects.into_iter().map(|(_, subject)| subject).collect()
    }

    fn checks(&self) -> Vec<view::Check> {
        self.configured(|c| c.checks.clone())
    }

    fn plugins(&self) -> Vec<view::Plugin> {
        let plugins = self.shared.plugins.load();
        plugins.iter().map(|(name, loaded)| self.plugin(name.as_str(), loaded)).collect()
    }

    fn sample(&self) -> Sample {
        let stats = &self.shared.stats;
        let probe = self.engine.probe().stats();
        let refusals = [
            ("http", probe.http.refusals()),
            ("name", probe.lookup.refusals()),
            ("system", probe.system.refusals()),
            ("socket", probe.socket.refusals()),
        ];
        Sample {
            lag: stats.lag.view(),
            queue: stats.queue.view(),
            run: stats.run.view(),
            runs_in_flight: stats.runs_in_flight(),
            runs_limit: u64::from(self.config.limits.runs),
            guest_memory_bytes: self.engine.memory().used(),
            guest_memory_limit_bytes: self.config.limits.memory,
            refusals: refusals.map(|(kind, count)| (kind.to_owned(), count)).to_vec(),
            faults: stats.faults().into_iter().map(|((plugin, code), count)| Fault { plugin, code, count }).collect(),
            process: process::sample()
                .unwrap_or(Process { start_time_s: Instant(self.started).as_seconds(), ..Process::default() }),
            more: Vec::new(),
        }
    }

    fn beating(&self) -> Result<(), String> {
        match self.shared.standstill() {
            None => Ok(()),
            Some(silence) => Err(format!("the engine has stood still for {} s", silence.as_secs())),
        }
    }

    fn reader(&self) -> Result<Reader, StoreError> {
        self.shared.store().reader()
    }

    fn events(&self) -> broadcast::Receiver<view::Event> {
        self.shared.published.events()
    }

    fn run_now<'a>(
        &'a self,
        check: &'a str,
        target: Option<&'a str>,
    ) -> Later<'a, Result<Vec<view::Record>, RunError>> {
        Box::pin(async move {
            let keys = self.keys_of(check, target)?;
            let runs = keys.into_iter().map(|key| self.run_key(key));
            let records = futures_util::future::join_all(runs).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(records.iter().map(|record| view::Record::of(record, None)).collect())
        })
    }
}

fn destination(destination: &Destination) -> view::Destination {
    let (config, now) = (&destination.config, destination.stats.snapshot());
    let trouble = now.held.as_ref().or(now.last_error.as_ref());
    let health = match (&now.held, &now.last_error) {
        (None, None) => view::Health::Ok,
        _ => view::Health::Degraded,
    };
    view::Destination {
        name: config.name.clone(),
        url: config.url.clone(),
        api: match config.api {
            config::Api::V1 { .. } => "v1",
            config::Api::V2 { .. } => "v2",
        }
        .to_owned(),
        health,
        detail: trouble
            .map_or_else(|| "writing".to_owned(), |trouble| format!("since {}: {}", trouble.since, trouble.why)),
        backlog: now.lag_rows,
        points_written: now.written,
        bytes_written: now.bytes,
        points_rejected: now.rejected,
        requests: now.requests,
        requests_failed: now.retries,
        last_success: None,
    }
}
