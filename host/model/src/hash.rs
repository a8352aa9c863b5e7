//! A hash that is the same on every node and after every upgrade: phases of a schedule, places on the ring.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// Occurs in no UTF-8 text, so that it keeps parts apart: `a`, `b` is not `ab`.
const SEPARATOR: u8 = 0xff;

/// FNV-1a of 64 bits over the parts, mixed once more because FNV leaves neighbours near each other.
///
/// Written out, because what a cluster spreads by it must not move when a library changes.
pub fn stable(parts: &[&str]) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let mut hash = OFFSET;
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            hash = fnv(hash, SEPARATOR);
        }
        hash = part.bytes().fold(hash, fnv);
    }
    // The finalizer of MurmurHash3.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another program.
    #[test]
    fn the_same_for_ever() {
        for (parts, hash) in [
            (&[""][..], 0xefd0_1f60_ba99_2926),
            (&["node-a"], 0x48e8_6629_c152_a3f3),
            (&["node-a", "shop", "eu"], 0xd63b_e059_e3d0_9dd7),
            (&["", "shop", ""], 0x4c18_c2f4_f1b9_6bdf),
            (&["a", "b"], 0x7afd_4e29_979e_4afe),
            (&["ab"], 0xda71_cbd1_1dd9_bde4),
        ] {
            assert_eq!(stable(parts), hash, "{parts:?}");
        }
    }
}
