//! `allow`: the lists of what a plugin may touch, as far as their form goes. What a line means is `probe`'s to say.

use roundsman_model::grants::Allow;
use roundsman_model::name::{CheckName, excerpt};

use crate::config::read::{Fields, Value, Walk};

const MAX_GRANTS: usize = 256;
const MAX_GRANT: usize = 4_096;
/// What plugins will be able to ask the cluster's API for.
const VERBS: [&str; 3] = ["get", "list", "logs"];

type Form = fn(&str) -> Result<(), String>;

/// Lists of which nothing can be granted so far: their form, and why.
const NOT_YET: [(&str, Form, &str); 1] = [("kubernetes", resource, "plugins cannot ask the cluster's API so far")];

pub(crate) fn allow(value: Value<'_>, walk: &mut Walk) -> Option<Allow> {
    let mut fields = Fields::new(value, walk)?;
    let mut of = |key, walk: &mut Walk| fields.get(key, walk).map(|value| words(&value, walk)).unwrap_or_default();
    let texts = |words: Vec<(Value<'_>, &str)>| words.into_iter().map(|(_, text)| text.to_owned()).collect();
    let allow = Allow {
        network: texts(of("network", walk)),
        files: texts(of("files", walk)),
        system: texts(of("system", walk)),
        secrets: texts(formed(of("secrets", walk), secret, walk)),
        commands: texts(formed(of("commands", walk), command, walk)),
        kubernetes: Vec::new(),
    };
    for (key, form, why) in NOT_YET {
        let Some(value) = fields.get(key, walk) else { continue };
        let words = formed(words(&value, walk), form, walk);
        if !words.is_empty() {
            walk.error_hint(&value, format!("`{key}` cannot be granted yet: {why}"), "leave the key out");
        }
    }
    fields.finish(walk);
    Some(allow)
}

fn words<'n>(value: &Value<'n>, walk: &mut Walk) -> Vec<(Value<'n>, &'n str)> {
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_GRANTS {
        walk.error(value, format!("{} has more than {MAX_GRANTS} entries", value.label()));
    }
    items.into_iter().filter_map(|item| grant(&item, walk).map(|text| (item, text))).collect()
}

/// Tells of words that do not have the form of their list.
fn formed<'n>(words: Vec<(Value<'n>, &'n str)>, form: Form, walk: &mut Walk) -> Vec<(Value<'n>, &'n str)> {
    for (item, text) in &words {
        // What `${…}` stands for is known once it is filled in.
        if let Err(reason) = form(text)
            && !text.contains("${")
        {
            walk.error(item, format!("{} {reason}", item.label()));
        }
    }
    words
}

fn grant<'n>(item: &Value<'n>, walk: &mut Walk) -> Option<&'n str> {
    let text = item.line(walk, MAX_GRANT)?;
    if text.trim().is_empty() {
        walk.error(item, format!("{} is empty", item.label()));
        return None;
    }
    Some(text)
}

fn secret(text: &str) -> Result<(), String> {
    let named = CheckName::new(text).map(drop);
    named.map_err(|_| format!("must be a name from `secrets:` of roundsman.yaml, not `{}`", excerpt(text)))
}

fn command(text: &str) -> Result<(), String> {
    if text.starts_with('/') {
        return Ok(());
    }
    Err(format!("must be the whole path of a program, from / on, not `{}`", excerpt(text)))
}

fn resource(text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if matches!(words[..], [verb, _] if VERBS.contains(&verb)) {
        return Ok(());
    }
    let verbs = VERBS.join(", ");
    Err(format!("must be a verb ({verbs}) and a resource, for instance `get pods`, not `{}`", excerpt(text)))
}
