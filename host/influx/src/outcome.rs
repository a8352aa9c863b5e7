//! What an answer to a write means: a table, without I/O.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 422, or 400 with `partial write` | delivered, some points refused; never sent again |
//! | 400 with a parse error | unparsable: halved until the bad line is alone |
//! | 400 otherwise | refused: a few tries, then set aside |
//! | 413 | too large: halved |
//! | 408, 429, 499, 5xx, nothing heard | retry |
//! | 401, 403, 404, any other | hold: a person must change something |

use std::time::Duration;

/// Throttled without a time to wait: at least this long.
const THROTTLED: Duration = Duration::from_secs(10);

/// The longest that a server may ask to wait: beyond it, asking again costs less than the gap.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Longest text of a server that is kept for a person to read.
const MAX_WHY: usize = 300;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is written.
    Delivered,
    /// The server wrote what it could; `rejected` lines it will never take. `answer` may name them.
    DeliveredWithRejects { rejected: u64, why: String, answer: String },
    /// At least one line cannot be parsed, and nothing is known of the others.
    Unparsable { why: String },
    /// Refused for a reason that does not name a line.
    Refused { why: String },
    /// Larger than the server allows.
    TooLarge { why: String },
    /// A person must change something: credentials, the database, the URL.
    Hold { why: String, credentials: bool },
    /// It may work later; not before `at_least` has passed.
    Retry { why: String, at_least: Duration },
}

/// Reads an answer. `retry_after` is the header of that name, where the client shows it.
pub fn classify(status: u16, text: &str, retry_after: Option<&str>) -> Outcome {
    let why = || explain(status, text);
    match status {
        200..300 if text.trim_start().starts_with('<') => {
            // A login page of something in between; taking it for success would lose everything.
            Outcome::Hold { why: format!("{}: not InfluxDB answers but a web page", why()), credentials: false }
        }
        200..300 => Outcome::Delivered,
        400 if text.contains("partial write") => partial(text, why()),
        400 if is_parse_error(text) => Outcome::Unparsable { why: why() },
        // InfluxDB 3 answers 400 also when its own storage fails.
        400 if text.contains("error from wal") || text.contains("error from persister") => {
            Outcome::Retry { why: why(), at_least: Duration::ZERO }
        }
        400 => Outcome::Refused { why: why() },
        422 => partial(text, why()),
        413 => Outcome::TooLarge { why: why() },
        429 | 503 => Outcome::Retry { why: why(), at_least: retry_after.map_or(THROTTLED, wait) },
        408 | 499 | 500..600 => Outcome::Retry { why: why(), at_least: Duration::ZERO },
        300..400 => Outcome::Hold { why: format!("{}: redirected; write the final URL", why()), credentials: false },
        _ => Outcome::Hold { why: why(), credentials: matches!(status, 401 | 403) },
    }
}

fn is_parse_error(text: &str) -> bool {
    ["unable to parse", "line protocol pars", "parsing failed"].iter().any(|words| text.contains(words))
}

fn partial(text: &str, why: String) -> Outcome {
    Outcome::DeliveredWithRejects { rejected: rejected(text), why, answer: text.to_owned() }
}

/// How many lines the server refused. 1.x says `dropped=0` when lines could not be parsed, but names each of them.
/// Never 0: something was refused.
fn rejected(text: &str) -> u64 {
    let dropped = text.rsplit_once("dropped=").and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<u64>().ok()
    });
    let named = text.matches("unable to parse").count().max(text.matches("\"line_number\"").count());
    dropped.unwrap_or(0).max(named as u64).max(1)
}

/// Seconds; of a date, and of nonsense, nothing is known.
fn wait(retry_after: &str) -> Duration {
    retry_after.trim().parse().map_or(THROTTLED, Duration::from_secs).min(MAX_RETRY_AFTER)
}

