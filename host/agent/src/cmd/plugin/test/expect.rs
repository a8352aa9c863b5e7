//! Reads `expect:` of a case, and says whether a single value is as expected.

use std::fmt;

use regex_lite::Regex;
use roundsman_model::record::{Status, Value as Measured};
use serde_json::Value as Json;

use super::case::{MAX_TEXT, STATUS, texts};
use crate::checks::json::json;
use crate::config::read::{Fields, Value, Walk};

/// What a run shall come to. What a case does not say is not looked at.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) end: Option<End>,
    pub(super) summary: Option<Words>,
    pub(super) points: Option<Vec<PointLike>>,
    pub(super) findings: Option<Vec<FindingLike>>,
    /// Null: the key is not there.
    pub(super) state: Vec<(String, Json)>,
    pub(super) log: Vec<Words>,
}

/// How a run ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Status(Status),
    /// By a fault or a limit: its code.
    Fault(String),
}

/// A text: this one, one with a part, one of a form.
#[derive(Debug)]
pub(super) enum Words {
    Exactly(String),
    Contains(String),
    Matches(Regex),
}

/// A field's value: this one, one within bounds, a text.
#[derive(Debug)]
pub(super) enum Wanted {
    Exactly(Json),
    Within {
        min: Option<f64>,
        max: Option<f64>,
    },
    Text(Words),
    /// Not reported.
    Absent,
}

