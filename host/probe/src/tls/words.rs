//! What is wrong with a certificate, in words for a person.

use rustls::CertificateError as Wrong;
use rustls::pki_types::UnixTime;

use crate::failure::chain;

/// Alternative names that are quoted: enough to see whose certificate it is.
const MAX_NAMES: usize = 5;

/// One phrase, the kind of fault first.
pub(super) fn of(error: &Wrong) -> String {
    match error {
        Wrong::Expired => "expired".to_owned(),
        Wrong::ExpiredContext { time, not_after } => format!("expired {} ago", span(*time, *not_after)),
        Wrong::NotValidYet => "not yet valid".to_owned(),
        Wrong::NotValidYetContext { time, not_before } => {
            format!("not yet valid, for {} more", span(*not_before, *time))
        }
        Wrong::UnknownIssuer => "unknown issuer: what was shown leads to no trusted authority".to_owned(),
        Wrong::NotValidForName => "name mismatch".to_owned(),
        Wrong::NotValidForNameContext { expected, presented } => {
            format!("name mismatch: not made out for {}, but for {}", expected.to_str(), names(presented))
        }
        Wrong::Revoked => "revoked".to_owned(),
        Wrong::BadSignature => "bad signature".to_owned(),
        Wrong::BadEncoding => "bad encoding".to_owned(),
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "wrong purpose: not made out for a server".to_owned()
        }
        // webpki's own words, for what rustls has none.
        Wrong::Other(other) => chain(other),
        other => other.to_string(),
    }
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all".to_owned();
    }
    let more = presented.len().saturating_sub(MAX_NAMES);
    // As rustls says it: `DnsName("shop.example")`, `IpAddress(127.0.0.1)`.
    let shown = presented.iter().take(MAX_NAMES).map(|name| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"')
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// In the largest unit of which there are two.
fn span(later: UnixTime, earlier: UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    for (unit, word) in [(86_400, "days"), (3_600, "hours"), (60, "minutes")] {
        if seconds >= 2 * unit {
            return format!("{} {word}", seconds / unit);
        }
    }
    format!("{seconds} seconds")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn phrases() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let many: Vec<String> = (0..7).map(|n| format!("DnsName(\"a{n}\")")).collect();
        for (error, expected) in [
            (Wrong::ExpiredContext { time: at(86_400 * 12), not_after: at(5) }, "expired 11 days ago"),
            (Wrong::ExpiredContext { time: at(7_200), not_after: at(0) }, "expired 2 hours ago"),
            (Wrong::NotValidYetContext { time: at(0), not_before: at(119) }, "not yet valid, for 119 seconds more"),
            (Wrong::UnknownIssuer, "unknown issuer: what was shown leads to no trusted authority"),
            (
                Wrong::NotValidForNameContext { expected: ServerName::try_from("b").unwrap(), presented: many },
                "name mismatch: not made out for b, but for a0, a1, a2, a3, a4 and 2 more",
            ),
            (
                Wrong::NotValidForNameContext {
                    expected: ServerName::try_from("127.0.0.1").unwrap(),
                    presented: Vec::new(),
                },
                "name mismatch: not made out for 127.0.0.1, but for no name at all",
            ),
        ] {
            assert_eq!(of(&error), expected);
        }
    }
}
