//! Targets that are found rather than written, and `placement`: their form is checked, and they are refused, because
//! nothing finds or places them so far.

use std::ops::RangeInclusive;

use roundsman_model::name::excerpt;

use crate::checks::selector;
use crate::config::read::{Fields, Value, Walk};
use crate::config::yaml::Tree;

/// Kinds of targets that are found.
pub(super) const KINDS: [&str; 6] = ["peers", "services", "pods", "nodes", "ingresses", "endpoints"];
/// The next ones on the ring of nodes: beyond a hundred each node would look at most of a cluster.
const PEERS: RangeInclusive<u32> = 1..=100;
/// More nodes than that are `every-node`.
const NODES: RangeInclusive<u32> = 1..=1_000;
/// What the cluster's API allows for a DNS label.
const MAX_NAMESPACE: usize = 63;

/// Reads the kinds that an entry of `targets:` names; false: it names none.
pub(super) fn found(fields: &mut Fields<'_>, walk: &mut Walk) -> bool {
    let mut first = None;
    for kind in KINDS {
        let Some(value) = fields.own(kind) else { continue };
        if let Some(first) = first {
            walk.error(&value, format!("a target is found as one of `{first}` and `{kind}`: make it two"));
        }
        first.get_or_insert(kind);
        if kind == "peers" {
            value.integer(walk, PEERS);
        } else {
            objects(&value, kind, walk);
        }
        let message = format!("`{kind}` cannot be found yet: only targets with a name and an address are looked at");
        walk.error_hint(&value, message, "write {name: …, address: …}");
    }
    let Some(kind) = first else { return false };
    for key in ["name", "address"] {
        fields.refuse(key, &format!("comes with what is found as `{kind}`"), walk);
    }
    true
}

/// `{namespace, selector}` of objects in the cluster.
fn objects(value: &Value<'_>, kind: &str, walk: &mut Walk) {
    let Some(mut fields) = Fields::new(value.clone(), walk) else { return };
    if kind == "nodes" {
        fields.refuse("namespace", "is no key of `nodes`: they belong to none", walk);
    } else if let Some(value) = fields.get("namespace", walk) {
        value.made(walk, namespace);
    }
    if let Some(value) = fields.get("selector", walk) {
        value.made(walk, selector::check);
    }
    fields.finish(walk);
}

fn namespace(text: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if !text.is_empty() && text.len() <= MAX_NAMESPACE && text.bytes().all(allowed) && ends {
        return Ok(());
    }
    let word = excerpt(text);
    Err(format!("`{word}` must be 1 to {MAX_NAMESPACE} characters of a-z, 0-9 and '-', with no '-' at its ends"))
}

/// `placement`: `every-node` is what happens anyway.
pub(super) fn placement(fields: &mut Fields<'_>, walk: &mut Walk) {
    let Some(value) = fields.get("placement", walk) else { return };
    let refused = match &value.node.value {
        Tree::Map(_) => {
            if let Some(mut fields) = Fields::new(value.clone(), walk) {
                if let Some(nodes) = fields.require("nodes", walk) {
                    nodes.integer(walk, NODES);
                }
                fields.finish(walk);
            }
            true
        }
        Tree::Scalar(_) => {
            value.word(walk, &[("every-node", false), ("once", true), ("local", true), ("{nodes: N}", true)])
                == Some(true)
        }
        Tree::List(_) => value.text(walk).is_some(),
    };
    if refused {
        let message = "`placement` is not built yet: every check runs on every node that has its file";
        walk.error_hint(&value, message, "leave the key out, or write `every-node`");
    }
}
