//! Which series of a page are meant, and what their values must be.

use std::collections::BTreeMap;
use std::time::Duration;

use roundsman_sdk::Status;
use roundsman_sdk::exposition::Sample;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A finding names so many series that are not as they should be.
const NAMED: usize = 3;

/// Series of one metric.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Selection {
    metric: String,
    /// What it is called in findings, where two selections are of the same metric.
    r#as: Option<String>,
    /// Only series with these labels.
    labels: BTreeMap<String, String>,
    /// A counter: how fast it grew since the run before is what counts.
    pub(crate) rate: bool,
    /// When the worst series is a warning: `"> 300"`, `"<= 0.5"`, `"!= 1"`.
    warning: Option<Comparison>,
    /// When it is critical.
    critical: Option<Comparison>,
    /// How many series there must be; 1 unless set.
    at_least: Option<usize>,
}

/// `> 300`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Comparison {
    operator: Operator,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

const OPERATORS: [(&str, Operator); 6] = [
    // The longer ones first, so that they are not taken for the shorter ones.
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    (">", Operator::Above),
    ("<", Operator::Below),
];

impl TryFrom<String> for Comparison {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (operator, rest) =
                OPERATORS.iter().find_map(|(word, operator)| Some((*operator, text.trim().strip_prefix(word)?)))?;
            let limit = rest.trim().parse::<f64>().ok().filter(|limit| limit.is_finite())?;
            Some(Self { operator, limit })
        };
        read().ok_or_else(|| format!("`{text}` is not a comparison: write, for instance, \"> 300\""))
    }
}

impl JsonSchema for Comparison {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Comparison".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^\\s*(>=|<=|==|!=|>|<)\\s*-?[0-9.]+([eE][-+]?[0-9]+)?\\s*$"})
    }
}

impl Comparison {
    fn holds(self, value: f64) -> bool {
        match self.operator {
            Operator::Above => value > self.limit,
            Operator::AtLeast => value >= self.limit,
            Operator::Below => value < self.limit,
            Operator::AtMost => value <= self.limit,
            #[expect(clippy::float_cmp, reason = "the operator asks for exactly this")]
            Operator::Equal => value == self.limit,
            #[expect(clippy::float_cmp, reason = "the operator asks for exactly this")]
            Operator::Unequal => value != self.limit,
        }
    }

    fn spell(self) -> String {
        let word = OPERATORS.iter().find(|(_, operator)| *operator == self.operator).map_or("", |(word, _)| word);
        format!("{word} {}", self.limit)
    }
}

impl Selection {
    pub(crate) fn validate(&self) -> Result<(), String> {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        if self.metric.is_empty() || !is_name(&self.metric) {
            return Err(format!("`{}` is not the name of a metric", self.metric));
        }
        Ok(())
    }

    pub(crate) fn called(&self) -> String {
        self.r#as.clone().unwrap_or_else(|| self.metric.clone())
    }

    pub(crate) fn means(&self, sample: &Sample<'_>) -> bool {
        sample.name == self.metric
            && self.labels.iter().all(|(name, value)| sample.label(name).unwrap_or_default() == value)
    }

    /// The labels that tell the selected series apart.
    pub(crate) fn free_labels(&self, sample: &Sample<'_>) -> String {
        sample.spell_labels(&self.labels.keys().map(String::as_str).collect::<Vec<_>>())
    }

