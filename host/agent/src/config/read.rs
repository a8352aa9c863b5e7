//! Typed reading of a located tree: every fault is noted with its place, and reading goes on.
//!
//! A reader returns `None` after it has noted what is wrong; callers put a harmless value in its place, because a
//! document with an error is refused whole in the end. So everything that is wrong is told at once.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roundsman_model::name::excerpt;
use roundsman_model::units::{format_duration, parse_duration, parse_size};

use crate::config::nearest::nearest;
use crate::config::yaml::{self, Entry, Fault, Node, Place, Resolved, Tree};
use crate::problem::Problem;

/// Problems of one document beyond which nobody reads on.
const MAX_PROBLEMS: usize = 100;

/// A value and where in the document it stands.
#[derive(Debug, Clone)]
pub struct Value<'n> {
    pub node: &'n Node,
    /// For instance `checks[2].timeout`.
    pub path: String,
}

/// The sources that are read together, and what was found wrong in them.
#[derive(Debug, Default)]
pub struct Walk {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

/// Where something was written.
#[derive(Debug)]
struct Source {
    /// A path, or what stands in for one: `$ROUNDSMAN_HTTP__LISTEN`.
    name: PathBuf,
    is_file: bool,
}

/// A mapping of which keys are taken one by one; what nobody takes is unknown.
#[derive(Debug)]
pub struct Fields<'n> {
    own: Value<'n>,
    defaults: Option<Value<'n>>,
    known: Vec<&'static str>,
}

impl Walk {
    /// Names a file whose places will be told.
    pub fn file(&mut self, path: impl Into<PathBuf>) -> u16 {
        self.add(Source { name: path.into(), is_file: true })
    }

    /// Names what stands in for a file: a variable, a flag.
    pub fn source(&mut self, name: impl Into<PathBuf>) -> u16 {
        self.add(Source { name: name.into(), is_file: false })
    }

    fn add(&mut self, source: Source) -> u16 {
        self.sources.push(source);
        u16::try_from(self.sources.len() - 1).unwrap_or(u16::MAX)
    }

    /// A path as it is meant: in a file it begins at the file's folder, elsewhere at the working directory.
    pub fn resolve(&self, value: &Value<'_>, path: &str) -> PathBuf {
        let source = self.sources.get(usize::from(value.node.place.source)).filter(|source| source.is_file);
        match source.and_then(|source| source.name.parent()) {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    /// Reads a text; `None` when it is no tree.
    pub fn parse(&mut self, source: u16, text: &[u8]) -> Option<Node> {
        yaml::parse(text, source).map_err(|faults| faults.into_iter().for_each(|fault| self.fault(fault))).ok()
    }

    fn fault(&mut self, fault: Fault) {
        self.note(fault.place, "", fault.message, fault.hint);
    }

    /// Notes that a value is wrong.
    pub fn error(&mut self, value: &Value<'_>, message: impl Into<String>) {
        self.note(value.node.place, &value.path, message.into(), None);
    }

    /// Notes that a value is wrong, and the way out.
    pub fn error_hint(&mut self, value: &Value<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.note(value.node.place, &value.path, message.into(), Some(hint.into()));
    }

    /// Takes over what was found wrong elsewhere.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes something at a place.
    pub fn note(&mut self, place: Place, path: &str, message: String, hint: Option<String>) {
        let problem = self.problem(place, path, message);
        self.problems.push(Problem { hint, ..problem });
    }

    /// Notes that a value will hardly do what was meant.
    pub fn warn(&mut self, value: &Value<'_>, message: impl Into<String>) {
        let problem = self.problem(value.node.place, &value.path, message.into()).warning();
        self.problems.push(problem);
    }

    fn problem(&self, place: Place, path: &str, message: String) -> Problem {
        let file = self.sources.get(usize::from(place.source)).map_or(Path::new(""), |source| &source.name);
        Problem::error(file, message).at(place.line, place.column).in_path(path)
    }

    /// Everything that was noted, in the order of the sources: errors and warnings. What is wrong in `defaults:` is
    /// found by every check that uses it, and told once.
    pub fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort();
        self.problems.dedup();
        let (errors, warnings): (Vec<_>, Vec<_>) = self.problems.into_iter().partition(Problem::is_error);
        (limited(errors), limited(warnings))
    }
}

fn limited(mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.len() > MAX_PROBLEMS {
        let more = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        if let Some(last) = problems.last() {
            problems
                .push(Problem { severity: last.severity, ..Problem::error(&*last.file, format!("and {more} more")) });
        }
    }
    problems
}

impl<'n> Value<'n> {
    /// A value at a place of the document.
    pub fn new(node: &'n Node, path: impl Into<String>) -> Self {
        Self { node, path: path.into() }
    }

