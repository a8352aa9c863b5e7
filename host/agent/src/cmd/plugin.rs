//! `roundsman plugin …`: its grammar; each subcommand is a file of this name's folder.

mod inspect;
mod keygen;
mod list;
mod new;
mod release;
mod sign;
mod test;

use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every plugin file that the agent has seen, and what became of it
    List(list::Arguments),
    /// Let a plugin run again that backs off or is quarantined; needs the agent's token or its unix socket
    Release(release::Arguments),
    /// What a plugin file is and says of itself; no agent is needed
    Inspect(inspect::Arguments),
    /// Make the crate of a new plugin, which builds and tests without a network
    New(new::Arguments),
    /// Run a plugin's own cases, with answers written beforehand; exit with 2 if one fails
    Test(test::Arguments),
    /// Sign a plugin file: writes FILE.minisig beside it
    Sign(sign::Arguments),
    /// Make a pair of keys to sign plugins with
    Keygen(keygen::Arguments),
}

pub(super) fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(arguments) => list::execute(&arguments),
        Command::Release(arguments) => release::execute(arguments),
        Command::Inspect(arguments) => inspect::execute(arguments),
        Command::New(arguments) => new::execute(&arguments),
        Command::Test(arguments) => test::execute(arguments),
        Command::Sign(arguments) => sign::execute(&arguments),
        Command::Keygen(arguments) => keygen::execute(&arguments),
    }
}
