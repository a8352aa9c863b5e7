//! `thresholds`: bounds on what the plugin measures.

use std::collections::HashMap;

use roundsman_model::name::{excerpt, is_series_name};
use roundsman_model::threshold::{Bound, Threshold};

use crate::config::read::{Fields, Value, Walk};

/// Each is compared with every point of a run.
const MAX_THRESHOLDS: usize = 64;

pub(super) fn thresholds(fields: &mut Fields<'_>, walk: &mut Walk) -> Vec<Threshold> {
    let Some(value) = fields.get("thresholds", walk) else { return Vec::new() };
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_THRESHOLDS {
        walk.error(&value, format!("{} thresholds are more than {MAX_THRESHOLDS}", items.len()));
    }
    let mut first: HashMap<(String, String), u32> = HashMap::new();
    let mut thresholds = Vec::new();
    for item in items {
        let Some(threshold) = threshold(&item, walk) else { continue };
        let place = item.inner("field").unwrap_or(item);
        let (series, field) = (&threshold.series, &threshold.field);
        if let Some(line) = first.insert((series.clone(), field.clone()), place.node.place.line) {
            let message = format!("`{series}.{field}` has bounds already, in line {line}");
            walk.error_hint(&place, message, "write `warning` and `critical` side by side");
        }
        thresholds.push(threshold);
    }
    thresholds
}

fn threshold(item: &Value<'_>, walk: &mut Walk) -> Option<Threshold> {
    let mut fields = Fields::new(item.clone(), walk)?;
    let field = fields.require("field", walk).and_then(|v| v.made(walk, field));
    let mut bound = |key, walk: &mut Walk| {
        let value = fields.get(key, walk);
        value.as_ref().and_then(|v| v.made(walk, Bound::parse))
    };
    let (warning, critical) = (bound("warning", walk), bound("critical", walk));
    if !fields.writes(&["warning", "critical"]) {
        walk.error_hint(item, format!("{} has no bound", item.label()), "write `warning`, `critical` or both");
    }
    fields.finish(walk);
    let (series, field) = field?;
    Some(Threshold { series, field, warning, critical })
}

fn field(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('.').filter(|(series, field)| is_series_name(series) && is_series_name(field));
    let names = parts.map(|(series, field)| (series.to_owned(), field.to_owned()));
    names.ok_or_else(|| {
        let rule = "series and field are a-z, 0-9 and '_', each beginning with a letter";
        format!("`{}` is not for instance `http.total_ms`: {rule}", excerpt(text))
    })
}
