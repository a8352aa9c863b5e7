//! Reads the text in which programs show their metrics to Prometheus, and OpenMetrics, as far as both are alike.
//!
//! ```
//! let page = "# TYPE up gauge\nup{job=\"api\"} 1\nlatency_bucket{le=\"+Inf\"} 7 1700000000\n";
//! let samples: Vec<_> = roundsman_sdk::exposition::samples(page).collect();
//! assert_eq!((samples[0].name, samples[0].label("job"), samples[0].value), ("up", Some("api"), 1.0));
//! assert_eq!(samples[1].label("le"), Some("+Inf"));
//! ```
//!
//! Lines that are none of the format are left out: a page is worth reading for the others.

use std::borrow::Cow;

/// Labels that are read of one sample.
const MAX_LABELS: usize = 64;

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The metric, with `_bucket`, `_sum`, `_count`, `_total` where it ends so.
    pub name: &'a str,
    /// In the order of the page.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be infinite, or no number.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_ref())
    }

    /// The labels as a page has them, without some: `device="sda",mode="rw"`.
    pub fn spell_labels(&self, without: &[&str]) -> String {
        let shown = self.labels.iter().filter(|(name, _)| !without.contains(name));
        shown.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
    }
}

/// The samples of a page, in its order.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample)
}

/// A quantile of a histogram, from its buckets (`le` and how many there are up to it), as Prometheus estimates it: linear
/// within the bucket. None without observations. In the last bucket, the greatest finite bound.
pub fn quantile(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let mut sorted: Vec<_> =
        buckets.iter().copied().filter(|(bound, count)| *bound > f64::NEG_INFINITY && count.is_finite()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = sorted.last().filter(|(bound, count)| *bound == f64::INFINITY && *count > 0.0)?.1;
    let rank = q.clamp(0.0, 1.0) * total;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in sorted {
        if count >= rank && count > below {
            if bound == f64::INFINITY {
                return Some(low);
            }
            let part = ((rank - below) / (count - below)).max(0.0);
            // Not by the difference of the bounds, which may be no number any more.
            return Some(low * (1.0 - part) + bound * part);
        }
        (low, below) = (if bound.is_finite() { bound } else { low }, count.max(below));
    }
    Some(low)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    Some(Sample { name, labels, value: number(rest.split_whitespace().next()?)? })
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// What stands between the braces, and what follows them.
type Labels<'a> = (Vec<(&'a str, Cow<'a, str>)>, &'a str);

fn labels(mut rest: &str) -> Option<Labels<'_>> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        if !is_name(name.trim()) || labels.len() == MAX_LABELS {
            return None;
        }
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// Up to the closing quotation mark, with `\\`, `\"` and `\n` resolved.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut resolved: Option<String> = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                let value = resolved.map_or(Cow::Borrowed(&text[..at]), Cow::Owned);
                return Some((value, &text[at + 1..]));
            }
            '\\' => {
                let resolved = resolved.get_or_insert_with(|| text[..at].to_owned());
                match characters.next()?.1 {
                    'n' => resolved.push('\n'),
                    plain @ ('\\' | '"') => resolved.push(plain),
                    other => resolved.extend(['\\', other]),
                }
            }
            plain => {
                if let Some(resolved) = &mut resolved {
                    resolved.push(plain);
                }
            }
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, expected) in [
            ("up 1", Some(("up", "", 1.0))),
            ("up{} 1 1700000000000", Some(("up", "", 1.0))),
            ("  a:b_c{x=\"1\",y=\"two words\",} 2.5e3", Some(("a:b_c", "x=\"1\",y=\"two words\"", 2500.0))),
            ("m{ x = \"}\" } -3", Some(("m", "x=\"}\"", -3.0))),
            ("m{path=\"C:\\\\dir\\\"q\\\"\\n\"} 1", Some(("m", "path=\"C:\\\\dir\\\"q\\\"\\n\"", 1.0))),
            ("m +Inf", Some(("m", "", f64::INFINITY))),
            ("h_bucket{le=\"0.1\"} 7 # {trace=\"x\"} 0.05", Some(("h_bucket", "le=\"0.1\"", 7.0))),
            ("# HELP up x", None),
            ("", None),
            ("up", None),
            ("up{x=\"1\" 1", None),
            ("up{x=1} 1", None),
            ("up{x=\"1} 1", None),
            ("1up 1", None),
            ("up one", None),
            ("<html>", None),
        ] {
            let found = sample(line);
            let brief = found.as_ref().map(|sample| (sample.name, sample.spell_labels(&[]), sample.value));
            assert_eq!(brief, expected.map(|(name, labels, value)| (name, labels.to_owned(), value)), "{line}");
        }
        assert!(sample("m NaN").unwrap().value.is_nan());
        let many = (0..100).map(|n| format!("l{n}=\"x\"")).collect::<Vec<_>>().join(",");
        assert_eq!(sample(&format!("m{{{many}}} 1")), None);
    }

    #[test]
    fn quantiles() {
        let inf = f64::INFINITY;
        for (q, buckets, expected) in [
            (0.5, &[(1.0, 5.0), (2.0, 10.0), (inf, 10.0)][..], Some(1.0)),
            (0.75, &[(1.0, 5.0), (2.0, 10.0), (inf, 10.0)], Some(1.5)),
            (0.99, &[(1.0, 5.0), (2.0, 5.0), (inf, 10.0)], Some(2.0)),
            (0.99, &[(inf, 4.0), (1.0, 4.0)], Some(0.99)),
            (0.5, &[(-inf, 3.0), (1.0, 4.0), (inf, 4.0)], Some(0.5)),
            (0.5, &[(-1e308, 0.0), (1e308, 2.0), (inf, 2.0)], Some(0.0)),
            (0.5, &[(1.0, 0.0), (inf, 0.0)], None),
            (0.5, &[(1.0, 3.0)], None),
            (0.5, &[], None),
        ] {
            assert_eq!(quantile(q, buckets), expected, "{q} of {buckets:?}");
        }
    }
}
