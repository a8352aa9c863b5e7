//! The check of every request before it is routed: authority, host, origin, body; and the headers of every answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::authority::{Authority, Public, Token};
use crate::error::Refusal;
use crate::serve::Peer;

/// No request needs more; pushed results will have this room too.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// A body of that size arrives at once; whoever takes longer holds a connection on purpose.
const BODY_TIME: Duration = Duration::from_secs(5);

/// One listener's door.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) authority: Authority,
    pub(crate) refused: Arc<AtomicU64>,
}

/// Lets a request through to its route, or answers it.
pub(crate) async fn pass(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let admitted = match door.admit(&request) {
        Ok(()) => with_body(request).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match admitted {
        Ok(request) => next.run(request).await,
        Err(refusal) => {
            door.refused.fetch_add(1, Ordering::Relaxed);
            refusal.into_response()
        }
    };
    harden(response.headers_mut());
    response
}

impl Door {
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let Authority::Network { token, public, loopback, hosts } = &self.authority else {
            return Ok(());
        };
        let path = request.uri().path();
        // What answers with nothing but a status is asked for through services and ingresses, under any name.
        if !matches!(Public::of_path(path), Some(Public::Alwayshappy | Public::Livez | Public::Ready)) {
            check_host(request, hosts)?;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads {
            check_origin(request.headers())?;
        }
        let open = Public::of_path(path).is_some_and(|part| public.contains(&part));
        if reads && (open || (*loopback && is_local(request))) {
            return Ok(());
        }
        check_token(request.headers(), token.as_ref())
    }
}

/// Whether the caller is on this machine, and not a proxy on this machine that speaks for somebody else.
fn is_local(request: &Request) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    let local = match request.extensions().get::<Peer>() {
        Some(Peer::Tcp(address)) => address.ip().to_canonical().is_loopback(),
        Some(Peer::Unix) => true,
        None => false,
    };
    local && !forwarded.iter().any(|name| request.headers().contains_key(*name))
}

fn check_token(headers: &HeaderMap, token: Option<&Token>) -> Result<(), Refusal> {
    let Some(token) = token else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this needs authority, and no token is configured",
            "set http.tokenFile, or ask through the unix socket in the state directory",
        ));
    };
    let offered = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let secret = match offered.split_at_checked(7) {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case(b"bearer ") => secret.trim_ascii(),
        _ => b"",
    };
    if token.matches(secret) {
        return Ok(());
    }
    let error = if offered.is_empty() { "this needs the token" } else { "the token is not the one of this agent" };
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        error,
        "send `Authorization: Bearer …` with the content of http.tokenFile, or ask through the unix socket",
    ))
}

/// Refuses names that are not this node's: a page elsewhere may have pointed its own name here to read with a visitor's
/// browser what is open on loopback.
fn check_host(request: &Request, hosts: &[String]) -> Result<(), Refusal> {
    let named = request.headers().get(header::HOST).map(HeaderValue::as_bytes).map(str::from_utf8);
    let Some(Ok(authority)) = named else {
        return Err(Refusal::bad("the header Host is missing", "send the address that was asked as Host"));
    };
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return Err(Refusal::bad("more than one header Host", "send one"));
    }
    let host = host_of(authority);
    if is_own_name(host, hosts) && request.uri().host().is_none_or(|host| is_own_name(host, hosts)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        format!("`{}` is not a name of this node", roundsman_model::name::excerpt(host)),
        "ask by IP address, localhost or the node's name, or add the name to http.hosts",
    ))
}

/// Refuses changes that a page from elsewhere asks for.
fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or_default();
    let own = ["http://", "https://"].iter().filter_map(|scheme| origin.strip_prefix(scheme));
    if own.into_iter().any(|origin| !origin.is_empty() && origin.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        format!("a page of `{}` may not change anything here", roundsman_model::name::excerpt(origin)),
        "send the request without the header Origin, from a program",
    ))
}

/// The host of `host:port`, without the brackets of IPv6 and without the dot of a full name.
fn host_of(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn is_own_name(host: &str, hosts: &[String]) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(host))
}