fn explain(status: u16, text: &str) -> String {
    let mut why = format!("HTTP {status}");
    let mut rest: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WHY).collect();
    if !rest.is_empty() {
        if rest.len() < text.trim().len() {
            rest.push('…');
        }
        why.push_str(": ");
        why.push_str(&rest);
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short name for each outcome, with its figure.
    fn short(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Delivered => "delivered".into(),
            Outcome::DeliveredWithRejects { rejected, .. } => format!("rejects {rejected}"),
            Outcome::Unparsable { .. } => "unparsable".into(),
            Outcome::Refused { .. } => "refused".into(),
            Outcome::TooLarge { .. } => "too large".into(),
            Outcome::Hold { credentials: true, .. } => "hold credentials".into(),
            Outcome::Hold { .. } => "hold".into(),
            Outcome::Retry { at_least, .. } => format!("retry {}", at_least.as_secs()),
        }
    }

    #[test]
    fn answers_of_real_servers() {
        let one_type = r#"{"error":"partial write: field type conflict: input field \"value\" on measurement \"m\" is type string, already exists as type float dropped=1"}"#;
        let retention = r#"{"error":"partial write: points beyond retention policy dropped=7"}"#;
        let two_lines = "{\"error\":\"partial write: unable to parse 'm value=': missing field value\\nunable to parse 'x': missing fields dropped=0\"}";
        let v2_conflict = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=3"}"#;
        let v3_partial = r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"m","line_number":2,"error_message":"x"},{"original_line":"n","line_number":5,"error_message":"x"}]}"#;
        for (status, text, retry_after, expected) in [
            (204, "", None, "delivered"),
            (200, "", None, "delivered"),
            (200, "<!doctype html><title>Sign in</title>", None, "hold"),
            // 1.x
            (400, one_type, None, "rejects 1"),
            (400, retention, None, "rejects 7"),
            (400, two_lines, None, "rejects 2"),
            (400, r#"{"error":"unable to parse 'm value=': missing field value"}"#, None, "unparsable"),
            (400, r#"{"error":"database is required"}"#, None, "refused"),
            (401, r#"{"error":"authorization failed"}"#, None, "hold credentials"),
            (401, r#"{"error":"unable to parse authentication credentials"}"#, None, "hold credentials"),
            (403, r#"{"error":"\"u\" user is not authorized to write to database \"d\""}"#, None, "hold credentials"),
            (404, r#"{"error":"database not found: \"nope\""}"#, None, "hold"),
            (404, "404 page not found\n", None, "hold"),
            (413, r#"{"error":"Request Entity Too Large"}"#, None, "too large"),
            (500, r#"{"error":"timeout"}"#, None, "retry 0"),
            (503, r#"{"error":"request throttled, exceeds max-concurrent-write-limit"}"#, None, "retry 10"),
            // 2.x
            (400, r#"{"code":"invalid","message":"unable to parse 'm': missing fields"}"#, None, "unparsable"),
            (401, r#"{"code":"unauthorized","message":"unauthorized access"}"#, None, "hold credentials"),
            (404, r#"{"code":"not found","message":"bucket \"b\" not found"}"#, None, "hold"),
            (422, v2_conflict, None, "rejects 3"),
            (429, "", Some("37"), "retry 37"),
            (429, "", None, "retry 10"),
            (503, "", Some("5"), "retry 5"),
            (503, "", Some("86400"), "retry 600"),
            (503, "", Some("Wed, 21 Oct 2026 07:28:00 GMT"), "retry 10"),
            // 3.x
            (400, v3_partial, None, "rejects 2"),
            (400, r#"{"error":"parsing failed for write_lp endpoint","data":{"line_number":1}}"#, None, "unparsable"),
            (400, r#"{"code":"invalid","message":"line protocol parse failed: x"}"#, None, "unparsable"),
            (400, r#"{"code":"invalid","message":"error from wal: object store is gone"}"#, None, "retry 0"),
            (400, r#"{"code":"invalid","message":"catalog update error: too many tables"}"#, None, "refused"),
            // Things in between
            (302, "", None, "hold"),
            (405, "Method Not Allowed", None, "hold"),
            (408, "", None, "retry 0"),
            (499, "", None, "retry 0"),
            (502, "<html>Bad Gateway</html>", None, "retry 0"),
            (504, "", None, "retry 0"),
        ] {
            assert_eq!(short(&classify(status, text, retry_after)), expected, "{status} {text}");
        }
    }

    #[test]
    fn what_a_server_says_is_kept_short_and_clean() {
        let Outcome::Refused { why } = classify(400, &format!("bad\n\u{1b}[31m{}", "x".repeat(900)), None) else {
            panic!("refused");
        };
        assert!(why.starts_with("HTTP 400: bad  [31mxxx") && why.ends_with('…') && why.len() < 400, "{why}");
    }
}
