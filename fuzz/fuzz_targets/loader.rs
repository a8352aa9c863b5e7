//! Bytes that may be a plugin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundsman_plugin::load::inspect_bytes;

fuzz_target!(|bytes: &[u8]| {
    drop(inspect_bytes(bytes));
});
