//! Values as they are written in YAML, as JSON: what plugins get as settings.

use serde_json::{Map, Number, Value as Json};

use crate::config::read::{Value, Walk};
use crate::config::yaml::{Resolved, Tree};

pub(super) fn object(value: &Value<'_>, walk: &mut Walk) -> Option<Map<String, Json>> {
    value.entries(walk)?;
    match json(value, walk) {
        Some(Json::Object(map)) => Some(map),
        _ => None,
    }
}

pub(crate) fn json(value: &Value<'_>, walk: &mut Walk) -> Option<Json> {
    match &value.node.value {
        Tree::List(_) => {
            let items = value.list(walk)?;
            Some(Json::Array(items.iter().filter_map(|item| json(item, walk)).collect()))
        }
        Tree::Map(_) => {
            let entries = value.entries(walk)?;
            let pairs = entries.iter().filter_map(|(entry, inner)| Some((entry.key.to_string(), json(inner, walk)?)));
            Some(Json::Object(pairs.collect()))
        }
        Tree::Scalar(scalar) => match scalar.resolve() {
            Resolved::Null => Some(Json::Null),
            Resolved::Boolean(value) => Some(Json::Bool(value)),
            Resolved::Text(text) => Some(Json::String(text.to_owned())),
            Resolved::Integer(number) => number_of(Number::from_i128(number), value, walk),
            Resolved::Real(number) => number_of(Number::from_f64(number), value, walk),
        },
    }
}

fn number_of(number: Option<Number>, value: &Value<'_>, walk: &mut Walk) -> Option<Json> {
    if number.is_none() {
        let message = format!("{} is a number that JSON cannot hold", value.label());
        walk.error_hint(value, message, "quote it if it is meant as text");
    }
    number.map(Json::Number)
}

/// Every string in a value that holds a `${`.
pub(super) fn variables<'n>(value: &Value<'n>, strings: &mut Vec<Value<'n>>) {
    match &value.node.value {
        Tree::Scalar(scalar) if scalar.text.contains("${") => strings.push(value.clone()),
        Tree::Scalar(_) => {}
        Tree::List(items) => {
            let item = |(i, node)| Value::new(node, format!("{}[{i}]", value.path));
            items.iter().enumerate().map(item).for_each(|item| variables(&item, strings));
        }
        Tree::Map(entries) => {
            entries.iter().filter_map(|entry| value.inner(&entry.key)).for_each(|inner| variables(&inner, strings));
        }
    }
}
