//! What an agent left in its store when it ended: the fate of every tick, and every record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::BUILT_IN;
use roundsman_model::record::{Origin, Record};
use roundsman_model::state::State;
use roundsman_model::time::{Timestamp, nanos};
use roundsman_store::{Config, Cursor, MAX_ROWS, Store};

/// Of all keys.
#[derive(Debug)]
pub(crate) struct History {
    keys: BTreeMap<Key, Past>,
    /// Changes to `stale`.
    pub(crate) stale: usize,
}

/// Of one (check, target).
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) counts: Counts,
    /// In the order in which they were written.
    pub(crate) records: Vec<Record>,
}

/// How late runs began.
#[derive(Debug)]
pub(crate) struct Lags(Vec<u64>);

/// The instant at which a run was to begin. Its stamp may be later: after a clock that was set back, or a change to stale.
pub(crate) fn due(record: &Record) -> Timestamp {
    record.started - Duration::from_nanos(record.lag_ns)
}

impl History {
    /// Opens the store of an agent that has ended.
    pub(crate) fn read(state: &Path) -> Self {
        let (store, restored) = Store::open(Config::new(state), |_| ()).unwrap();
        let counted = restored.subjects.into_iter().map(|subject| (subject.key, subject.counts));
        let past = |counts| Past { counts, records: Vec::new() };
        let mut keys: BTreeMap<Key, Past> = counted.map(|(key, counts)| (key, past(counts))).collect();
        let (mut reader, mut cursor, mut stale) = (store.reader().unwrap(), Cursor::default(), 0);
        loop {
            let batch = reader.outbox(cursor, MAX_ROWS).unwrap();
            if batch.next == cursor {
                break;
            }
            cursor = batch.next;
            stale += batch.transitions.iter().filter(|row| row.change.to == State::Stale).count();
            for row in batch.records {
                keys.entry(row.record.key.clone()).or_default().records.push(row.record);
            }
        }
        drop(reader);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.close()).unwrap();
        Self { keys, stale }
    }

    /// Those that a test configured.
    pub(crate) fn checks(&self) -> impl Iterator<Item = (&Key, &Past)> {
        self.keys.iter().filter(|(key, _)| key.check.as_str() != BUILT_IN)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.checks().flat_map(|(_, past)| &past.records)
    }

    /// What holds whatever happened: every tick has a fate, every run that is counted left a record, and stamps grow.
    /// Returns the ticks of all checks together.
    pub(crate) fn assert_whole(&self, checks: usize) -> Counts {
        assert_eq!(self.checks().count(), checks);
        for (key, Past { counts, records }) in &self.keys {
            assert!(counts.balanced(), "{key}: {counts:?}");
            let on_grid = records.iter().filter(|record| record.origin == Origin::Schedule).count() as u64;
            assert_eq!(counts.run, on_grid, "{key}: {counts:?}");
            for pair in records.windows(2) {
                assert!(pair[0].time < pair[1].time, "{key}: {} and then {}", pair[0].time, pair[1].time);
            }
        }
        let mut sum = Counts::default();
        for (_, Past { counts, .. }) in self.checks() {
            sum.due += counts.due;
            sum.run += counts.run;
            sum.missed += counts.missed;
            sum.overlap += counts.overlap;
            sum.skipped += counts.skipped;
        }
        sum
    }

    /// Reckons again, by the clock alone, how many ticks there were: no fewer than between the first record and the last
    /// one, no more than while the agent was there. For clocks that were not set.
    pub(crate) fn assert_no_tick_lost(&self, interval_ms: impl Fn(&Key) -> u64, began: Timestamp, ended: Timestamp) {
        for (key, Past { counts, records }) in self.checks() {
            let interval_ns = nanos(Duration::from_millis(interval_ms(key)));
            let first = records.first().map(due).unwrap_or_else(|| panic!("{key} never ran"));
            let last = records.last().map_or(first, due);
            // Rounded, since the clock may have been corrected by some milliseconds.
            let least = (last.0 - first.0 + interval_ns / 2) / interval_ns + 1;
            let most = (ended.0 - began.0) / interval_ns + 1;
            let due = i64::try_from(counts.due).unwrap();
            assert!((least..=most).contains(&due), "{key}: {counts:?}, where {least} to {most} ticks passed");
        }
    }

    /// Of the runs that a test asks for.
    pub(crate) fn lags(&self, of: impl Fn(&Record) -> bool) -> Lags {
        let mut lags: Vec<u64> = self.records().filter(|record| of(record)).map(|record| record.lag_ns).collect();
        lags.sort_unstable();
        Lags(lags)
    }
}

impl Lags {
    fn ms(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(0.0, |ns| *ns as f64 / 1e6)
    }
}

impl fmt::Display for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.ms(share));
        write!(f, "lag p50 {half:.2}, p99 {most:.2}, most {all:.2} ms of {} runs", self.0.len())
    }
}
