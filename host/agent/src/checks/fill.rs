//! `${node.name}`, `${target.labels.x}` …: filling in what differs from node to node and from target to target.
//!
//! Filled in once, by value: what a label holds is never looked through for further variables. `$${` stands for the
//! characters `${` themselves.

use std::borrow::Cow;

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
    /// None: the check looks at the node itself.
    pub target: Option<&'a Target>,
    /// Whether `${target.address}` may be used: not in the address itself.
    pub address: bool,
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
    let scope = Scope { node, target: target.as_ref(), address: true };
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
    let address = fill(&target.address, Scope { node, target: Some(target), address: false })?.as_ref().into();
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

impl Scope<'_> {
    fn value(&self, variable: &str) -> Result<String, FillError> {
        let found = match variable.split_once('.') {
            Some(("node", key)) => self.of_node(key)?,
            Some(("target", key)) => match self.target {
                Some(target) => self.of_target(target, key),
                None => return Err(FillError::NoTarget { variable: excerpt(variable) }),
            },
            _ => None,
        };
        found.ok_or_else(|| FillError::Unknown { variable: excerpt(variable), known: self.known() })
    }

    fn of_node(&self, key: &str) -> Result<Option<String>, FillError> {
        Ok(match (key, key.strip_prefix("labels.")) {
            ("name", _) => Some(self.node.name.clone()),
            ("ip", _) => Some(self.node.ip.ok_or(FillError::NoAddress)?.to_string()),
            (_, Some(label)) => self.node.labels.get(label).cloned(),
            _ => None,
        })
    }

    fn of_target(&self, target: &Target, key: &str) -> Option<String> {
        match (key, key.strip_prefix("labels.")) {
            ("name", _) => Some(target.name.to_string()),
            ("address", _) if self.address => Some(target.address.to_string()),
            (_, Some(label)) => target.labels.get(label).cloned(),
            _ => None,
        }
    }

    fn known(&self) -> Vec<String> {
        let mut known = vec!["node.name".to_owned(), "node.ip".to_owned()];
        known.extend(self.node.labels.keys().map(|key| format!("node.labels.{key}")));
        if let Some(target) = self.target {
            known.push("target.name".to_owned());
            known.extend(self.address.then(|| "target.address".to_owned()));
            known.extend(target.labels.keys().map(|key| format!("target.labels.{key}")));
        }
        known
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
    if targets.is_empty() {
        filled.push(None);
    }
    for string in strings {
        let Tree::Scalar(scalar) = &string.node.value else { continue };
        let scope = |target| Scope { node, target, address: true };
        let fault = filled.iter().find_map(|target| fill(&scalar.text, scope(target.as_ref())).err());
        if let Some(error) = fault {
            note(string, &error, walk);
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
    use std::collections::BTreeMap;

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
        let scope = Scope { node: &node, target: Some(&target), address: true };
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
        let none = Scope { target: None, ..scope };
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
                "${target.address}",
                Scope { address: false, ..scope },
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
