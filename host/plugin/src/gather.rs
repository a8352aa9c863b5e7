//! What a run has reported so far, within its limits. Everything here comes from a guest and is hostile.

use std::collections::BTreeMap;
use std::time::Duration;

use roundsman_model::check::Limits;
use roundsman_model::name::{excerpt, is_series_name};
use roundsman_model::record::{Finding, Level, LogLine, Point, Status, Value};
use roundsman_probe::failure::code;

use crate::describe::Description;
use crate::job::Memory;
use crate::redaction::Redaction;

/// A summary is a sentence, not a report.
pub(crate) const MAX_SUMMARY: usize = 1 << 10;
/// Of a tag's value, a finding's subject, a key of the state.
const MAX_WORD: usize = 256;
const MAX_FAULT_CODE: usize = 64;
/// Fields and tags of one point.
const MAX_FIELDS: usize = 64;
const MAX_TAGS: usize = 16;
/// Enough to follow a run; a loop that logs does not fill the history.
const MAX_LOG_LINES: usize = 50;
const MAX_LOG_LINE: usize = 1 << 10;
/// State is for a cursor or a last value, not for a database.
const MAX_STATE_KEYS: usize = 64;
const MAX_STATE_BYTES: usize = 64 << 10;

/// Why a report was not taken: the code and message of a fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

fn invalid(message: String) -> Refused {
    Refused { code: "invalid", message }
}

fn secret_in(what: &str, secret: &str) -> Refused {
    Refused { code: code::SECRET, message: format!("{what} holds the secret `{secret}`: secrets are not kept") }
}

/// Reports of one run.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// Comes before every cut: what is left of a secret that was cut cannot be recognised any more.
    pub(crate) redaction: Redaction,
    reports_left: u32,
    bytes_left: u64,
    pub(crate) latency: Option<Duration>,
    pub(crate) points: Vec<Point>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) log: Vec<LogLine>,
    pub(crate) memory: BTreeMap<String, Option<Vec<u8>>>,
}

