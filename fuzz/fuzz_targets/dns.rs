//! Answers of name servers, data of their records, and names that are asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundsman_probe::fuzz;

fuzz_target!(|bytes: &[u8]| {
    fuzz::any_message(bytes);
    fuzz::any_data(bytes);
    fuzz::any_name(&String::from_utf8_lossy(bytes));
});
