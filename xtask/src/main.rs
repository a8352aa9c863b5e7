//! `cargo xtask`: sets up what is missing, builds, runs, tests and measures Roundsman.
//!
//! - `workspace.rs`: where things are, and how other programs are called
//! - `files.rs`: copies that nobody sees half done
//! - `setup.rs`: the target for plugins and the database servers that tests talk to
//! - `build.rs`: the agent and the plugins
//! - `layout.rs`: the folder that `run` works in, without touching what a user edited there
//! - `run.rs`, `test.rs`, `bench.rs`, `contract.rs`, `limits.rs`: one command each

#![expect(clippy::print_stdout, reason = "results of a command line belong on standard output")]

mod bench;
mod build;
mod contract;
mod files;
mod layout;
mod limits;
mod run;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::Profile;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  run [ARGUMENTS]     build everything and start an agent with checks of this machine; arguments go to `roundsman run`
  test [ARGUMENTS]    build everything and run all tests, or those that the arguments of `cargo test` select
  build [--dist]      the agent as target/release/roundsman, the plugins in target/plugins/; with --dist, which takes much
                      longer, as it is installed: target/dist/roundsman
  bench [--quick] [--json] [--release] [ROW…]
                      measure what the design promises, of the agent as it is installed, or of the one in target/release
  prove-limits [NAME…]
                      switch off one limit of the sandbox after the other, and see that a test misses it
  release-contract    keep wit/ and some plugins as they are now, for later versions to be held against
";

/// The exit code of wrong usage, as in the agent's own command line.
const WRONG_USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    match dispatch(&command, &arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, arguments: &[String]) -> Result<ExitCode> {
    let workspace = || Workspace::find().context("finding the workspace");
    match command {
        "build" if arguments.is_empty() => {
            build::everything(&workspace()?, Profile::Release).map(|()| ExitCode::SUCCESS)
        }
        "build" if arguments == ["--dist"] => {
            build::everything(&workspace()?, Profile::Dist).map(|()| ExitCode::SUCCESS)
        }
        "run" => run::run(&workspace()?, arguments),
        "test" => test::run(&workspace()?, arguments),
        "prove-limits" => limits::prove(&workspace()?, arguments),
        "release-contract" if arguments.is_empty() => contract::release(&workspace()?).map(|()| ExitCode::SUCCESS),
        "bench" => bench::run_bench(&workspace()?, arguments),
        run::ANNOUNCE => run::announce(arguments),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(WRONG_USAGE))
        }
    }
}
