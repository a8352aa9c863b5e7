//! The host of a URL, of a grant or of a look-up: a name or an address, in one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use roundsman_model::name::excerpt;

/// The longest name that DNS can carry.
const MAX_NAME: usize = 253;
/// The longest label of it.
const MAX_LABEL: usize = 63;

/// Who is to be spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(Name),
    Address(IpAddr),
}

/// A lower-case ASCII name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    text: String,
    /// Whether it was written with a final dot: then the system's search list is left out of it.
    absolute: bool,
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {reason}")]
pub struct HostError {
    text: String,
    reason: &'static str,
}

impl Host {
    /// Reads a name in any case, an IPv4 address, or an IPv6 address with or without brackets.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        let bad = |reason| HostError { text: excerpt(text), reason };
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| bad("has no closing bracket"))?;
            return parse_v6(inner).map(Host::Address).ok_or_else(|| bad(BAD_V6));
        }
        if text.contains(':') {
            return parse_v6(text).map(Host::Address).ok_or_else(|| bad(BAD_V6));
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Address(v4.into()));
        }
        let (name, absolute) = text.strip_suffix('.').map_or((text, false), |name| (name, true));
        check_name(name).map_err(bad)?;
        Ok(Host::Name(Name { text: name.to_ascii_lowercase(), absolute }))
    }

    /// As it stands in a URL: IPv6 in brackets, names without the final dot.
    pub fn in_url(&self) -> String {
        match self {
            Host::Name(name) => name.text.clone(),
            Host::Address(ip) => address_in_url(*ip),
        }
    }
}

impl Name {
    /// Without a final dot: the spelling that grants and certificates know.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the search list is left out.
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&name.text),
            Host::Address(ip) => ip.fmt(f),
        }
    }
}

const BAD_V6: &str = "is not an IPv6 address: write it like [fd00::7], without a zone";

/// An address as it stands in a URL.
pub(crate) fn address_in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Whether a text is a name, in any case and without a final dot.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty: write a name or an address");
    }
    if !name.is_ascii() {
        return Err("has letters beyond ASCII: write the punycode form (xn--…)");
    }
    if name.len() > MAX_NAME {
        return Err("is longer than 253 characters");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    for label in name.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL || !label.bytes().all(allowed) {
            return Err("is not a host: between dots stand 1 to 63 letters, digits, '-' or '_'");
        }
    }
    if is_number(name.rsplit('.').next().unwrap_or(name)) {
        return Err("is not an address: write four decimal numbers without leading zeros, for instance 10.0.0.7");
    }
    Ok(())
}

/// Whether a label would be read as a number by somebody else's address parser (`0x7f.1`, `2130706433`).
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())) || label.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let long = format!("{}.example", "a".repeat(64));
        for (text, expected) in [
            ("shop.example", Some("shop.example")),
            ("SHOP.Example.", Some("shop.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("_dns.shop", Some("_dns.shop")),
            ("1.example", Some("1.example")),
            ("10.0.0.7", Some("10.0.0.7")),
            ("[fd00::7]", Some("fd00::7")),
            ("FD00:0::7", Some("fd00::7")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b", None),
            ("a/b", None),
            ("user@a", None),
            ("bücher.example", None),
            ("2130706433", None),
            ("0x7f000001", None),
            ("0x7f.1", None),
            ("127.1", None),
            ("010.0.0.1", None),
            ("256.0.0.1", None),
            ("10.0.0.7.", None),
            ("[::1", None),
            ("[127.0.0.1]", None),
            ("[fe80::1%eth0]", None),
            ("fe80::1%25eth0", None),
            ("a\\b", None),
            ("a\0b", None),
            (&long, None),
        ] {
            assert_eq!(Host::parse(text).ok().map(|host| host.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn in_urls() {
        assert_eq!(Host::parse("fd00::7").unwrap().in_url(), "[fd00::7]");
        assert_eq!(Host::parse("a.b.").unwrap().in_url(), "a.b");
    }
}
