//! Scripted answers of DNS servers.

use std::fmt;

use super::Script;
use super::exchange::{Shown, Times, Told};
use crate::dns::Entry;
use crate::failure::Failure;

/// The name of these answers in a case.
pub(crate) const PART: &str = "dns";

/// An answer to one question.
#[derive(Debug, Clone)]
pub struct Answer {
    name: String,
    kind: String,
    /// As the plugin writes it; none: whoever is asked.
    pub server: Option<String>,
    pub reply: Result<Reply, Told>,
    pub times: Times,
    pub certificates: Vec<Shown>,
    /// By the contract's word: `transport`, `tls-version` …
    pub facts: Vec<(String, String)>,
}

/// What the server says.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub rcode: String,
    /// Those that are set: `aa`, `ra` …
    pub flags: Vec<String>,
    pub answer: Vec<Entry>,
    pub authority: Vec<Entry>,
    pub additional: Vec<Entry>,
}

impl Answer {
    /// To `MX shop.example`.
    pub fn new(query: &str, reply: Result<Reply, Told>) -> Result<Answer, String> {
        let (kind, name) = query.split_once(' ').ok_or("write type and name: `A shop.example`")?;
        let (kind, name) = (kind.to_ascii_uppercase(), plain(name.trim()));
        let (times, certificates, facts) = Default::default();
        Ok(Answer { name, kind, server: None, reply, times, certificates, facts })
    }

    fn fits(&self, kind: &str, name: &str, server: Option<&str>) -> bool {
        let server = self.server.is_none() || self.server.as_deref() == server;
        self.kind.eq_ignore_ascii_case(kind) && self.name == plain(name) && server
    }
}

/// Names are absolute, with or without their final dot.
fn plain(name: &str) -> String {
    let bare = name.strip_suffix('.').filter(|bare| !bare.is_empty());
    bare.unwrap_or(name).to_ascii_lowercase()
}

/// Reads `shop.example 60 A 10.0.0.7`.
pub fn entry(text: &str) -> Result<Entry, String> {
    let mut words = text.splitn(4, ' ');
    let mut next = || words.next().filter(|word| !word.is_empty());
    let (name, ttl, kind) = (next(), next(), next());
    let (Some(name), Some(ttl), Some(kind), Some(text)) = (name, ttl, kind, next()) else {
        return Err(format!("`{text}` is no record: write name, seconds, type and what it says"));
    };
    let ttl_s = ttl.parse().map_err(|_| format!("`{ttl}` is no number of seconds"))?;
    let name = if name.ends_with('.') { name.to_owned() } else { format!("{name}.") };
    Ok(Entry { name, kind: kind.to_owned(), ttl_s, text: text.to_owned() })
}

impl Script {
    /// The answer to a question.
    pub(crate) fn dns(&self, kind: &str, name: &str, server: Option<&str>) -> Result<&Answer, Failure> {
        let of = server.map(|server| format!(" of {server}")).unwrap_or_default();
        self.pick(PART, &self.dns, &format!("{kind} {name}{of}"), |answer| answer.fits(kind, name, server))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = entry("shop.example 60 MX 10 mail.shop.example.").unwrap();
        assert_eq!((record.name.as_str(), record.ttl_s, record.kind.as_str()), ("shop.example.", 60, "MX"));
        assert_eq!(record.text, "10 mail.shop.example.");
        for text in ["", "shop.example", "shop.example 60 A", "shop.example x A 10.0.0.7"] {
            assert!(entry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn questions() {
        let answer = Answer::new("a Shop.Example.", Ok(Reply::default())).unwrap();
        for (kind, name, fits) in
            [("A", "shop.example", true), ("a", "SHOP.example.", true), ("AAAA", "shop.example", false)]
        {
            assert_eq!(answer.fits(kind, name, Some("10.0.0.10")), fits);
        }
    }
}
