//! Measures what the design promises, each figure beside a control from the same run, and prints one table.
//!
//! `cargo xtask bench [--quick] [--json] [--release] [ROW…]`. Each row is measured in a process of its own, so that none
//! inherits another's memory, threads or caches; what the agent talks to is in further processes, whose work does not
//! count.
//!
//! - `table`: which rows there are, and the table; `prepare`: guests, the C program and the certificate
//! - `rig`: an agent in this process, and what it did between two moments; `servers`: the other side of its sockets
//! - `measure`: clocks, percentiles, memory; `control`: the bare timer and the process that is started for comparison;
//!   `bare`: a client that does nothing else
//! - `rows`: one function for each row
//!
//! Times are printed and never asserted: on a busy machine a figure says as much of its neighbours as of the agent.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod bare;
mod control;
mod measure;
mod prepare;
mod rig;
mod rows;
mod servers;
mod table;

use std::process::ExitCode;

use roundsman_plugin::compile;

fn main() -> ExitCode {
    // As the program `roundsman` does it.
    roundsman_agent::allocator::give_back();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some(compile::CHILD_ARGUMENT) => return compile::child_main(),
        Some(servers::ARGUMENT) => servers::serve(&arguments[1..]).map(|()| ExitCode::SUCCESS),
        Some(table::ROW) => table::measure_one(&arguments[1..]).map(|()| ExitCode::SUCCESS),
        _ => table::print(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