    /// The last part of the path in quotes: what messages call the value.
    pub fn label(&self) -> String {
        match self.path.rsplit('.').next() {
            None | Some("") => "the file".to_owned(),
            Some(key) => format!("`{key}`"),
        }
    }

    /// The value of a key of a mapping that has been looked at already.
    pub fn inner(&self, key: &str) -> Option<Value<'n>> {
        self.node.get(key).map(|node| Value::new(node, join(&self.path, key)))
    }

    /// Text as it was written; a number or truth value without quotes is text too.
    pub fn text(&self, walk: &mut Walk) -> Option<&'n str> {
        match &self.node.value {
            Tree::Scalar(scalar) if scalar.resolve() != Resolved::Null => Some(&scalar.text),
            _ => self.wrong(walk, "text"),
        }
    }

    /// One line of text of a bounded length.
    pub fn line(&self, walk: &mut Walk, max_bytes: usize) -> Option<&'n str> {
        let text = self.text(walk)?;
        let label = self.label();
        if text.len() > max_bytes {
            walk.error(self, format!("{label} is longer than {max_bytes} bytes"));
            return None;
        }
        if text.chars().any(char::is_control) {
            walk.error(self, format!("{label} must be one line without control characters"));
            return None;
        }
        Some(text)
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&self, walk: &mut Walk, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(walk)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("{} cannot be `{}`: write one of {}", self.label(), excerpt(text), all.join(", "));
            walk.note(
                self.node.place,
                &self.path,
                message,
                nearest(text, &all).map(|w| format!("did you mean `{w}`?")),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// Whatever a constructor makes of the text; its error is the message.
    pub fn made<T, E: Display>(&self, walk: &mut Walk, make: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(walk)?;
        make(text).map_err(|error| walk.error(self, format!("{}: {error}", self.label()))).ok()
    }

    /// A duration within a range.
    pub fn duration(&self, walk: &mut Walk, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.made(walk, parse_duration)?;
        self.ranged(walk, value, range, |d| format_duration(*d))
    }

    /// A number of bytes within a range.
    pub fn size(&self, walk: &mut Walk, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.made(walk, parse_size)?;
        self.ranged(walk, value, range, |size| format_size(*size))
    }

    /// A whole number within a range.
    pub fn integer(&self, walk: &mut Walk, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match &self.node.value {
            Tree::Scalar(scalar) => scalar.text.parse::<i128>().ok(),
            _ => None,
        };
        let Some(number) = number else { return self.wrong(walk, "a whole number") };
        let wide = i128::from(*range.start())..=i128::from(*range.end());
        u32::try_from(self.ranged(walk, number, wide, i128::to_string)?).ok()
    }

    /// A whole number of percent within a range: `10%`.
    pub fn percent(&self, walk: &mut Walk, range: RangeInclusive<u8>) -> Option<u8> {
        let number = match &self.node.value {
            Tree::Scalar(scalar) => scalar.text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok()),
            Tree::List(_) | Tree::Map(_) => None,
        };
        let Some(number) = number else { return self.wrong(walk, "a whole number of percent, for instance 10%") };
        let wide = i64::from(*range.start())..=i64::from(*range.end());
        u8::try_from(self.ranged(walk, number, wide, |number| format!("{number}%"))?).ok()
    }

    /// `true` or `false`.
    pub fn boolean(&self, walk: &mut Walk) -> Option<bool> {
        match &self.node.value {
            Tree::Scalar(scalar) => match scalar.resolve() {
                Resolved::Boolean(value) => Some(value),
                _ => self.wrong(walk, "true or false"),
            },
            _ => self.wrong(walk, "true or false"),
        }
    }

    /// The items of a list.
    pub fn list(&self, walk: &mut Walk) -> Option<Vec<Value<'n>>> {
        match &self.node.value {
            Tree::List(items) => {
                let item = |(i, node)| Value::new(node, format!("{}[{i}]", self.path));
                Some(items.iter().enumerate().map(item).collect())
            }
            _ => self.wrong(walk, "a list"),
        }
    }

    /// The keys and values of a mapping whose keys the operator chooses.
    pub fn entries(&self, walk: &mut Walk) -> Option<Vec<(&'n Entry, Value<'n>)>> {
        match &self.node.value {
            Tree::Map(entries) => {
                let pair = |entry: &'n Entry| (entry, Value::new(&entry.value, join(&self.path, &entry.key)));
                Some(entries.iter().map(pair).collect())
            }
            _ => self.wrong(walk, "a mapping (key: value)"),
        }
    }

    fn ranged<T: PartialOrd>(
        &self,
        walk: &mut Walk,
        value: T,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(range.start()), show(range.end()));
        walk.error(self, format!("{} must be from {least} to {most}, not {}", self.label(), show(&value)));
        None
    }

    fn wrong<T>(&self, walk: &mut Walk, expected: &str) -> Option<T> {
        let found = match &self.node.value {
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a mapping".to_owned(),
            Tree::Scalar(scalar) if self.node.is_null() || scalar.text.is_empty() => "empty".to_owned(),
            Tree::Scalar(scalar) => format!("`{}`", excerpt(&scalar.text)),
        };
        walk.error(self, format!("{} must be {expected}, not {found}", self.label()));
        None
    }
}

