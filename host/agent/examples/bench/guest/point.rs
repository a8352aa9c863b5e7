//! The guest of most rows: reads its settings and reports one point, as the least that a real plugin does.

use roundsman_sdk::report::Point;
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What is reported.
    value: f64,
}

const BENCH: Series =
    Series { name: "bench", help: "One value.", tags: &[], fields: &[Field::real("value", "", "It.")] };

struct Bench;

impl Check for Bench {
    type Settings = Settings;

    fn describe() -> Describe {
        let example = "checks:\n  - name: bench\n    plugin: point\n    interval: 1s\n    settings: {value: 1.5}\n";
        Describe::new(env!("CARGO_PKG_VERSION"), "Reports one value of its settings.").series(&BENCH).example(example)
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        Point::of(&BENCH).field("value", settings.value).report()?;
        Ok(Outcome::ok("reported"))
    }
}

roundsman_sdk::plugin!(Bench);
