//! A request that passed every rule which needs no grant, ready to be sent, and the one that follows a redirect.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, LOCATION, TE, USER_AGENT};
use http::{HeaderMap, Method, StatusCode};
use roundsman_model::name::excerpt;

use super::url::Url;
use super::{Request, Response};
use crate::failure::{Failure, chain, code, phase};

/// Who asks, in the header `user-agent` unless the request says otherwise.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("roundsman/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// What `te` may say: that trailers are understood, as gRPC demands it.
const TRAILERS: &str = "trailers";

/// Headers about the connection and the length of the body: the host alone knows what is true of them.
const FORBIDDEN: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is sent on one hop.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether no redirect has led away from the origin of the request's own URL. What was set for that one server
    /// (where to connect, its name, the client's certificate and credentials) ends there, and for good.
    pub(super) home: bool,
}

impl Call {
    /// Checks a request.
    pub(super) fn of(request: &Request) -> Result<Call, Failure> {
        if let Some(fault) = &request.fault {
            return Err(fault.clone());
        }
        if request.unix_socket.is_some() && request.connect_to.is_some() {
            return Err(Failure::invalid("there are a unix socket and an address to connect to: only one can be"));
        }
        let url = Url::parse(&request.url).map_err(|error| Failure::invalid(error.to_string()))?;
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| Failure::invalid(format!("`{}` is no method for a request", excerpt(&request.method))))?;
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 3);
        for (name, value) in &request.headers {
            let bad = |reason: String| Failure::invalid(format!("the header `{}` {reason}", excerpt(name)));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("has no valid name".to_owned()))?;
            if FORBIDDEN.contains(&name.as_str()) || (name == TE && value != TRAILERS) {
                return Err(bad("is set by the host alone".to_owned()));
            }
            if name == AUTHORIZATION && request.credentials.is_some() {
                return Err(bad("is there beside the credentials by name: only one can be".to_owned()));
            }
            if name == HOST && headers.contains_key(HOST) {
                return Err(bad("is there twice".to_owned()));
            }
            let value = HeaderValue::from_maybe_shared(value.clone());
            headers.append(name, value.map_err(|error| bad(format!("has no valid value: {}", chain(&error))))?);
        }
        if request.credentials.is_some() && method == Method::TRACE {
            return Err(Failure::invalid("TRACE shows what was sent: there can be no credentials by name with it"));
        }
        let mut call = Call { method, url, headers, body: request.body.clone(), home: true };
        call.add_defaults()?;
        Ok(call)
    }

    fn add_defaults(&mut self) -> Result<(), Failure> {
        if !self.headers.contains_key(HOST) {
            let host = HeaderValue::try_from(self.url.authority());
            let host = host.map_err(|error| Failure::invalid(format!("the host is no header: {error}")))?;
            self.headers.insert(HOST, host);
        }
        for (name, value) in [(USER_AGENT, AGENT), (ACCEPT, ANYTHING)] {
            self.headers.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// What is to be sent next, if an answer is a redirect that names a place. Credentials, and a `host` of the
    /// caller's, do not follow to another origin; nothing at all does over a unix socket.
    pub(super) fn after(&self, answer: &Response, request: &Request) -> Result<Option<Call>, Failure> {
        let Some(location) = answer.headers.get(LOCATION) else { return Ok(None) };
        if !is_redirect(answer.status) {
            return Ok(None);
        }
        let location = String::from_utf8_lossy(location.as_bytes());
        let url = self.url.join(&location).map_err(|error| {
            Failure::new(
                code::PROTOCOL,
                phase::TRANSFER,
                format!("{} redirects to where nobody can follow: {error}", self.url),
            )
        })?;
        let mut next = Call { url, ..self.clone() };
        if !next.url.same_origin(&self.url) {
            if let Some(path) = &request.unix_socket {
                let (from, to) = (excerpt(path), next.url);
                return Err(Failure::new(
                    code::PROTOCOL,
                    phase::TRANSFER,
                    format!("{} redirects to {to}, where the unix socket {from} does not lead", self.url),
                ));
            }
            next.home = false;
            for name in [AUTHORIZATION, COOKIE, HOST] {
                next.headers.remove(name);
            }
        }
        if becomes_get(answer.status, &self.method) {
            next.method = Method::GET;
            next.body = Bytes::new();
            let about_body: Vec<HeaderName> =
                next.headers.keys().filter(|name| name.as_str().starts_with("content-")).cloned().collect();
            for name in about_body {
                next.headers.remove(name);
            }
        }
        next.add_defaults()?;
        Ok(Some(next))
    }
}

/// Whether a status may carry a place to go to.
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// As browsers do it (RFC 9110, section 15.4).
fn becomes_get(status: u16, method: &Method) -> bool {
    let see_other = status == StatusCode::SEE_OTHER.as_u16() && *method != Method::HEAD;
    see_other || (matches!(status, 301 | 302) && *method == Method::POST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{MAX_REQUEST_BODY, MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_HEADERS};

    fn header(name: &str, value: &str) -> Request {
        let mut request = Request::new("GET", "http://h/");
        request.add_header(name, value.as_bytes());
        request
    }

    fn beside_credentials(method: &str, name: &str) -> Request {
        let mut request = Request::new(method, "http://h/");
        request.add_header(name, b"x");
        request.set_credentials("token");
        request
    }

    #[test]
    fn requests_that_are_refused() {
        let mut many = Request::new("GET", "http://h/");
        (0..=MAX_REQUEST_HEADERS).for_each(|_| many.add_header("a", b"b"));
        let mut body = Request::new("GET", "http://h/");
        body.set_body(vec![0; MAX_REQUEST_BODY + 1]);
        let mut two_ways = Request::new("GET", "http://h/");
        two_ways.set_unix_socket("/run/app.sock");
        two_ways.set_connect_to("a:80");
        let mut hosts = header("host", "a");
        hosts.add_header("Host", b"b");
        for (request, code) in [
            (Request::new("GET", "nonsense"), code::INVALID),
            (Request::new("CONNECT", "http://h/"), code::INVALID),
            (Request::new("G T", "http://h/"), code::INVALID),
            (Request::new("", "http://h/"), code::INVALID),
            (header("content-length", "1"), code::INVALID),
            (header("Transfer-Encoding", "chunked"), code::INVALID),
            (header("te", "gzip"), code::INVALID),
            (beside_credentials("GET", "Authorization"), code::INVALID),
            (beside_credentials("TRACE", "a"), code::INVALID),
            (two_ways, code::INVALID),
            (header("a b", "c"), code::INVALID),
            (header("a", "b\r\nc: d"), code::INVALID),
            (hosts, code::INVALID),
            (many, code::LIMIT),
            (header("a", &"b".repeat(MAX_REQUEST_HEADER_BYTES)), code::LIMIT),
            (body, code::LIMIT),
            (Request::new("GET", &format!("http://h/{}", "x".repeat(9000))), code::LIMIT),
        ] {
            assert_eq!(Call::of(&request).unwrap_err().code, code, "{request:?}");
        }
    }

    #[test]
    fn defaults_give_way() {
        let call = Call::of(&header("User-Agent", "mine")).unwrap();
        assert_eq!(
            (&call.headers[USER_AGENT], &call.headers[ACCEPT], &call.headers[HOST]),
            (&"mine".parse().unwrap(), &ANYTHING, &"h".parse().unwrap())
        );
        let call = Call::of(&Request::new("GET", "https://[::1]:444/")).unwrap();
        assert_eq!(call.headers[HOST], "[::1]:444");
        assert_eq!(call.headers[USER_AGENT], AGENT);
        assert_eq!(Call::of(&header("TE", "trailers")).unwrap().headers[TE], TRAILERS);
        assert!(Call::of(&beside_credentials("GET", "a")).is_ok());
    }

    #[test]
    fn redirects() {
        let answer = |status, location: &'static str| Response {
            status,
            version: "1.1",
            headers: HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            truncated: false,
        };
        let mut request = Request::new("POST", "https://h/a");
        request.add_header("authorization", b"secret");
        request.add_header("content-type", b"text/plain");
        request.set_body("x");
        let call = Call::of(&request).unwrap();
        for (status, location, method, body, secret) in [
            (302, "/b", "GET", "", true),
            (303, "https://h:443/b", "GET", "", true),
            (307, "/b", "POST", "x", true),
            (308, "https://h:444/b", "POST", "x", false),
            (301, "http://h/b", "GET", "", false),
            (302, "https://other/", "GET", "", false),
        ] {
            let next = call.after(&answer(status, location), &request).unwrap().expect(location);
            let found = (next.method.as_str(), &*next.body, next.headers.contains_key(AUTHORIZATION));
            assert_eq!(found, (method, body.as_bytes(), secret), "{status} {location}");
            assert_eq!(next.headers.contains_key("content-type"), method == "POST");
            assert_eq!(next.home, secret, "{location}");
            // Away is away, also when a redirect leads back.
            let back = next.after(&answer(302, "https://h/a"), &request).unwrap().unwrap();
            assert_eq!(back.home, secret, "{location}");
        }
        assert!(call.after(&answer(200, "/b"), &request).unwrap().is_none());
        assert_eq!(call.after(&answer(302, "ftp://h/"), &request).unwrap_err().code, code::PROTOCOL);
        request.set_unix_socket("/run/app.sock");
        assert!(call.after(&answer(302, "https://h/b"), &request).unwrap().is_some_and(|next| next.home));
        assert_eq!(call.after(&answer(302, "http://h/b"), &request).unwrap_err().code, code::PROTOCOL);
    }
}
