//! `${node.name}`, `${target.labels.x}` …: filling in what differs from node to node and from target to target.
//!
//! Filled in once, by value: what a label holds is never looked through for further variables. `$${` stands for the
//! characters `${` themselves. Settings, `allow` and the addresses of targets are filled in for each target when the
//! check is made ready; labels, `owner` and `runbook` belong to the whole check and are filled in when it is read, with
//! what is known of the node alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use roundsman_model::check::Check;
use roundsman_model::grants::Allow;
use roundsman_model::name::excerpt;
use roundsman_model::target::Target;
use serde_json::{Map, Value as Json};

use crate::checks::check::Written;
use crate::config::Node;
use crate::config::nearest::nearest;
use crate::config::read::{Value, Walk};
use crate::config::yaml::Tree;

/// What a variable may name at a place.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub node: &'a Node,
    pub target: About<'a>,
}

/// Which target a string is about.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    /// The whole check, so that the target cannot be named.
    Check,
    /// The check has no targets: it looks at the node itself.
    Node,
    /// The target whose address the string is: its address cannot be named.
    Address(&'a Target),
    Target(&'a Target),
}

/// Why a string cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("`${{{variable}}}` is not known here; known: {}", known.join(", "))]
    Unknown { variable: String, known: Vec<String> },
    #[error("`${{` is never closed by a `}}`; write `$${{` for the characters themselves")]
    Open,
    #[error("`${{{variable}}}` has nothing to stand for: this check looks at the node itself and has no targets")]
    NoTarget { variable: String },
    #[error(
        "`${{{variable}}}` differs from target to target, and this belongs to the whole check: only `${{node.…}}` here"
    )]
    WholeCheck { variable: String },
    #[error("`${{node.ip}}` is not known: set `node: {{ip: …}}` or ROUNDSMAN_NODE__IP")]
    NoAddress,
}

/// What one (check, target) runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    pub target: Option<Target>,
    pub settings: Map<String, Json>,
    pub allow: Allow,
}

/// Fills in one string.
pub fn fill<'t>(text: &'t str, scope: Scope<'_>) -> Result<Cow<'t, str>, FillError> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let escaped = rest[..at].ends_with('$');
        if escaped {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let (variable, tail) = rest[at + 2..].split_once('}').ok_or(FillError::Open)?;
        filled.push_str(&scope.value(variable)?);
        rest = tail;
    }
    filled.push_str(rest);
    Ok(Cow::Owned(filled))
}

/// Fills in everything of a check for one of its targets. What `parse` accepted for this node cannot fail.
pub fn fill_check(check: &Check, target: Option<&Target>, node: &Node) -> Result<Filled, FillError> {
    let target = target.map(|target| fill_target(target, node)).transpose()?;
    let scope = Scope { node, target: About::of(target.as_ref()) };
    let words = |words: &[String]| -> Result<Vec<String>, FillError> {
        words.iter().map(|word| fill(word, scope).map(Cow::into_owned)).collect()
    };
    let mut settings = Json::Object(check.settings.clone());
    fill_json(&mut settings, scope)?;
    let settings = match settings {
        Json::Object(map) => map,
        _ => Map::new(),
    };
    let allow = Allow {
        network: words(&check.allow.network)?,
        files: words(&check.allow.files)?,
        system: words(&check.allow.system)?,
        secrets: words(&check.allow.secrets)?,
        commands: words(&check.allow.commands)?,
        kubernetes: words(&check.allow.kubernetes)?,
    };
    Ok(Filled { settings, allow, target })
}

fn fill_target(target: &Target, node: &Node) -> Result<Target, FillError> {
    let address = fill(&target.address, Scope { node, target: About::Address(target) })?.as_ref().into();
    Ok(Target { address, ..target.clone() })
}

fn fill_json(value: &mut Json, scope: Scope<'_>) -> Result<(), FillError> {
    match value {
        Json::String(text) => {
            if let Cow::Owned(filled) = fill(text, scope)? {
                *text = filled;
            }
            Ok(())
        }
        Json::Array(items) => items.iter_mut().try_for_each(|item| fill_json(item, scope)),
        Json::Object(map) => map.values_mut().try_for_each(|inner| fill_json(inner, scope)),
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
    }
}

impl<'a> About<'a> {
    fn of(target: Option<&'a Target>) -> Self {
        target.map_or(Self::Node, Self::Target)
    }
}

impl Scope<'_> {
    fn value(&self, variable: &str) -> Result<String, FillError> {
        let named = || excerpt(variable);
        let found = match variable.split_once('.') {
            Some(("node", key)) => self.of_node(key)?,
            Some(("target", key)) => match self.target {
                About::Check => return Err(FillError::WholeCheck { variable: named() }),
                About::Node => return Err(FillError::NoTarget { variable: named() }),
                About::Address(_) if key == "address" => None,
                About::Address(target) | About::Target(target) => of_target(target, key),
            },
            _ => None,
        };
        found.ok_or_else(|| FillError::Unknown { variable: named(), known: self.known() })
    }

    fn of_node(&self, key: &str) -> Result<Option<String>, FillError> {
        Ok(match (key, key.strip_prefix("labels.")) {
            ("name", _) => Some(self.node.name.clone()),
            ("ip", _) => Some(self.node.ip.ok_or(FillError::NoAddress)?.to_string()),
            (_, Some(label)) => self.node.labels.get(label).cloned(),
            _ => None,
        })
    }

    fn known(&self) -> Vec<String> {
        let mut known = vec!["node.name".to_owned(), "node.ip".to_owned()];
        known.extend(self.node.labels.keys().map(|key| format!("node.labels.{key}")));
        if let About::Address(target) | About::Target(target) = self.target {
            known.push("target.name".to_owned());
            known.extend(matches!(self.target, About::Target(_)).then(|| "target.address".to_owned()));
            known.extend(target.labels.keys().map(|key| format!("target.labels.{key}")));
        }
        known
    }
}

