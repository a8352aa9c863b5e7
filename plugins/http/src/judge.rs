//! What is expected of an answer, and what is wrong with one. Nothing here touches the world.

use std::ops::RangeInclusive;

use roundsman_sdk::http::Response;
use roundsman_sdk::{Pattern, Status};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// What the answer must be like. All of it must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Expect {
    /// The status codes that are right, as `204` or `200-299`.
    status: Vec<Statuses>,
    /// A regular expression that the body must match.
    body: Option<Pattern>,
    /// A regular expression that the body must not match.
    body_not: Option<Pattern>,
    /// What must stand at places of a JSON body.
    json: Vec<JsonRule>,
    /// What must stand in headers.
    header: Vec<HeaderRule>,
    /// How long the certificate must still be good.
    pub(crate) certificate: CertificateRule,
}

/// One status code or a range of them.
#[derive(Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
#[schemars(with = "Written")]
pub(crate) struct Statuses(RangeInclusive<u16>);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Written {
    Code(u16),
    Range(String),
}

/// What must stand at one place of a JSON body. Without a condition, anything may stand there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct JsonRule {
    /// The place, by RFC 6901: `/status`, `/items/0/name`.
    pointer: String,
    /// Exactly this value.
    equals: Option<Value>,
    /// A text, or another value as it is written in JSON, that matches this regular expression.
    matches: Option<Pattern>,
    /// A number of at least this.
    at_least: Option<f64>,
    /// A number of at most this.
    at_most: Option<f64>,
}

/// What must stand in a header. One of its values must match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderRule {
    /// The header's name, in any case.
    name: String,
    /// A regular expression; without it, the header must be there.
    matches: Option<Pattern>,
}

/// From how few days left on a certificate is a warning, or critical. Zero: once it has ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct CertificateRule {
    warning_days: f64,
    critical_days: f64,
}

/// Something that is not as expected.
pub(crate) type Complaint = (Status, String);

impl Default for Expect {
    fn default() -> Self {
        Self {
            status: vec![Statuses(200..=299)],
            body: None,
            body_not: None,
            json: Vec::new(),
            header: Vec::new(),
            certificate: CertificateRule::default(),
        }
    }
}

impl Default for CertificateRule {
    /// Certificates of 45 days are renewed when 15 are left: what has 10 left was not renewed.
    fn default() -> Self {
        Self { warning_days: 10.0, critical_days: 3.0 }
    }
}

impl Expect {
    /// Everything that is wrong with an answer.
    pub(crate) fn judge(&self, answer: &Response) -> Vec<Complaint> {
        let mut wrong = Vec::new();
        if !self.status.iter().any(|right| right.0.contains(&answer.status)) {
            let right: Vec<_> = self.status.iter().map(Statuses::to_string).collect();
            wrong.push(format!("status {}, expected {}", answer.status, right.join(", ")));
        }
        let text = answer.text();
        if let Some(Pattern(right)) = self.body.as_ref().filter(|right| !right.0.is_match(&text)) {
            let why = if answer.body_truncated { " within `maxBody`" } else { "" };
            wrong.push(format!("body does not match /{right}/{why}"));
        }
        if let Some(Pattern(bad)) = self.body_not.as_ref().filter(|bad| bad.0.is_match(&text)) {
            wrong.push(format!("body matches /{bad}/"));
        }
        wrong.extend(self.header.iter().filter_map(|rule| rule.complaint(answer)));
        wrong.extend(self.json_complaints(answer));
        wrong.into_iter().map(|text| (Status::Critical, text)).collect()
    }

    fn json_complaints(&self, answer: &Response) -> Vec<String> {
        if self.json.is_empty() {
            return Vec::new();
        }
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) => self.json.iter().filter_map(|rule| rule.complaint(&body)).collect(),
            Err(_) if answer.body_truncated => vec!["body is longer than `maxBody`: cannot be read as JSON".to_owned()],
            Err(error) => vec![format!("body is not JSON: {error}")],
        }
    }
}

impl CertificateRule {
    /// What is wrong with a certificate that is good for so many days more.
    pub(crate) fn complaint(&self, days_left: f64) -> Option<Complaint> {
        let text = if days_left > 0.0 {
            format!("certificate ends in {days_left:.1} days")
        } else {
            format!("certificate ended {:.1} days ago", -days_left)
        };
        match days_left {
            days if days <= self.critical_days => Some((Status::Critical, text)),
            days if days <= self.warning_days => Some((Status::Warning, text)),
            _ => None,
        }
    }
}

impl HeaderRule {
    fn complaint(&self, answer: &Response) -> Option<String> {
        let values: Vec<_> = answer.header(&self.name).collect();
        let Some(first) = values.first() else {
            return Some(format!("header {} is missing", self.name));
        };
        let Pattern(right) = self.matches.as_ref()?;
        let matched = values.iter().any(|value| right.is_match(value));
        (!matched).then(|| format!("header {} is `{}`, does not match /{right}/", self.name, excerpt(first)))
    }
}

