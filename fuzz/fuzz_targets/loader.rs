//! Bytes that may be a plugin.
#![no_main]

#[allow(dead_code, reason = "the other half is another target's")]
#[path = "../../host/plugin/src/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_plugin::{describe, load};

fuzz_target!(|bytes: &[u8]| {
    holds::any_file(bytes);
});
