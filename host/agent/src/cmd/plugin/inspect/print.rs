//! What `plugin inspect` found, for the eye.

use roundsman_plugin::describe::{Description, Kind};
use serde_json::Value as Json;

use super::trial::{Run, Trial};
use super::{Inspected, Vouched};
use crate::cmd::table::{count, say};
use crate::config::trust::DIGEST_PREFIX;

/// Levels of a setting's type that are told.
const MAX_DEPTH: usize = 3;
/// Choices of it.
const MAX_CHOICES: usize = 8;

pub(super) fn print(inspected: &Inspected) -> anyhow::Result<()> {
    let describe = &inspected.describe;
    let mut text = format!("{} {}: {}\n", inspected.name, describe.version, describe.summary);
    let mut block = |title: &str, lines: Vec<String>| {
        for (number, line) in lines.into_iter().enumerate() {
            let title = if number == 0 { title } else { "" };
            text.push_str(format!("{title:<10}{line}").trim_end());
            text.push('\n');
        }
    };
    block("size", vec![format!("{} bytes", inspected.size_bytes)]);
    block("digest", vec![format!("{DIGEST_PREFIX}{}", inspected.digest)]);
    block("signature", signature(&inspected.signature));
    let import = |import: &super::Import| match import.needs {
        Some(list) => format!("{:<40} needs allow: {list}", import.interface),
        None => import.interface.clone(),
    };
    block("imports", inspected.imports.iter().map(import).collect());
    let need = |need: &super::Need| format!("{:<10} for {}", need.list, need.because);
    block("needs", or_nothing(inspected.needs.iter().map(need).collect(), "nothing beyond its targets"));
    block("settings", or_nothing(settings(&describe.settings), "none"));
    block("series", or_nothing(series(describe), "none"));
    block("trial", trial(&inspected.trial));
    text.push_str(&format!("example\n{}\n", describe.example));
    say(&text)
}

fn or_nothing(lines: Vec<String>, nothing: &str) -> Vec<String> {
    if lines.is_empty() { vec![nothing.to_owned()] } else { lines }
}

fn signature(vouched: &Vouched) -> Vec<String> {
    let Vouched { key_id, origin, refused, configured } = vouched;
    let origin = origin.as_ref();
    let mut lines = Vec::new();
    match (key_id, origin.and_then(|origin| origin.signed_by.as_ref())) {
        (Some(id), Some(key)) => {
            lines.push(format!("good, by the key `{key}` ({id})"));
            lines
                .extend(origin.and_then(|origin| origin.comment.as_ref()).map(|comment| format!("it says: {comment}")));
        }
        (Some(id), None) if !configured => {
            lines.push(format!("by a key that calls itself {id}; --config FILE, with its public key, verifies it"));
        }
        (Some(id), None) => lines.push(format!("by a key that calls itself {id}; not verified")),
        (None, _) => lines.push("none".to_owned()),
    }
    lines
        .extend(origin.and_then(|origin| origin.doubt.as_ref()).map(|doubt| format!("it counts for nothing: {doubt}")));
    lines.extend(refused.as_ref().map(|why| format!("refused: {why}")));
    if *configured && refused.is_none() {
        lines.push("the configuration takes it".to_owned());
    }
    lines
}

/// The settings of the first level, each in a line.
fn settings(schema: &Json) -> Vec<String> {
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = schema.get("properties").and_then(Json::as_object);
    let line = |(name, property): (&String, &Json)| {
        let mut line = format!("{name}: {}", kind(schema, property, 0));
        match property.get("default") {
            _ if required.contains(&name.as_str()) => line.push_str(", required"),
            Some(default) if !default.is_null() => line.push_str(&format!(", default {default}")),
            _ => {}
        }
        if let Some(help) = property.get("description").and_then(Json::as_str).and_then(|help| help.lines().next()) {
            line.push_str(&format!(": {help}"));
        }
        line
    };
    properties.into_iter().flatten().map(line).collect()
}

