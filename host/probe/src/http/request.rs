//! What is to be asked, as its author draws it up.

use std::time::Duration;

use bytes::Bytes;
use roundsman_model::name::excerpt;

use super::{
    MAX_REDIRECTS, MAX_REQUEST_BODY, MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_HEADERS, MAX_RESPONSE_BODY, MAX_URL,
};
use crate::connect::{DialOptions, Family};
use crate::endpoint::{Endpoint, MAX_ADDRESS};
use crate::failure::{Failure, code, phase};
use crate::host::Host;

/// What is to be asked. Nothing is checked before `Probe::http`; what makes no sense or goes beyond a limit is
/// remembered until then.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, Bytes)>,
    header_bytes: usize,
    pub(super) body: Bytes,
    pub(super) max_body: usize,
    pub(super) max_redirects: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) verify_certificate: bool,
    pub(super) server_name: Option<String>,
    pub(super) dial: DialOptions,
    pub(super) connect_to: Option<(Host, u16)>,
    pub(super) unix_socket: Option<String>,
    pub(super) version: Version,
    /// Names of secrets.
    pub(super) authority: Option<String>,
    pub(super) client: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) fault: Option<Failure>,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 2 where TLS agrees on it, 1.1 elsewhere.
    Auto,
    One,
    /// Without TLS by prior knowledge.
    Two,
}

impl Request {
    /// A request without a body, that follows no redirects and verifies certificates.
    pub fn new(method: &str, url: &str) -> Request {
        let mut request = Request {
            method: String::new(),
            url: String::new(),
            headers: Vec::new(),
            header_bytes: 0,
            body: Bytes::new(),
            max_body: MAX_RESPONSE_BODY,
            max_redirects: 0,
            timeout: None,
            verify_certificate: true,
            server_name: None,
            dial: DialOptions::default(),
            connect_to: None,
            unix_socket: None,
            version: Version::Auto,
            authority: None,
            client: None,
            credentials: None,
            fault: None,
        };
        if url.len() > MAX_URL || method.len() > MAX_URL {
            request.reject(Failure::limit(format!("the URL is longer than {MAX_URL} bytes")));
        } else {
            request.method = method.to_owned();
            request.url = url.to_owned();
        }
        request
    }

    /// Adds a header; several of the same name stay several.
    pub fn add_header(&mut self, name: &str, value: &[u8]) {
        let bytes = self.header_bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.headers.len() == MAX_REQUEST_HEADERS || bytes > MAX_REQUEST_HEADER_BYTES {
            self.reject(Failure::limit(format!(
                "the request has more than {MAX_REQUEST_HEADERS} headers or {MAX_REQUEST_HEADER_BYTES} bytes of them"
            )));
            return;
        }
        self.header_bytes = bytes;
        self.headers.push((name.to_owned(), Bytes::copy_from_slice(value)));
    }

    /// What is sent with the request.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        let body = body.into();
        if body.len() > MAX_REQUEST_BODY {
            self.reject(Failure::limit(format!("the request's body is longer than {MAX_REQUEST_BODY} bytes")));
        } else {
            self.body = body;
        }
    }

    /// At most this many bytes of the answer's body are kept, and never more than 1 MiB.
    pub fn set_max_body(&mut self, bytes: usize) {
        self.max_body = bytes.min(MAX_RESPONSE_BODY);
    }

    /// After so many redirects the answer is what it is; never more than 20.
    pub fn set_max_redirects(&mut self, count: u32) {
        self.max_redirects = count.min(MAX_REDIRECTS);
    }

    /// For this call alone, beside the deadline.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// False: any certificate will do.
    pub fn set_verify_certificate(&mut self, verify: bool) {
        self.verify_certificate = verify;
    }

    /// What the TLS handshake asks for and the certificate must be made out for, instead of the URL's host. Like
    /// everything that is meant for this one server, it is left behind where a redirect leads to another one.
    pub fn set_server_name(&mut self, name: &str) {
        self.server_name = self.bounded(name, "server name");
    }

    /// `any`, `ipv4` or `ipv6`: the addresses of a name that are tried.
    pub fn set_address_family(&mut self, family: &str) {
        self.note(Family::parse(family), |request, family| request.dial.family = family);
    }

    /// The address of this node from which to connect.
    pub fn set_source_address(&mut self, address: &str) {
        self.note(DialOptions::parse_source(address), |request, source| request.dial.source = Some(source));
    }

    /// Connects to this `host:port` instead of the URL's, which then needs the grant. The URL still says what is asked
    /// for.
    pub fn set_connect_to(&mut self, address: &str) {
        let endpoint =
            self.bounded(address, "address to connect to").map_or(Ok(None), |address| {
                match Endpoint::parse(&address)? {
                    Endpoint::Host { host, port } => Ok(Some((host, port))),
                    Endpoint::Unix(_) => Err(Failure::invalid("a unix socket is no host:port to connect to")),
                }
            });
        self.note(endpoint, |request, endpoint| request.connect_to = endpoint);
    }

    /// Connects to a unix socket. The URL still says what is asked for.
    pub fn set_unix_socket(&mut self, path: &str) {
        self.unix_socket = self.bounded(path, "path of the unix socket");
    }

    /// `auto` (HTTP/2 where TLS agrees on it, 1.1 elsewhere), `1.1`, or `2` (also without TLS, by prior knowledge).
    pub fn set_version(&mut self, version: &str) {
        let version = match version {
            "auto" => Ok(Version::Auto),
            "1.1" => Ok(Version::One),
            "2" => Ok(Version::Two),
            _ => Err(Failure::invalid(format!("`{}` is no version of HTTP: auto, 1.1 or 2", excerpt(version)))),
        };
        self.note(version, |request, version| request.version = version);
    }

    /// A secret with the certificates that are trusted instead of the system's.
    pub fn set_certificate_authority(&mut self, secret: &str) {
        self.authority = self.bounded(secret, "name of a secret");
    }

    /// A secret with the certificate chain and key that are shown to a server that asks for them.
    pub fn set_client_certificate(&mut self, secret: &str) {
        self.client = self.bounded(secret, "name of a secret");
    }

    /// A secret for the header `authorization`.
    pub fn set_credentials(&mut self, secret: &str) {
        self.credentials = self.bounded(secret, "name of a secret");
    }

    /// Options by name. None exists in this version.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let name = excerpt(name);
        Err(Failure::new(code::UNSUPPORTED, phase::POLICY, format!("this version knows no option `{name}` for http")))
    }

    /// Method and URL for a person: without user name, query and fragment, which may hold secrets.
    pub fn brief(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find('/').unwrap_or(rest.len());
        let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
        let slashes = if scheme.is_empty() { "" } else { "://" };
        [&self.method, " ", scheme, slashes, host, &rest[end..]].concat()
    }

    fn bounded(&mut self, text: &str, what: &str) -> Option<String> {
        if text.len() > MAX_ADDRESS {
            self.reject(Failure::limit(format!("the {what} is longer than {MAX_ADDRESS} bytes")));
            return None;
        }
        Some(text.to_owned())
    }

    fn note<T>(&mut self, value: Result<T, Failure>, put: impl FnOnce(&mut Request, T)) {
        match value {
            Ok(value) => put(self, value),
            Err(failure) => self.reject(failure),
        }
    }

    fn reject(&mut self, fault: Failure) {
        self.fault.get_or_insert(fault);
    }
}
