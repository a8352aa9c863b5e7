//! Answers of etcd: JSON and metrics.
#![no_main]

#[allow(dead_code, reason = "not everything of it is about what comes in")]
#[path = "../../plugins/etcd/src/facts.rs"]
mod facts;
#[path = "../../plugins/etcd/src/facts/holds.rs"]
mod holds;

use facts::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    holds::any_answer(body);
});
