//! Finds the settings that name something in the world: what the plugin's schema marks with `x-roundsman`.

use serde_json::Value as Json;

/// A schema may refer to itself; settings are not nested deeper than this.
const MAX_DEPTH: usize = 16;

/// A setting that is written and marked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark<'a> {
    /// A JSON pointer into the settings.
    pub(super) pointer: String,
    /// `destination`, `path`, `secret` or `command`.
    pub(super) kind: &'a str,
    /// Of a destination that is written without one.
    pub(super) scheme: Option<&'a str>,
    pub(super) text: &'a str,
}

/// The marks of all settings that have a value.
pub(super) fn marks<'a>(schema: &'a Json, settings: &'a Json) -> Vec<Mark<'a>> {
    let mut found = Vec::new();
    Search { root: schema, found: &mut found }.look(schema, settings, &mut String::new(), None, 0);
    found
}

struct Search<'a, 'f> {
    root: &'a Json,
    found: &'f mut Vec<Mark<'a>>,
}

impl<'a> Search<'a, '_> {
    /// A mark beside a list, a choice or a reference is meant for the texts in it.
    fn look(&mut self, schema: &'a Json, value: &'a Json, at: &mut String, above: Option<&'a Json>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let mark = schema.get("x-roundsman").or(above);
        if let Some(inner) = schema.get("$ref").and_then(Json::as_str).and_then(|name| self.resolve(name)) {
            self.look(inner, value, at, mark, depth + 1);
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            for inner in schema.get(word).and_then(Json::as_array).into_iter().flatten() {
                self.look(inner, value, at, mark.filter(|_| !value.is_string()), depth + 1);
            }
        }
        match value {
            Json::String(text) => self.note(mark, text, at),
            Json::Array(items) => {
                let Some(inner) = schema.get("items") else { return };
                for (number, item) in items.iter().enumerate() {
                    self.under(&number.to_string(), at, |search, at| search.look(inner, item, at, mark, depth + 1));
                }
            }
            Json::Object(entries) => {
                for (key, item) in entries {
                    let named = schema.get("properties").and_then(|properties| properties.get(key));
                    let Some(inner) = named.or(schema.get("additionalProperties")) else { continue };
                    let part = key.replace('~', "~0").replace('/', "~1");
                    self.under(&part, at, |search, at| search.look(inner, item, at, None, depth + 1));
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn under(&mut self, part: &str, at: &mut String, look: impl FnOnce(&mut Self, &mut String)) {
        let length = at.len();
        at.push('/');
        at.push_str(part);
        look(self, at);
        at.truncate(length);
    }

    fn resolve(&self, name: &str) -> Option<&'a Json> {
        self.root.pointer(name.strip_prefix('#')?)
    }

    fn note(&mut self, mark: Option<&'a Json>, text: &'a str, at: &str) {
        let Some(kind) = mark.and_then(|mark| mark.get("kind")).and_then(Json::as_str) else { return };
        let scheme = mark.and_then(|mark| mark.get("scheme")).and_then(Json::as_str);
        let mark = Mark { pointer: at.to_owned(), kind, scheme, text };
        if !self.found.contains(&mark) {
            self.found.push(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marked_settings() {
        let schema = json!({
            "type": "object",
            "properties": {
                "url": {"anyOf": [{"type": "string"}, {"type": "null"}], "x-roundsman": {"kind": "destination"}},
                "server": {"$ref": "#/$defs/server"},
                "files": {"type": "array", "items": {"type": "string"}, "x-roundsman": {"kind": "path"}},
                "more": {"additionalProperties": {"anyOf": [{"$ref": "#/$defs/server"}]}},
                "plain": {"type": "string"},
                "self": {"$ref": "#"}
            },
            "$defs": {"server": {"type": "string", "x-roundsman": {"kind": "destination", "scheme": "tcp"}}}
        });
        for (settings, expected) in [
            (json!({}), ""),
            (json!({"plain": "x", "unknown": "y", "url": null}), ""),
            (json!({"url": "http://a"}), "/url destination - http://a"),
            (json!({"server": "a:1"}), "/server destination tcp a:1"),
            (json!({"files": ["/a", 1, "/b"]}), "/files/0 path - /a;/files/2 path - /b"),
            (json!({"more": {"a/b": "c:1"}}), "/more/a~1b destination tcp c:1"),
            (json!({"self": {"self": {"url": "u"}}}), "/self/self/url destination - u"),
        ] {
            let told = |m: Mark<'_>| format!("{} {} {} {}", m.pointer, m.kind, m.scheme.unwrap_or("-"), m.text);
            let found: Vec<String> = marks(&schema, &settings).into_iter().map(told).collect();
            assert_eq!(found.join(";"), expected, "{settings}");
        }
    }
}
