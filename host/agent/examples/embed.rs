//! How to embed the engine: starts an agent inside this program, reads its board, and stops it.
//!
//! `cargo run --release --workspace --example embed -- roundsman.yaml`

#![expect(clippy::print_stdout, reason = "the board is what it shows")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use roundsman_agent::agent::Agent;
use roundsman_agent::config::Config;
use roundsman_plugin::compile::{self, Compiler};

/// How long the agent works before its board is read.
const WORK: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<ExitCode> {
    // Plugins are compiled in a child process. Any program can be that child, this one included, if it asks first:
    if std::env::args_os().nth(1).is_some_and(|first| first == compile::CHILD_ARGUMENT) {
        return Ok(compile::child_main());
    }
    let path: PathBuf = std::env::args_os().nth(1).context("usage: embed CONFIGURATION")?.into();
    // The agent lives on the runtime of whoever starts it. Only plugins have threads of their own.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(live(read(&path)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The file, with `ROUNDSMAN_…` of the environment on top; a program may as well hold the text itself.
fn read(path: &std::path::Path) -> anyhow::Result<Config> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let flags: [&str; 0] = [];
    match Config::load(Some((path, &text)), std::env::vars_os(), &flags, "embedded") {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => anyhow::bail!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

async fn live(config: Config) -> anyhow::Result<()> {
    let mut handle = Agent::start(config, Compiler::this_executable()?).await?;
    println!("http://{}/", handle.address());
    tokio::select! {
        () = tokio::time::sleep(WORK) => {}
        why = handle.died() => println!("a vital part ended: {why}"),
    }
    for line in handle.agent().board() {
        let said = line.last.as_ref().map_or("no record yet", |last| &last.summary);
        println!("{} {}: {:?}, {said}", line.check, line.target.as_deref().unwrap_or("-"), line.state);
    }
    // Ends what runs, commits it, and gives destinations one more try. A handle that is only dropped does none of it.
    handle.stop().await
}
