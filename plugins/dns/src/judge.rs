//! What an answer of DNS must be like.

use std::collections::BTreeSet;
use std::time::Duration;

use roundsman_sdk::dns::Answer;
use roundsman_sdk::report::ms;
use roundsman_sdk::{Fault, Outcome, Pattern, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// A summary names so many answers.
const NAMED: usize = 4;

/// What is expected of the answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Expect {
    rcode: String,
    /// Exactly these answers of the type asked for, in any order, as in a zone file.
    answers: Vec<String>,
    /// Answers that must be there, beside others.
    contains: Vec<String>,
    /// A regular expression that every answer must match.
    matches: Option<Pattern>,
    /// At least so many answers; 1 unless set, where `rcode` is NOERROR.
    at_least: Option<usize>,
    min_ttl: Option<Span>,
    max_ttl: Option<Span>,
    /// The server must be responsible for the name itself.
    authoritative: bool,
    /// The server must have verified the signatures (flag `ad`).
    authenticated: bool,
    /// A slower answer is a warning.
    within: Option<Span>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            rcode: "NOERROR".to_owned(),
            answers: Vec::new(),
            contains: Vec::new(),
            matches: None,
            at_least: None,
            min_ttl: None,
            max_ttl: None,
            authoritative: false,
            authenticated: false,
            within: None,
        }
    }
}

impl Expect {
    pub(crate) fn validate(&self) -> Result<(), Fault> {
        let some =
            !self.answers.is_empty() || !self.contains.is_empty() || self.at_least.is_some_and(|least| least > 0);
        if some && self.rcode != "NOERROR" {
            return Err(Fault::settings("`expect`: answers come with the rcode NOERROR only"));
        }
        if self.min_ttl.zip(self.max_ttl).is_some_and(|(min, max)| min > max) {
            return Err(Fault::settings("`expect`: minTtl must not be above maxTtl"));
        }
        Ok(())
    }

    pub(crate) fn judge(&self, answer: &Answer, kind: &str, took: Duration, by: &str) -> Outcome {
        let found: Vec<&str> = answer.texts(kind).collect();
        if let Some(wrong) = self.wrong(answer, &found) {
            return Outcome::critical(format!("{wrong}; answered by {by}"));
        }
        let text = match found.len() {
            0 => format!("{} from {by} in {:.1} ms", answer.rcode, ms(took)),
            _ => format!("{} from {by} in {:.1} ms", list(&found), ms(took)),
        };
        match self.within {
            Some(Span(within)) if took > within => {
                Outcome::warning(format!("{text}, expected within {:.0} ms", ms(within)))
            }
            _ => Outcome::ok(text),
        }
    }

    fn wrong(&self, answer: &Answer, found: &[&str]) -> Option<String> {
        if answer.rcode != self.rcode {
            return Some(format!("the answer is {}, expected {}", answer.rcode, self.rcode));
        }
        let least = self.at_least.unwrap_or(usize::from(self.rcode == "NOERROR"));
        if found.len() < least {
            return Some(format!("{} answers, expected at least {least}", found.len()));
        }
        let have: BTreeSet<String> = found.iter().map(|text| plain(text)).collect();
        let wanted: BTreeSet<String> = self.answers.iter().map(|text| plain(text)).collect();
        if !wanted.is_empty() && have != wanted {
            return Some(format!("the answers are {}, expected {}", list(found), self.answers.join(", ")));
        }
        if let Some(missing) = self.contains.iter().find(|text| !have.contains(&plain(text))) {
            return Some(format!("{missing} is not among the answers {}", list(found)));
        }
        if let Some(pattern) = &self.matches
            && let Some(other) = found.iter().find(|text| !pattern.0.is_match(text))
        {
            return Some(format!("the answer {other} does not match `{}`", pattern.0));
        }
        let ttls = answer.answer.iter().map(|record| record.ttl);
        for ttl in ttls {
            if self.min_ttl.is_some_and(|Span(min)| ttl < min) || self.max_ttl.is_some_and(|Span(max)| ttl > max) {
                return Some(format!("an answer may be kept for {} s", ttl.as_secs()));
            }
        }
        let flags = [
            (self.authoritative, "aa", "is not responsible for the name"),
            (self.authenticated, "ad", "has not verified the signatures"),
        ];
        let missing = flags.into_iter().find(|(wanted, flag, _)| *wanted && !answer.flag(flag));
        missing.map(|(_, _, words)| format!("the server {words}"))
    }
}

