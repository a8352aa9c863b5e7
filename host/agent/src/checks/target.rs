//! What a check looks at: targets, and the labels of checks and targets.

use std::collections::{BTreeMap, HashMap};

use roundsman_model::name::{excerpt, is_series_name};
use roundsman_model::target::Target;

use crate::checks::check::Written;
use crate::checks::{discovery, fill};
use crate::config::Node;
use crate::config::read::{Fields, Value, Walk};

/// More labels make more series than anybody looks at.
pub(super) const MAX_LABELS: usize = 16;
/// Tag values are cut there.
const MAX_LABEL_VALUE: usize = 256;
/// The tags of every measurement.
const HOST_TAGS: [&str; 5] = ["cluster", "host", "check", "plugin", "target"];
/// The longest DNS name.
const MAX_TARGET_NAME: usize = 253;
const MAX_ADDRESS: usize = 2_048;

/// Reads `target:` or `targets:`; without either the check looks at the node itself.
pub(super) fn targets<'n>(fields: &mut Fields<'n>, node: &Node, walk: &mut Walk) -> Vec<Written<'n>> {
    let [short, list] = fields.one_of(["target", "targets"], walk);
    if let (Some(_), Some(list)) = (&short, &list) {
        walk.error(list, "a check has either `target` or `targets`, not both");
    }
    if let Some(value) = short {
        return short_form(value, walk).into_iter().collect();
    }
    let Some(list) = list else { return Vec::new() };
    let items = list.list(walk).unwrap_or_default();
    if items.is_empty() {
        walk.error(&list, "`targets` lists nothing: leave the key out to check the node itself");
    }
    let mut first: HashMap<Box<str>, u32> = HashMap::new();
    let mut targets = Vec::new();
    for item in items {
        let Some(written) = target(&item, node, walk) else { continue };
        let line = item.inner("name").unwrap_or_else(|| item.clone()).node.place.line;
        if let Some(earlier) = first.insert((*written.target.name).into(), line) {
            let name = excerpt(&written.target.name);
            let place = item.inner("name").unwrap_or(item);
            walk.error(&place, format!("two targets are named `{name}`: the first is in line {earlier}"));
        }
        targets.push(written);
    }
    targets
}

fn target<'n>(item: &Value<'n>, node: &Node, walk: &mut Walk) -> Option<Written<'n>> {
    let mut fields = Fields::new(item.clone(), walk)?;
    let found = discovery::found(&mut fields, walk);
    let labels = fields.get("labels", walk).map(|v| labels(&v, node, walk)).unwrap_or_default();
    if found {
        fields.finish(walk);
        return None;
    }
    let name = fields.require("name", walk).and_then(|v| v.made(walk, target_name));
    let address = fields.require("address", walk).and_then(|v| Some((address(&v, walk)?, v)));
    fields.finish(walk);
    let (address, value) = address?;
    Some(Written { target: Target { name: name?.into(), address: address.into(), labels }, address: value })
}

/// `target: https://eu.shop.example/path`: the host and port are the name, so that nothing secret becomes a tag.
fn short_form<'n>(value: Value<'n>, walk: &mut Walk) -> Option<Written<'n>> {
    const LONG: &str = "write targets: [{name: …, address: …}]";
    let text = address(&value, walk)?;
    if text.contains("${") {
        walk.error_hint(&value, "`target` with `${…}` has no name of its own", LONG);
        return None;
    }
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = if text.contains("://") { rest.find(['/', '?', '#']).unwrap_or(rest.len()) } else { rest.len() };
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    match target_name(host) {
        Ok(name) => {
            let target = Target { name: name.into(), address: text.into(), labels: BTreeMap::new() };
            Some(Written { target, address: value })
        }
        Err(reason) => {
            walk.error_hint(&value, format!("`target` gives no name: {reason}"), LONG);
            None
        }
    }
}

fn address<'n>(value: &Value<'n>, walk: &mut Walk) -> Option<&'n str> {
    let text = value.line(walk, MAX_ADDRESS)?;
    if text.is_empty() || text.contains(char::is_whitespace) {
        walk.error(value, format!("{} must be an address without spaces", value.label()));
        return None;
    }
    Some(text)
}

/// A target's name is a tag value, a part of addresses of the API and a word on the command line.
fn target_name(text: &str) -> Result<String, String> {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '\\' | ',' | '=' | '$' | '`');
    if !text.is_empty() && text.len() <= MAX_TARGET_NAME && !text.contains(forbidden) {
        return Ok(text.to_owned());
    }
    let word = excerpt(text);
    Err(format!("`{word}` must be 1 to {MAX_TARGET_NAME} bytes without spaces, quotes and any of \\ , = $"))
}

/// Labels of a check or a target: keys are tag names, values are bounded. What is known of the node is filled in; a value
/// that comes out empty, because the node's label is, is left out.
pub(super) fn labels(value: &Value<'_>, node: &Node, walk: &mut Walk) -> BTreeMap<String, String> {
    let entries = value.entries(walk).unwrap_or_default();
    if entries.len() > MAX_LABELS {
        walk.error(value, format!("{} labels are more than {MAX_LABELS}", entries.len()));
    }
    let mut labels = BTreeMap::new();
    for (entry, inner) in entries {
        let key = excerpt(&entry.key);
        if HOST_TAGS.contains(&&*entry.key) {
            walk.note(
                entry.place,
                &inner.path,
                format!("the tag `{key}` is set by the agent: choose another label"),
                None,
            );
        } else if !is_series_name(&entry.key) {
            let message = format!("`{key}` cannot be a label: a-z, 0-9 and '_' only, beginning with a letter");
            walk.note(entry.place, &inner.path, message, None);
        }
        if let Some(text) = inner.line(walk, MAX_LABEL_VALUE) {
            if text.is_empty() {
                walk.error(&inner, format!("{} is empty: leave the label out", inner.label()));
            }
            if let Some(text) = fill::of_node(&inner, text, node, MAX_LABEL_VALUE, walk).filter(|text| !text.is_empty())
            {
                labels.insert(entry.key.to_string(), text);
            }
        }
    }
    labels
}
