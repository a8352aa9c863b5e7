//! Checks files: from the text that an operator wrote to checks that can run, or to everything that is wrong with it.
//!
//! - `check`: the keys of one check; `target`: targets and labels; `fill`: `${…}` in strings
//! - `catalogue`: what holds over several files; `files`: the directory with last good versions behind it
//!
//! Absent by design: plugins. Whether a plugin exists and takes the settings is found out by the engine, which tells
//! it with `Configured::problem_at`.

pub mod catalogue;
mod check;
pub mod files;
pub mod fill;
mod target;

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use roundsman_model::check::Check;
use roundsman_model::name::CheckName;

use crate::config::read::{Fields, Value, Walk, format_size};
use crate::config::yaml::{Node as Tree, Place, Tree as Kind};
use crate::config::{MAX_FILE, Node};
use crate::problem::Problem;

/// What one node carries: with a run each second for all of them, the rate that the schedule promises.
pub const MAX_PAIRS: usize = 10_000;

/// A check and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    pub check: Arc<Check>,
    pub file: Arc<Path>,
    /// Of the check's first key.
    pub line: u32,
    /// Its place in the document, for instance `checks[2]`.
    path: String,
    own: Arc<Tree>,
    defaults: Option<Arc<Tree>>,
}

/// A checks file without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct ChecksFile {
    pub path: Arc<Path>,
    /// In the order in which they were written.
    pub checks: Vec<Arc<Configured>>,
    /// What will hardly do what was meant.
    pub warnings: Vec<Problem>,
}

impl Configured {
    /// A problem that was found later, at the line that it is about: `pointer` is a JSON pointer into the check as it
    /// was written, for instance `/plugin`, `/settings/expect/status`, `/allow/network/0`. Where nothing is written
    /// at that place, the nearest place above it is told.
    pub fn problem_at(&self, pointer: &str, message: impl Into<String>) -> Problem {
        let first = pointer.split('/').nth(1).unwrap_or_default();
        let root = match &self.defaults {
            Some(defaults) if self.own.get(first).is_none() && defaults.get(first).is_some() => defaults,
            _ => &self.own,
        };
        let place = root.nearest(pointer).place;
        let path = format!("{}{}", self.path, pointer.replace('/', "."));
        Problem::error(&*self.file, message).at(place.line, place.column).in_path(path)
    }

    /// How many (check, target) pairs it makes.
    pub fn pairs(&self) -> usize {
        self.check.targets.len().max(1)
    }
}

impl ChecksFile {
    /// The check of a name.
    pub fn get(&self, name: &CheckName) -> Option<&Arc<Configured>> {
        self.checks.iter().find(|c| c.check.name == *name)
    }

    /// How many (check, target) pairs it makes.
    pub fn pairs(&self) -> usize {
        self.checks.iter().map(|c| c.pairs()).sum()
    }
}

/// Reads a checks file; with one error it is refused whole, and all its problems are told at once.
pub fn parse(file: &Path, text: &[u8], node: &Node) -> Result<ChecksFile, Vec<Problem>> {
    let mut walk = Walk::default();
    let source = walk.source(file);
    let start = Place { source, line: 0, column: 0 };
    let path: Arc<Path> = file.into();
    let mut checks = Vec::new();
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE {
        let message = format!("the file is larger than {}", format_size(MAX_FILE));
        walk.note(start, "", message, Some("spread the checks over several files".to_owned()));
    } else if let Some(root) = walk.parse(source, text).filter(|root| !root.is_null()) {
        checks = read_document(&root, &path, node, &mut walk);
    }
    let (errors, warnings) = walk.finish();
    if errors.is_empty() {
        Ok(ChecksFile { path, checks, warnings })
    } else {
        Err(errors.into_iter().chain(warnings).collect())
    }
}

fn read_document(root: &Tree, file: &Arc<Path>, node: &Node, walk: &mut Walk) -> Vec<Arc<Configured>> {
    let Some(mut document) = Fields::new(Value::new(root, ""), walk) else { return Vec::new() };
    let defaults = document.get("defaults", walk).filter(|value| check::read_defaults(value, walk));
    let kept = defaults.as_ref().map(|value| Arc::new(value.node.clone()));
    let items = document.require("checks", walk).and_then(|value| value.list(walk)).unwrap_or_default();
    let mut checks = Vec::new();
    for item in &items {
        let Some(fields) = Fields::new(item.clone(), walk) else { continue };
        if let Some(check) = check::read(fields.with_defaults(defaults.clone()), node, walk) {
            let (check, own, defaults) = (Arc::new(check), Arc::new(item.node.clone()), kept.clone());
            let (file, line, path) = (file.clone(), first_line(item.node), item.path.clone());
            checks.push(Arc::new(Configured { check, file, line, path, own, defaults }));
        }
    }
    tell_duplicates(&checks, &items, walk);
    let pairs: usize = checks.iter().map(|c| c.pairs()).sum();
    if pairs > MAX_PAIRS {
        let message = format!("{pairs} pairs of check and target are more than the {MAX_PAIRS} of one node");
        walk.note(root.place, "checks", message, None);
    }
    document.finish(walk);
    checks
}

fn first_line(node: &Tree) -> u32 {
    match &node.value {
        Kind::Map(entries) => entries.first().map_or(node.place.line, |entry| entry.place.line),
        _ => node.place.line,
    }
}

fn tell_duplicates(checks: &[Arc<Configured>], items: &[Value<'_>], walk: &mut Walk) {
    let mut first: HashMap<&CheckName, u32> = HashMap::new();
    for configured in checks {
        let name = &configured.check.name;
        let earlier = *first.entry(name).or_insert(configured.line);
        if earlier != configured.line
            && let Some(value) = items.iter().find(|item| item.path == configured.path)
        {
            let place = value.inner("name").unwrap_or_else(|| value.clone());
            walk.error(&place, format!("two checks are named `{name}`: the first is in line {earlier}"));
        }
    }
}
