//! What the web needs of the agent, given by what the agent shares.

mod supervised;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roundsman_influx::stats::Stats as DestinationStats;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::Record;
use roundsman_model::silence::Silence;
use roundsman_model::supervision::Conduct;
use roundsman_plugin::engine::Engine;
use roundsman_store::{Reader, StoreError};
use roundsman_web::agent::{Agent, Later, PushError, Pushed, ReleaseError, RunError, SilenceDraft, SilenceError};
use roundsman_web::instant::Instant;
use roundsman_web::sample::{Fault, Process, Sample};
use roundsman_web::view;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::cgroup::{Cgroup, Respected};
use crate::clock::system_now;
use crate::config::{self, Config};
use crate::engine::command::{self, Command, NotNow, NotReleased, PushRefused, SilenceRefused};
use crate::published::Published;
use crate::shared::{Loaded, PluginSlot, Shared};
use crate::{outward, process};

/// Silences are shown after the store's next commit; a disk that takes longer has not taken them.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Pushes to one key go one after the other, so that each is answered with its own record. Keys share this many turns.
const TURNS: usize = 32;

/// Whose turn it is to push.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turns: [tokio::sync::Mutex<()>; TURNS],
    hasher: std::hash::RandomState,
}

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
    pub(crate) pushing: Turns,
    pub(crate) cgroup: Cgroup,
    /// What the control group made of the configuration.
    pub(crate) respected: Respected,
}