#[derive(Debug)]
pub(super) struct PointLike {
    pub(super) series: String,
    pub(super) fields: Vec<(String, Wanted)>,
    pub(super) tags: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct FindingLike {
    pub(super) subject: String,
    pub(super) status: Option<Status>,
    pub(super) summary: Option<Words>,
}

pub(super) fn expect(value: Value<'_>, walk: &mut Walk) -> Option<Expect> {
    let mut fields = Fields::new(value, walk)?;
    let status = fields.get("status", walk).and_then(|v| v.word(walk, &STATUS)).map(End::Status);
    let fault = fields.get("fault", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(|code| End::Fault(code.to_owned()));
    if status.is_some() == fault.is_some() {
        walk.error(fields.whole(), "`expect` says how the run ends: either `status: critical` or `fault: settings`");
    }
    let summary = fields.get("summary", walk).and_then(|v| words(&v, walk));
    let points = list(&mut fields, "points", walk, point);
    let findings = list(&mut fields, "findings", walk, finding);
    let state = fields.get("state", walk).map(|v| state(&v, walk)).unwrap_or_default();
    let log = list(&mut fields, "log", walk, |v, walk| words(&v, walk)).unwrap_or_default();
    fields.finish(walk);
    Some(Expect { end: status.or(fault), summary, points, findings, state, log })
}

fn list<'n, T>(
    fields: &mut Fields<'n>,
    key: &'static str,
    walk: &mut Walk,
    read: impl Fn(Value<'n>, &mut Walk) -> Option<T>,
) -> Option<Vec<T>> {
    let items = fields.get(key, walk)?.list(walk)?;
    Some(items.into_iter().filter_map(|item| read(item, walk)).collect())
}

fn words(value: &Value<'_>, walk: &mut Walk) -> Option<Words> {
    if value.node.get("contains").is_none() && value.node.get("matches").is_none() {
        return value.text(walk).map(|text| Words::Exactly(text.to_owned()));
    }
    let mut fields = Fields::new(value.clone(), walk)?;
    let part = fields.get("contains", walk).and_then(|v| v.text(walk)).map(|text| Words::Contains(text.to_owned()));
    let form = fields.get("matches", walk).and_then(|v| v.made(walk, Regex::new)).map(Words::Matches);
    fields.finish(walk);
    part.or(form)
}

fn point(value: Value<'_>, walk: &mut Walk) -> Option<PointLike> {
    let mut fields = Fields::new(value, walk)?;
    let series = fields.require("series", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let mut wanted_fields = Vec::new();
    if let Some(value) = fields.get("fields", walk) {
        for (entry, value) in value.entries(walk).unwrap_or_default() {
            wanted_fields.extend(wanted(&value, walk).map(|wanted| (entry.key.to_string(), wanted)));
        }
    }
    let tags = fields.get("tags", walk).and_then(|v| texts(&v, walk)).unwrap_or_default();
    fields.finish(walk);
    Some(PointLike { series: series?, fields: wanted_fields, tags })
}

fn wanted(value: &Value<'_>, walk: &mut Walk) -> Option<Wanted> {
    let has = |key: &str| value.node.get(key).is_some();
    if has("contains") || has("matches") {
        return words(value, walk).map(Wanted::Text);
    }
    if has("min") || has("max") {
        let mut fields = Fields::new(value.clone(), walk)?;
        let mut bound = |key, walk: &mut Walk| {
            let value = fields.get(key, walk)?;
            value.made(walk, |text| text.parse::<f64>().map_err(|_| "must be a number"))
        };
        let (min, max) = (bound("min", walk), bound("max", walk));
        fields.finish(walk);
        return Some(Wanted::Within { min, max });
    }
    match json(value, walk)? {
        Json::Null => Some(Wanted::Absent),
        Json::Array(_) | Json::Object(_) => {
            walk.error_hint(value, "a field has one value", "write it, or {min: 1, max: 2}, or {contains: …}");
            None
        }
        scalar => Some(Wanted::Exactly(scalar)),
    }
}

fn finding(value: Value<'_>, walk: &mut Walk) -> Option<FindingLike> {
    let mut fields = Fields::new(value, walk)?;
    let subject = fields.require("subject", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let status = fields.get("status", walk).and_then(|v| v.word(walk, &STATUS));
    let summary = fields.get("summary", walk).and_then(|v| words(&v, walk));
    fields.finish(walk);
    Some(FindingLike { subject: subject?, status, summary })
}

fn state(value: &Value<'_>, walk: &mut Walk) -> Vec<(String, Json)> {
    let entries = value.entries(walk).unwrap_or_default();
    entries.into_iter().filter_map(|(entry, value)| Some((entry.key.to_string(), json(&value, walk)?))).collect()
}

impl Words {
    pub(super) fn fit(&self, text: &str) -> bool {
        match self {
            Self::Exactly(own) => own == text,
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Matches(form) => form.is_match(text),
        }
    }
}

impl Wanted {
    /// Whether a field that was reported, or was not, is as wanted.
    pub(super) fn fits(&self, found: Option<&Measured>) -> bool {
        let Some(found) = found else { return matches!(self, Self::Absent) };
        match (self, found) {
            (Self::Absent, _) => false,
            (Self::Text(words), Measured::Text(text)) => words.fit(text),
            (Self::Within { min, max }, found) => number(found)
                .is_some_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)),
            (Self::Exactly(Json::Bool(own)), Measured::Boolean(found)) => own == found,
            (Self::Exactly(Json::String(own)), Measured::Text(found)) => own == found,
            (Self::Exactly(Json::Number(own)), found) => {
                own.as_f64().zip(number(found)).is_some_and(|(own, found)| nearly(own, found))
            }
            _ => false,
        }
    }
}

fn number(value: &Measured) -> Option<f64> {
    match value {
        Measured::Real(real) => Some(*real),
        Measured::Integer(integer) => Some(*integer as f64),
        Measured::Boolean(_) | Measured::Text(_) => None,
    }
}

/// Equal but for how numbers are written: 0.1 + 0.2 is 0.3 to whoever writes a case.
fn nearly(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Fault(code) => write!(f, "the fault `{code}`"),
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(text) => write!(f, "`{text}`"),
            Self::Contains(part) => write!(f, "something with `{part}`"),
            Self::Matches(form) => write!(f, "something like /{form}/"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(Json::String(text)) => write!(f, "`{text}`"),
            Self::Exactly(value) => write!(f, "{value}"),
            Self::Within { min: Some(min), max: Some(max) } => write!(f, "{min} to {max}"),
            Self::Within { min: Some(min), max: None } => write!(f, "at least {min}"),
            Self::Within { min: None, max } => write!(f, "at most {}", max.unwrap_or(f64::INFINITY)),
            Self::Text(words) => write!(f, "{words}"),
            Self::Absent => f.write_str("nothing"),
        }
    }
}