    /// What is wrong with the series that were found: their labels, and the value that counts, once it is known.
    pub(crate) fn judge(&self, found: &[(String, Option<f64>)]) -> (Status, String) {
        let (name, least) = (self.called(), self.at_least.unwrap_or(1));
        if found.len() < least {
            return (Status::Critical, format!("{name}: {} series, expected at least {least}", found.len()));
        }
        for (status, comparison) in [(Status::Critical, self.critical), (Status::Warning, self.warning)] {
            let Some(comparison) = comparison else { continue };
            let wrong: Vec<_> =
                found.iter().filter(|(_, value)| value.is_some_and(|value| comparison.holds(value))).collect();
            if !wrong.is_empty() {
                let spelt = wrong
                    .iter()
                    .take(NAMED)
                    .map(|(labels, value)| spell(&name, labels, value.unwrap_or(f64::NAN), self.rate));
                let more = wrong.len().saturating_sub(NAMED);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                return (status, format!("{}{more} ({})", spelt.collect::<Vec<_>>().join(", "), comparison.spell()));
            }
        }
        match found {
            [(labels, Some(value))] => (Status::Ok, spell(&name, labels, *value, self.rate)),
            _ => (Status::Ok, format!("{name}: {} series", found.len())),
        }
    }
}

fn spell(name: &str, labels: &str, value: f64, rate: bool) -> String {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let unit = if rate { "/s" } else { "" };
    let rounded = (value * 1e3).round() / 1e3;
    format!("{name}{labels} is {rounded}{unit}")
}

/// How fast a counter grew; one that fell began anew.
pub(crate) fn rate(then: f64, now: f64, passed: Duration) -> Option<f64> {
    let grown = if now >= then { now - then } else { now };
    (passed > Duration::ZERO && grown.is_finite()).then(|| grown / passed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundsman_sdk::exposition::samples;

    const PAGE: &str = "up{job=\"a\",zone=\"1\"} 1\nup{job=\"b\",zone=\"1\"} 0\nup{job=\"c\",zone=\"2\"} 0\n";

    fn found(selection: &Selection) -> Vec<(String, Option<f64>)> {
        let of_page = samples(PAGE).filter(|sample| selection.means(sample)).collect::<Vec<_>>();
        of_page.iter().map(|sample| (selection.free_labels(sample), Some(sample.value))).collect()
    }

    #[test]
    fn verdicts() {
        for (json, expected) in [
            (r#"{"metric": "up"}"#, (Status::Ok, "up: 3 series")),
            (r#"{"metric": "up", "labels": {"job": "a"}}"#, (Status::Ok, "up{zone=\"1\"} is 1")),
            (
                r#"{"metric": "up", "warning": "< 1"}"#,
                (Status::Warning, "up{job=\"b\",zone=\"1\"} is 0, up{job=\"c\",zone=\"2\"} is 0 (< 1)"),
            ),
            (
                r#"{"metric": "up", "as": "down", "labels": {"zone": "1"}, "critical": "!= 1"}"#,
                (Status::Critical, "down{job=\"b\"} is 0 (!= 1)"),
            ),
            (r#"{"metric": "down"}"#, (Status::Critical, "down: 0 series, expected at least 1")),
            (r#"{"metric": "down", "atLeast": 0}"#, (Status::Ok, "down: 0 series")),
        ] {
            let selection: Selection = serde_json::from_str(json).unwrap();
            let (status, text) = selection.judge(&found(&selection));
            assert_eq!((status, text.as_str()), expected, "{json}");
        }
    }

    #[test]
    fn comparisons() {
        let read = |text: &str| Comparison::try_from(text.to_owned());
        for (text, value, holds) in [
            ("> 3", 3.0, false),
            (">=3", 3.0, true),
            (" < -1.5 ", -2.0, true),
            ("== 1e3", 1000.0, true),
            ("!= 0", f64::NAN, true),
            ("<= 3", f64::NAN, false),
        ] {
            assert_eq!(read(text).unwrap().holds(value), holds, "{text} {value}");
        }
        for text in ["", "3", "> ", "> inf", "=> 3"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        let seconds = Duration::from_secs;
        assert_eq!(rate(10.0, 30.0, seconds(10)), Some(2.0));
        assert_eq!(rate(30.0, 10.0, seconds(10)), Some(1.0), "it began anew");
        assert_eq!(rate(1.0, 2.0, seconds(0)), None);
        assert_eq!(rate(1.0, f64::INFINITY, seconds(1)), None);
    }
}
