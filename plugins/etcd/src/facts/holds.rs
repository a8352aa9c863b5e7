//! What holds for anything that comes as an answer of a member.

use super::{Alarms, Metrics, State, health};

/// Tells whether any of it was taken for an answer.
pub(crate) fn any_answer(body: &[u8]) -> bool {
    let state = State::read(body);
    if let Some(state) = &state {
        assert!(!state.version.is_empty());
        assert!(state.has_leader() || !state.is_leader());
    }
    let said = health(200, body);
    let healthy = said.is_empty();
    assert!(!healthy || !health(503, body).is_empty(), "only what is healthy by both is healthy");
    let page = String::from_utf8_lossy(body);
    let metrics = Metrics::read(&page);
    for disk in [&metrics.fsync, &metrics.commit] {
        let speed = disk.since(None);
        assert!(speed.is_none_or(|speed| !speed.p99_s.is_nan()), "{disk:?}");
        assert_eq!(disk.since(Some(disk)), None, "nothing was measured since then: {disk:?}");
    }
    state.is_some() || Alarms::read(body).is_some() || healthy || metrics != Metrics::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_the_corpus() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/facts");
        let (mut taken, mut refused) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown only if something does not hold.
            eprintln!("{}", path.display());
            let bytes = std::fs::read(path).unwrap();
            *(if any_answer(&bytes) { &mut taken } else { &mut refused }) += 1;
            // And cut short anywhere.
            for end in 0..bytes.len().min(600) {
                let bytes = &bytes[..end];
                any_answer(bytes);
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            any_answer(&bytes);
        }

        #[test]
        fn histograms(buckets in prop::collection::vec(("(-?[0-9]{1,3}(\\.[0-9])?|[-+]Inf|NaN|1e30[0-9])", "(-?[0-9]{1,4}|[-+]?Inf|NaN|1e308)"), 0..8), count in "([0-9]{1,4}|NaN|Inf)") {
            let name = "etcd_disk_wal_fsync_duration_seconds";
            let mut page: String = buckets.iter().map(|(le, n)| format!("{name}_bucket{{le=\"{le}\"}} {n}\n")).collect();
            page += &format!("{name}_count {count}\n{name}_sum {count}\n");
            any_answer(page.as_bytes());
        }
    }
}
