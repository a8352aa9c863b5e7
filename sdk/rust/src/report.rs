//! What a run measured. Reports survive a later failure or the deadline.

use std::time::Duration;

use crate::bindings::roundsman::check::report;
use crate::bindings::roundsman::check::types;
use crate::describe::Kind;
use crate::{Fault, Series, Status};

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Left out when it is not finite.
    Real(f64),
    /// Whole.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// A word or sentence.
    Text(String),
}

/// One point of a declared series. The host adds cluster, host, check, plugin, target and time.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a point goes nowhere until `report`"]
pub struct Point {
    series: &'static Series,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Value)>,
}

/// How long the target took to answer, as this check understands it. The last call counts.
pub fn latency(duration: Duration) {
    report::latency_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// For a check that looks at many things at once: the state of one of them. It is reported in each run while it holds: one
/// that is missing counts as ok. For an event, keep its time in [`state`](crate::state).
///
/// # Errors
/// A fault `limit` when there are too many.
pub fn finding(subject: &str, status: Status, summary: &str) -> Result<(), Fault> {
    report::finding(subject, status.into(), summary).map_err(Fault::from)
}

/// A duration as the `_ms` fields want it.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Point {
    /// An empty point of a series.
    pub fn of(series: &'static Series) -> Self {
        Self { series, tags: Vec::new(), fields: Vec::new() }
    }

    /// Sets a tag that the series declares.
    pub fn tag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.tags.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a field that the series declares: an `f64`, an integer, a `bool`, a text, or an `Option` of one of them, of
    /// which none leaves the field out.
    pub fn field(mut self, name: &str, value: impl Into<Maybe>) -> Self {
        if let Maybe(Some(value)) = value.into() {
            self.fields.push((name.to_owned(), value));
        }
        self
    }

    /// What is wrong with it: a tag or a field that the series does not declare, or not with this type. `report` asks
    /// this too; a native test can ask it without a host.
    ///
    /// # Errors
    /// A fault `internal` that names the tag or field.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong = |what: &str, name: &str| {
            Err(Fault::new("internal", format!("series `{}` declares no {what} `{name}`", self.series.name)))
        };
        for (name, _) in &self.tags {
            if !self.series.tags.iter().any(|tag| tag.name() == name) {
                return wrong("tag", name);
            }
        }
        for (name, value) in &self.fields {
            if !self.series.fields.iter().any(|field| field.name == name && field.kind == value.kind()) {
                return wrong(&format!("{:?} field", value.kind()).to_lowercase(), name);
            }
        }
        Ok(())
    }

    /// Hands the point to the host. One without fields says nothing and is left out.
    ///
    /// # Errors
    /// A fault `internal` when it is not as declared, `limit` when there are too many points.
    pub fn report(self) -> Result<(), Fault> {
        self.check()?;
        if self.fields.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> = self.fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        report::point(self.series.name, &self.tags, &fields).map_err(Fault::from)
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Real(_) => Kind::Real,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// A value, or none: what [`Point::field`] takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Maybe(Option<Value>);

macro_rules! into_value {
    ($($type:ty: $value:ident => $make:expr;)*) => { $(
        impl From<$type> for Maybe {
            fn from($value: $type) -> Self {
                Self(Some($make))
            }
        }
        impl From<Option<$type>> for Maybe {
            fn from(value: Option<$type>) -> Self {
                Self(value.map(|$value| $make))
            }
        }
    )* };
}

into_value! {
    f64: value => Value::Real(value);
    i64: value => Value::Integer(value);
    // A field keeps its type: what does not fit is the greatest integer, not another type.
    u64: value => Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    usize: value => Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    i32: value => Value::Integer(value.into());
    u32: value => Value::Integer(value.into());
    u16: value => Value::Integer(value.into());
    bool: value => Value::Boolean(value);
    String: value => Value::Text(value);
    &str: value => Value::Text(value.to_owned());
}

impl From<Value> for types::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Real(value) => Self::Real(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Boolean(value) => Self::Boolean(value),
            Value::Text(value) => Self::Text(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Tag};

    const ROOM: Series = Series {
        name: "room",
        help: "A room.",
        tags: &[Tag::bounded("door", "Which door.")],
        fields: &[Field::real("air_celsius", "°C", "Of the air."), Field::integer("people", "", "In it.")],
    };

    #[test]
    fn only_what_is_declared() {
        let room = || Point::of(&ROOM);
        for (point, wrong) in [
            (room().tag("door", "left").field("air_celsius", 20.5).field("people", 3_u64), None),
            (room().field("people", None::<u64>), None),
            (room().tag("window", "left"), Some("series `room` declares no tag `window`")),
            (room().field("people", 3.0), Some("series `room` declares no real field `people`")),
            (room().field("light", true), Some("series `room` declares no boolean field `light`")),
        ] {
            assert_eq!(point.check().err().map(|fault| fault.message).as_deref(), wrong);
        }
    }

    #[test]
    fn integers_keep_their_type() {
        assert_eq!(Maybe::from(u64::MAX), Maybe(Some(Value::Integer(i64::MAX))));
    }
}
