//! What a Nagios plugin prints: text, and performance data behind a bar. As the guidelines of monitoring-plugins.org have it.

use std::fmt;

/// Metrics that are taken of one output; the host takes no more points than `limits: {points}` either.
pub(crate) const MAX_METRICS: usize = 256;

/// An output, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Output {
    /// The first line, without its performance data.
    pub(crate) text: String,
    /// The lines after it.
    pub(crate) long: Vec<String>,
    pub(crate) metrics: Vec<Metric>,
    /// Performance data that is none, as it stands there.
    pub(crate) unread: Vec<String>,
}

/// One piece of performance data, its numbers in seconds or bytes where the unit is one of time or size.
#[derive(Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) label: String,
    /// None for `U`: the plugin could not find out.
    pub(crate) value: Option<f64>,
    /// `s`, `B`, `%`, `c` (a counter), or whatever the plugin wrote.
    pub(crate) unit: String,
    pub(crate) warning: Option<Range>,
    pub(crate) critical: Option<Range>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// From where to where; an end that is missing is infinite.
#[derive(Debug, PartialEq)]
pub(crate) struct Range {
    /// Alarms inside instead of outside (`@`).
    pub(crate) inside: bool,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

impl Output {
    pub(crate) fn read(printed: &str) -> Self {
        let mut output = Self::default();
        // In the lines after the first, everything behind the first bar is performance data.
        let mut behind_bar = false;
        for (n, line) in printed.lines().enumerate() {
            let (text, data) = match line.split_once('|') {
                Some((text, data)) if !behind_bar => (text, data),
                _ if behind_bar => ("", line),
                _ => (line, ""),
            };
            if n == 0 {
                text.trim().clone_into(&mut output.text);
            } else {
                behind_bar |= line.contains('|');
                if !text.trim().is_empty() {
                    output.long.push(text.trim_end().to_owned());
                }
            }
            output.take(data);
        }
        output
    }

    fn take(&mut self, data: &str) {
        for piece in pieces(data) {
            match Metric::read(piece) {
                Some(metric) if self.metrics.len() < MAX_METRICS => self.metrics.push(metric),
                _ => self.unread.push(piece.to_owned()),
            }
        }
    }
}

/// Words, in which a label in single quotes may hold spaces; two quotes inside are one.
fn pieces(data: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted) = (Vec::new(), None, false);
    for (at, c) in data.char_indices() {
        quoted ^= c == '\'';
        match start {
            None if !c.is_whitespace() => start = Some(at),
            Some(from) if c.is_whitespace() && !quoted => {
                pieces.push(&data[from..at]);
                start = None;
            }
            _ => {}
        }
    }
    pieces.extend(start.map(|from| &data[from..]));
    pieces
}

impl Metric {
    /// `'label'=value[UOM];[warn];[crit];[min];[max]`
    fn read(piece: &str) -> Option<Self> {
        let (label, rest) = label(piece)?;
        let mut parts = rest.split(';');
        let (value, unit) = number_and_unit(parts.next()?)?;
        let (unit, scale) = base(unit);
        // `1e308TB` is a number no more once it is in bytes.
        let scaled = |number: f64| Some(number * scale).filter(|number| number.is_finite());
        let mut next = || parts.next().map(str::trim).filter(|part| !part.is_empty());
        let warning = next().map(|part| Range::read(part, scale));
        let critical = next().map(|part| Range::read(part, scale));
        let min = next().map(|part| part.parse::<f64>().ok().and_then(scaled));
        let max = next().map(|part| part.parse::<f64>().ok().and_then(scaled));
        // What stands there must make sense; what does not stand there need not.
        Some(Self {
            label,
            value: settled(value.map(scaled))?,
            unit: unit.to_owned(),
            warning: settled(warning)?,
            critical: settled(critical)?,
            min: settled(min)?,
            max: settled(max)?,
        })
    }
}

/// None inside for what was not given; none outside for what was given and is nonsense.
#[expect(clippy::option_option, reason = "the two mean different things, for two lines")]
fn settled<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(part) => part.map(Some),
    }
}

fn label(piece: &str) -> Option<(String, &str)> {
    let (label, rest) = match piece.strip_prefix('\'') {
        None => piece.split_once('=')?,
        Some(quoted) => {
            let end = quoted.find("'=")?;
            (&quoted[..end], &quoted[end + 2..])
        }
    };
    let label = label.replace("''", "'").trim().to_owned();
    (!label.is_empty()).then_some((label, rest))
}

fn number_and_unit(text: &str) -> Option<(Option<f64>, &str)> {
    let text = text.trim();
    if text == "U" {
        return Some((None, ""));
    }
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | ',')).unwrap_or(text.len());
    // `1e3s`: an exponent is part of the number only when digits follow it.
    let exponent = text[end..].strip_prefix(['e', 'E']).and_then(|rest| {
        let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        (count > 0).then(|| text.len() - digits.len() + count)
    });
    let end = exponent.unwrap_or(end);
    // Some locales print a comma.
    let number: f64 = text[..end].replace(',', ".").parse().ok()?;
    number.is_finite().then_some((Some(number), &text[end..]))
}

