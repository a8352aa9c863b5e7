//! Whether settings can be held against a schema without end: a plugin's schema is a stranger's program, in a way.
//!
//! By references, a schema of one page can ask one place of the settings to be looked at 2^60 times, or lead so deep that
//! the checker's stack ends, and the agent with it. So references lead to a place of the schema itself by its path, no
//! chain of keywords for one place comes back to where it was, and what is looked at is counted beforehand.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Steps from keyword to keyword in one chain; JSON itself nests 128 deep.
const MAX_STEPS: usize = 256;
/// How deep settings are thought to be nested: those of a check seldom go beyond four.
const DEPTH: usize = 8;
/// Looks at one place of the settings; a hundred is much.
const MAX_LOOKS: u64 = 1_000_000;

/// Why a schema is not used, as the end of a sentence about it.
type Refused = &'static str;

const CIRCLE: Refused = "leads from one place of the settings to the same place again";
const DEEP: Refused = "leads too deep: at most 256 steps from keyword to keyword are taken";
const MANY: Refused = "would look at one place of the settings more than a million times";
const FOREIGN: Refused = "has a reference that is not like \"#/$defs/name\"";
const DYNAMIC: Refused = "has `$dynamicRef`, `$recursiveRef` or an inner `$id`, which are not supported";

/// What schemas stand under a keyword.
#[derive(Clone, Copy)]
enum Holds {
    One,
    OneOrList,
    List,
    Map,
}

/// Keywords whose schemas look at the same place.
const SAME_PLACE: [(&str, Holds); 9] = [
    ("allOf", Holds::List),
    ("anyOf", Holds::List),
    ("oneOf", Holds::List),
    ("not", Holds::One),
    ("if", Holds::One),
    ("then", Holds::One),
    ("else", Holds::One),
    ("dependentSchemas", Holds::Map),
    ("dependencies", Holds::Map),
];
/// Those of whose schemas one at most looks at any place inside.
const EITHER: [(&str, Holds); 5] = [
    ("properties", Holds::Map),
    ("additionalProperties", Holds::One),
    ("prefixItems", Holds::List),
    ("items", Holds::OneOrList),
    ("additionalItems", Holds::One),
];
/// Those whose schemas look at places inside that others may have looked at.
const ALSO: [(&str, Holds); 5] = [
    ("patternProperties", Holds::Map),
    ("propertyNames", Holds::One),
    ("contains", Holds::One),
    ("unevaluatedProperties", Holds::One),
    ("unevaluatedItems", Holds::One),
];

/// Refuses what could take for ever.
pub(super) fn examine(root: &Value) -> Result<(), Refused> {
    let cost = Walk { root, known: HashMap::new() }.cost(root, DEPTH, 0)?;
    if cost.looks > MAX_LOOKS { Err(MANY) } else { Ok(()) }
}

/// What a schema costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// At the place that is looked at most.
    looks: u64,
    /// Of its longest chain.
    steps: usize,
}

const LEAST: Cost = Cost { looks: 1, steps: 0 };

impl Cost {
    fn and(self, other: Self) -> Self {
        Self { looks: self.looks.saturating_add(other.looks), steps: self.steps.max(other.steps + 1) }
    }
}

struct Walk<'a> {
    root: &'a Value,
    /// By the schema's address, and by how deep the settings may still be; none while it is being counted.
    known: HashMap<(*const Value, usize), Option<Cost>>,
}

impl<'a> Walk<'a> {
    fn cost(&mut self, schema: &'a Value, depth: usize, steps: usize) -> Result<Cost, Refused> {
        let Value::Object(keywords) = schema else { return Ok(LEAST) };
        if keywords.is_empty() {
            return Ok(LEAST);
        }
        let here = (std::ptr::from_ref(schema), depth);
        let cost = match self.known.get(&here) {
            Some(Some(cost)) => *cost,
            // Where settings are not thought to lead, a schema that holds itself is looked at once.
            Some(None) if depth == 0 => LEAST,
            Some(None) => return Err(CIRCLE),
            None if steps > MAX_STEPS => return Err(DEEP),
            None => {
                self.known.insert(here, None);
                let cost = self.of_keywords(schema, keywords, depth, steps + 1)?;
                self.known.insert(here, Some(cost));
                cost
            }
        };
        if steps + cost.steps > MAX_STEPS { Err(DEEP) } else { Ok(cost) }
    }

