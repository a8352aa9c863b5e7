//! How late a run begins: compares the instant for which it was due with the clock. Needs no grant.

use std::time::{Duration, SystemTime};

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, context};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Settings {
    /// From this lateness on, in milliseconds, the outcome is a warning.
    warning_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { warning_ms: 1_000 }
    }
}

const CLOCK: Series = Series {
    name: "clock",
    help: "When a run began.",
    tags: &[],
    fields: &[Field::real("late_ms", "ms", "From the instant for which the run was due to its beginning.")],
};

struct Clock;

impl Check for Clock {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "How late a run begins.")
            .series(&CLOCK)
            .example("checks:\n  - name: clock\n    plugin: clock\n    interval: 10s\n    settings: {warningMs: 500}\n")
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let late = SystemTime::now().duration_since(context::scheduled()).unwrap_or(Duration::ZERO);
        Point::of(&CLOCK).field("late_ms", report::ms(late)).report()?;
        let summary = format!("began {:.1} ms after it was due", report::ms(late));
        let in_time = report::ms(late) < f64::from(settings.warning_ms);
        Ok(if in_time { Outcome::ok(summary) } else { Outcome::warning(summary) })
    }
}

roundsman_sdk::plugin!(Clock);
