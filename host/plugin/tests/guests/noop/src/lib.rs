//! The least that a plugin of the SDK can do: read settings, report one point.

use roundsman_sdk::report::Point;
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Whether a point is reported.
    point: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { point: true }
    }
}

const NOOP: Series = Series { name: "noop", help: "Nothing.", tags: &[], fields: &[Field::real("value", "", "One.")] };

struct Noop;

impl Check for Noop {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Does nothing.").series(&NOOP)
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        if settings.point {
            Point::of(&NOOP).field("value", 1.0).report()?;
        }
        Ok(Outcome::ok("nothing"))
    }
}

roundsman_sdk::plugin!(Noop);
