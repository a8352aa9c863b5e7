//! The bare floor: processor time of a run in a fresh instance, without an agent, on one thread.
//!
//! `cargo build --release --workspace --example floor && target/release/examples/floor`; as argument: runs per round.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::record::Status;
use roundsman_plugin::compile::{CHILD_ARGUMENT, Compiler, child_main};
use roundsman_plugin::load::Plugin;
use rustix::time::{ClockId, clock_gettime};

use crate::support::component::Parts;
use crate::support::{Bench, Run, guest};

const RUNS: u32 = 20_000;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let argument = arguments.next();
    if argument.as_deref() == Some(CHILD_ARGUMENT) {
        return child_main();
    }
    let runs = argument.and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    let bench = Bench::new(Compiler::this_executable().expect("the system says which it is"));
    println!("processor time of a run, the best of {ROUNDS} rounds of {runs} runs; pool: {}", bench.engine.pooled());
    let silent = Run { settings: serde_json::json!({"point": false}), ..Run::new() };
    for (what, component, run) in [
        ("the smallest component", Parts::default().bytes(), Run::new()),
        ("SDK: settings read", guest("noop"), silent),
        ("SDK: settings read, a point reported", guest("noop"), Run::new()),
    ] {
        let plugin = bench.load(&component).expect("it is a plugin");
        let best = (0..ROUNDS).map(|_| round(&plugin, &run, runs)).min().expect("there are rounds");
        println!("{:6.2} us  {what}", best.as_secs_f64() * 1e6);
    }
    ExitCode::SUCCESS
}

/// Processor time of one run of many, all threads of the process together.
fn round(plugin: &Arc<Plugin>, run: &Run, runs: u32) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system has room");
    let job = run.job();
    runtime.block_on(async {
        let before = processor_time();
        for _ in 0..runs {
            let report = plugin.run(job.clone()).await;
            assert_eq!(report.status, Status::Ok, "{report:?}");
        }
        (processor_time() - before) / runs
    })
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
