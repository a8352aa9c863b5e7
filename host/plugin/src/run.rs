//! One run: a fresh store, a deadline, a call, a report. Whatever a plugin does ends here as a status with a blame.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::name::PluginName;
use roundsman_model::record::{Level, Story};
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::EnginePre;
use crate::bindings::roundsman::check::types::{Fault, Outcome};
use crate::describe::Description;
use crate::engine::{Engine, Stats};
use crate::job::{Job, Report};
use crate::judge::{Verdict, judge};
use crate::limits::{MAX_BYTES_PER_CALL, MAX_HANDLES};
use crate::meter::{self, Metered};
use crate::state::RunState;

/// How a call into a guest ended.
pub(crate) enum Ended<T> {
    Returned(T),
    Failed(wasmtime::Error),
    /// Cut at the deadline; true when the guest was computing rather than waiting.
    Cut {
        computing: bool,
    },
}

/// A store for one run, with every limit in place before the first guest instruction.
pub(crate) fn store(engine: &Engine, state: RunState) -> Store<RunState> {
    let cpu = state.job.assignment.limits.cpu;
    let mut store = Store::new(&engine.wasm, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(MAX_BYTES_PER_CALL);
    store.set_max_component_handles(MAX_HANDLES);
    // Before instantiation: start functions and reallocations are guest code, too.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if meter::is_over(cpu) {
            return Ok(UpdateDeadline::Interrupt);
        }
        meter::mark_computing();
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// Drives a call until it ends or the deadline comes, and tells what processor time it took.
pub(crate) async fn drive<T>(
    engine: &Engine,
    call: impl Future<Output = wasmtime::Result<T>> + Send,
    deadline: Instant,
) -> (Ended<T>, Duration) {
    let call = std::pin::pin!(call);
    let mut metered = Metered::new(&engine.ticker, call);
    let ended = match tokio::time::timeout_at(deadline, &mut metered).await {
        Ok(Ok(value)) => Ended::Returned(value),
        Ok(Err(error)) => Ended::Failed(error),
        Err(_) => Ended::Cut { computing: metered.computing() },
    };
    (ended, metered.used())
}

/// Carries out one run of a loaded plugin.
pub(crate) async fn run(
    engine: &Engine,
    pre: &EnginePre<RunState>,
    plugin: &PluginName,
    description: Arc<Description>,
    job: Arc<Job>,
) -> Report {
    let asked = Instant::now();
    let state = RunState::new(engine, plugin, job, Some(description), asked);
    let deadline = state.deadline;
    let mut store = store(engine, state);
    let mut began = None;
    let call = async {
        store.data().gathered.redaction.clone().look().await;
        store.data_mut().open_files(engine).await?;
        let plugin = pre.instantiate_async(&mut store).await?;
        began = Some(std::time::Instant::now());
        plugin.roundsman_check_check().call_run(&mut store).await
    };
    let (ended, cpu) = drive(engine, call, deadline).await;
    let ended_at = std::time::Instant::now();
    Stats::add(&engine.stats.runs);
    // Never used again after a trap or a cut: what the guest holds ends with it.
    let (verdict, state) = finish(store.into_data(), ended);
    count(&engine.stats, &verdict);
    let RunState { gathered, limiter, trace, .. } = state;
    let memory_changes = if verdict.keeps_state() { gathered.memory.into_iter().collect() } else { Vec::new() };
    Report {
        status: verdict.status,
        blame: verdict.blame,
        code: verdict.code.map(Arc::from),
        cut: verdict.cut,
        summary: verdict.summary,
        latency: gathered.latency,
        points: gathered.points,
        findings: gathered.findings,
        story: Story { log: gathered.log, calls: trace.take_story() },
        memory_changes,
        began,
        ended: ended_at,
        cpu,
        memory_bytes: limiter.memory(),
    }
}

/// What a store's run has gathered, with what it printed among the log.
fn finish(mut state: RunState, ended: Ended<Result<Outcome, Fault>>) -> (Verdict, RunState) {
    for line in state.output.lines(&state.gathered.redaction) {
        state.gathered.log(Level::Info, &line);
    }
    if let (Ended::Cut { computing: false }, false, Some(waiting)) = (&ended, state.asleep, state.waiting) {
        state.trace.cut_waiting(waiting);
    }
    (judge(ended, &state), state)
}

fn count(stats: &Stats, verdict: &Verdict) {
    let counter = match (verdict.code.as_deref(), verdict.cut) {
        (Some("timeout"), true) => &stats.deadlines,
        (Some("cpu"), true) => &stats.cpu_exhausted,
        (Some("memory"), true) => &stats.memory_exhausted,
        (Some("trap" | "stack"), true) => &stats.traps,
        (Some(_), _) => &stats.faults,
        (None, _) => return,
    };
    Stats::add(counter);
}
