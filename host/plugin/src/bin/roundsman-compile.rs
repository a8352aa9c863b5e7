//! The compiling child as a program of its own, for those who embed the agent in an executable that is not ours.

use std::process::ExitCode;

fn main() -> ExitCode {
    roundsman_plugin::compile::child_main()
}
