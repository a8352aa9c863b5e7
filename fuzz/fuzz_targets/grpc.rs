//! Answers of gRPC servers, and the words in them.
#![no_main]

#[path = "../../plugins/grpc/src/message/holds.rs"]
mod holds;
#[allow(dead_code, reason = "not everything of it is about what comes in")]
#[path = "../../plugins/grpc/src/message.rs"]
mod message;

use libfuzzer_sys::fuzz_target;
use message::*;

fuzz_target!(|bytes: &[u8]| {
    holds::any_frame(bytes);
    holds::any_words(&String::from_utf8_lossy(bytes));
});