impl Gathered {
    pub(crate) fn new(limits: &Limits, redaction: Redaction) -> Self {
        Self {
            redaction,
            reports_left: limits.points,
            bytes_left: limits.output,
            latency: None,
            points: Vec::new(),
            findings: Vec::new(),
            log: Vec::new(),
            memory: BTreeMap::new(),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refused> {
        match self.bytes_left.checked_sub(bytes as u64) {
            Some(left) => {
                self.bytes_left = left;
                Ok(())
            }
            None => Err(Refused { code: "limit", message: "the run's limit `output` is used up".to_owned() }),
        }
    }

    fn count(&mut self) -> Result<(), Refused> {
        self.reports_left = self
            .reports_left
            .checked_sub(1)
            .ok_or_else(|| Refused { code: "limit", message: "the run's limit `points` is used up".to_owned() })?;
        Ok(())
    }

    /// Takes a point, as far as `described` declares it.
    pub(crate) fn point(
        &mut self,
        described: Option<&Description>,
        series: String,
        mut tags: Vec<(String, String)>,
        fields: Vec<(String, Value)>,
    ) -> Result<(), Refused> {
        self.count()?;
        if !is_series_name(&series) {
            return Err(invalid(format!("`{}` is not a name for a series: a-z, 0-9 and _", excerpt(&series))));
        }
        if fields.is_empty() || fields.len() > MAX_FIELDS || tags.len() > MAX_TAGS {
            return Err(invalid(format!(
                "a point of `{series}` has {} fields and {} tags: 1 to {MAX_FIELDS} and at most {MAX_TAGS} are taken",
                fields.len(),
                tags.len()
            )));
        }
        let fields = match described {
            None => fields,
            Some(described) => described.fit(&series, &tags, fields).map_err(invalid)?,
        };
        let mut fields: Vec<_> = fields.into_iter().filter(|(_, value)| is_finite(value)).collect();
        self.conceal(&series, &mut tags, &mut fields)?;
        tags.sort();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        let mut names = tags.iter().map(|t| &t.0).chain(fields.iter().map(|f| &f.0));
        if let Some(bad) = names.find(|name| !is_series_name(name)) {
            return Err(invalid(format!("`{}` of series `{series}` is not a name: a-z, 0-9 and _", excerpt(bad))));
        }
        if twice(tags.iter().map(|t| &t.0)) || twice(fields.iter().map(|f| &f.0)) {
            return Err(invalid(format!("a point of `{series}` names a tag or field twice")));
        }
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 8 };
        let size = tags.iter().map(|t| t.0.len() + t.1.len()).sum::<usize>()
            + fields.iter().map(|f| f.0.len() + text(&f.1)).sum::<usize>();
        self.charge(series.len() + size)?;
        if !fields.is_empty() {
            self.points.push(Point { series, tags, fields });
        }
        Ok(())
    }

    /// Cleans and cuts the texts of a point, without secrets. A name cannot be said with a part of it taken out.
    fn conceal(
        &self,
        series: &str,
        tags: &mut [(String, String)],
        fields: &mut [(String, Value)],
    ) -> Result<(), Refused> {
        let names = tags.iter().map(|t| t.0.as_str()).chain(fields.iter().map(|f| f.0.as_str()));
        for name in names.chain([series]) {
            if let Some(secret) = self.redaction.find(name.as_bytes()) {
                return Err(secret_in("a name of a point", &secret));
            }
        }
        for (_, value) in tags {
            *value = self.redaction.clean(value, MAX_WORD);
        }
        for (_, value) in fields {
            if let Value::Text(text) = value {
                *text = self.redaction.clean(text, MAX_SUMMARY);
            }
        }
        Ok(())
    }

    pub(crate) fn finding(&mut self, subject: &str, status: Status, summary: &str) -> Result<(), Refused> {
        self.count()?;
        let (subject, summary) = (self.redaction.clean(subject, MAX_WORD), self.redaction.clean(summary, MAX_SUMMARY));
        if subject.is_empty() {
            return Err(invalid("a finding needs a subject".to_owned()));
        }
        self.charge(subject.len() + summary.len())?;
        self.findings.push(Finding { subject, status, summary });
        Ok(())
    }

    /// Keeps a line, or drops it when there are too many: logging never fails.
    pub(crate) fn log(&mut self, level: Level, text: &str) {
        if self.log.len() == MAX_LOG_LINES {
            return;
        }
        let text = self.redaction.clean(text, MAX_LOG_LINE);
        if self.charge(text.len()).is_ok() {
            self.log.push(LogLine { level, text });
        }
    }

    /// What `state.get` answers: what this run wrote, else what was there before.
    pub(crate) fn recall(&self, before: &Memory, key: &str) -> Option<Vec<u8>> {
        match self.memory.get(key) {
            Some(written) => written.clone(),
            None => before.get(key).cloned(),
        }
    }

    pub(crate) fn remember(&mut self, before: &Memory, key: String, value: Option<Vec<u8>>) -> Result<(), Refused> {
        if key.is_empty() || key.len() > MAX_WORD {
            return Err(invalid(format!("a key of the state has 1 to {MAX_WORD} bytes")));
        }
        if value.is_none() && !before.contains_key(&key) {
            // Nothing to delete but what this run wrote: no trace of it may pile up.
            self.memory.remove(&key);
            return Ok(());
        }
        let written = [Some(key.as_bytes()), value.as_deref()];
        if let Some(secret) = written.into_iter().flatten().find_map(|bytes| self.redaction.find(bytes)) {
            return Err(secret_in("what was to be remembered", &secret));
        }
        let old = self.memory.insert(key.clone(), value);
        let untouched = before.iter().filter(|(key, _)| !self.memory.contains_key(*key));
        let written = self.memory.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let (keys, bytes) =
            untouched.chain(written).fold((0, 0), |(n, size), (key, value)| (n + 1, size + key.len() + value.len()));
        if keys > MAX_STATE_KEYS || bytes > MAX_STATE_BYTES {
            match old {
                Some(old) => self.memory.insert(key, old),
                None => self.memory.remove(&key),
            };
            let message =
                format!("the state of a check and target holds {MAX_STATE_KEYS} keys and {MAX_STATE_BYTES} bytes");
            return Err(Refused { code: "limit", message });
        }
        Ok(())
    }
}

fn is_finite(value: &Value) -> bool {
    !matches!(value, Value::Real(real) if !real.is_finite())
}

fn twice<'a>(sorted: impl Iterator<Item = &'a String>) -> bool {
    let mut last = None;
    sorted.into_iter().any(|name| last.replace(name) == Some(name))
}

/// A text without control characters, so that it can be shown on any terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_direction(*c)).collect()
}

