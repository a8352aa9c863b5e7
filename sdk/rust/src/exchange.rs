//! What every exchange over the network has: the time that each phase took, certificates, failures.

use std::fmt;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bindings::roundsman::net::types;
use crate::{Fault, Outcome};

/// How long the phases took; none for one that did not take place or did not end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// From name to addresses.
    pub resolve: Option<Duration>,
    /// Until the connection stood.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From the first byte to the last.
    pub transfer: Option<Duration>,
    /// All of it, with redirects.
    pub total: Option<Duration>,
}

/// A certificate that the peer showed, also when it was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// To whom it was issued.
    pub subject: String,
    /// By whom.
    pub issuer: String,
    /// The names and addresses for which it is good.
    pub names: Vec<String>,
    /// Seconds since 1970 (UTC).
    pub not_before: i64,
    /// Seconds since 1970 (UTC).
    pub not_after: i64,
    /// In hexadecimal digits.
    pub serial: String,
    /// The digest of `der`.
    pub sha256: Vec<u8>,
    /// The certificate itself.
    pub der: Vec<u8>,
}

/// Why a network call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `timeout`, `refused`, `certificate`, `denied` …
    pub code: String,
    /// What was being done: `policy`, `resolve`, `connect`, `tls`, `first-byte`, `transfer`.
    pub phase: String,
    /// For a person.
    pub message: String,
}

/// The codes that say something about the target. Any other one, also one that later hosts add, says nothing of it.
const TARGETS_DOING: [&str; 9] =
    ["timeout", "refused", "reset", "unreachable", "resolve", "tls", "certificate", "protocol", "closed"];

/// Which addresses of a name are tried. May stand in a plugin's settings as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Family {
    /// Both.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// Only IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// Only IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Timings {
    /// Each phase by the interface's own question.
    pub(crate) fn asked(ask: impl Fn(&str) -> Option<u64>) -> Self {
        let phase = |name| ask(name).map(Duration::from_nanos);
        Self {
            resolve: phase("resolve"),
            connect: phase("connect"),
            tls: phase("tls"),
            first_byte: phase("first-byte"),
            transfer: phase("transfer"),
            total: phase("total"),
        }
    }
}

impl Family {
    /// The host's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// As the host takes it: one that no clock could hold is the longest.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An instant as the host gives it; one before 1970 is the beginning of it.
pub(crate) fn at(since_1970_ns: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(since_1970_ns).unwrap_or(0))
}

impl Failure {
    /// Whether it says something about the target: it did not answer, refused, answered with nonsense …
    pub fn is_targets_doing(&self) -> bool {
        TARGETS_DOING.contains(&self.code.as_str())
    }

    /// The right end of a run that such a failure stops: critical where it is the target's doing, a fault where it is
    /// not, because then nothing is known of the target.
    ///
    /// # Errors
    /// The fault.
    pub fn into_outcome_or_fault(self) -> Result<Outcome, Fault> {
        if self.is_targets_doing() {
            Ok(Outcome::critical(self.to_string()))
        } else {
            Err(Fault::new(self.code, self.message))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.phase, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        Self { code: failure.code, phase: failure.phase, message: failure.message }
    }
}

impl From<types::Certificate> for Certificate {
    fn from(certificate: types::Certificate) -> Self {
        Self {
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            names: certificate.names(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            serial: certificate.serial(),
            sha256: certificate.sha256(),
            der: certificate.der(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_blame() {
        let failure = |code: &str| Failure { code: code.into(), phase: "connect".into(), message: "no".into() };
        for (code, targets) in [
            ("timeout", true),
            ("refused", true),
            ("certificate", true),
            ("denied", false),
            ("invalid", false),
            ("limit", false),
            ("unsupported", false),
            ("a-later-word", false),
        ] {
            let end = failure(code).into_outcome_or_fault();
            let expected = if targets {
                Ok(Outcome::critical(format!("{code} (connect): no")))
            } else {
                Err(Fault::new(code, "no"))
            };
            assert_eq!(end, expected);
        }
    }
}
