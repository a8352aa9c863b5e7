//! What holds for anything that comes as an answer of a time server.

use std::time::{Duration, UNIX_EPOCH};

use super::{Answer, LENGTH, Refused};

/// Tells whether it was taken for an answer.
pub(crate) fn any_packet(packet: &[u8]) -> bool {
    // What it repeats of a question, so that it is read beyond that.
    let cookie = packet.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(7, u64::from_be_bytes);
    match Answer::read(packet, cookie) {
        Ok(answer) => {
            assert!(packet.len() >= LENGTH && (1..16).contains(&answer.stratum) && answer.leap < 4);
            assert!(answer.follows().bytes().all(|b| b.is_ascii_graphic()), "{answer:?}");
            let most = Duration::from_secs(1 << 16);
            assert!(answer.root_delay < most && answer.root_dispersion < most, "{answer:?}");
            for (at_s, after_ms) in [(0, 0), (1_800_000_000, 30), (2_085_978_496, 1000), (1 << 40, 86_400_000)] {
                let after = Duration::from_millis(after_ms);
                let (offset, delay) = answer.measure(UNIX_EPOCH + Duration::from_secs(at_s), after);
                // Timestamps are at most 68 years apart, whichever they are.
                assert!(offset.abs() < 1e10 && (0.0..1e10).contains(&delay), "{offset} {delay}");
            }
            assert_eq!(Answer::read(packet, !cookie), Err(Refused::NotOurs));
            true
        }
        Err(Refused::Kiss(code)) => {
            assert!(code.len() <= 4 && code.bytes().all(|b| b.is_ascii_alphanumeric()), "{code}");
            false
        }
        Err(Refused::Strange(_)) => false,
        Err(Refused::NotOurs) => unreachable!("the cookie is its own"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_the_corpus() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/packet");
        let (mut taken, mut refused) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown only if something does not hold.
            eprintln!("{}", path.display());
            let bytes = std::fs::read(path).unwrap();
            *(if any_packet(&bytes) { &mut taken } else { &mut refused }) += 1;
            // And cut short anywhere.
            for end in 0..bytes.len().min(600) {
                let bytes = &bytes[..end];
                any_packet(bytes);
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80), first in prop::sample::select(vec![0x24_u8, 0x1c, 0xe4, 0x25]), stratum in 0_u8..18) {
            any_packet(&bytes);
            let mut bytes = bytes;
            if let [head, own, ..] = bytes.as_mut_slice() {
                (*head, *own) = (first, stratum);
            }
            any_packet(&bytes);
        }
    }
}