/// Names in any case, with or without the dot at their end.
fn plain(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

fn list(found: &[&str]) -> String {
    let named = found.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match found.len().saturating_sub(NAMED) {
        0 if named.is_empty() => "none".to_owned(),
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundsman_sdk::Status;
    use roundsman_sdk::dns::Record;

    fn answer(rcode: &str, texts: &[&str]) -> Answer {
        let record = |kind: &str, text: &str| Record {
            name: "a.".to_owned(),
            kind: kind.to_owned(),
            ttl: Duration::from_secs(60),
            text: text.to_owned(),
        };
        let alias = record("CNAME", "b.");
        let answers = std::iter::once(alias).chain(texts.iter().map(|text| record("A", text))).collect();
        Answer { rcode: rcode.to_owned(), flags: vec!["aa"], answer: answers, ..Answer::default() }
    }

    #[test]
    fn verdicts() {
        let both = ["10.0.0.1", "10.0.0.2"];
        for (json, answer, status, text) in [
            ("{}", answer("NOERROR", &both), Status::Ok, "10.0.0.1, 10.0.0.2 from s in 5.0 ms"),
            ("{}", answer("NOERROR", &[]), Status::Critical, "0 answers, expected at least 1; answered by s"),
            (
                "{}",
                answer("SERVFAIL", &[]),
                Status::Critical,
                "the answer is SERVFAIL, expected NOERROR; answered by s",
            ),
            (r#"{"rcode": "NXDOMAIN"}"#, answer("NXDOMAIN", &[]), Status::Ok, "NXDOMAIN from s in 5.0 ms"),
            (
                r#"{"answers": ["10.0.0.2", "10.0.0.1"]}"#,
                answer("NOERROR", &both),
                Status::Ok,
                "10.0.0.1, 10.0.0.2 from s in 5.0 ms",
            ),
            (
                r#"{"answers": ["10.0.0.2"]}"#,
                answer("NOERROR", &both),
                Status::Critical,
                "the answers are 10.0.0.1, 10.0.0.2, expected 10.0.0.2; answered by s",
            ),
            (
                r#"{"contains": ["10.0.0.9"]}"#,
                answer("NOERROR", &both),
                Status::Critical,
                "10.0.0.9 is not among the answers 10.0.0.1, 10.0.0.2; answered by s",
            ),
            (
                r#"{"matches": "^10\\.0\\.0\\.1$"}"#,
                answer("NOERROR", &both),
                Status::Critical,
                "the answer 10.0.0.2 does not match `^10\\.0\\.0\\.1$`; answered by s",
            ),
            (
                r#"{"maxTtl": "30s"}"#,
                answer("NOERROR", &both),
                Status::Critical,
                "an answer may be kept for 60 s; answered by s",
            ),
            (r#"{"authoritative": true}"#, answer("NOERROR", &both), Status::Ok, "10.0.0.1, 10.0.0.2 from s in 5.0 ms"),
            (
                r#"{"authenticated": true}"#,
                answer("NOERROR", &both),
                Status::Critical,
                "the server has not verified the signatures; answered by s",
            ),
            (
                r#"{"within": "4ms"}"#,
                answer("NOERROR", &both),
                Status::Warning,
                "10.0.0.1, 10.0.0.2 from s in 5.0 ms, expected within 4 ms",
            ),
        ] {
            let expect: Expect = serde_json::from_str(json).unwrap();
            expect.validate().unwrap();
            assert_eq!(expect.judge(&answer, "A", Duration::from_millis(5), "s"), Outcome::new(status, text), "{json}");
        }
    }
}
