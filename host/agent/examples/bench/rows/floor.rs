//! The row about the least that a run can cost: a fresh instance without an agent around it, beside a process.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roundsman_model::check::Limits;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::Status;
use roundsman_model::time::Timestamp;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::{Engine, EngineLimits};
use roundsman_plugin::job::{Assignment, Job, Memory, Node};
use roundsman_plugin::load::Plugin;
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Probe};

use crate::control::fork_and_exec;
use crate::measure::{cpu, median};
use crate::table::{Measured, Setting};

/// Series of runs of which the median is taken.
const REPEATS: u32 = 5;
/// The agent's defaults.
const LIMITS: EngineLimits = EngineLimits { runs: 256, memory: 512 << 20 };

/// A no-op guest beside a no-op process.
pub(crate) fn floor(setting: &Setting) -> Result<Measured> {
    let mut bare = bare(setting, "noop", "{}")?;
    let times = if setting.quick { 500 } else { 2_000 };
    let mut forks = Vec::new();
    for _ in 0..REPEATS {
        forks.push(fork_and_exec(&setting.place.c_program(), times)?.as_secs_f64() * 1e6);
    }
    bare.sort_by(f64::total_cmp);
    forks.sort_by(f64::total_cmp);
    let middle = |figures: &[f64]| figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN);
    let ratio = middle(&forks) / middle(&bare);
    Ok(Measured {
        measured: format!("{}; {ratio:.0}× cheaper", median(bare, "µs")),
        control: format!("posix_spawn + wait of a static C program: {}", median(forks, "µs")),
        notes: "a Rust component without the SDK; CPU of parent and children".to_owned(),
    })
}

/// Processor time of a run of a plugin, in µs, without an agent: one run after another.
pub(crate) fn bare(setting: &Setting, plugin: &str, settings: &str) -> Result<Vec<f64>> {
    let (job, runs) = (job(settings)?, if setting.quick { 5_000 } else { 50_000 });
    with_plugin(setting, plugin, async |plugin| {
        repeat(plugin, &job, runs).await?;
        let mut costs = Vec::new();
        for _ in 0..REPEATS {
            costs.push(repeat(plugin, &job, runs).await?);
        }
        Ok(costs)
    })
}

/// The same with a pause after each run, as a schedule has it: what waking and cold caches cost on this machine.
pub(crate) fn paced(setting: &Setting, plugin: &str, settings: &str, period: Duration) -> Result<f64> {
    let (job, runs) = (job(settings)?, if setting.quick { 5_000 } else { 20_000 });
    with_plugin(setting, plugin, async |plugin| {
        let (before, mut due) = (cpu(), tokio::time::Instant::now());
        for _ in 0..runs {
            due += period;
            tokio::time::sleep_until(due).await;
            repeat(plugin, &job, 1).await?;
        }
        Ok((cpu() - before).as_secs_f64() * 1e6 / f64::from(runs))
    })
}

fn with_plugin<T>(setting: &Setting, name: &str, work: impl AsyncFnOnce(&Plugin) -> Result<T>) -> Result<T> {
    let file = setting.place.plugin(name);
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let directory = tempfile::tempdir()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let engine = Engine::new(LIMITS, Arc::new(Probe::new(Options::default())))?;
        let cache = Cache::open(&directory.path().join("cache"), engine.compatibility())?;
        let compiler = Compiler::this_executable()?;
        let plugin = Plugin::load(&engine, &compiler, &cache, PluginName::new(name)?, &bytes).await?;
        work(&plugin).await
    })
}

async fn repeat(plugin: &Plugin, job: &Arc<Job>, runs: u32) -> Result<f64> {
    let before = cpu();
    for _ in 0..runs {
        let report = plugin.run(job.clone()).await;
        ensure!(report.status == Status::Ok, "the guest failed: {}", report.summary);
    }
    Ok((cpu() - before).as_secs_f64() * 1e6 / f64::from(runs))
}

fn job(settings: &str) -> Result<Arc<Job>> {
    let assignment = Assignment {
        key: Key::new(CheckName::new("bench")?, None),
        settings: settings.to_owned(),
        target: None,
        node: Arc::new(Node::default()),
        grants: Arc::new(Grants::default()),
        limits: Limits::default(),
    };
    Ok(Arc::new(Job {
        assignment: Arc::new(assignment),
        scheduled: Timestamp(0),
        attempt: 1,
        previous: None,
        memory: Arc::new(Memory::new()),
        timeout: Duration::from_secs(1),
    }))
}