impl JsonRule {
    fn complaint(&self, body: &Value) -> Option<String> {
        let pointer = &self.pointer;
        let Some(value) = body.pointer(pointer) else {
            return Some(format!("JSON has nothing at {pointer}"));
        };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let is = format!("JSON at {pointer} is {}", excerpt(&value.to_string()));
        if let Some(right) = self.equals.as_ref().filter(|right| !same(right, value)) {
            return Some(format!("{is}, expected {right}"));
        }
        if let Some(Pattern(right)) = self.matches.as_ref().filter(|right| !right.0.is_match(&text)) {
            return Some(format!("{is}, does not match /{right}/"));
        }
        let number = value.as_f64();
        if let Some(least) = self.at_least.filter(|least| number.is_none_or(|number| number < *least)) {
            return Some(format!("{is}, expected at least {least}"));
        }
        if let Some(most) = self.at_most.filter(|most| number.is_none_or(|number| number > *most)) {
            return Some(format!("{is}, expected at most {most}"));
        }
        None
    }
}

/// Numbers are equal by value: `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}

/// The beginning of what somebody else wrote, short enough for a summary.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl TryFrom<Written> for Statuses {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Code(code) => code.to_string(),
            Written::Range(text) => text,
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => Ok(Self(first..=last)),
            _ => Err(format!("`{text}` is not a status: write 204, or 200-299, within 100 to 599")),
        }
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (written, right) in [
            ("204", Some(204..=204)),
            ("200-299", Some(200..=299)),
            ("200 - 299", Some(200..=299)),
            ("299-200", None),
            ("2xx", None),
            ("99", None),
            ("600", None),
            ("", None),
        ] {
            assert_eq!(Statuses::try_from(Written::Range(written.into())).ok(), right.map(Statuses), "{written:?}");
        }
    }

    #[test]
    fn answers() {
        let body = r#"{"status": "ok", "queue": {"depth": 12}, "up": true}"#;
        let headers = vec![("Content-Type".to_owned(), b"application/json".to_vec())];
        let answer = Response { status: 200, headers, body: body.into(), ..Response::default() };
        for (expect, complaints) in [
            (r"{}", vec![]),
            (r#"{"status": [200, 204]}"#, vec![]),
            (r#"{"status": ["300-399", 401]}"#, vec!["status 200, expected 300-399, 401"]),
            (r#"{"body": "\"up\": true"}"#, vec![]),
            (r#"{"body": "down"}"#, vec!["body does not match /down/"]),
            (r#"{"bodyNot": "(?i)OK"}"#, vec!["body matches /(?i)OK/"]),
            (r#"{"header": [{"name": "content-type", "matches": "json$"}]}"#, vec![]),
            (
                r#"{"header": [{"name": "content-type", "matches": "html"}]}"#,
                vec!["header content-type is `application/json`, does not match /html/"],
            ),
            (r#"{"header": [{"name": "etag"}]}"#, vec!["header etag is missing"]),
            (r#"{"json": [{"pointer": "/status", "equals": "ok"}, {"pointer": "/up"}]}"#, vec![]),
            (r#"{"json": [{"pointer": "/queue/depth", "equals": 12.0, "atMost": 12, "atLeast": 12}]}"#, vec![]),
            (
                r#"{"json": [{"pointer": "/queue/depth", "atMost": 10}]}"#,
                vec!["JSON at /queue/depth is 12, expected at most 10"],
            ),
            (
                r#"{"json": [{"pointer": "/status", "atLeast": 1}]}"#,
                vec![r#"JSON at /status is "ok", expected at least 1"#],
            ),
            (
                r#"{"json": [{"pointer": "/up", "matches": "^false$"}]}"#,
                vec!["JSON at /up is true, does not match /^false$/"],
            ),
            (r#"{"json": [{"pointer": "/nope"}]}"#, vec!["JSON has nothing at /nope"]),
            (r#"{"status": [500], "body": "down"}"#, vec!["status 200, expected 500", "body does not match /down/"]),
        ] {
            let expect: Expect = serde_json::from_str(expect).unwrap();
            let found: Vec<_> = expect.judge(&answer).into_iter().map(|(_, text)| text).collect();
            assert_eq!(found, complaints);
        }
    }

    #[test]
    fn bodies_that_are_not_json() {
        let expect: Expect = serde_json::from_str(r#"{"json": [{"pointer": "/a"}]}"#).unwrap();
        for (truncated, complaint) in [
            (true, "body is longer than `maxBody`: cannot be read as JSON"),
            (false, "body is not JSON: EOF while parsing an object at line 1 column 1"),
        ] {
            let answer =
                Response { status: 200, body: b"{".to_vec(), body_truncated: truncated, ..Response::default() };
            assert_eq!(expect.judge(&answer), [(Status::Critical, complaint.to_owned())]);
        }
    }

    #[test]
    fn certificates() {
        let rule = CertificateRule { warning_days: 14.0, critical_days: 7.0 };
        for (days, complaint) in [
            (14.1, None),
            (14.0, Some((Status::Warning, "certificate ends in 14.0 days".to_owned()))),
            (7.0, Some((Status::Critical, "certificate ends in 7.0 days".to_owned()))),
            (-1.5, Some((Status::Critical, "certificate ended 1.5 days ago".to_owned()))),
        ] {
            assert_eq!(rule.complaint(days), complaint);
        }
    }
}
