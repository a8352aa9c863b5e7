//! `roundsman run`: the agent in the foreground, until a signal.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use roundsman_plugin::compile::Compiler;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::{Agent, Handle};
use crate::config::{Config, Format, Level};

use super::Configuration;

/// What the engine, the API and the forwarders run on; guests have threads of their own.
const WORKERS: usize = 2;

pub(super) fn execute(configuration: &Configuration) -> anyhow::Result<ExitCode> {
    let config = match super::validate::load(configuration)? {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|problem| super::table::complain(&problem.to_string()));
            return Ok(ExitCode::from(1));
        }
    };
    begin_log(&config);
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let result = runtime.block_on(live(config));
    runtime.shutdown_background();
    result
}

async fn live(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut agent = Agent::start(config, Compiler::this_executable()?).await?;
    tracing::info!(url = format!("http://{}/", agent.address()), "listening");
    tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping; a second signal aborts");
            tokio::select! {
                stopped = agent.stop() => stopped.map(|()| ExitCode::SUCCESS),
                name = signals.next() => {
                    tracing::warn!(signal = name, "aborted");
                    Ok(ExitCode::from(1))
                }
            }
        }
        why = agent.died() => end_of(agent, why).await,
    }
}

/// A vital part is gone: what is left is saved as far as possible, and a supervisor begins anew.
async fn end_of(agent: Handle, why: String) -> anyhow::Result<ExitCode> {
    tracing::error!(why, "a vital part ended: the agent ends");
    agent.stop().await?;
    Ok(ExitCode::from(1))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Runs hold sockets: as many as the system allows, not the 1,024 that shells begin with.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn begin_log(config: &Config) {
    let level = match config.log.level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // An embedding program may have set up a log of its own.
    match config.log.format {
        Format::Text => log.try_init().ok(),
        Format::Json => log.json().try_init().ok(),
    };
}
