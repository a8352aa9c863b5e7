//! One expectation, and whether a value meets it.

use roundsman_sdk::{Fault, Severity};
use schemars::JsonSchema;
use serde::Deserialize;

/// A parameter and what it should be: one of `value`, `oneOf`, or `min` and `max`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Expected {
    /// With dots: `net.ipv4.ip_forward`.
    pub(crate) name: String,
    /// Exactly this; runs of blanks count as one.
    value: Option<String>,
    /// One of these.
    one_of: Vec<String>,
    /// A number not below this.
    min: Option<f64>,
    /// A number not above this.
    max: Option<f64>,
    /// What it is when it is not as expected.
    pub(crate) status: Severity,
}

impl Expected {
    pub(crate) fn validate(&self, n: usize) -> Result<(), Fault> {
        let wrong = |message: &str| Err(Fault::settings(format!("`expect[{n}]`: {message}")));
        if self.name.is_empty() {
            return wrong("name is missing");
        }
        let ways = [self.value.is_some(), !self.one_of.is_empty(), self.min.is_some() || self.max.is_some()];
        match ways.into_iter().filter(|way| *way).count() {
            0 => return wrong(&format!("say what {} should be: value, oneOf, min or max", self.name)),
            1 => {}
            _ => return wrong("value, oneOf, and min or max exclude each other"),
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return wrong("min must not be above max");
        }
        Ok(())
    }

    /// What was expected, if the value is something else.
    pub(crate) fn judge(&self, value: &str) -> Option<String> {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(expected) = &self.value {
            return (plain(value) != plain(expected)).then(|| expected.clone());
        }
        if !self.one_of.is_empty() {
            let met = self.one_of.iter().any(|expected| plain(value) == plain(expected));
            return (!met).then(|| format!("one of {}", self.one_of.join(", ")));
        }
        let wish = match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => return None,
        };
        let met = value
            .trim()
            .parse::<f64>()
            .is_ok_and(|number| self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max));
        (!met).then_some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let exactly = |value: &str| Expected { value: Some(value.to_owned()), ..Expected::default() };
        let range = |min, max| Expected { min, max, ..Expected::default() };
        let one_of = Expected { one_of: vec!["cubic".to_owned(), "bbr".to_owned()], ..Expected::default() };
        for (expected, value, wish) in [
            (exactly("1"), "1", None),
            (exactly("1"), "0", Some("1")),
            (exactly("4096 87380 6291456"), "4096\t87380\t6291456", None),
            (range(Some(10.0), None), "9", Some("at least 10")),
            (range(Some(10.0), None), "10", None),
            (range(None, Some(3.5)), "4", Some("at most 3.5")),
            (range(Some(1.0), Some(2.0)), "x", Some("1 to 2")),
            (range(Some(1.0), Some(2.0)), "2", None),
        ] {
            assert_eq!(expected.judge(value).as_deref(), wish, "{expected:?} {value}");
        }
        assert_eq!(one_of.judge("bbr"), None);
        assert_eq!(one_of.judge("reno").as_deref(), Some("one of cubic, bbr"));
    }
}
