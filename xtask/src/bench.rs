//! `bench`: builds everything and measures what the design promises.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::build::Profile;
use crate::workspace::{Workspace, run};
use crate::{build, setup};

/// Measures what tests look at, which is there sooner: for a comparison before and after a change.
const RELEASE: &str = "--release";

/// The benchmark is an example of the agent: it drives the engine through the library, as any embedder does.
pub(crate) fn run_bench(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let quickly = arguments.iter().any(|argument| argument == RELEASE);
    let profile = if quickly { Profile::Release } else { Profile::Dist };
    build::agent(workspace, profile)?;
    build::plugins(workspace)?;
    run(&mut workspace.cargo(["build", "--profile", profile.name(), "--workspace", "--example", "bench"]))?;
    let bench = workspace.target.join(profile.name()).join("examples/bench");
    let mut command = Command::new(&bench);
    command.args(arguments.iter().filter(|argument| *argument != RELEASE));
    setup::servers(workspace)?.at_hand(command.current_dir(&workspace.root));
    // This process becomes the benchmark, so that nothing else takes part in what it measures.
    Err(command.exec()).with_context(|| format!("starting {}", bench.display()))
}
