//! The environment and `--set` flags, laid over the tree of the configuration file.
//!
//! `ROUNDSMAN_HTTP__LISTEN` is `http.listen`, `ROUNDSMAN_PATHS__PLUGINS` is `paths.plugins`; letters in any case match
//! the camelCase keys. What is a list or a mapping is written as YAML: `ROUNDSMAN_INFLUX='[{name: main, …}]'`.

use std::ffi::OsString;

use roundsman_model::name::excerpt;

use crate::config::nearest::nearest;
use crate::config::read::Walk;
use crate::config::yaml::{Entry, Node, Place, Tree};

/// Before every variable that is meant for the agent.
const PREFIX: &str = "ROUNDSMAN_";

/// Variables of the command line, and those that Kubernetes sets in every pod beside a Service named `roundsman`.
const NOT_OURS: [&str; 6] = ["CONFIG", "ADDR", "OUTPUT", "TOKEN_FILE", "PORT", "SERVICE_HOST"];
const NOT_OURS_PREFIXES: [&str; 2] = ["PORT_", "SERVICE_PORT"];

/// What may stand at a place of the configuration.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Taken as it is.
    Scalar,
    /// Written as YAML, whole.
    Structure,
    Section(&'static [(&'static str, Shape)]),
    /// Keys that the operator chooses; a variable's letters become small ones.
    Open(&'static Shape),
}

use Shape::{Open, Scalar, Section, Structure};

/// Every key that can be named from outside. A test holds it against the readers of the sections.
const ROOT: Shape = Section(&[
    (
        "node",
        Section(&[("name", Scalar), ("cluster", Scalar), ("zone", Scalar), ("ip", Scalar), ("labels", Open(&Scalar))]),
    ),
    ("paths", Section(&[("plugins", Scalar), ("checks", Scalar), ("state", Scalar)])),
    ("http", Section(&[("listen", Scalar), ("public", Structure), ("hosts", Structure), ("tokenFile", Scalar)])),
    ("influx", Structure),
    ("store", Section(&[("maxSize", Scalar), ("maxAge", Scalar), ("transitionsMaxAge", Scalar)])),
    ("secrets", Open(&Section(&[("file", Scalar), ("directory", Scalar), ("destinations", Structure)]))),
    ("limits", Section(&[("runs", Scalar), ("memory", Scalar)])),
    ("trust", Section(&[("require", Scalar), ("keys", Structure), ("digests", Structure), ("plugins", Structure)])),
    ("log", Section(&[("level", Scalar), ("format", Scalar)])),
    ("shutdown", Section(&[("grace", Scalar)])),
    ("uplink", Section(&[("anchors", Structure)])),
    ("selfCheck", Section(&[("enabled", Scalar)])),
    (
        "supervision",
        Section(&[
            ("failures", Scalar),
            ("window", Scalar),
            ("backoff", Scalar),
            ("maxBackoff", Scalar),
            ("quarantineAfter", Scalar),
        ]),
    ),
    ("peers", Structure),
    ("kubernetes", Structure),
]);

