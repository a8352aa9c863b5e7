//! Checks files: from the text that an operator wrote to checks that can run, or to everything that is wrong with it.
//!
//! - `check`: the keys of one check; of these `timing`: when it is due, `target`: targets and labels, `bounds`: thresholds,
//!   `allow`: grants, `json`: settings; `fill`: `${…}` in strings
//! - `discovery`, `selector`: targets that are found and `placement`, checked for form and refused for now
//! - `catalogue`: what holds over several files; `files`: the directory with last good versions behind it
//!
//! Absent by design: plugins. Whether a plugin exists and takes the settings is found out by the engine, which tells
//! it with `Configured::problem_at`.

pub(crate) mod allow;
mod bounds;
pub mod catalogue;
mod check;
mod discovery;
pub mod files;
pub mod fill;
pub(crate) mod json;
mod selector;
mod target;
mod timing;

#[cfg(test)]
mod holds;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use roundsman_model::check::Check;
use roundsman_model::depends;
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

    /// A problem of the dependency by which the check is part of a circle.
    pub(crate) fn circle_problem(&self, circle: &[CheckName]) -> Problem {
        let at = circle.iter().position(|name| *name == self.check.name).unwrap_or(0);
        let next = circle.get((at + 1) % circle.len().max(1)).unwrap_or(&self.check.name);
        let names: Vec<&str> = circle.iter().chain(circle.first()).map(CheckName::as_str).collect();
        let message = format!("these checks wait for each other in a circle: {}", names.join(" -> "));
        self.problem_at(&self.dependency(next), message).hint("take one of them out of `dependsOn`")
    }

    /// Whether a key stands in the check, or in the defaults that hold for it.
    pub(crate) fn writes(&self, key: &str) -> bool {
        self.own.get(key).or(self.defaults.as_ref().and_then(|defaults| defaults.get(key))).is_some()
    }

    /// A JSON pointer to a name in `dependsOn`.
    pub(crate) fn dependency(&self, name: &CheckName) -> String {
        let layers = [Some(&self.own), self.defaults.as_ref()].into_iter().flatten();
        let list = layers.filter_map(|layer| layer.get("dependsOn")).next().map(|node| &node.value);
        let is_name = |item: &Tree| matches!(&item.value, Kind::Scalar(scalar) if *scalar.text == *name.as_str());
        let at = match list {
            Some(Kind::List(items)) => items.iter().position(is_name),
            _ => None,
        };
        at.map_or_else(|| "/dependsOn".to_owned(), |at| format!("/dependsOn/{at}"))
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
    let (file, errors) = examine(file, text, node);
    if errors.is_empty() { Ok(file) } else { Err(errors.into_iter().chain(file.warnings).collect()) }
}

/// The same with the errors beside what could be read in spite of them. Only for who wants to say more of the checks.
pub fn examine(file: &Path, text: &[u8], node: &Node) -> (ChecksFile, Vec<Problem>) {
    let mut walk = Walk::default();
    let source = walk.file(file);
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
    (ChecksFile { path, checks, warnings }, errors)
}

fn read_document(root: &Tree, file: &Arc<Path>, node: &Node, walk: &mut Walk) -> Vec<Arc<Configured>> {
    let Some(mut document) = Fields::new(Value::new(root, ""), walk) else { return Vec::new() };
    let defaults = document.get("defaults", walk).filter(|value| check::read_defaults(value, node, walk));
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
    tell_circle(&checks, walk);
    let pairs: usize = checks.iter().map(|c| c.pairs()).sum();
    if pairs > MAX_PAIRS {
        let message = format!("{pairs} pairs of check and target are more than the {MAX_PAIRS} of one node");
        walk.note(root.place, "checks", message, None);
    }
    document.finish(walk);
    checks
}

/// Checks that wait for each other within one file; circles over several files are the catalogue's.
fn tell_circle(checks: &[Arc<Configured>], walk: &mut Walk) {
    let Some(circle) = depends::cycle(&graph(checks)) else { return };
    let last = checks.iter().rev().find(|configured| circle.contains(&configured.check.name));
    if let Some(last) = last {
        walk.push(last.circle_problem(&circle));
    }
}

/// `dependsOn` of all checks that have any.
pub(crate) fn graph<'a>(checks: impl IntoIterator<Item = &'a Arc<Configured>>) -> BTreeMap<CheckName, Vec<CheckName>> {
    let depending = checks.into_iter().map(|configured| &configured.check).filter(|check| !check.depends_on.is_empty());
    depending.map(|check| (check.name.clone(), check.depends_on.clone())).collect()
}

fn first_line(node: &Tree) -> u32 {
    match &node.value {
        Kind::Map(entries) => entries.first().map_or(node.place.line, |entry| entry.place.line),
        _ => node.place.line,
    }
}

fn tell_duplicates(checks: &[Arc<Configured>], items: &[Value<'_>], walk: &mut Walk) {
    let mut first: HashMap<&CheckName, &Configured> = HashMap::new();
    for configured in checks {
        let name = &configured.check.name;
        let earlier = *first.entry(name).or_insert(configured);
        if earlier.path != configured.path
            && let Some(value) = items.iter().find(|item| item.path == configured.path)
        {
            let place = value.inner("name").unwrap_or_else(|| value.clone());
            walk.error(&place, format!("two checks are named `{name}`: the first is in line {}", earlier.line));
        }
    }
}
