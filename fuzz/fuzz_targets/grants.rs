//! Lines of `allow: {network: […]}` and addresses of targets, compared with one another.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &str| {
    roundsman_probe::fuzz::any_grants(lines);
});
