//! `bench`: builds everything and measures what the design promises.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, run};
use crate::{build, setup};

/// The benchmark is an example of the agent: it drives the engine through the library, as any embedder does.
pub(crate) fn run_bench(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    build::agent(workspace)?;
    build::plugins(workspace)?;
    run(&mut workspace.cargo(["build", "--release", "--workspace", "--example", "bench"]))?;
    let bench = workspace.target.join("release/examples/bench");
    let mut command = Command::new(&bench);
    setup::servers(workspace)?.at_hand(command.current_dir(&workspace.root).args(arguments));
    // This process becomes the benchmark, so that nothing else takes part in what it measures.
    Err(command.exec()).with_context(|| format!("starting {}", bench.display()))
}
