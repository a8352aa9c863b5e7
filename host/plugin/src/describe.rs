//! What a plugin says of itself, by `wit/describe.schema.json`; read once when it is loaded.

mod schema;

use std::collections::BTreeMap;

use roundsman_model::name::{RESERVED_SERIES, excerpt, is_series_name};
use roundsman_model::record::Value;
use serde::{Deserialize, Serialize};

/// A description is a page or two; more is an attack on whoever reads it.
pub(crate) const MAX_DESCRIPTION: usize = 256 << 10;
/// Measurements of one plugin in InfluxDB.
const MAX_SERIES: usize = 64;
/// Tags that the agent sets itself.
pub const HOST_TAGS: [&str; 5] = ["check", "cluster", "host", "plugin", "target"];

/// What `describe` returned. Keys that later versions of the schema add are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub version: String,
    pub summary: String,
    /// JSON Schema of the settings.
    pub settings: serde_json::Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
    /// A file for `checks/` that works as it stands.
    #[serde(default)]
    pub example: String,
}

/// A measurement that a plugin reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    pub name: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub bounded: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub help: String,
}

/// The type of a field, for ever: InfluxDB refuses a field that changes its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Real,
    Integer,
    Boolean,
    Text,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub bounded: bool,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error("`describe` returned {0} bytes; at most {MAX_DESCRIPTION} are read")]
    TooLong(usize),
    #[error("`describe` did not return what wit/describe.schema.json asks for")]
    Json(#[from] serde_json::Error),
    #[error("`describe` declares {0} series; at most {MAX_SERIES} are possible")]
    TooManySeries(usize),
    #[error("`describe` declares `{0}`: names of series, tags and fields are a-z, 0-9 and _, beginning with a letter")]
    Name(String),
    #[error("`describe` declares the series `{0}`, which is the agent's own or declared twice")]
    Series(String),
    #[error("`describe` declares the tag `{tag}` of series `{series}`, which is the agent's own or declared twice")]
    Tag { series: String, tag: String },
    #[error("the settings schema in `describe` {0}")]
    Settings(&'static str),
}

impl Description {
    /// Reads and checks what a guest returned.
    pub fn parse(text: &str) -> Result<Self, DescribeError> {
        if text.len() > MAX_DESCRIPTION {
            return Err(DescribeError::TooLong(text.len()));
        }
        let description: Self = serde_json::from_str(text)?;
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), DescribeError> {
        schema::examine(&self.settings).map_err(DescribeError::Settings)?;
        if self.series.len() > MAX_SERIES {
            return Err(DescribeError::TooManySeries(self.series.len()));
        }
        let mut seen: Vec<&str> = RESERVED_SERIES.to_vec();
        for series in &self.series {
            let names = series.tags.iter().map(|t| &t.name).chain(series.fields.iter().map(|f| &f.name));
            if let Some(bad) = names.chain([&series.name]).find(|name| !is_series_name(name)) {
                return Err(DescribeError::Name(excerpt(bad)));
            }
            if seen.contains(&series.name.as_str()) {
                return Err(DescribeError::Series(series.name.clone()));
            }
            seen.push(&series.name);
            let mut names: Vec<&str> = HOST_TAGS.to_vec();
            // A tag and a field of one measurement may not share a name in InfluxDB 3.
            for name in series.tags.iter().map(|t| &t.name).chain(series.fields.iter().map(|f| &f.name)) {
                if names.contains(&name.as_str()) {
                    return Err(DescribeError::Tag { series: series.name.clone(), tag: name.clone() });
                }
                names.push(name);
            }
        }
        Ok(())
    }

    /// The fields of a point in their declared types; an error for what was not declared.
    pub(crate) fn fit(
        &self,
        series: &str,
        tags: &[(String, String)],
        fields: Vec<(String, Value)>,
    ) -> Result<Vec<(String, Value)>, String> {
        let declared = self
            .series
            .iter()
            .find(|s| s.name == series)
            .ok_or_else(|| format!("the series `{series}` is not declared in `describe`"))?;
        if let Some((tag, _)) = tags.iter().find(|(tag, _)| !declared.tags.iter().any(|t| t.name == *tag)) {
            return Err(format!("the tag `{}` of series `{series}` is not declared in `describe`", excerpt(tag)));
        }
        fields
            .into_iter()
            .map(|(name, value)| {
                let Some(field) = declared.fields.iter().find(|f| f.name == name) else {
                    return Err(format!("the field `{}` of series `{series}` is not declared", excerpt(&name)));
                };
                match convert(value, field.kind) {
                    Some(value) => Ok((name, value)),
                    None => Err(format!("the field `{name}` of series `{series}` is declared as {:?}", field.kind)),
                }
            })
            .collect()
    }

    /// Names by which a reader can see at a glance what a plugin reports.
    pub fn units(&self) -> BTreeMap<String, &str> {
        let fields = self.series.iter().flat_map(|s| s.fields.iter().map(move |f| (s, f)));
        fields.map(|(series, field)| (format!("{}.{}", series.name, field.name), field.unit.as_str())).collect()
    }
}

/// Whole numbers become reals where reals were declared; nothing else changes its type.
fn convert(value: Value, kind: Kind) -> Option<Value> {
    match (kind, value) {
        (Kind::Real, Value::Integer(integer)) => Some(Value::Real(integer as f64)),
        (Kind::Real, value @ Value::Real(_))
        | (Kind::Integer, value @ Value::Integer(_))
        | (Kind::Boolean, value @ Value::Boolean(_))
        | (Kind::Text, value @ Value::Text(_)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(series: &str) -> String {
        format!(r#"{{"version": "1", "summary": "s", "settings": {{}}, "series": [{series}], "example": ""}}"#)
    }

    fn disk() -> Description {
        let fields = r#"[{"name": "free", "type": "real"}, {"name": "inodes", "type": "integer"}]"#;
        Description::parse(&text(&format!(r#"{{"name": "disk", "tags": [{{"name": "path"}}], "fields": {fields}}}"#)))
            .unwrap()
    }

    #[test]
    fn refuses_what_would_collide() {
        for (series, want) in [
            (r#"{"name": "Disk", "fields": []}"#, "declares `Disk`"),
            (r#"{"name": "check", "fields": []}"#, "the agent's own"),
            (r#"{"name": "a", "fields": []}, {"name": "a", "fields": []}"#, "declared twice"),
            (r#"{"name": "a", "tags": [{"name": "host"}], "fields": []}"#, "tag `host`"),
            (r#"{"name": "a", "tags": [{"name": "x"}], "fields": [{"name": "x", "type": "real"}]}"#, "tag `x`"),
            (r#"{"name": "a", "fields": 7}"#, "describe.schema.json"),
        ] {
            let error = Description::parse(&text(series)).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        assert!(matches!(Description::parse(&" ".repeat(MAX_DESCRIPTION + 1)), Err(DescribeError::TooLong(_))));
    }

    #[test]
    fn points_fit_their_declaration() {
        let field = |name: &str, value| vec![(name.to_owned(), value)];
        let tag = |name: &str| vec![(name.to_owned(), "/".to_owned())];
        for (series, tags, fields, want) in [
            ("disk", tag("path"), field("free", Value::Real(1.5)), Ok(field("free", Value::Real(1.5)))),
            ("disk", vec![], field("free", Value::Integer(2)), Ok(field("free", Value::Real(2.0)))),
            ("disk", vec![], field("inodes", Value::Real(2.0)), Err("declared as Integer")),
            ("disk", vec![], field("used", Value::Real(2.0)), Err("`used`")),
            ("disk", tag("device"), field("free", Value::Real(2.0)), Err("tag `device`")),
            ("disc", vec![], field("free", Value::Real(2.0)), Err("series `disc`")),
        ] {
            let got = disk().fit(series, &tags, fields);
            match want {
                Ok(fields) => assert_eq!(got, Ok(fields)),
                Err(text) => assert!(got.as_ref().unwrap_err().contains(text), "{got:?}"),
            }
        }
    }
}
