//! Scripted answers to HTTP requests.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Script;
use super::exchange::{Shown, Times, Told};
use crate::failure::Failure;

/// The name of these answers in a case.
pub(crate) const PART: &str = "http";

/// An answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    method: String,
    url: String,
    /// What the request must carry to fit.
    pub sent: Sent,
    pub reply: Result<Reply, Told>,
    pub times: Times,
    pub certificates: Vec<Shown>,
    /// By the contract's word: `tls-version`, `alpn` …
    pub facts: Vec<(String, String)>,
}

/// What a request must carry, beside its method and URL.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub headers: Vec<(String, String)>,
    /// A part of its body.
    pub body: Option<String>,
}

/// What comes back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub version: &'static str,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

/// A request as far as an answer can tell it from another.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    /// In its one spelling.
    pub(crate) url: String,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Answer {
    /// To `GET https://shop.example/`.
    pub fn new(request: &str, reply: Result<Reply, Told>) -> Result<Answer, String> {
        let (method, url) = request.split_once(' ').ok_or("write method and URL: `GET https://shop.example/`")?;
        let url = crate::http::canonical(url.trim())?;
        Ok(Answer {
            method: method.to_owned(),
            url,
            sent: Sent::default(),
            reply,
            times: Times::default(),
            certificates: Vec::new(),
            facts: Vec::new(),
        })
    }

    fn fits(&self, asked: &Asked<'_>) -> bool {
        let has = |(name, value): &(String, String)| {
            asked.headers.get_all(name.as_str()).iter().any(|sent| sent.as_bytes() == value.as_bytes())
        };
        let body = self.sent.body.as_deref().is_none_or(|part| String::from_utf8_lossy(asked.body).contains(part));
        self.method == asked.method && self.url == asked.url && self.sent.headers.iter().all(has) && body
    }
}

impl Reply {
    /// One with a status and nothing else.
    pub fn new(status: u16) -> Reply {
        Reply { status, version: "1.1", headers: HeaderMap::new(), body: Bytes::new(), trailers: HeaderMap::new() }
    }
}

/// Adds a header of a case.
pub fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let bad = |what: &str| format!("`{name}` has no valid {what} for a header");
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
    headers.append(key, HeaderValue::from_str(value).map_err(|_| bad("value"))?);
    Ok(())
}

impl Script {
    /// The answer to a request.
    pub(crate) fn http(&self, asked: &Asked<'_>) -> Result<&Answer, Failure> {
        let what = format!("{} {}", asked.method, asked.url);
        self.pick(PART, &self.http, &what, |answer| answer.fits(asked))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}
