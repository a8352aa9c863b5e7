//! Looks for a word on a page.

use roundsman_sdk::http::Request;
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, context};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an operator may write under `settings:`. The comments become descriptions in the operator's editor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The word that the page must contain.
    word: String,
    /// Fewer occurrences than these are a warning.
    #[serde(default = "one")]
    at_least: usize,
}

fn one() -> usize {
    1
}

/// What is measured. Each field keeps its type for ever; its name ends with its unit.
const SERIES: Series = Series {
    name: "{{series}}",
    help: "How often the word stands on the page.",
    tags: &[],
    fields: &[
        Field::integer("count", "", "Occurrences of the word."),
        Field::real("total_ms", "ms", "Time for the whole page."),
    ],
};

/// A file for `checks/` that works as it stands.
const EXAMPLE: &str = "\
checks:
  - name: {{name}}
    plugin: {{name}}
    interval: 30s
    timeout: 5s
    target: https://example.com          # its address is granted; any other needs a line under `allow:`
    settings: {word: Example}
";

/// The check.
#[derive(Debug)]
pub struct {{Type}};

impl Check for {{Type}} {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Looks for a word on a page.").series(&SERIES).example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.word.is_empty() { Err(Fault::settings("`word`: must not be empty")) } else { Ok(()) }
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let url = context::target_address().ok_or_else(|| Fault::settings("give the check a `target`"))?;
        let request = Request::get(&url);
        let page = match request.send() {
            Ok(page) => page,
            // Down, refused, timed out: an outcome. Not granted, not possible: a fault.
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let total = request.timings().total.unwrap_or_default();
        let count = page.text().matches(&settings.word).count();
        report::latency(total);
        Point::of(&SERIES).field("count", count).field("total_ms", ms(total)).report()?;
        Ok(judge(settings, page.status, count))
    }
}

/// What was seen, as an outcome. It asks nothing of the host, so that `cargo test` can ask it anything.
fn judge(settings: &Settings, status: u16, count: usize) -> Outcome {
    match count {
        _ if status != 200 => Outcome::critical(format!("status {status}")),
        0 => Outcome::critical("not found"),
        _ if count < settings.at_least => Outcome::warning(format!("found only {count} times")),
        _ => Outcome::ok(format!("found {count} times")),
    }
}

roundsman_sdk::plugin!({{Type}});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        let settings = Settings { word: "x".into(), at_least: 2 };
        for (status, count, expected) in [
            (200, 2, Outcome::ok("found 2 times")),
            (200, 1, Outcome::warning("found only 1 times")),
            (200, 0, Outcome::critical("not found")),
            (503, 2, Outcome::critical("status 503")),
        ] {
            assert_eq!(judge(&settings, status, count), expected);
        }
    }

    #[test]
    fn settings_that_are_refused() {
        for (json, message) in [
            ("{}", "missing field `word`"),
            (r#"{"word": ""}"#, "`word`: must not be empty"),
            (r#"{"word": "x", "atLeast": -1}"#, "`atLeast`: invalid value: integer `-1`, expected usize"),
        ] {
            assert_eq!(roundsman_sdk::settings::<{{Type}}>(json).unwrap_err().message, message);
        }
    }
}
