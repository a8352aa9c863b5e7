//! The program `roundsman`: parses arguments and runs one subcommand.

use std::process::ExitCode;

use clap::Parser;
use roundsman_agent::{allocator, cmd};

fn main() -> ExitCode {
    allocator::give_back();
    if std::env::args_os().nth(1).is_some_and(|first| first == roundsman_plugin::compile::CHILD_ARGUMENT) {
        return roundsman_plugin::compile::child_main();
    }
    match cmd::Arguments::try_parse() {
        Ok(arguments) => cmd::execute(arguments),
        Err(error) => {
            // Help and version go to standard output and are no errors.
            let code = if error.use_stderr() { cmd::EXIT_USAGE } else { 0 };
            drop(error.print());
            ExitCode::from(code)
        }
    }
}
