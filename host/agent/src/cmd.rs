//! The command line: its grammar, and which file carries out what.
//!
//! Exit codes are those of Nagios plugins where a state is asked for (0 ok, 1 warning, 2 critical, 3 unknown, also when
//! there is no answer); elsewhere 1 for what failed; everywhere 64 for wrong usage.

mod check;
mod client;
mod history;
mod plugin;
mod probe;
mod result;
mod run;
mod show;
mod silence;
mod status;
mod table;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use roundsman_model::state::State;
use roundsman_model::units::parse_duration;

/// Where an agent listens unless it is told otherwise.
pub(crate) const DEFAULT_ADDR: &str = "127.0.0.1:9640";

/// EX_USAGE of sysexits.h.
pub const EXIT_USAGE: u8 = 64;

/// Makes the rounds of a cluster: runs check plugins on schedules, keeps their history, streams it to InfluxDB.
#[derive(Debug, Parser)]
#[command(name = "roundsman", version, max_term_width = 120)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent
    Run(Configuration),
    /// Check the configuration, the checks and the plugins; exit with 1 if anything is wrong
    Validate(validate::Arguments),
    /// Run a plugin once, without an agent, and print what it saw
    Probe(probe::Arguments),
    /// What is checked on the node
    #[command(subcommand)]
    Check(check::Command),
    /// The present state of everything that the node checks
    Status(status::Arguments),
    /// What runs found out, newest first
    History(history::Arguments),
    /// What nobody is to be called for, for a time
    #[command(subcommand)]
    Silence(silence::Command),
    /// Tell the agent what was found out elsewhere, for a check with `ttl:`
    Result(result::Arguments),
    /// The plugins of the node
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// Where the agent's configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct Configuration {
    /// The configuration file; without one, defaults
    #[arg(long, value_name = "FILE", env = "ROUNDSMAN_CONFIG")]
    config: Option<PathBuf>,
    /// Override a key, for instance `--set http.listen=127.0.0.1:0`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Configuration {
    /// Whether nothing is said of one: neither a file nor a key.
    pub(crate) fn is_absent(&self) -> bool {
        self.config.is_none() && self.set.is_empty()
    }
}

/// How to reach an agent and how to print what it says.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// The agent: HOST:PORT, or the path of its unix socket
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDR, env = "ROUNDSMAN_ADDR", value_parser = address)]
    addr: String,
    /// A file with the agent's token, where it asks for one
    #[arg(long, value_name = "FILE", env = "ROUNDSMAN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// How to reach an agent that is to change something: with its token, or by its unix socket.
#[derive(Debug, Clone, Args)]
pub(crate) struct Changing {
    /// The agent's state directory, whose unix socket is used
    #[arg(long, value_name = "DIR", env = "ROUNDSMAN_PATHS__STATE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Changing {
    /// Whom to ask.
    pub(crate) fn remote(self) -> Remote {
        match self.state {
            None => self.remote,
            Some(state) => Remote { addr: crate::agent::socket_path(&state).display().to_string(), ..self.remote },
        }
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Carries out one subcommand; errors are printed with all their causes.
pub fn execute(arguments: Arguments) -> ExitCode {
    let failed = arguments.command.exit_of_failure();
    let result = match arguments.command {
        Command::Run(configuration) => run::execute(&configuration),
        Command::Validate(arguments) => validate::execute(&arguments),
        Command::Probe(arguments) => probe::execute(arguments),
        Command::Check(command) => check::execute(command),
        Command::Status(arguments) => status::execute(&arguments),
        Command::History(arguments) => history::execute(&arguments),
        Command::Silence(command) => silence::execute(command),
        Command::Result(arguments) => result::execute(arguments),
        Command::Plugin(command) => plugin::execute(command),
    };
    result.unwrap_or_else(|error| {
        table::complain(&format!("roundsman: {error:#}"));
        failed
    })
}

impl Command {
    /// A state that could not be asked for is not known: 1 would be a warning.
    fn exit_of_failure(&self) -> ExitCode {
        match self {
            Self::Probe(_) | Self::Check(check::Command::Run { .. }) | Self::Status(_) => exit_of(State::Unknown),
            _ => ExitCode::from(1),
        }
    }
}

/// The exit code of a state. What is not known to be well is unknown.
pub(crate) fn exit_of(state: State) -> ExitCode {
    ExitCode::from(match state {
        State::Ok => 0,
        State::Warning => 1,
        State::Critical => 2,
        State::Unknown | State::Pending | State::Skipped | State::Stale => 3,
    })
}

/// An argument like `127.0.0.1:9640`, or a path.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
    if text.contains('/') || port.is_some() {
        return Ok(text.to_owned());
    }
    Err("write HOST:PORT, for instance 127.0.0.1:9640, or the path of a unix socket, for instance ./agent.sock"
        .to_owned())
}

/// An argument like `10s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Runs a client's future on a small runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