impl<'n> Fields<'n> {
    /// Begins to read a mapping; `None` when it is something else.
    pub fn new(value: Value<'n>, walk: &mut Walk) -> Option<Self> {
        match &value.node.value {
            Tree::Map(_) => Some(Self { own: value, defaults: None, known: Vec::new() }),
            _ => value.wrong(walk, "a mapping (key: value)"),
        }
    }

    /// The same mapping with another one behind it that answers for keys that this one does not hold.
    pub fn with_defaults(self, defaults: Option<Value<'n>>) -> Self {
        Self { defaults, ..self }
    }

    /// The mapping itself, for faults that concern it as a whole.
    pub fn whole(&self) -> &Value<'n> {
        &self.own
    }

    /// Takes a key. A key that stands there without a value is a fault: it is hardly what was meant.
    pub fn get(&mut self, key: &'static str, walk: &mut Walk) -> Option<Value<'n>> {
        self.know(key);
        let value = self.peek(key)?;
        if value.node.is_null() {
            walk.error_hint(&value, format!("{} has no value", value.label()), "write one, or leave the key out");
            return None;
        }
        Some(value)
    }

    /// Takes a key that has a meaning only under a condition; without it the key is known and passed over.
    pub fn get_if(&mut self, meant: bool, key: &'static str, walk: &mut Walk) -> Option<Value<'n>> {
        self.know(key);
        if meant { self.get(key, walk) } else { None }
    }

    /// A key of this mapping and the same key of the defaults, the defaults first.
    pub fn both(&mut self, key: &'static str) -> Vec<Value<'n>> {
        self.know(key);
        let layers = [self.defaults.as_ref().and_then(|d| d.inner(key)), self.own.inner(key)];
        layers.into_iter().flatten().collect()
    }

    fn know(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    /// Whether this mapping itself, not the defaults, holds one of the keys.
    pub fn writes(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.own.node.get(key).is_some())
    }

    /// A key of this mapping or its defaults, whatever stands there; it stays to be taken.
    pub fn peek(&self, key: &str) -> Option<Value<'n>> {
        self.own.inner(key).or_else(|| self.defaults.as_ref()?.inner(key))
    }

    /// Takes a key of this mapping itself, whatever the defaults say.
    pub fn own(&mut self, key: &'static str) -> Option<Value<'n>> {
        self.know(key);
        self.own.inner(key)
    }

    /// Takes keys that stand for one another: where this mapping holds one of them, the defaults of the others are
    /// not meant.
    pub fn one_of<const N: usize>(&mut self, keys: [&'static str; N], walk: &mut Walk) -> [Option<Value<'n>>; N] {
        let chosen = self.writes(&keys);
        keys.map(|key| {
            let meant = !chosen || self.writes(&[key]);
            self.know(key);
            if meant { self.get(key, walk) } else { None }
        })
    }

    /// Takes a key that means nothing beside the others: written here it is a fault, in the defaults it is not meant.
    pub fn refuse(&mut self, key: &'static str, why: &str, walk: &mut Walk) {
        if let Some(value) = self.own(key) {
            walk.error_hint(&value, format!("{} {why}", value.label()), "leave the key out");
        }
    }

    /// Takes a key that has to be there.
    pub fn require(&mut self, key: &'static str, walk: &mut Walk) -> Option<Value<'n>> {
        if self.peek(key).is_none() {
            let label = self.own.label();
            walk.error(&self.own, format!("{label} needs the key `{key}`"));
        }
        self.get(key, walk)
    }

    /// Notes every key that nobody took.
    pub fn finish(self, walk: &mut Walk) {
        let Tree::Map(entries) = &self.own.node.value else { return };
        for entry in entries.iter().filter(|entry| !self.known.contains(&&*entry.key)) {
            let hint = match nearest(&entry.key, &self.known) {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let message = format!("unknown key `{}`", excerpt(&entry.key));
            walk.note(entry.place, &join(&self.own.path, &entry.key), message, Some(hint));
        }
    }
}

/// The path of a key inside a mapping.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A number of bytes as operators write it: `64Mi`, `1000`.
pub fn format_size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    match units.into_iter().find(|(scale, _)| bytes >= *scale && bytes.is_multiple_of(*scale)) {
        Some((scale, unit)) => format!("{}{unit}", bytes / scale),
        None => bytes.to_string(),
    }
}
