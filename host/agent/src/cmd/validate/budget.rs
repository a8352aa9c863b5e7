//! How far back the history reaches: the budget of the store, held against how much the checks write.

use roundsman_plugin::describe::Description;

use crate::config::Store;

/// Bytes of a record without points in the database file: `cargo run --release -p roundsman-store --example commits`
/// shows 160 for one with a point of two fields and a tag, of which 45 are the point's.
const RECORD_BYTES: usize = 115;
/// Bytes of a tag or field besides its name: a number or a short word, and the lengths.
const VALUE_BYTES: usize = 10;
/// Of what plugins that cannot be asked report, about as much as one point of ten fields.
const UNKNOWN_BYTES: usize = 200;
/// Of the budget, the log and the reserve take this much, or a quarter where that is less: `host/store/src/retention.rs`.
const BESIDE: u64 = 16 << 20;

/// What all checks together write.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) runs_per_second: f64,
    bytes_per_second: f64,
}

impl Budget {
    pub(super) fn add(&mut self, runs_per_second: f64, description: Option<&Description>) {
        self.runs_per_second += runs_per_second;
        let points = description.map_or(UNKNOWN_BYTES, points_bytes);
        self.bytes_per_second += runs_per_second * (RECORD_BYTES + points) as f64;
    }

    /// None: nothing is written.
    pub(super) fn hours(&self, store: &Store) -> Option<f64> {
        let room = store.max_size - (store.max_size / 4).min(BESIDE);
        let seconds = room as f64 / self.bytes_per_second;
        (self.bytes_per_second > 0.0).then(|| seconds.min(store.max_age.as_secs_f64()) / 3_600.0)
    }
}

/// One point of each series, with all its tags and fields.
fn points_bytes(description: &Description) -> usize {
    let series = description.series.iter().map(|series| {
        let tags = series.tags.iter().map(|tag| tag.name.len() + VALUE_BYTES);
        let fields = series.fields.iter().map(|field| field.name.len() + VALUE_BYTES);
        series.name.len() + tags.chain(fields).sum::<usize>()
    });
    series.sum()
}

/// `12 hours`, `30 minutes`.
pub(super) fn span(hours: f64) -> String {
    match hours {
        h if h < 2.0 => format!("{:.0} minutes", h * 60.0),
        h => format!("{h:.0} hours"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn hours() {
        let days = |days: u64| Duration::from_hours(days * 24);
        for (runs, max_size, max_age, expected) in [
            (0.0, 512 << 20, days(7), None),
            // 496 MiB at 315 bytes.
            (100.0, 512 << 20, days(7), Some("5 hours")),
            (1_000.0, 512 << 20, days(7), Some("28 minutes")),
            // A quarter less.
            (100.0, 32 << 20, days(7), Some("13 minutes")),
            // The age ends it.
            (0.1, 512 << 20, days(7), Some("168 hours")),
        ] {
            let mut budget = Budget::default();
            budget.add(runs, None);
            let store = Store { max_size, max_age, transitions_max_age: days(90) };
            assert_eq!(budget.hours(&store).map(span).as_deref(), expected, "{runs} {max_size}");
        }
    }

    #[test]
    fn points_count_with_their_names() {
        let text = r#"{"version": "1.0.0", "summary": "s", "settings": {}, "example": "", "series": [
            {"name": "disk", "tags": [{"name": "path"}], "fields": [{"name": "free", "type": "real"}]}]}"#;
        let mut budget = Budget::default();
        budget.add(1.0, Description::parse(text).ok().as_ref());
        assert!((budget.bytes_per_second - (115.0 + 4.0 + 14.0 + 14.0)).abs() < 1e-9, "{budget:?}");
    }
}
