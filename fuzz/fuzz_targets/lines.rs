//! Words of every kind in records, encoded as line protocol and read by the parser of InfluxDB 3.
#![no_main]

#[allow(dead_code, reason = "the tests beside it use more of it")]
#[path = "../../host/influx/src/encode/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_influx::encode::record;

fuzz_target!(|words: &str| {
    holds::any_strings(words);
});