    fn of_keywords(
        &mut self,
        schema: &'a Value,
        keywords: &'a Map<String, Value>,
        depth: usize,
        steps: usize,
    ) -> Result<Cost, Refused> {
        let is_inner = !std::ptr::eq(schema, self.root);
        let dynamic = keywords.contains_key("$dynamicRef") || keywords.contains_key("$recursiveRef");
        if dynamic || is_inner && keywords.get("$id").is_some_and(Value::is_string) {
            return Err(DYNAMIC);
        }
        let mut cost = LEAST;
        if let Some(reference) = keywords.get("$ref") {
            let path = reference.as_str().and_then(|text| text.strip_prefix('#')).filter(|path| !path.contains('%'));
            let found = path.and_then(|path| self.root.pointer(path)).ok_or(FOREIGN)?;
            cost = cost.and(self.cost(found, depth, steps)?);
        }
        for schema in schemas(keywords, &SAME_PLACE) {
            cost = cost.and(self.cost(schema, depth, steps)?);
        }
        let inside = depth.saturating_sub(1);
        let mut either = Cost { looks: 0, steps: 0 };
        for schema in schemas(keywords, &EITHER) {
            let one = self.cost(schema, inside, steps)?;
            either = Cost { looks: either.looks.max(one.looks), steps: either.steps.max(one.steps) };
        }
        cost = cost.and(either);
        for schema in schemas(keywords, &ALSO) {
            cost = cost.and(self.cost(schema, inside, steps)?);
        }
        Ok(cost)
    }
}

/// The schemas under those of some keywords that are there.
fn schemas<'a>(
    keywords: &'a Map<String, Value>,
    table: &'static [(&'static str, Holds)],
) -> impl Iterator<Item = &'a Value> {
    table.iter().flat_map(|(word, holds)| match (holds, keywords.get(*word)) {
        (Holds::One | Holds::OneOrList, Some(one @ Value::Object(_))) => vec![one],
        (Holds::List | Holds::OneOrList, Some(Value::Array(list))) => list.iter().collect(),
        (Holds::Map, Some(Value::Object(map))) => map.values().collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// So many definitions, each made of a reference to the next one.
    fn chain(length: usize, link: impl Fn(Value) -> Value) -> Value {
        let of = |n: usize| json!({"$ref": format!("#/$defs/d{n}")});
        let mut definitions: Map<_, _> = (0..length).map(|n| (format!("d{n}"), link(of(n + 1)))).collect();
        definitions.insert(format!("d{length}"), json!({}));
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    }

    #[test]
    fn what_is_used_and_what_is_not() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}}});
        let expression = json!({"anyOf": [
            {"type": "string"},
            {"properties": {"not": {"$ref": "#"}}},
            {"properties": {"and": {"items": {"$ref": "#"}}, "$ref": {"type": "string"}, "items": {}}}
        ]});
        let words = |word: &str| json!({"properties": {"a": {word: "#"}}});
        let complete = json!({"$ref": "#/$defs/0", "$defs": [
            {"allOf": [{"$ref": "#/$defs/1"}, {"$ref": "#/$defs/2"}]},
            {"allOf": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/2"}]},
            {"allOf": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/1"}]},
        ]});
        for (schema, refused) in [
            (json!({}), None),
            (json!(true), None),
            (json!("no schema, which somebody else says"), None),
            (tree, None),
            (expression, None),
            (json!({"$id": "https://example.com", "$defs": {"a": {}}, "items": {"$ref": "#/$defs/a"}}), None),
            (chain(60, |next| json!({"allOf": [next]})), None),
            (chain(19, |next| json!({"allOf": [next.clone(), next]})), Some(MANY)),
            (chain(60, |next| json!({"allOf": [next.clone(), next]})), Some(MANY)),
            (chain(9, |next| json!({"allOf": [next.clone(), next]})), None),
            (chain(7, |next| json!({"patternProperties": {"^a": next, "^b": next, "^c": next}})), None),
            (chain(7, |next| json!({"allOf": vec![json!({"properties": {"a": next}}); 9]})), Some(MANY)),
            (chain(500, |next| json!({"unevaluatedProperties": false, "$ref": next["$ref"]})), Some(DEEP)),
            (chain(500, |next| json!({"properties": {"a": next}})), Some(DEEP)),
            (json!({"$ref": "#"}), Some(CIRCLE)),
            (json!({"anyOf": [{"not": {"$ref": "#"}}]}), Some(CIRCLE)),
            (complete, Some(CIRCLE)),
            (words("$ref"), None),
            (words("$dynamicRef"), Some(DYNAMIC)),
            (words("$recursiveRef"), Some(DYNAMIC)),
            (words("$id"), Some(DYNAMIC)),
            (json!({"$ref": "#/$defs/missing"}), Some(FOREIGN)),
            (json!({"$ref": "#name"}), Some(FOREIGN)),
            (json!({"$ref": "https://example.com/schema.json"}), Some(FOREIGN)),
            (json!({"$ref": "file:///etc/passwd"}), Some(FOREIGN)),
            (json!({"$ref": 7}), Some(FOREIGN)),
        ] {
            assert_eq!(examine(&schema).err(), refused, "{schema:.300}");
        }
    }

    /// Whoever reaches the end of a long chain first, and its middle next, does not hide how long it is.
    #[test]
    fn chains_that_are_reached_from_their_end() {
        let mut schema = chain(2_000, |next| json!({"allOf": [next]}));
        let from: Vec<_> = (0..20).rev().map(|n| json!({"$ref": format!("#/$defs/d{}", n * 100)})).collect();
        schema["$ref"] = json!("#/$defs/d1900");
        schema["allOf"] = from.into();
        assert_eq!(examine(&schema), Err(DEEP));
    }
}
