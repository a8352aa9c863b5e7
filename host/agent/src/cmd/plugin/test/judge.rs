//! What of a run is not as a case expects it, in words: one line for each difference.

use std::collections::BTreeMap;

use roundsman_model::record::{Blame, Finding, Point, Value as Measured};
use roundsman_plugin::job::{Memory, Report};
use serde_json::Value as Json;

use super::expect::{End, Expect, FindingLike, PointLike, Words};

/// What of something reported is shown beside what was expected.
const MAX_SHOWN: usize = 4;

/// Everything that differs. `memory` is what the run was given.
pub(super) fn differences(expect: &Expect, report: &Report, memory: &Memory) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(end(expect, report));
    if let Some(words) = &expect.summary {
        wrong.extend(text("summary", words, &report.summary));
    }
    points(expect.points.as_deref(), &report.points, &mut wrong);
    findings(expect.findings.as_deref(), &report.findings, &mut wrong);
    state(&expect.state, memory, &report.memory_changes, &mut wrong);
    for words in &expect.log {
        if !report.story.log.iter().any(|line| words.fit(&line.text)) {
            let lines: Vec<&str> = report.story.log.iter().map(|line| line.text.as_str()).collect();
            wrong.push(format!(
                "log: no line is {words}; it says {}",
                some(lines.iter().map(|line| format!("`{line}`")))
            ));
        }
    }
    wrong
}

fn end(expect: &Expect, report: &Report) -> Option<String> {
    let found = match (&report.code, report.blame) {
        (None, _) | (Some(_), Blame::Target) => End::Status(report.status),
        (Some(code), _) => End::Fault(code.to_string()),
    };
    let expected = expect.end.as_ref()?;
    (*expected != found).then(|| format!("expected {expected}, found {found}: {}", report.summary))
}

fn text(what: &str, expected: &Words, found: &str) -> Option<String> {
    (!expected.fit(found)).then(|| format!("{what}: expected {expected}, found `{found}`"))
}

/// Each expected point is one of those that were reported, and no point is two of them.
fn points(expected: Option<&[PointLike]>, found: &[Point], wrong: &mut Vec<String>) {
    let Some(expected) = expected else { return };
    if expected.is_empty() && !found.is_empty() {
        wrong.push(format!("points: expected none, found {}", some(found.iter().map(shown))));
    }
    let mut left: Vec<&Point> = found.iter().collect();
    for like in expected {
        if let Some(place) = left.iter().position(|point| unlike(like, point).is_empty()) {
            left.remove(place);
            continue;
        }
        // The nearest one tells best what is wrong.
        let nearest =
            left.iter().filter(|point| point.series == like.series).min_by_key(|point| unlike(like, point).len());
        match nearest {
            Some(point) => wrong.push(format!("point {}: {}", like.series, unlike(like, point).join("; "))),
            None => {
                wrong.push(format!("point {}: there is none; found {}", like.series, some(found.iter().map(shown))))
            }
        }
    }
}

fn unlike(like: &PointLike, point: &Point) -> Vec<String> {
    let mut wrong = Vec::new();
    if like.series != point.series {
        wrong.push(format!("the series is {}", point.series));
    }
    for (name, wanted) in &like.fields {
        let found = point.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        if !wanted.fits(found) {
            let found = found.map_or_else(|| "nothing".to_owned(), measured);
            wrong.push(format!("{name}: expected {wanted}, found {found}"));
        }
    }
    for (name, value) in &like.tags {
        let found = point.tags.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        if found != Some(value) {
            let found = found.map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"));
            wrong.push(format!("tag {name}: expected `{value}`, found {found}"));
        }
    }
    wrong
}

fn findings(expected: Option<&[FindingLike]>, found: &[Finding], wrong: &mut Vec<String>) {
    let Some(expected) = expected else { return };
    let all = || some(found.iter().map(|own| format!("{} {}: {}", own.subject, own.status.as_str(), own.summary)));
    if expected.is_empty() && !found.is_empty() {
        wrong.push(format!("findings: expected none, found {}", all()));
    }
    for like in expected {
        let Some(own) = found.iter().find(|own| own.subject == like.subject) else {
            wrong.push(format!("finding {}: there is none; found {}", like.subject, all()));
            continue;
        };
        if let Some(status) = like.status.filter(|status| *status != own.status) {
            let (expected, found) = (status.as_str(), own.status.as_str());
            wrong.push(format!("finding {}: expected {expected}, found {found}: {}", like.subject, own.summary));
        }
        if let Some(words) = &like.summary {
            wrong.extend(text(&format!("finding {}", like.subject), words, &own.summary));
        }
    }
}

fn state(expected: &[(String, Json)], before: &Memory, changes: &[(String, Option<Vec<u8>>)], wrong: &mut Vec<String>) {
    let mut after: BTreeMap<&str, &[u8]> = before.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
    for (key, value) in changes {
        match value {
            Some(value) => after.insert(key, value),
            None => after.remove(key.as_str()),
        };
    }
    for (key, expected) in expected {
        let found = after.get(key.as_str()).copied();
        if !same(expected, found) {
            let found =
                found.map_or_else(|| "nothing".to_owned(), |bytes| format!("`{}`", String::from_utf8_lossy(bytes)));
            let expected = if expected.is_null() { "nothing".to_owned() } else { format!("`{}`", plain(expected)) };
            wrong.push(format!("state {key}: expected {expected}, found {found}"));
        }
    }
}

/// As text, or as the JSON that the SDK's `state::save` writes.
fn same(expected: &Json, found: Option<&[u8]>) -> bool {
    match found {
        None => expected.is_null(),
        Some(bytes) => {
            expected.as_str().is_some_and(|text| text.as_bytes() == bytes)
                || serde_json::from_slice::<Json>(bytes).is_ok_and(|found| found == *expected)
        }
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn measured(value: &Measured) -> String {
    match value {
        Measured::Real(real) => format!("{real:?}"),
        Measured::Integer(integer) => integer.to_string(),
        Measured::Boolean(boolean) => boolean.to_string(),
        Measured::Text(text) => format!("`{text}`"),
    }
}

fn shown(point: &Point) -> String {
    let tags: String = point.tags.iter().map(|(key, value)| format!(",{key}={value}")).collect();
    let fields: Vec<String> = point.fields.iter().map(|(key, value)| format!("{key}={}", measured(value))).collect();
    format!("{}{tags} {}", point.series, fields.join(" "))
}

/// The first few of them; nobody reads hundreds.
fn some(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    let more = all.len().saturating_sub(MAX_SHOWN);
    let text = all.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match (all.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (_, 0) => text,
        _ => format!("{text} and {more} more"),
    }
}