/// What a setting is, in a word or two. A schema may refer to itself: what is beyond a few levels is not told.
fn kind(root: &Json, schema: &Json, depth: usize) -> String {
    let referred = schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'));
    let schema = referred.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    if depth > MAX_DEPTH {
        return "anything".to_owned();
    }
    if let Some(words) = words(schema) {
        return words.join("|");
    }
    let of = |name: &str| match (name, schema.get("items")) {
        ("array", Some(items)) => format!("list of {}", kind(root, items, depth + 1)),
        ("array", None) => "list".to_owned(),
        (name, _) => name.to_owned(),
    };
    let mut kinds: Vec<String> = match schema.get("type") {
        Some(Json::String(name)) => vec![of(name)],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).map(of).collect(),
        _ => {
            let choices = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|word| schema.get(word)?.as_array());
            choices.into_iter().flatten().take(MAX_CHOICES).map(|inner| kind(root, inner, depth + 1)).collect()
        }
    };
    // That it may be left out goes without saying.
    let nothing = if kinds.iter().any(|kind| kind == "null") { "null" } else { "anything" };
    kinds.retain(|kind| kind != "null");
    kinds.dedup();
    if kinds.is_empty() { nothing.to_owned() } else { kinds.join(" or ") }
}

/// The values of a schema that is a choice of these; that it may be left out goes without saying.
fn words(schema: &Json) -> Option<Vec<String>> {
    let word = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().filter(|value| !value.is_null()).map(word).collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![word(value)]);
    }
    // Values that have a description each.
    let choices = schema.get("oneOf").and_then(Json::as_array)?;
    choices.iter().map(|inner| inner.get("const").map(word)).collect()
}

fn series(describe: &Description) -> Vec<String> {
    let mut lines = Vec::new();
    for series in &describe.series {
        let tags: Vec<&str> = series.tags.iter().map(|tag| tag.name.as_str()).collect();
        let tags = if tags.is_empty() { String::new() } else { format!(" [{}]", tags.join(", ")) };
        lines.push(format!("{}{tags}: {}", series.name, series.help));
        for field in &series.fields {
            let unit = if field.unit.is_empty() { String::new() } else { format!(", {}", field.unit) };
            let help = if field.help.is_empty() { String::new() } else { format!(": {}", field.help) };
            lines.push(format!("  {} ({}{unit}){help}", field.name, word(field.kind)));
        }
    }
    lines
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Real => "real",
        Kind::Integer => "integer",
        Kind::Boolean => "boolean",
        Kind::Text => "text",
    }
}

fn trial(trial: &Trial) -> Vec<String> {
    let run = match trial {
        Trial::None { not_run } => return vec![format!("not run: {not_run}")],
        Trial::Run(run) => run,
    };
    let Run { status, blame, code, summary, duration_ms, cpu_ms, memory_bytes, host_calls, points, findings } = run;
    let code = code.as_ref().map(|code| format!(" ({code}, blame {})", blame.as_str())).unwrap_or_default();
    vec![
        format!("{}{code}: {summary}", status.as_str()),
        format!(
            "duration {duration_ms:.1} ms, processor {cpu_ms:.2} ms, memory {} KiB, {}",
            memory_bytes >> 10,
            count(*host_calls, "host call")
        ),
        format!("{}, {}", count(*points, "point"), count(*findings, "finding")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_in_a_line_each() {
        let schema = json!({
            "properties": {
                "url": {"type": "string", "description": "Where to ask.\nMore."},
                "expect": {"$ref": "#/$defs/expect"},
                "mode": {"enum": ["a", "b"], "default": "a"},
                "way": {"oneOf": [{"const": "in", "description": "i"}, {"const": "out", "description": "o"}]},
                "perhaps": {"anyOf": [{"$ref": "#/$defs/way"}, {"type": "null"}]},
                "maybe": {"enum": ["a", null]},
                "time": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null},
                "list": {"type": ["array", "null"], "items": {"type": "integer"}},
                "self": {"$ref": "#/$defs/self"},
                "any": {}
            },
            "required": ["url"],
            "$defs": {"way": {"enum": ["in", "out"]}, "expect": {"type": "object"}, "self": {"type": "array", "items": {"$ref": "#/$defs/self"}}}
        });
        let mut lines = settings(&schema);
        lines.sort();
        let expected = [
            "any: anything",
            "expect: object",
            "list: list of integer",
            "maybe: a",
            "mode: a|b, default \"a\"",
            "perhaps: in|out",
            "self: list of list of list of list of anything",
            "time: string",
            "url: string, required: Where to ask.",
            "way: in|out",
        ];
        assert_eq!(lines, expected);
        assert_eq!(settings(&json!(true)), [""; 0]);
    }
}
