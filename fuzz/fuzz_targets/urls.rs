//! A URL and a `Location` that a server sends, against the reading of the crate `url`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    roundsman_probe::fuzz::any_url(text);
});
