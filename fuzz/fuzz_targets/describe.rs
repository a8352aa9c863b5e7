//! What a plugin says of itself.
#![no_main]

#[allow(dead_code, reason = "the other half is another target's")]
#[path = "../../host/plugin/src/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_plugin::{describe, load};

fuzz_target!(|text: &str| {
    holds::any_description(text);
});
