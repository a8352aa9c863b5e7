//! Which lines of `allow:` a plugin asks for: by what it imports, and by what its settings may name.

use roundsman_model::name::excerpt;
use serde::Serialize;
use serde_json::Value as Json;

use super::Import;

/// Schemas may refer to themselves; settings are not nested deeper than this.
const MAX_DEPTH: usize = 16;
/// More than a person reads.
const MAX_NEEDS: usize = 100;

/// Interfaces by the beginning of their names, and the list of `allow:` that their calls are held against.
const LISTS: [(&str, &str); 6] = [
    ("roundsman:net/", "network"),
    ("wasi:sockets/", "network"),
    ("wasi:filesystem/", "files"),
    ("roundsman:host/system", "system"),
    ("roundsman:host/command", "commands"),
    ("roundsman:cluster/kubernetes", "kubernetes"),
];

/// What a schema says that a setting is, and the list of `allow:` that this leads to.
const KINDS: [(&str, &str); 4] =
    [("destination", "network"), ("path", "files"), ("secret", "secrets"), ("command", "commands")];

/// Something that a check of this plugin will have to allow, or may have to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Need {
    /// The list of `allow:`.
    pub(super) list: &'static str,
    /// The setting that names it, or the interface that asks for it.
    pub(super) because: String,
}

/// The list of `allow:` without which the calls of an interface are refused.
pub(super) fn list_of(interface: &str) -> Option<&'static str> {
    // Types that the others share: there is nothing to call.
    if interface.starts_with("roundsman:net/types@") {
        return None;
    }
    LISTS.iter().find(|(beginning, _)| interface.starts_with(beginning)).map(|(_, list)| *list)
}

/// Settings first: they say what will be asked for. An import alone says that something may be.
pub(super) fn of(imports: &[Import], settings: &Json) -> Vec<Need> {
    let mut search = Search { root: settings, needs: Vec::new() };
    search.look(settings, "", 0);
    let mut needs = search.needs;
    for import in imports {
        let Some(list) = import.needs else { continue };
        // The standard library imports files, wanted or not: that is no sign of anything.
        if !import.interface.starts_with("wasi:filesystem/") && needs.iter().all(|need| need.list != list) {
            needs.push(Need { list, because: import.interface.clone() });
        }
    }
    needs
}

/// Goes through a schema, whatever settings it will be held against.
struct Search<'a> {
    root: &'a Json,
    needs: Vec<Need>,
}

impl<'a> Search<'a> {
    fn look(&mut self, schema: &'a Json, at: &str, depth: usize) {
        if depth > MAX_DEPTH || self.needs.len() >= MAX_NEEDS {
            return;
        }
        let kind = schema.get("x-roundsman").and_then(|mark| mark.get("kind")).and_then(Json::as_str);
        if let Some((_, list)) = kind.and_then(|kind| KINDS.iter().find(|(known, _)| *known == kind)) {
            let need = Need { list, because: format!("the setting `{}`", excerpt(at)) };
            if !self.needs.contains(&need) {
                self.needs.push(need);
            }
        }
        let referred = schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'));
        if let Some(inner) = referred.and_then(|pointer| self.root.pointer(pointer)) {
            self.look(inner, at, depth + 1);
        }
        let choices = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word)?.as_array());
        choices.flatten().for_each(|inner| self.look(inner, at, depth + 1));
        if let Some(items) = schema.get("items") {
            self.look(items, &format!("{at}[]"), depth + 1);
        }
        let under = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        for (key, inner) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            self.look(inner, &under(key), depth + 1);
        }
        if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
            self.look(inner, &under("*"), depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn imports_and_settings() {
        let schema = json!({
            "type": "object",
            "properties": {
                "url": {"anyOf": [{"type": "string"}, {"type": "null"}], "x-roundsman": {"kind": "destination"}},
                "paths": {"items": {"type": "string", "x-roundsman": {"kind": "path"}}},
                "login": {"$ref": "#/$defs/login"},
                "more": {"additionalProperties": {"x-roundsman": {"kind": "command"}}},
                "self": {"$ref": "#"},
                "new": {"x-roundsman": {"kind": "unheard-of"}},
                "plain": {"type": "string"}
            },
            "$defs": {"login": {"properties": {"token": {"x-roundsman": {"kind": "secret"}}}}}
        });
        let told = |imports: &[&str], schema: &Json| {
            let imports: Vec<Import> = imports.iter().map(|name| super::super::import(name)).collect();
            let needs = of(&imports, schema).into_iter().map(|need| format!("{} {}", need.list, need.because));
            needs.collect::<Vec<_>>()
        };
        assert_eq!(told(&[], &json!({})), [""; 0]);
        assert_eq!(
            told(&["roundsman:check/context@0.1.0", "wasi:filesystem/types@0.2.6", "wasi:cli/exit@0.2.6"], &json!({})),
            [""; 0]
        );
        assert_eq!(
            told(&["roundsman:host/system@0.1.0", "roundsman:net/http@0.1.0", "wasi:sockets/tcp@0.2.6"], &json!({})),
            ["system roundsman:host/system@0.1.0", "network roundsman:net/http@0.1.0"]
        );
        let needs = told(&["roundsman:net/http@0.1.0", "roundsman:host/command@0.1.0"], &schema);
        for need in [
            "network the setting `url`",
            "files the setting `paths[]`",
            "secrets the setting `login.token`",
            "commands the setting `more.*`",
        ] {
            assert!(needs.iter().any(|told| told == need), "{need}: {needs:?}");
        }
        assert!(!needs.iter().any(|need| need.contains("roundsman:")), "settings say it already: {needs:?}");
        assert!(needs.len() <= MAX_NEEDS + 1);
    }
}
