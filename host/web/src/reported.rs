//! What a pushed result reports beside its status, by the rules that hold for plugins: names, sizes, numbers.

use std::collections::BTreeMap;

use roundsman_model::name::{RESERVED_SERIES, excerpt, is_series_name};
use roundsman_model::record::{Finding, Point, Status, Value};
use serde::Deserialize;

use crate::error::Refusal;
use crate::text::clean;
use crate::view;

// The bounds of what plugins report (`roundsman_plugin::gather`).

/// A summary is a sentence, not a report.
pub(crate) const MAX_SUMMARY: usize = 1 << 10;
/// Of a tag's value and a finding's subject.
const MAX_WORD: usize = 256;
/// Of one point.
const MAX_FIELDS: usize = 64;
const MAX_TAGS: usize = 16;
/// Tags that the agent sets itself.
const HOST_TAGS: [&str; 5] = ["check", "cluster", "host", "plugin", "target"];

/// A point as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointForm {
    series: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, serde_json::Value>,
}

/// A finding as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindingForm {
    subject: String,
    status: serde_json::Value,
    #[serde(default)]
    summary: String,
}

/// What one result reports, within the limits of its check.
#[derive(Debug)]
pub(crate) struct Reported<'a> {
    check: &'a view::Check,
    plugins: &'a [view::Plugin],
    left: u32,
    bytes_left: u64,
    pub(crate) points: Vec<Point>,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Reported<'a> {
    pub(crate) fn new(check: &'a view::Check, plugins: &'a [view::Plugin]) -> Self {
        let (left, bytes_left) = (check.limits.points, check.limits.output.0);
        Self { check, plugins, left, bytes_left, points: Vec::new(), findings: Vec::new() }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = |name: &str| {
            let hint = format!("send less, or raise `limits: {{{name}: …}}` of the check");
            Refusal::bad(format!("the check's limit `{name}` is used up"), hint)
        };
        self.left = self.left.checked_sub(1).ok_or_else(|| limit("points"))?;
        self.bytes_left = self.bytes_left.checked_sub(bytes as u64).ok_or_else(|| limit("output"))?;
        Ok(())
    }

    /// Takes a point. Every number becomes a real: JSON does not tell 3 from 3.0, and a field that changes its type is
    /// refused by InfluxDB for ever.
    pub(crate) fn point(&mut self, form: PointForm) -> Result<(), Refusal> {
        let PointForm { series, tags, fields } = form;
        self.names(&series, &tags, &fields)?;
        let tags: Vec<(String, String)> =
            tags.into_iter().map(|(name, value)| (name, clean(&value, MAX_WORD))).collect();
        let mut taken = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let value = value_of(&value).ok_or_else(|| {
                let error = format!("the field `{name}` of series `{series}` is no number, text or boolean");
                Refusal::bad(error, "leave out what is not known")
            })?;
            taken.push((name, value));
        }
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 8 };
        let size = tags.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + taken.iter().map(|(name, value)| name.len() + text(value)).sum::<usize>();
        self.charge(series.len() + size)?;
        self.points.push(Point { series, tags, fields: taken });
        Ok(())
    }

    fn names(
        &self,
        series: &str,
        tags: &BTreeMap<String, String>,
        fields: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(), Refusal> {
        let names = || tags.keys().chain(fields.keys()).map(String::as_str);
        if let Some(bad) = [series].into_iter().chain(names()).find(|name| !is_series_name(name)) {
            let error = format!("`{}` is not a name for a series, tag or field", excerpt(bad));
            return Err(Refusal::bad(error, "write 1 to 63 of a-z, 0-9 and _, beginning with a letter"));
        }
        let owner = self.plugins.iter().find(|plugin| declares(plugin, series)).map(|plugin| &*plugin.name);
        if let Some(owner) = owner.or(RESERVED_SERIES.contains(&series).then_some("roundsman itself")) {
            let hint = format!("choose a name of your own, for instance {}_{series}", series_of(&self.check.name));
            return Err(Refusal::bad(format!("the series `{series}` belongs to {owner}"), hint));
        }
        let taken = |name: &&str| HOST_TAGS.contains(name) || self.check.labels.contains_key(*name);
        if let Some(taken) = names().find(taken) {
            let error = format!("`{taken}` of series `{series}` is a tag that every point of this check has already");
            return Err(Refusal::bad(error, "leave it out, or choose another name"));
        }
        if let Some(twice) = tags.keys().find(|name| fields.contains_key(*name)) {
            let error = format!("`{twice}` of series `{series}` is a tag and a field");
            return Err(Refusal::bad(error, "one of them needs another name"));
        }
        if fields.is_empty() || fields.len() > MAX_FIELDS || tags.len() > MAX_TAGS {
            let error = format!("a point of `{series}` has {} fields and {} tags", fields.len(), tags.len());
            return Err(Refusal::bad(error, format!("1 to {MAX_FIELDS} fields and at most {MAX_TAGS} tags are taken")));
        }
        Ok(())
    }

    pub(crate) fn finding(
        &mut self,
        form: FindingForm,
        status: &dyn Fn(&serde_json::Value) -> Result<Status, Refusal>,
    ) -> Result<(), Refusal> {
        let (subject, summary) = (clean(&form.subject, MAX_WORD), clean(&form.summary, MAX_SUMMARY));
        if subject.is_empty() {
            return Err(Refusal::bad("a finding has no subject", "say what it is about"));
        }
        self.charge(subject.len() + summary.len())?;
        self.findings.push(Finding { subject, status: status(&form.status)?, summary });
        Ok(())
    }
}

/// Whether a plugin declares a series: its fields have types, and points from elsewhere would break them.
fn declares(plugin: &view::Plugin, series: &str) -> bool {
    let declared = plugin.describe.as_ref().and_then(|describe| describe.get("series")?.as_array());
    declared.is_some_and(|list| list.iter().any(|known| known.get("name").is_some_and(|name| name == series)))
}

/// The name of a check as the beginning of a series' name.
fn series_of(check: &str) -> String {
    check.replace('-', "_")
}

fn value_of(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Number(number) => number.as_f64().filter(|real| real.is_finite()).map(Value::Real),
        serde_json::Value::Bool(boolean) => Some(Value::Boolean(*boolean)),
        serde_json::Value::String(text) => Some(Value::Text(clean(text, MAX_SUMMARY))),
        _ => None,
    }
}
