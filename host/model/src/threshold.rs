//! Bounds on measured values: comparisons (`> 300`) and the ranges of Nagios plugins (`10:20`, `@5:`, `~:0`).

use std::fmt;

use crate::name::excerpt;
use crate::record::{Point, Status, Value};

/// Bounds on one field of a series; the worst point counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    pub series: String,
    pub field: String,
    pub warning: Option<Bound>,
    pub critical: Option<Bound>,
}

/// When a value is bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound(Rule);

/// The numbers are finite, but for the open ends of ranges.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Greater(f64),
    GreaterOrEqual(f64),
    Less(f64),
    LessOrEqual(f64),
    Equal(f64),
    NotEqual(f64),
    /// Bad if less than the first or greater than the second.
    Outside(f64, f64),
    /// Bad from the first to the second, both of them included.
    Inside(f64, f64),
}

/// Why a text is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no bound: {reason}; write a comparison (`> 300`, `>= 300`, `< 5`, `<= 5`, `== 3` or `!= 200`) or a range \
     as Nagios plugins have it: `10` (bad below 0 and above 10), `10:` (bad below 10), `~:10` (bad above 10), `10:20` \
     (bad outside) or `@10:20` (bad inside)"
)]
pub struct BoundError {
    text: String,
    reason: String,
}

/// What thresholds make of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub status: Status,
    /// `http.total_ms is 350: warning at > 300`.
    pub why: String,
}

/// A number of a file as a number of a point: shortest text that is read back as the same.
struct Number(f64);

type Compare = fn(f64) -> Rule;

/// Those that begin like another stand before it.
const COMPARISONS: [(&str, Compare); 6] = [
    (">=", Rule::GreaterOrEqual),
    (">", Rule::Greater),
    ("<=", Rule::LessOrEqual),
    ("<", Rule::Less),
    ("==", Rule::Equal),
    ("!=", Rule::NotEqual),
];

impl Bound {
    /// From `> 300`, `>= 1`, `< 5`, `<= 0`, `== 3`, `!= 200`, or a range of Nagios plugins.
    pub fn parse(text: &str) -> Result<Self, BoundError> {
        let text = text.trim();
        let comparison = COMPARISONS.into_iter().find_map(|(sign, rule)| Some((text.strip_prefix(sign)?, rule)));
        let rule = match comparison {
            Some((rest, rule)) => number(rest.trim_start()).map(rule),
            None => range(text),
        };
        rule.map(Self).map_err(|reason| BoundError { text: excerpt(text), reason })
    }

    /// Whether a value is bad. What is not a number always is.
    pub fn is_bad(&self, value: f64) -> bool {
        value.is_nan()
            || match self.0 {
                Rule::Greater(bound) => value > bound,
                Rule::GreaterOrEqual(bound) => value >= bound,
                Rule::Less(bound) => value < bound,
                Rule::LessOrEqual(bound) => value <= bound,
                Rule::Equal(bound) => value == bound,
                Rule::NotEqual(bound) => value != bound,
                Rule::Outside(from, to) => value < from || value > to,
                Rule::Inside(from, to) => (from..=to).contains(&value),
            }
    }

    /// How a sentence says where it is bad: `at > 300`, `outside 10:20`, `inside @10:20`.
    fn place(&self) -> &'static str {
        match self.0 {
            Rule::Outside(..) => "outside",
            Rule::Inside(..) => "inside",
            _ => "at",
        }
    }
}

/// `[@][from:][to]`, where `~` as `from` has no end below.
fn range(text: &str) -> Result<Rule, String> {
    let (inside, bare) = text.strip_prefix('@').map_or((false, text), |bare| (true, bare));
    let (from, to) = match bare.split_once(':') {
        None => (0.0, number(bare)?),
        Some((from, to)) => {
            let from = if from == "~" { f64::NEG_INFINITY } else { number(from)? };
            (from, if to.is_empty() { f64::INFINITY } else { number(to)? })
        }
    };
    if from.is_infinite() && to.is_infinite() {
        return Err("it has no end, so that all values are alike".to_owned());
    }
    if from > to {
        return Err(format!("it begins at {} and ends before that, at {}", Number(from), Number(to)));
    }
    Ok(if inside { Rule::Inside(from, to) } else { Rule::Outside(from, to) })
}