fn of_target(target: &Target, key: &str) -> Option<String> {
    match (key, key.strip_prefix("labels.")) {
        ("name", _) => Some(target.name.to_string()),
        ("address", _) => Some(target.address.to_string()),
        (_, Some(label)) => target.labels.get(label).cloned(),
        _ => None,
    }
}

/// Fills in a string of the whole check, of at most so many bytes in the end; what is wrong is noted.
pub(super) fn of_node(value: &Value<'_>, text: &str, node: &Node, max: usize, walk: &mut Walk) -> Option<String> {
    match fill(text, Scope { node, target: About::Check }) {
        Ok(filled) if filled.len() > max => {
            walk.error(value, format!("{} is longer than {max} bytes once it is filled in", value.label()));
            None
        }
        Ok(filled) => Some(filled.into_owned()),
        Err(error) => {
            note(value, &error, walk);
            None
        }
    }
}

/// Notes every string that cannot be filled in: addresses for their own target, the others for every target.
pub(super) fn check_strings(strings: &[Value<'_>], targets: &[Written<'_>], node: &Node, walk: &mut Walk) {
    let mut filled = Vec::new();
    for written in targets {
        match fill_target(&written.target, node) {
            Ok(target) => filled.push(Some(target)),
            Err(error) => note(&written.address, &error, walk),
        }
    }
    if filled.len() == targets.len() {
        tell_same_addresses(&filled, targets, walk);
    }
    if targets.is_empty() {
        filled.push(None);
    }
    for string in strings {
        let Tree::Scalar(scalar) = &string.node.value else { continue };
        let scope = |target| Scope { node, target: About::of(target) };
        let fault = filled.iter().find_map(|target| fill(&scalar.text, scope(target.as_ref())).err());
        if let Some(error) = fault {
            note(string, &error, walk);
        }
    }
}

/// Two names for one address look twice at the same thing, unless labels make a difference between them.
fn tell_same_addresses(filled: &[Option<Target>], written: &[Written<'_>], walk: &mut Walk) {
    let mut first: HashMap<(&str, &BTreeMap<String, String>), &str> = HashMap::new();
    for (target, written) in filled.iter().flatten().zip(written) {
        if let Some(other) = first.insert((&target.address, &target.labels), &target.name) {
            let names = format!("targets `{}` and `{}`", excerpt(other), excerpt(&target.name));
            walk.warn(&written.address, format!("{names} have the same address: it is looked at twice"));
        }
    }
}

fn note(value: &Value<'_>, error: &FillError, walk: &mut Walk) {
    if let FillError::Unknown { variable, known } = error {
        let words: Vec<&str> = known.iter().map(String::as_str).collect();
        if let Some(word) = nearest(variable, &words) {
            return walk.error_hint(value, error.to_string(), format!("did you mean `${{{word}}}`?"));
        }
    }
    walk.error(value, error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let node = Node {
            name: "node-a".to_owned(),
            ip: Some("10.0.0.7".parse().unwrap()),
            labels: label("kubernetes.io/zone", "${node.name}"),
            ..Node::default()
        };
        let target = Target { name: "eu".into(), address: "https://eu".into(), labels: label("region", "west") };
        let scope = Scope { node: &node, target: About::Target(&target) };
        for (text, expected) in [
            ("plain $5 {x}", "plain $5 {x}"),
            ("", ""),
            ("${node.name}", "node-a"),
            ("a-${node.name}-${node.ip}-b", "a-node-a-10.0.0.7-b"),
            ("${node.labels.kubernetes.io/zone}", "${node.name}"),
            ("${target.name}/${target.address}/${target.labels.region}", "eu/https://eu/west"),
            ("$${node.name}", "${node.name}"),
            ("$$${node.name}", "$${node.name}"),
            ("$${x ${node.name}", "${x node-a"),
            ("ä${node.name}ü", "änode-aü"),
        ] {
            assert_eq!(fill(text, scope).unwrap(), expected, "{text:?}");
        }
        let none = Scope { target: About::Node, ..scope };
        for (text, scope, expected) in [
            (
                "${node.nam}",
                none,
                "`${node.nam}` is not known here; known: node.name, node.ip, node.labels.kubernetes.io/zone",
            ),
            ("${}", none, "`${}` is not known here; known: node.name, node.ip, node.labels.kubernetes.io/zone"),
            ("x ${node.name", none, "`${` is never closed by a `}`; write `$${` for the characters themselves"),
            (
                "${target.name}",
                none,
                "`${target.name}` has nothing to stand for: this check looks at the node itself and has no targets",
            ),
            (
                "${target.name}",
                Scope { target: About::Check, ..scope },
                "`${target.name}` differs from target to target, and this belongs to the whole check: only `${node.…}` here",
            ),
            (
                "${target.address}",
                Scope { target: About::Address(&target), ..scope },
                "`${target.address}` is not known here; known: node.name, node.ip, node.labels.kubernetes.io/zone, \
                 target.name, target.labels.region",
            ),
        ] {
            assert_eq!(fill(text, scope).unwrap_err().to_string(), expected, "{text:?}");
        }
        let unknown = Node { ip: None, ..node.clone() };
        let error = fill("${node.ip}", Scope { node: &unknown, ..scope }).unwrap_err();
        assert_eq!(error, FillError::NoAddress);
    }
}
