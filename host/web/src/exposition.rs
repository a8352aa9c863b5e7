//! OpenMetrics text, written by hand: the numbers are counted elsewhere, so a registry would only hold copies of them.

use std::fmt::Write;

use crate::sample::{Histogram, Kind};

/// What the text is, for the header `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A page of metrics. Each family is written whole before the next begins, as the format wants it.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// A family that takes its values.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    text: &'a mut String,
    name: &'static str,
    suffix: &'static str,
}

impl Exposition {
    pub(crate) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Values<'_> {
        let (word, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        self.head(name, word, help);
        Values { text: &mut self.0, name, suffix }
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(Kind::Gauge, name, help).value(&[], value);
    }

    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(Kind::Counter, name, help).value(&[], value);
    }

    /// Constant facts as labels.
    pub(crate) fn info(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, "info", help);
        Values { text: &mut self.0, name, suffix: "_info" }.value(labels, 1.0);
    }

    /// Buckets are cumulated here; the count is what they add up to, so that both always agree.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut seen = 0;
        for (at, bound) in histogram.bounds_s.iter().enumerate() {
            seen += histogram.counts.get(at).copied().unwrap_or(0);
            Values { text: &mut self.0, name, suffix: "_bucket" }.value(&[("le", &format!("{bound:?}"))], seen as f64);
        }
        seen += histogram.counts.get(histogram.bounds_s.len()).copied().unwrap_or(0);
        Values { text: &mut self.0, name, suffix: "_bucket" }.value(&[("le", "+Inf")], seen as f64);
        Values { text: &mut self.0, name, suffix: "_count" }.value(&[], seen as f64);
        Values { text: &mut self.0, name, suffix: "_sum" }.value(&[], histogram.sum_s);
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        write!(self.0, "# TYPE {name} {kind}\n# HELP {name} ").expect(INFALLIBLE);
        escape(&mut self.0, help);
        self.0.push('\n');
    }
}

impl Values<'_> {
    /// Labels without a value are left out: to a scraper both are the same.
    pub(crate) fn value(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(self.suffix);
        let mut before = '{';
        for (label, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            write!(self.text, "{before}{label}=\"").expect(INFALLIBLE);
            escape(self.text, value);
            self.text.push('"');
            before = ',';
        }
        self.text.push_str(if before == ',' { "} " } else { " " });
        number(self.text, value);
        self.text.push('\n');
        self
    }
}

const INFALLIBLE: &str = "writing to a string cannot fail";

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
}

fn number(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value.fract() == 0.0 && value.abs() < 1e15 {
        write!(text, "{value:.0}").expect(INFALLIBLE);
    } else {
        write!(text, "{value}").expect(INFALLIBLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let mut page = Exposition::default();
        page.info("a_build", "Who.", &[("version", "0.1.0"), ("cluster", "")]);
        page.family(Kind::Counter, "a_ticks", "Back\\slash\nline.")
            .value(&[("check", "x\"y\\z\n\u{1b}"), ("target", "")], 3.0)
            .value(&[("check", "b"), ("target", "t")], 0.5);
        let histogram = Histogram { bounds_s: vec![0.001, 1.0], counts: vec![2, 0, 1], sum_s: 4.25 };
        page.histogram("a_lag_seconds", "Lag.", &histogram);
        page.gauge("a_nan", "N.", f64::NAN);
        assert_eq!(
            page.finish(),
            "# TYPE a_build info\n# HELP a_build Who.\na_build_info{version=\"0.1.0\"} 1\n\
             # TYPE a_ticks counter\n# HELP a_ticks Back\\\\slash\\nline.\n\
             a_ticks_total{check=\"x\\\"y\\\\z\\n\u{fffd}\"} 3\na_ticks_total{check=\"b\",target=\"t\"} 0.5\n\
             # TYPE a_lag_seconds histogram\n# HELP a_lag_seconds Lag.\n\
             a_lag_seconds_bucket{le=\"0.001\"} 2\na_lag_seconds_bucket{le=\"1.0\"} 2\n\
             a_lag_seconds_bucket{le=\"+Inf\"} 3\na_lag_seconds_count 3\na_lag_seconds_sum 4.25\n\
             # TYPE a_nan gauge\n# HELP a_nan N.\na_nan NaN\n# EOF\n"
        );
    }
}
