//! Answers of time servers.
#![no_main]

#[path = "../../plugins/ntp/src/packet/holds.rs"]
mod holds;
#[allow(dead_code, reason = "not everything of it is about what comes in")]
#[path = "../../plugins/ntp/src/packet.rs"]
mod packet;

use libfuzzer_sys::fuzz_target;
use packet::*;

fuzz_target!(|packet: &[u8]| {
    holds::any_packet(packet);
});