/// A finite decimal number, with an exponent if need be. Words that the standard library takes for numbers are not.
fn number(text: &str) -> Result<f64, String> {
    if text.is_empty() {
        return Err("a number is missing".to_owned());
    }
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse::<f64>() {
        // Minus zero becomes zero.
        Ok(number) if decimal && number.is_finite() => Ok(number + 0.0),
        Ok(_) if decimal => Err(format!("`{}` is too large", excerpt(text))),
        _ => Err(format!("`{}` is not a number (units are not written)", excerpt(text))),
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The form for debugging has an exponent where there would be a long row of zeros.
        let text = format!("{:?}", self.0);
        f.write_str(text.strip_suffix(".0").unwrap_or(&text))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |f: &mut fmt::Formatter<'_>, from: f64, to: f64| match (from, to) {
            (f64::NEG_INFINITY, to) => write!(f, "~:{}", Number(to)),
            (from, f64::INFINITY) => write!(f, "{}:", Number(from)),
            (0.0, to) => write!(f, "{}", Number(to)),
            (from, to) => write!(f, "{}:{}", Number(from), Number(to)),
        };
        match self.0 {
            Rule::Greater(bound) => write!(f, "> {}", Number(bound)),
            Rule::GreaterOrEqual(bound) => write!(f, ">= {}", Number(bound)),
            Rule::Less(bound) => write!(f, "< {}", Number(bound)),
            Rule::LessOrEqual(bound) => write!(f, "<= {}", Number(bound)),
            Rule::Equal(bound) => write!(f, "== {}", Number(bound)),
            Rule::NotEqual(bound) => write!(f, "!= {}", Number(bound)),
            Rule::Outside(from, to) => range(f, from, to),
            Rule::Inside(from, to) => {
                f.write_str("@")?;
                range(f, from, to)
            }
        }
    }
}

/// A value that is out of bounds.
#[derive(Debug, Clone, Copy)]
struct Excess<'a> {
    status: Status,
    threshold: &'a Threshold,
    bound: Bound,
    point: &'a Point,
    value: &'a Value,
}

/// The worst that the thresholds find in the points: critical before warning, then the first threshold of the list,
/// then the first point. None: nothing is out of bounds, or nothing was measured. Texts are not looked at.
pub fn judge(thresholds: &[Threshold], points: &[Point]) -> Option<Verdict> {
    let exceeded: Vec<Excess<'_>> = thresholds.iter().filter_map(|threshold| worst(threshold, points)).collect();
    let first = first_worst(exceeded.iter().copied())?;
    let more = match exceeded.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(Verdict { status: first.status, why: format!("{first}{more}") })
}

/// The first of the worst points of one threshold.
fn worst<'a>(threshold: &'a Threshold, points: &'a [Point]) -> Option<Excess<'a>> {
    let of_series = points.iter().filter(|point| point.series == threshold.series);
    let values = of_series.flat_map(|point| point.fields.iter().map(move |(field, value)| (point, field, value)));
    first_worst(values.filter(|(_, field, _)| **field == threshold.field).filter_map(|(point, _, value)| {
        let measured = measured(value)?;
        let bounds = [(Status::Critical, threshold.critical), (Status::Warning, threshold.warning)];
        let bad = |(status, bound): (Status, Option<Bound>)| Some((status, bound.filter(|b| b.is_bad(measured))?));
        let (status, bound) = bounds.into_iter().find_map(bad)?;
        Some(Excess { status, threshold, bound, point, value })
    }))
}

fn first_worst<'a>(all: impl Iterator<Item = Excess<'a>>) -> Option<Excess<'a>> {
    all.reduce(|worst, next| if next.status > worst.status { next } else { worst })
}

/// A value as a number. Whole numbers beyond 2^53 are rounded, which no bound will notice.
fn measured(value: &Value) -> Option<f64> {
    match value {
        Value::Real(real) => Some(*real),
        Value::Integer(integer) => Some(*integer as f64),
        Value::Boolean(boolean) => Some(f64::from(u8::from(*boolean))),
        Value::Text(_) => None,
    }
}

impl fmt::Display for Excess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, threshold: Threshold { series, field, .. }, bound, point, value } = self;
        write!(f, "{series}.{field}")?;
        for (n, (tag, value)) in point.tags.iter().enumerate() {
            write!(f, "{}{tag}={}", if n == 0 { "{" } else { "," }, excerpt(value))?;
        }
        f.write_str(if point.tags.is_empty() { " is " } else { "} is " })?;
        match value {
            Value::Integer(integer) => write!(f, "{integer}")?,
            value => write!(f, "{}", Number(measured(value).unwrap_or(f64::NAN)))?,
        }
        write!(f, ": {} {} {bound}", status.as_str(), bound.place())
    }
}

#[cfg(test)]
mod tests;
