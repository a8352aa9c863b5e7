//! Hashes that spread keys over time.
//!
//! Written out, because the phases of a cluster must be the same after every upgrade.

use roundsman_model::key::Key;

/// FNV-1a of 64 bits over node, check and target, mixed once more because FNV leaves neighbours near each other.
pub(crate) fn of_key(node: &str, key: &Key) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // 0xff occurs in no UTF-8 text and keeps the parts apart.
    let parts = [node.as_bytes(), &[0xff], key.check.as_str().as_bytes(), &[0xff], key.target_or_empty().as_bytes()];
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    mix(parts.into_iter().flatten().fold(OFFSET, fnv))
}

/// The n-th number of the endless row that a seed stands for (`SplitMix64`, begun anywhere).
pub(crate) fn of_number(seed: u64, n: i128) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let [a, b, c, d, e, f, g, h, ..] = n.to_le_bytes();
    let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    mix(seed.wrapping_add(low.wrapping_mul(GOLDEN)))
}

/// The finalizer of `MurmurHash3`.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