/// Marks that turn the direction of text: they make a line read as another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line, printable, at most `most` bytes, cut at a character.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let c = if c == '\n' || c == '\t' || c == '\r' { ' ' } else { c };
        if c.is_control() || is_direction(c) {
            continue;
        }
        if line.len() + c.len_utf8() > most {
            break;
        }
        line.push(c);
    }
    line.truncate(line.trim_end().len());
    line
}

/// The code of a fault: one short word.
pub(crate) fn clean_code(code: &str) -> String {
    let word: String = code
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
        .take(MAX_FAULT_CODE)
        .collect();
    if word.is_empty() { "fault".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(points: u32, output: u64) -> Gathered {
        Gathered::new(&Limits { points, output, ..Limits::default() }, Redaction::default())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn real(name: &str, value: f64) -> (String, Value) {
        (name.to_owned(), Value::Real(value))
    }

    #[test]
    fn points() {
        for (series, tags, fields, want) in [
            ("http", vec![], vec![real("ms", 1.0)], None),
            ("http", vec![], vec![real("ms", f64::NAN)], None),
            ("Http", vec![], vec![real("ms", 1.0)], Some("`Http` is not a name for a series")),
            ("a,b=c 1", vec![], vec![real("ms", 1.0)], Some("is not a name for a series")),
            ("http", vec![], vec![], Some("0 fields")),
            ("http", vec![("a b", "c")], vec![real("ms", 1.0)], Some("`a b` of series")),
            ("http", vec![("a", "1"), ("a", "2")], vec![real("ms", 1.0)], Some("twice")),
            ("http", vec![], vec![real("ms", 1.0), real("ms", 2.0)], Some("twice")),
        ] {
            let got = gathered(9, 1000).point(None, series.to_owned(), pairs(&tags), fields);
            match want {
                None => assert_eq!(got, Ok(())),
                Some(text) => assert!(got.as_ref().unwrap_err().message.contains(text), "{got:?}"),
            }
        }
    }

    #[test]
    fn a_point_without_finite_fields_is_no_point() {
        let mut gathered = gathered(9, 1000);
        gathered.point(None, "s".to_owned(), vec![], vec![real("x", f64::INFINITY)]).unwrap();
        assert!(gathered.points.is_empty());
    }

    #[test]
    fn limits_end_reports() {
        let mut few = gathered(2, 1000);
        assert_eq!(few.finding("a", Status::Ok, ""), Ok(()));
        assert_eq!(few.point(None, "s".to_owned(), vec![], vec![real("x", 1.0)]), Ok(()));
        assert_eq!(few.finding("b", Status::Ok, "").unwrap_err().code, "limit");
        let mut small = gathered(100, 10);
        assert_eq!(small.finding("subject", Status::Ok, "too long").unwrap_err().code, "limit");
        small.log(Level::Info, "short");
        small.log(Level::Info, "much too long");
        assert_eq!(small.log.len(), 1);
    }

    #[test]
    fn state_is_bounded_and_seen_at_once() {
        let before = Memory::from([("old".to_owned(), vec![1])]);
        let mut gathered = gathered(1, 1);
        assert_eq!(gathered.recall(&before, "old"), Some(vec![1]));
        gathered.remember(&before, "old".to_owned(), None).unwrap();
        assert_eq!(gathered.recall(&before, "old"), None);
        gathered.remember(&before, "new".to_owned(), Some(vec![2])).unwrap();
        gathered.remember(&before, "never".to_owned(), None).unwrap();
        assert_eq!(gathered.memory.keys().collect::<Vec<_>>(), ["new", "old"], "a deletion of nothing is nothing");
        let refused = gathered.remember(&before, "new".to_owned(), Some(vec![0; MAX_STATE_BYTES]));
        assert_eq!(refused.unwrap_err().code, "limit");
        assert_eq!(gathered.recall(&before, "new"), Some(vec![2]), "what was there stays");
        for n in 0..MAX_STATE_KEYS - 1 {
            gathered.remember(&before, n.to_string(), Some(vec![])).unwrap();
        }
        assert!(gathered.remember(&before, "one too many".to_owned(), Some(vec![])).is_err());
    }

    #[test]
    fn texts_become_clean() {
        assert_eq!(clean("a\nb\u{1b}[0m\u{202e}c\0 ", 99), "a b[0mc");
        assert_eq!(clean("äöü", 5), "äö");
        assert_eq!(clean_code("De ni\ned-1"), "enied-1");
        assert_eq!(clean_code("ÄÖ"), "fault");
    }
}
