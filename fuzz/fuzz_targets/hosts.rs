//! Hosts, against the reading of the crate `url`; one in each line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|hosts: &str| {
    for host in hosts.lines() {
        roundsman_probe::fuzz::any_host(host);
    }
});
