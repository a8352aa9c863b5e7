//! What a plugin says of itself: the text behind `describe`, by `wit/describe.schema.json`.

use serde::Serialize;

/// The published JSON Schema of what `describe` returns, for an author's own tests.
pub const DESCRIBE_SCHEMA: &str = include_str!("../wit/describe.schema.json");

/// What [`Check::describe`](crate::Check::describe) returns. The schema of the settings is added from their type.
#[derive(Debug, Clone, Serialize)]
pub struct Describe {
    version: &'static str,
    summary: &'static str,
    series: Vec<Series>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Findings>,
    example: &'static str,
}

/// A series of points: in InfluxDB a measurement of this very name. Make it a `const` and use it in `describe` and in
/// [`Point::of`](crate::report::Point::of).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Series {
    /// `[a-z][a-z0-9_]*`. Measurements are shared by all plugins: take a name of your own.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What tells the points of one run apart.
    pub tags: &'static [Tag],
    /// What is measured. A field keeps its type for ever.
    pub fields: &'static [Field],
}

/// A tag of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tag {
    name: &'static str,
    help: &'static str,
    bounded: bool,
}

/// A field of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Field {
    pub(crate) name: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    unit: &'static str,
    help: &'static str,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Real,
    Integer,
    Boolean,
    Text,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Findings {
    help: &'static str,
    bounded: bool,
}

impl Describe {
    /// `version` is best `env!("CARGO_PKG_VERSION")`; `summary` is one sentence for the list of plugins.
    pub fn new(version: &'static str, summary: &'static str) -> Self {
        Self { version, summary, series: Vec::new(), findings: None, example: "" }
    }

    /// Declares a series. Only declared series can be reported.
    #[must_use]
    pub fn series(mut self, series: &Series) -> Self {
        self.series.push(*series);
        self
    }

    /// Declares that a run reports findings. `help` says what a subject is; `bounded` whether there are only so many of
    /// them (mounts, disks) that a subject may become a tag, in contrast to, say, process ids.
    #[must_use]
    pub fn findings(mut self, help: &'static str, bounded: bool) -> Self {
        self.findings = Some(Findings { help, bounded });
        self
    }

    /// A file for `checks/` that works as it stands, with the `allow:` lines that it needs.
    #[must_use]
    pub fn example(mut self, yaml: &'static str) -> Self {
        self.example = yaml;
        self
    }
}

impl Tag {
    /// A tag that takes a small number of values on one node.
    pub const fn bounded(name: &'static str, help: &'static str) -> Self {
        Self { name, help, bounded: true }
    }

    /// A tag that may take ever new values. The host may refuse to write it as a tag.
    pub const fn unbounded(name: &'static str, help: &'static str) -> Self {
        Self { name, help, bounded: false }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

impl Field {
    /// A measurement in a unit: `ms`, `B`, `%`, `d` …; empty for a pure number.
    pub const fn real(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Real, unit, help }
    }

    /// A whole number in a unit; empty for a pure number.
    pub const fn integer(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Integer, unit, help }
    }

    /// Yes or no.
    pub const fn boolean(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Boolean, unit: "", help }
    }

    /// A word or sentence.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Text, unit: "", help }
    }
}
