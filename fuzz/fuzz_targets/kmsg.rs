//! A cursor and records of the kernel's log.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    roundsman_probe::fuzz::any_kernel_log(bytes);
});
