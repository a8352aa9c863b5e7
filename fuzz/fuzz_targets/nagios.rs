//! What a Nagios plugin prints.
#![no_main]

#[path = "../../plugins/nagios/src/output/holds.rs"]
mod holds;
#[allow(dead_code, reason = "not everything of it is about what comes in")]
#[path = "../../plugins/nagios/src/output.rs"]
mod output;

use libfuzzer_sys::fuzz_target;
use output::*;

fuzz_target!(|printed: &str| {
    holds::any_output(printed);
});