/// Reads the whole body within its limits, so that no handler has to think of them.
async fn with_body(request: Request) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    let too_large = || {
        let error = format!("the body is larger than {MAX_BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less at a time")
    };
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(Refusal::bad(format!("the body is broken: {error}"), "send it again")),
        Err(_) => {
            let error = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error, "send it at once"));
        }
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// What a browser must not do with any answer: guess its type, keep it, frame it, load or run anything from it.
fn harden(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The door, method, path, caller, headers, and the status of the refusal.
    type Case<'a> = (&'a Door, &'a str, &'a str, Peer, &'a [(&'a str, &'a str)], u16);

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn request(method: &str, path: &str, peer: Peer, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().method(method).uri(path).header("host", "node-a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.extension(peer).body(Body::empty()).unwrap()
    }

    fn door(token: bool, public: &[Public], loopback: bool) -> Door {
        let token = token.then(|| Token::new(SECRET).unwrap());
        let hosts = vec!["node-a".to_owned()];
        let authority = Authority::Network { token, public: public.to_vec(), loopback, hosts };
        Door { authority, refused: Arc::default() }
    }

    /// Everybody × everything: 0 is let through.
    #[test]
    fn authority() {
        const GOOD: (&str, &str) = ("authorization", "Bearer 0123456789abcdef0123456789abcdef");
        const OTHER: (&str, &str) = ("authorization", "bearer  0123456789abcdef0123456789abcdef ");
        const WRONG: (&str, &str) = ("authorization", "Bearer 0123456789abcdef0123456789abcdee");
        const BASIC: (&str, &str) = ("authorization", "Basic 0123456789abcdef0123456789abcdef");
        const PROXY: (&str, &str) = ("x-forwarded-for", "203.0.113.9");
        let near = Peer::Tcp("127.0.0.1:50000".parse().unwrap());
        let near6 = Peer::Tcp("[::1]:50000".parse().unwrap());
        let mapped = Peer::Tcp("[::ffff:127.0.0.1]:50000".parse().unwrap());
        let far = Peer::Tcp("10.0.0.9:50000".parse().unwrap());
        let open = door(true, &[Public::Livez, Public::Alwayshappy], true);
        let without = door(false, &[Public::Livez], true);
        let closed = door(true, &[], false);
        let run = "/api/v1/checks/shop/run";
        let cases: &[Case] = &[
            (&open, "GET", "/", near, &[], 0),
            (&open, "GET", "/api/v1/status", near6, &[], 0),
            (&open, "GET", "/api/v1/status", mapped, &[], 0),
            (&open, "HEAD", "/metrics", near, &[], 0),
            (&open, "GET", "/api/v1/status", near, &[PROXY], 401),
            (&open, "GET", "/api/v1/status", near, &[PROXY, GOOD], 0),
            (&open, "GET", "/", far, &[], 401),
            (&open, "GET", "/api/v1/status", far, &[], 401),
            (&open, "GET", "/api/v1/status", far, &[WRONG], 401),
            (&open, "GET", "/api/v1/status", far, &[BASIC], 401),
            (&open, "GET", "/api/v1/status", far, &[GOOD], 0),
            (&open, "GET", "/api/v1/status", far, &[OTHER], 0),
            (&open, "GET", "/livez", far, &[], 0),
            (&open, "GET", "/alwayshappy", far, &[], 0),
            (&open, "GET", "/livez/../metrics", far, &[], 401),
            (&open, "GET", "/readyz", far, &[], 401),
            (&open, "GET", "/nowhere", far, &[], 401),
            (&open, "POST", run, near, &[], 401),
            (&open, "POST", run, near, &[WRONG], 401),
            (&open, "POST", run, near, &[GOOD], 0),
            (&open, "POST", run, far, &[GOOD], 0),
            (&open, "POST", "/livez", far, &[], 401),
            (&open, "DELETE", "/", near, &[], 401),
            (&open, "OPTIONS", run, near, &[], 401),
            (&open, "POST", run, near, &[GOOD, ("origin", "http://node-a")], 0),
            (&open, "POST", run, near, &[GOOD, ("origin", "http://evil.example")], 403),
            (&open, "POST", run, Peer::Unix, &[], 401),
            (&without, "GET", "/", near, &[], 0),
            (&without, "GET", "/livez", far, &[], 0),
            (&without, "GET", "/", far, &[GOOD], 403),
            (&without, "POST", run, near, &[GOOD], 403),
            (&closed, "GET", "/", near, &[], 401),
            (&closed, "GET", "/livez", near, &[], 401),
            (&closed, "GET", "/", near, &[GOOD], 0),
            (&Door { authority: Authority::Owner, refused: Arc::default() }, "POST", run, Peer::Unix, &[], 0),
        ];
        for (door, method, path, peer, headers, expected) in cases {
            let admitted = door.admit(&request(method, path, *peer, headers));
            let status = admitted.map_or_else(|refusal| refusal.status.as_u16(), |()| 0);
            assert_eq!(status, *expected, "{method} {path} {peer:?} {headers:?}");
        }
    }

    #[test]
    fn a_foreign_name_is_refused_before_anything_else() {
        let near = Peer::Tcp("127.0.0.1:50000".parse().unwrap());
        let open = door(true, &[], true);
        for (host, path, good) in [
            ("node-a:9640", "/", true),
            ("evil.example", "/", false),
            ("evil.example", "/readyz", false),
            ("evil.example", "/livez", true),
            ("evil.example", "/alwayshappy", true),
            ("node-a", "http://evil.example/", false),
            ("node-a", "http://node-a/", true),
        ] {
            let request = http::Request::builder().uri(path).header("host", host).extension(near);
            assert_eq!(open.admit(&request.body(Body::empty()).unwrap()).is_ok(), good, "{host} {path}");
        }
        let twice = http::Request::builder().uri("/").header("host", "node-a").header("host", "evil.example");
        assert!(open.admit(&twice.extension(near).body(Body::empty()).unwrap()).is_err());
        let none = http::Request::builder().uri("/").extension(near).body(Body::empty()).unwrap();
        assert!(open.admit(&none).is_err());
    }

    #[test]
    fn hosts() {
        let own = ["node-a".to_owned(), "probes.example.".to_owned()];
        for (authority, good) in [
            ("localhost", true),
            ("LOCALHOST:9640", true),
            ("127.0.0.1:9640", true),
            ("[::1]:9640", true),
            ("[::1]", true),
            ("10.0.0.7", true),
            ("node-a:80", true),
            ("Node-A.", true),
            ("probes.example", true),
            ("evil.example", false),
            ("node-a.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
            ("[", false),
            (":80", false),
        ] {
            assert_eq!(is_own_name(host_of(authority), &own), good, "{authority:?}");
        }
    }

    #[test]
    fn origins() {
        for (origin, good) in [
            (None, true),
            (Some("http://node-a:9640"), true),
            (Some("https://node-a:9640"), true),
            (Some("http://node-a"), false),
            (Some("http://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
            (Some("http://"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("node-a:9640"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(check_origin(&headers).is_ok(), good, "{origin:?}");
        }
    }
}
