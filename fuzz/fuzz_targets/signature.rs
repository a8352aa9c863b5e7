//! Files of minisign: signatures and keys.
#![no_main]

#[allow(dead_code, reason = "the tests beside it use more of it")]
#[path = "../../host/agent/src/trust/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;
use roundsman_agent::trust::key::PublicKey;
use roundsman_agent::trust::signature::Signature;

fuzz_target!(|bytes: &[u8]| {
    holds::any_signature(bytes);
});
