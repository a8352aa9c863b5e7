//! `roundsman.yaml`, variables and `--set`.
#![no_main]

#[path = "../../host/agent/src/config/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_agent::config::Config;
use roundsman_agent::problem::Problem;

fuzz_target!(|bytes: &[u8]| {
    holds::any_config(bytes);
});
