//! Hashes that spread keys over time; the same for ever, as those of the model.

use roundsman_model::hash::stable;
use roundsman_model::key::Key;

/// What spreads keys and nodes.
pub(crate) fn of_key(node: &str, key: &Key) -> u64 {
    stable(&[node, key.check.as_str(), key.target_or_empty()])
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