impl Turns {
    fn of(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        let turn = self.hasher.hash_one(key) % TURNS as u64;
        &self.turns[usize::try_from(turn).unwrap_or_default()]
    }
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
            origin: loaded.origin.as_ref().map(|origin| origin.view()),
            version: description.map(|d| d.version.clone()),
            summary: description.map(|d| d.summary.clone()),
            loaded: loaded.loaded.map(Instant),
            compile_ms: loaded.compile_ms,
            describe: description.and_then(|d| serde_json::to_value(&**d).ok()),
            checks: users,
            supervision: self.supervision(name, loaded),
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
            Ok(Err(NotNow::Pushed)) => {
                Err(RunError::NotRunnable("its results are pushed (`ttl:`): there is nothing to run".to_owned()))
            }
            Ok(Err(NotNow::Quarantined(why))) => Err(RunError::NotRunnable(why.to_string())),
            Ok(Err(NotNow::Unknown)) => Err(RunError::NotRunnable(format!("{key} is not on the schedule"))),
            Err(_) => Err(RunError::Stopping),
        }
    }

    /// Hands a result to the engine and waits for its record.
    async fn push_key(&self, key: Key, pushed: Pushed) -> Result<Record, PushError> {
        let _turn = self.pushing.of(&key).lock().await;
        let asked = system_now() - crate::clock::TOLERANCE;
        let behind = |why: &str| PushError::NotTaken(why.to_owned());
        let told = self.shared.published.await_run(&key, asked);
        let told = told.ok_or_else(|| behind("too many wait for this check already; send it again"))?;
        let (reply, answer) = oneshot::channel();
        let Pushed { check, target, status, summary, points, findings, latency_ns } = pushed;
        let pushed = command::Pushed { key, status, summary, points, findings, latency_ns };
        let command = Command::Push { pushed: Box::new(pushed), reply };
        self.commands.send(command).await.map_err(|_| PushError::Stopping)?;
        match answer.await {
            Ok(Ok(())) => told.await.map_err(|_| match self.stopping.is_cancelled() {
                true => PushError::Stopping,
                false => behind("the disk is too slow for the store; see the agent's health, and send it again"),
            }),
            Ok(Err(PushRefused::NoCheck)) => Err(PushError::NoCheck(check)),
            Ok(Err(PushRefused::NoTarget)) => Err(PushError::NoTarget { check, target: target.unwrap_or_default() }),
            Ok(Err(PushRefused::NotPushed)) => Err(PushError::RunsByItself(check)),
            Err(_) => Err(PushError::Stopping),
        }
    }

    /// Waits until what is committed is as it is to be. False: it did not become so in time.
    async fn committed(&self, done: impl Fn(&Published) -> bool) -> bool {
        let mut rows = self.shared.published.rows();
        let becoming = async {
            loop {
                rows.borrow_and_update();
                if done(&self.shared.published) {
                    return true;
                }
                if rows.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(COMMIT_WITHIN, becoming).await.unwrap_or(false)
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
        let known = self.configured(|c| c.checks.iter().find(|c| *c.name == *check).map(|c| c.enabled));
        if !known.ok_or_else(missing)? {
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
        problems.extend(self.respected.notes.iter().cloned());
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
        let ttls: HashMap<Arc<str>, _> = self.configured(|c| {
            let pushed = c.checks.iter().filter(|check| check.ttl.is_some());
            pushed.map(|check| (check.name.clone(), check.ttl)).collect()
        });
        self.shared.published.next_runs(now, |next_run| {
            for (key, subject) in &mut subjects {
                subject.ttl = ttls.get(&subject.check).copied().flatten();
                subject.next_run = next_run(key).filter(|_| subject.ttl.is_none()).map(Instant);
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

    fn silences(&self) -> Vec<Silence> {
        self.shared.published.silences()
    }

    fn sample(&self) -> Sample {
        let stats = &self.shared.stats;
        let probe = self.engine.probe();
        Sample {
            lag: stats.lag.view(),
            queue: stats.queue.view(),
            run: stats.run.view(),
            runs_in_flight: stats.runs_in_flight(),
            runs_limit: u64::from(self.config.limits.runs),
            guest_memory_bytes: self.engine.memory().used(),
            guest_memory_limit_bytes: self.respected.memory_bytes,
            refusals: outward::refusals(probe),
            faults: stats.faults().into_iter().map(|((plugin, code), count)| Fault { plugin, code, count }).collect(),
            process: process::sample()
                .unwrap_or(Process { start_time_s: Instant(self.started).as_seconds(), ..Process::default() }),
            more: [stats.checks.families(), self.supervised(), outward::families(probe), self.cgroup.read().families()]
                .concat(),
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

    fn silence(&self, draft: SilenceDraft) -> Later<'_, Result<Silence, SilenceError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let SilenceDraft { check, target, author, reason, until } = draft;
            let silence = command::SilenceDraft { check, target, author, reason, until };
            let sent = self.commands.send(Command::Silence { silence, reply }).await;
            sent.map_err(|_| SilenceError::Stopping)?;
            let silence = answer.await.map_err(|_| SilenceError::Stopping)?.map_err(refused)?;
            let there = |published: &Published| published.silences().iter().any(|known| known.id == silence.id);
            if self.committed(there).await { Ok(silence) } else { Err(SilenceError::NotStored) }
        })
    }

    fn unsilence(&self, id: u64) -> Later<'_, Result<bool, SilenceError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.commands.send(Command::Unsilence { id, reply }).await.map_err(|_| SilenceError::Stopping)?;
            if !answer.await.map_err(|_| SilenceError::Stopping)? {
                return Ok(false);
            }
            let gone = self.committed(|known| known.silences().iter().all(|known| known.id != id)).await;
            if gone { Ok(true) } else { Err(SilenceError::NotStored) }
        })
    }

    fn release<'a>(&'a self, plugin: &'a str) -> Later<'a, Result<view::Plugin, ReleaseError>> {
        Box::pin(async move {
            let missing = || ReleaseError::NoPlugin(plugin.to_owned());
            let name = PluginName::new(plugin).map_err(|_| missing())?;
            let (reply, answer) = oneshot::channel();
            let command = Command::Release { plugin: name.clone(), reply };
            self.commands.send(command).await.map_err(|_| ReleaseError::Stopping)?;
            answer.await.map_err(|_| ReleaseError::Stopping)?.map_err(|refused| match refused {
                NotReleased::Unknown => missing(),
                NotReleased::Running => ReleaseError::Running(plugin.to_owned()),
            })?;
            if !self.committed(|published| published.conducts().get(&name).is_none_or(Conduct::is_running)).await {
                return Err(ReleaseError::NotStored);
            }
            let plugins = self.shared.plugins.load();
            plugins.get(&name).map(|loaded| self.plugin(plugin, loaded)).ok_or_else(missing)
        })
    }

    fn push(&self, pushed: Pushed) -> Later<'_, Result<view::Record, PushError>> {
        Box::pin(async move {
            let name = CheckName::new(&pushed.check).map_err(|_| PushError::NoCheck(pushed.check.clone()))?;
            let known = self.configured(|c| c.checks.iter().find(|c| c.name == pushed.check).map(|c| c.enabled));
            if known == Some(false) {
                return Err(PushError::NotTaken("the check is disabled (`enabled: false`)".to_owned()));
            }
            let key = Key { check: name, target: pushed.target.clone() };
            Ok(view::Record::of(&self.push_key(key, pushed).await?, None))
        })
    }
}

fn refused(refused: SilenceRefused) -> SilenceError {
    match refused {
        SilenceRefused::NoSuchKey => SilenceError::NoSuchKey,
        SilenceRefused::NoProblem => SilenceError::NoProblem,
        SilenceRefused::TooMany => SilenceError::TooMany,
        SilenceRefused::Invalid(why) => SilenceError::Invalid(why),
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
        last_success: now.last_success.map(Into::into),
    }
}
