//! What a handshake showed, and what it must be like.

use std::time::Duration;

use roundsman_sdk::tcp::{Certificate, Connection, Failure};
use roundsman_sdk::{Fault, Outcome, Pattern, Status};
use schemars::JsonSchema;
use serde::Deserialize;

const DAY: f64 = 86_400.0;

/// What is expected of the endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Expect {
    /// Any certificate of the chain that ends sooner is a warning.
    warning_days: f64,
    /// And one that ends even sooner is critical.
    critical_days: f64,
    /// The oldest protocol that may be agreed on.
    version: Option<Version>,
    /// A regular expression that the issuer of the peer's own certificate must match.
    issuer: Option<Pattern>,
    /// Names that the peer's own certificate must be good for, beside the one that is asked for.
    names: Vec<String>,
    /// The peer's own certificate must have one of these digests, in hexadecimal digits.
    sha256: Vec<String>,
    /// The protocol of `alpn` that must be agreed on.
    alpn: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum Version {
    #[serde(rename = "1.2")]
    Two,
    #[serde(rename = "1.3")]
    Three,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            warning_days: 21.0,
            critical_days: 7.0,
            version: None,
            issuer: None,
            names: Vec::new(),
            sha256: Vec::new(),
            alpn: None,
        }
    }
}

/// What a handshake showed, whether it succeeded or not.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) own_days: Option<f64>,
    pub(crate) chain_days: Option<f64>,
    pub(crate) chain_length: usize,
    pub(crate) trusted: Option<bool>,
    pub(crate) version: Option<String>,
    pub(crate) cipher: Option<String>,
    alpn: Option<String>,
    own: Option<Certificate>,
    /// Who ends first, where it is not the peer's own certificate.
    first_to_end: Option<String>,
    error: Option<String>,
}

impl Seen {
    pub(crate) fn of(connection: &Connection, verified: bool, now: Duration) -> Self {
        let chain = connection.certificates();
        let error = connection.fact("certificate-error");
        let known = !chain.is_empty() || error.is_some();
        Self {
            trusted: (verified && known).then_some(error.is_none()),
            version: connection.fact("tls-version"),
            cipher: connection.fact("tls-cipher"),
            alpn: connection.fact("alpn"),
            error,
            ..Self::of_chain(chain, now)
        }
    }

    fn of_chain(chain: Vec<Certificate>, now: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let days = |certificate: &Certificate| (certificate.not_after as f64 - now.as_secs_f64()) / DAY;
        let first = chain.iter().enumerate().min_by(|(_, a), (_, b)| a.not_after.cmp(&b.not_after));
        Self {
            own_days: chain.first().map(days),
            chain_days: first.map(|(_, certificate)| days(certificate)),
            first_to_end: first.filter(|(n, _)| *n > 0).map(|(_, certificate)| certificate.subject.clone()),
            chain_length: chain.len(),
            own: chain.into_iter().next(),
            ..Self::default()
        }
    }
}

impl Expect {
    pub(crate) fn validate(&self) -> Result<(), Fault> {
        if self.warning_days < self.critical_days {
            return Err(Fault::settings("`expect`: warningDays must not be below criticalDays, they are what is left"));
        }
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match self.sha256.iter().position(|digest| !is_digest(digest)) {
            Some(n) => Err(Fault::settings(format!("`expect.sha256[{n}]`: a digest has 64 hexadecimal digits"))),
            None => Ok(()),
        }
    }

    pub(crate) fn judge(&self, seen: &Seen, failure: Option<&Failure>) -> Outcome {
        let mut wrong = Vec::new();
        if let Some(failure) = failure {
            wrong.push((Status::Critical, seen.error.clone().unwrap_or_else(|| failure.message.clone())));
        }
        wrong.extend(self.expiry(seen));
        wrong.extend(self.others(seen).into_iter().map(|text| (Status::Critical, text)));
        if wrong.is_empty() {
            return Outcome::ok(well(seen));
        }
        let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
        let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
        Outcome::new(status, texts.join("; "))
    }

    fn expiry(&self, seen: &Seen) -> Option<(Status, String)> {
        let days = seen.chain_days?;
        let whose = seen.first_to_end.as_ref().map_or_else(
            || "the certificate".to_owned(),
            |subject| format!("the certificate of {subject} in the chain"),
        );
        match days {
            days if days <= 0.0 => Some((Status::Critical, format!("{whose} ended {:.0} days ago", -days))),
            days if days <= self.critical_days => Some((Status::Critical, format!("{whose} ends in {days:.1} days"))),
            days if days <= self.warning_days => Some((Status::Warning, format!("{whose} ends in {days:.1} days"))),
            _ => None,
        }
    }

