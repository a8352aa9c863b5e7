//! Pages of metrics.
#![no_main]

#[path = "../../plugins/prometheus/tests/page/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|page: &str| {
    holds::any_page(page);
});