/// Lays the variables over the tree, in the order of their names: a whole section before its keys.
pub(super) fn environment(root: &mut Node, walk: &mut Walk, variables: impl IntoIterator<Item = (OsString, OsString)>) {
    let ours = |(name, value): (OsString, OsString)| Some((name.to_str()?.strip_prefix(PREFIX)?.to_owned(), value));
    let mut variables: Vec<(String, OsString)> = variables.into_iter().filter_map(ours).collect();
    variables.retain(|(name, _)| {
        !NOT_OURS.contains(&name.as_str()) && !NOT_OURS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    variables.sort();
    for (name, value) in variables {
        let place = here(walk, format!("${PREFIX}{name}"));
        let Some(value) = value.to_str() else {
            walk.note(place, "", "the value is not UTF-8".to_owned(), None);
            continue;
        };
        match descend(name.split("__"), |segment, key| key.to_ascii_uppercase() == segment, str::to_lowercase) {
            Ok((path, shape)) => lay(root, walk, place, &path, shape, value),
            Err(known) => {
                let variable = |keys: &[String]| format!("{PREFIX}{}", keys.join("__").to_uppercase());
                unknown(
                    walk,
                    place,
                    &format!("{PREFIX}{name}"),
                    "no key of the configuration is set by",
                    &known,
                    variable,
                );
            }
        }
    }
}

/// Lays `key.key=value` over the tree, in the order given.
pub(super) fn settings<S: AsRef<str>>(root: &mut Node, walk: &mut Walk, settings: &[S]) {
    for setting in settings {
        let setting = setting.as_ref();
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let place = here(walk, format!("--set {}", excerpt(name)));
        if !setting.contains('=') {
            let message = format!("`{}` is not key=value", excerpt(setting));
            walk.note(place, "", message, Some("write for instance http.listen=127.0.0.1:9640".to_owned()));
            continue;
        }
        match descend(name.split('.'), |segment, key| key == segment, str::to_owned) {
            Ok((path, shape)) => lay(root, walk, place, &path, shape, value),
            Err(known) => unknown(walk, place, name, "unknown key", &known, |keys| keys.join(".")),
        }
    }
}

fn here(walk: &mut Walk, source: String) -> Place {
    Place { source: walk.source(source), line: 0, column: 0 }
}

/// Notes a name that leads nowhere: what is nearest to it of all names, else what is known where it went astray.
fn unknown(
    walk: &mut Walk,
    place: Place,
    name: &str,
    what: &str,
    known: &[Vec<String>],
    written: impl Fn(&[String]) -> String,
) {
    let all: Vec<String> = every_path().iter().map(|path| written(path)).collect();
    let hint = match nearest(name, &all.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known: {}", known.iter().map(|path| written(path)).collect::<Vec<_>>().join(", ")),
    };
    walk.note(place, "", format!("{what} `{}`", excerpt(name)), Some(hint));
}

/// Sections and their keys, as far as the operator does not choose them.
fn every_path() -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (section, keys) in every_key() {
        paths.push(vec![section.to_owned()]);
        paths.extend(keys.into_iter().map(|key| vec![section.to_owned(), key.to_owned()]));
    }
    paths
}

/// The keys of every section.
pub(super) fn every_key() -> Vec<(&'static str, Vec<&'static str>)> {
    let Section(sections) = ROOT else { return Vec::new() };
    let keys = |shape: &Shape| match shape {
        Section(keys) => keys.iter().map(|(key, _)| *key).collect(),
        _ => Vec::new(),
    };
    sections.iter().map(|(section, shape)| (*section, keys(shape))).collect()
}

/// Follows the parts of a name through the shape; the paths known at the place where it fails are the error.
fn descend<'a>(
    parts: impl Iterator<Item = &'a str>,
    same: impl Fn(&str, &str) -> bool,
    open: impl Fn(&str) -> String,
) -> Result<(Vec<String>, Shape), Vec<Vec<String>>> {
    let mut path: Vec<String> = Vec::new();
    let mut shape = ROOT;
    for part in parts {
        let with = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
        let (key, inner) = match shape {
            Section(keys) => match keys.iter().find(|(key, _)| same(part, key)) {
                Some((key, inner)) => ((*key).to_owned(), *inner),
                None => return Err(keys.iter().map(|(key, _)| with(key)).collect()),
            },
            Open(inner) if !part.is_empty() => (open(part), *inner),
            Scalar | Structure | Open(_) => return Err(vec![path]),
        };
        path.push(key);
        shape = inner;
    }
    Ok((path, shape))
}

fn lay(root: &mut Node, walk: &mut Walk, place: Place, path: &[String], shape: Shape, value: &str) {
    let node = match shape {
        Scalar => Node::text(place, value),
        Structure | Section(_) | Open(_) => match walk.parse(place.source, value.as_bytes()) {
            Some(node) => node,
            None => return,
        },
    };
    put(root, place, path, node);
}

/// Puts a node at a path, making the mappings on the way.
fn put(at: &mut Node, place: Place, path: &[String], node: Node) {
    let Some((first, rest)) = path.split_first() else {
        *at = node;
        return;
    };
    if !matches!(at.value, Tree::Map(_)) {
        *at = Node::empty_map(place);
    }
    let Tree::Map(entries) = &mut at.value else { return };
    let index = entries.iter().position(|entry| *entry.key == **first).unwrap_or_else(|| {
        entries.push(Entry { key: first.as_str().into(), place, value: Node::empty_map(place) });
        entries.len() - 1
    });
    put(&mut entries[index].value, place, rest, node);
}