/// The base unit, and how many of it the unit is. Nagios' sizes count by 1024.
fn base(unit: &str) -> (&str, f64) {
    match unit {
        "us" => ("s", 1e-6),
        "ms" => ("s", 1e-3),
        "KB" | "kB" | "KiB" => ("B", 1024.0),
        "MB" | "MiB" => ("B", 1_048_576.0),
        "GB" | "GiB" => ("B", 1_073_741_824.0),
        "TB" | "TiB" => ("B", 1_099_511_627_776.0),
        other => (other, 1.0),
    }
}

impl Range {
    /// `10`, `10:`, `~:10`, `10:20`, `@10:20`
    fn read(text: &str, scale: f64) -> Option<Self> {
        let (inside, text) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
        let end = |text: &str| text.parse::<f64>().ok().map(|n| n * scale).filter(|n| n.is_finite());
        let (low, high) = match text.split_once(':') {
            None => (Some(0.0), Some(end(text)?)),
            Some(("~", "")) => (None, None),
            Some(("~", high)) => (None, Some(end(high)?)),
            Some((low, "")) => (Some(end(low)?), None),
            Some(("", high)) => (Some(0.0), Some(end(high)?)),
            Some((low, high)) => (Some(end(low)?), Some(end(high)?)),
        };
        let turned = low.zip(high).is_some_and(|(low, high)| low > high);
        (!turned).then_some(Self { inside, low, high })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inside { "@" } else { "" })?;
        match self.low {
            None => f.write_str("~:")?,
            Some(0.0) if self.high.is_some() => {}
            Some(low) => write!(f, "{low}:")?,
        }
        self.high.map_or(Ok(()), |high| write!(f, "{high}"))
    }
}

#[cfg(test)]
#[path = "output/holds.rs"]
mod holds;

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(metric: &Metric) -> String {
        let text = |range: &Option<Range>| range.as_ref().map(ToString::to_string).unwrap_or_default();
        let number = |n: Option<f64>| n.map(|n| n.to_string()).unwrap_or_default();
        let Metric { label, value, unit, warning, critical, min, max } = metric;
        let value = value.map_or_else(|| "U".to_owned(), |v| v.to_string());
        format!("{label}={value}{unit};{};{};{};{}", text(warning), text(critical), number(*min), number(*max))
    }

    #[test]
    fn outputs() {
        let ping = "PING OK - Packet loss = 0%, RTA = 0.80 ms|rta=0.80ms;100;500;0 pl=0%;20;60;;\n";
        let output = Output::read(ping);
        assert_eq!(output.text, "PING OK - Packet loss = 0%, RTA = 0.80 ms");
        assert_eq!(output.metrics.iter().map(brief).collect::<Vec<_>>(), ["rta=0.0008s;0.1;0.5;0;", "pl=0%;20;60;;"]);

        let long = "DISK OK | /=2643MB;5948;5958;0;5968\n/ 15272 MB\n/boot 68 MB\nlast | /boot=68MB;88;93;0;98\n/home=69357MB\n";
        let output = Output::read(long);
        assert_eq!(
            (output.text.as_str(), output.long.join("; ").as_str()),
            ("DISK OK", "/ 15272 MB; /boot 68 MB; last")
        );
        let labels: Vec<_> = output.metrics.iter().map(|metric| metric.label.as_str()).collect();
        assert_eq!(labels, ["/", "/boot", "/home"]);
        assert_eq!(output.metrics[1].value, Some(68.0 * 1_048_576.0));
        assert_eq!(Output::read(""), Output::default());
        assert_eq!(Output::read("no data").metrics, []);
    }

    #[test]
    fn performance_data() {
        for (piece, expected) in [
            ("time=0.01s;;;0;10", Some("time=0.01s;;;0;10")),
            ("'users logged in'=4;5;10;0", Some("users logged in=4;5;10;0;")),
            ("'it''s'=1", Some("it's=1;;;;")),
            ("a=b=3", None),
            ("=3", None),
            ("x=U", Some("x=U;;;;")),
            ("x=1,5s", Some("x=1.5s;;;;")),
            ("x=1e3c", Some("x=1000c;;;;")),
            ("x=2e;1", Some("x=2e;1;;;")),
            ("x=-3;@10:20;~:5;;", Some("x=-3;@10:20;~:5;;")),
            ("x=1;10:;20:10", None),
            ("x=1;10:;30:40", Some("x=1;10:;30:40;;")),
            ("x=nan", None),
            ("x=1e999", None),
            ("x=1e308TB", None),
            ("x=1KB;1e308", None),
            ("x=1;;;nan", None),
            ("x", None),
        ] {
            assert_eq!(Metric::read(piece).as_ref().map(brief).as_deref(), expected, "{piece}");
        }
    }

    #[test]
    fn words_with_spaces_in_quotes() {
        assert_eq!(pieces(" a=1  'b c'=2\t'it''s d'=3 "), ["a=1", "'b c'=2", "'it''s d'=3"]);
        assert_eq!(pieces("'never closed =1 b=2"), ["'never closed =1 b=2"]);
        assert_eq!(pieces(""), [""; 0]);
    }

    #[test]
    fn there_is_an_end_to_metrics() {
        let many: String = (0..1000).map(|n| format!("m{n}=1 ")).collect();
        let output = Output::read(&format!("ok|{many}"));
        assert_eq!((output.metrics.len(), output.unread.len()), (MAX_METRICS, 1000 - MAX_METRICS));
    }
}
