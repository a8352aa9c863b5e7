//! What an operator writes into a checks file.
#![no_main]

#[path = "../../host/agent/src/checks/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_agent::checks::{ChecksFile, MAX_PAIRS, fill, parse};
use roundsman_agent::config::Node;
use roundsman_agent::problem::Problem;

fuzz_target!(|text: &[u8]| {
    holds::any_checks(text);
});
