//! http and https URLs, canonical from the beginning, and what a `Location` makes of one.

use std::fmt;

use roundsman_model::name::excerpt;

use super::MAX_URL;
use crate::host::Host;
use crate::pattern::{Scheme, parse_port};

/// Where a request goes. Without user name and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path and query as they stand in the request line.
    pub(super) target: String,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` {reason}")]
pub(super) struct UrlError {
    url: String,
    reason: String,
}

impl Url {
    /// Reads an absolute URL.
    pub(super) fn parse(text: &str) -> Result<Url, UrlError> {
        let bad = |reason: &str| UrlError { url: excerpt(text), reason: reason.to_owned() };
        if text.len() > MAX_URL {
            return Err(bad("is too long for a URL"));
        }
        let (word, rest) = text.split_once("://").ok_or_else(|| bad("is no URL: write http://host/path"))?;
        let scheme = Scheme::parse(&word.to_ascii_lowercase())
            .filter(|scheme| scheme.default_port().is_some())
            .ok_or_else(|| bad("has a scheme other than http and https"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("has a user name: credentials belong in a header"));
        }
        let (host, port) = split(authority);
        let host = Host::parse(host).map_err(|error| bad(&format!("has a host that {error}")))?;
        if matches!(host, Host::Address(ip) if ip.is_ipv6()) && !authority.starts_with('[') {
            return Err(bad("has an IPv6 address without brackets"));
        }
        let port = match port {
            None | Some("") => scheme.default_port(),
            Some(port) => parse_port(port),
        };
        let port = port.ok_or_else(|| bad("has no port between 1 and 65535"))?;
        let target = encode(tail.split('#').next().unwrap_or(tail)).ok_or_else(|| bad("has control characters"))?;
        Ok(Url { scheme, host, port, target: if target.starts_with('/') { target } else { format!("/{target}") } })
    }

    /// Where a `Location` leads from here (RFC 3986, section 5.2).
    pub(super) fn join(&self, location: &str) -> Result<Url, UrlError> {
        let bad = |reason: &str| UrlError { url: excerpt(location), reason: reason.to_owned() };
        // What a header may have around its value; wider spaces are part of it.
        let location = location.trim_matches([' ', '\t']);
        // Before `..` may take them away: whoever sends such bytes speaks another language than HTTP.
        if location.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(bad("has control characters"));
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme));
        }
        if has_scheme(location) {
            return Url::parse(location);
        }
        let reference = location.split('#').next().unwrap_or(location);
        let (path, query) = self.target.split_once('?').map_or((&*self.target, None), |(p, q)| (p, Some(q)));
        let (reference, new_query) = reference.split_once('?').map_or((reference, None), |(r, q)| (r, Some(q)));
        let path = match reference {
            "" => path.to_owned(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => without_dots(&format!("{}/{relative}", path.rsplit_once('/').map_or("", |(parent, _)| parent))),
        };
        let query = if reference.is_empty() { new_query.or(query) } else { new_query };
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        if target.len() > MAX_URL {
            return Err(bad("makes too long a URL"));
        }
        let target = encode(&target).ok_or_else(|| bad("has control characters"))?;
        Ok(Url { target, ..self.clone() })
    }

    /// What stands in the header `host`.
    pub(super) fn authority(&self) -> String {
        let host = self.host.in_url();
        if Some(self.port) == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether both lead to the same server, so that credentials may follow.
    pub(super) fn same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.target)
    }
}

/// Host and port, without a look at whether they are such.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(word, _)| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Path and query with everything in percent signs that a request line may not carry; None with control characters.
fn encode(text: &str) -> Option<String> {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0..0x20 | 0x7f => return None,
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                encoded.push('%');
                encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    Some(encoded)
}

/// A path from `/` on with `.` and `..` carried out.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            segment => parts.push(segment),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, canonical) in [
            ("http://shop.example", Some("http://shop.example/")),
            ("HTTPS://Shop.Example:443/A?b#c", Some("https://shop.example/A?b")),
            ("http://shop.example:8080?x", Some("http://shop.example:8080/?x")),
            ("http://shop.example:/", Some("http://shop.example/")),
            ("http://shop.example./x", Some("http://shop.example/x")),
            ("http://[FD00::7]:81/", Some("http://[fd00::7]:81/")),
            ("http://h/a b\"ü", Some("http://h/a%20b%22%C3%BC")),
            ("http://h/%zz", Some("http://h/%zz")),
            ("", None),
            ("shop.example", None),
            ("ftp://shop.example/", None),
            ("tcp://shop.example:1/", None),
            ("http://user@shop.example/", None),
            ("http://169.254.169.254@shop.example/", None),
            ("http://shop.example\\@evil.example/", None),
            ("http://shop.example:0/", None),
            ("http://shop.example:65536/", None),
            ("http://shop.example:+80/", None),
            ("http://fd00::7/", None),
            ("http:///x", None),
            ("http://h/\r\nx: y", None),
            ("http://0x7f.1/", None),
            ("http://2130706433/", None),
        ] {
            assert_eq!(Url::parse(text).ok().map(|url| url.to_string()).as_deref(), canonical, "{text:?}");
        }
        assert!(Url::parse(&format!("http://h/{}", "x".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn locations() {
        let base = Url::parse("http://h:81/a/b/c?q").unwrap();
        for (location, joined) in [
            ("https://other/x", Some("https://other/x")),
            ("//other/x", Some("http://other/x")),
            ("/x/../y/./z", Some("http://h:81/y/z")),
            ("/../../x", Some("http://h:81/x")),
            ("d", Some("http://h:81/a/b/d")),
            ("./d", Some("http://h:81/a/b/d")),
            ("../d?r#s", Some("http://h:81/a/d?r")),
            ("..", Some("http://h:81/a/")),
            ("?r", Some("http://h:81/a/b/c?r")),
            ("", Some("http://h:81/a/b/c?q")),
            ("#s", Some("http://h:81/a/b/c?q")),
            ("d:e", None),
            ("./d:e", Some("http://h:81/a/b/d:e")),
            ("javascript:x", None),
            ("//user@other/x", None),
            ("/\u{1}", None),
            ("\0/../x", None),
            ("x#\u{7f}", None),
            (" \t//other/x ", Some("http://other/x")),
            ("\u{a0}//other/x", Some("http://h:81/a/b/%C2%A0//other/x")),
        ] {
            assert_eq!(base.join(location).ok().map(|url| url.to_string()).as_deref(), joined, "{location:?}");
        }
    }
}