    fn others(&self, seen: &Seen) -> Vec<String> {
        let mut wrong = Vec::new();
        if let (Some(Version::Three), Some(version)) = (self.version, &seen.version)
            && version != "1.3"
        {
            wrong.push(format!("TLS {version} was agreed on, expected 1.3"));
        }
        if let Some(alpn) = self.alpn.as_ref().filter(|alpn| seen.version.is_some() && seen.alpn.as_ref() != Some(alpn))
        {
            wrong.push(format!(
                "the protocol {} was agreed on, expected {alpn}",
                seen.alpn.as_deref().unwrap_or("none")
            ));
        }
        let Some(own) = &seen.own else { return wrong };
        if let Some(issuer) = self.issuer.as_ref().filter(|issuer| !issuer.0.is_match(&own.issuer)) {
            wrong.push(format!("issued by {}, which does not match `{}`", own.issuer, issuer.0));
        }
        for name in self.names.iter().filter(|name| !own.names.iter().any(|pattern| covers(pattern, name))) {
            wrong.push(format!("not good for {name}, only for {}", own.names.join(", ")));
        }
        let digest: String = own.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        if !self.sha256.is_empty() && !self.sha256.iter().any(|pin| pin.eq_ignore_ascii_case(&digest)) {
            wrong.push(format!("another certificate than expected: sha256 {digest}"));
        }
        wrong
    }
}

/// A star stands for one whole label at the beginning (RFC 6125).
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => {
            name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
        }
        None => pattern.eq_ignore_ascii_case(name),
    }
}

fn well(seen: &Seen) -> String {
    let version = seen.version.as_deref().map(|version| format!("TLS {version}")).unwrap_or_else(|| "TLS".to_owned());
    match (seen.chain_days, &seen.own) {
        (Some(days), Some(own)) => format!("{version}, {} by {}, good for {days:.0} days", own.subject, own.issuer),
        _ => format!("{version}, no certificate shown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(subject: &str, days: i64) -> Certificate {
        Certificate {
            subject: subject.to_owned(),
            issuer: "CN=Test CA".to_owned(),
            names: vec!["shop.example".to_owned(), "*.eu.example".to_owned()],
            not_before: 0,
            not_after: (1_000 + days) * 86_400,
            serial: String::new(),
            sha256: vec![0xab; 32],
            der: Vec::new(),
        }
    }

    fn seen(days: &[i64]) -> Seen {
        let chain = days.iter().enumerate().map(|(n, days)| certificate(&format!("CN=c{n}"), *days)).collect();
        let seen = Seen::of_chain(chain, Duration::from_secs(1_000 * 86_400));
        Seen { version: Some("1.2".to_owned()), ..seen }
    }

    #[test]
    fn verdicts() {
        let refused = Failure { code: "certificate".into(), phase: "tls".into(), message: "unknown issuer".into() };
        for (json, days, failure, expected) in [
            ("{}", &[100, 400][..], None, Outcome::ok("TLS 1.2, CN=c0 by CN=Test CA, good for 100 days")),
            ("{}", &[20, 400], None, Outcome::warning("the certificate ends in 20.0 days")),
            ("{}", &[100, 5], None, Outcome::critical("the certificate of CN=c1 in the chain ends in 5.0 days")),
            ("{}", &[-3], None, Outcome::critical("the certificate ended 3 days ago")),
            ("{}", &[100], Some(&refused), Outcome::critical("unknown issuer")),
            (r#"{"version": "1.3"}"#, &[100], None, Outcome::critical("TLS 1.2 was agreed on, expected 1.3")),
            (r#"{"version": "1.2"}"#, &[100], None, Outcome::ok("TLS 1.2, CN=c0 by CN=Test CA, good for 100 days")),
            (
                r#"{"issuer": "Other"}"#,
                &[100],
                None,
                Outcome::critical("issued by CN=Test CA, which does not match `Other`"),
            ),
            (
                r#"{"names": ["SHOP.example", "a.eu.example"]}"#,
                &[100],
                None,
                Outcome::ok("TLS 1.2, CN=c0 by CN=Test CA, good for 100 days"),
            ),
            (
                r#"{"names": ["a.b.eu.example"]}"#,
                &[100],
                None,
                Outcome::critical("not good for a.b.eu.example, only for shop.example, *.eu.example"),
            ),
            (r#"{"alpn": "h2"}"#, &[100], None, Outcome::critical("the protocol none was agreed on, expected h2")),
        ] {
            let expect: Expect = serde_json::from_str(json).unwrap();
            assert_eq!(expect.judge(&seen(days), failure), expected, "{json} {days:?}");
        }
        let pin = |digits: &str| serde_json::from_value::<Expect>(serde_json::json!({"sha256": [digits]})).unwrap();
        assert_eq!(pin(&"AB".repeat(32)).judge(&seen(&[100]), None).status, Status::Ok);
        assert_eq!(pin(&"AC".repeat(32)).judge(&seen(&[100]), None).status, Status::Critical);
    }
}
