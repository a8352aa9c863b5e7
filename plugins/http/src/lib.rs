//! Fetches a URL and looks at status, body, headers and certificate, with the time that each phase took.

mod judge;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use roundsman_sdk::http::{Family, Request, Response, Timings, Version};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Size, Status, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Complaint, Expect};

/// What to fetch and what to expect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Fetched instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination"}))]
    url: Option<String>,
    /// Takes the place of the URL's path and query: `/healthz?full=1`.
    path: Option<String>,
    method: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    expect: Expect,
    /// How many redirects are followed. Without any, a redirect is an answer like another.
    max_redirects: u32,
    /// `false` accepts any certificate. How long it is good is looked at all the same.
    verify_certificate: bool,
    /// The TLS server name, where it is not the URL's host.
    server_name: Option<String>,
    /// The secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    /// The secret with the client's certificate and key.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    client_certificate: Option<String>,
    /// The secret that becomes the header `authorization`: a token, or a user name and a password.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    credentials: Option<String>,
    version: Version,
    family: Family,
    /// `host:port` that is dialled instead of the URL's: one server of those behind a name.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "tcp"}))]
    connect_to: Option<String>,
    /// The unix socket that is dialled instead of the URL's host.
    #[schemars(extend("x-roundsman" = {"kind": "path"}))]
    unix_socket: Option<String>,
    /// The address of this node from which it is dialled.
    source_address: Option<String>,
    /// How much of the body is looked at; the host has a ceiling of 1Mi.
    max_body: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            path: None,
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            expect: Expect::default(),
            max_redirects: 0,
            verify_certificate: true,
            server_name: None,
            certificate_authority: None,
            client_certificate: None,
            credentials: None,
            version: Version::Auto,
            family: Family::Any,
            connect_to: None,
            unix_socket: None,
            source_address: None,
            max_body: Size(256 << 10),
        }
    }
}

const HTTP: Series = Series {
    name: "http",
    help: "One exchange on a connection of its own.",
    tags: &[],
    fields: &[
        Field::real("total_ms", "ms", "All of it, with redirects."),
        Field::real("resolve_ms", "ms", "From the name to addresses."),
        Field::real("connect_ms", "ms", "Until the connection stood."),
        Field::real("tls_ms", "ms", "The TLS handshake."),
        Field::real("first_byte_ms", "ms", "From the request to the first byte of the answer."),
        Field::real("transfer_ms", "ms", "From the first byte to the last."),
        Field::integer("status_code", "", "The status of the answer."),
        Field::integer("body_bytes", "B", "As much of the body as was looked at."),
        Field::real("certificate_days", "d", "How long the peer's certificate is still good."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: example-org
    plugin: http
    interval: 30s
    timeout: 5s
    target: https://example.org          # its address is granted; any other needs a line under `allow:`
    settings:
      path: /
      expect:
        status: [\"200-299\"]
        body: Example Domain
        certificate: {warningDays: 10, criticalDays: 3}
";

/// The check.
#[derive(Debug)]
pub struct Http;

impl Check for Http {
    type Settings = Settings;

    fn describe() -> Describe {
        let summary = "Fetches a URL and looks at status, body, headers and certificate.";
        Describe::new(env!("CARGO_PKG_VERSION"), summary).series(&HTTP).example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        match &settings.path {
            Some(path) if !path.starts_with('/') => Err(Fault::settings("`path`: must begin with /")),
            _ if settings.max_body.0 > u32::MAX.into() => Err(Fault::settings("`maxBody`: must be at most 1Mi")),
            _ => Ok(()),
        }
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let request = settings.request(&settings.url(context::target_address().as_deref())?);
        let sent = request.send();
        if let Err(failure) = &sent
            && !failure.is_targets_doing()
        {
            // Nothing took place: there is nothing to measure.
            return failure.clone().into_outcome_or_fault();
        }
        let timings = request.timings();
        let certificate_days = request.certificate_end().map(days_until);
        point(&timings, sent.as_ref().ok(), certificate_days).report()?;
        match sent {
            Err(failure) => failure.into_outcome_or_fault(),
            Ok(answer) => {
                report::latency(timings.total.unwrap_or_default());
                let mut wrong = settings.expect.judge(&answer);
                wrong.extend(certificate_days.and_then(|days| settings.expect.certificate.complaint(days)));
                Ok(outcome(&answer, &timings, &wrong))
            }
        }
    }
}

impl Settings {
    /// Where to ask: the target's address, or what the settings have in its place.
    fn url(&self, target: Option<&str>) -> Result<String, Fault> {
        let base = self.url.as_deref().or(target);
        let base = base.ok_or_else(|| Fault::settings("nothing to fetch: give the check a `target`, or set `url`"))?;
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let Some(path) = &self.path else { return Ok(base) };
        let host = base.find("://").map_or(0, |scheme| scheme + 3);
        let end = base[host..].find(['/', '?', '#']).map_or(base.len(), |length| host + length);
        Ok(format!("{}{path}", &base[..end]))
    }

    fn request(&self, url: &str) -> Request {
        let mut request = Request::new(&self.method, url)
            .max_body(u32::try_from(self.max_body.0).unwrap_or(u32::MAX))
            .max_redirects(self.max_redirects)
            .version(self.version)
            .family(self.family)
            .verify_certificate(self.verify_certificate);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body);
        }
        for (word, set) in [
            (&self.server_name, Request::server_name as fn(Request, &str) -> Request),
            (&self.certificate_authority, Request::certificate_authority),
            (&self.client_certificate, Request::client_certificate),
            (&self.credentials, Request::credentials),
            (&self.connect_to, Request::connect_to),
            (&self.unix_socket, Request::unix_socket),
            (&self.source_address, Request::source_address),
        ] {
            if let Some(word) = word {
                request = set(request, word);
            }
        }
        request
    }
}

fn point(timings: &Timings, answer: Option<&Response>, certificate_days: Option<f64>) -> Point {
    Point::of(&HTTP)
        .field("total_ms", timings.total.map(ms))
        .field("resolve_ms", timings.resolve.map(ms))
        .field("connect_ms", timings.connect.map(ms))
        .field("tls_ms", timings.tls.map(ms))
        .field("first_byte_ms", timings.first_byte.map(ms))
        .field("transfer_ms", timings.transfer.map(ms))
        .field("status_code", answer.map(|answer| answer.status))
        .field("body_bytes", answer.map(|answer| answer.body.len()))
        .field("certificate_days", certificate_days)
}

fn outcome(answer: &Response, timings: &Timings, wrong: &[Complaint]) -> Outcome {
    if wrong.is_empty() {
        let total = timings.total.map_or(0.0, ms);
        return Outcome::ok(format!("status {}, {} bytes in {total:.0} ms", answer.status, answer.body.len()));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a date are far below 2^52")]
fn days_until(seconds: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (seconds as f64 - now.as_secs_f64()) / 86_400.0
}

roundsman_sdk::plugin!(Http);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(json: &str) -> Result<Settings, Fault> {
        roundsman_sdk::settings::<Http>(json)
    }

    #[test]
    fn urls() {
        for (settings, target, url) in [
            ("{}", Some("https://a.example"), Some("https://a.example")),
            ("{}", Some("a.example:8080"), Some("http://a.example:8080")),
            (r#"{"path": "/x?y=1"}"#, Some("https://a.example"), Some("https://a.example/x?y=1")),
            (r#"{"path": "/x"}"#, Some("https://a.example:1/old?q#f"), Some("https://a.example:1/x")),
            (r#"{"path": "/x"}"#, Some("[::1]:80"), Some("http://[::1]:80/x")),
            (r#"{"url": "http://b.example/z"}"#, Some("https://a.example"), Some("http://b.example/z")),
            ("{}", None, None),
        ] {
            assert_eq!(read(settings).unwrap().url(target).ok().as_deref(), url, "{settings} {target:?}");
        }
    }

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"path": "x"}"#, "`path`: must begin with /"),
            (r#"{"maxBody": "9Gi"}"#, "`maxBody`: must be at most 1Mi"),
            (
                r#"{"maxBody": "lots"}"#,
                "`maxBody`: `lots` is not a size: write a number of bytes, or one with Ki, Mi or Gi",
            ),
            (
                r#"{"expect": {"status": ["2xx"]}}"#,
                "`expect.status[0]`: `2xx` is not a status: write 204, or 200-299, within 100 to 599",
            ),
            (r#"{"expect": {"json": [{"equals": 1}]}}"#, "`expect.json[0]`: missing field `pointer`"),
        ] {
            assert_eq!(read(settings).unwrap_err().message, message);
        }
        let pattern = read(r#"{"expect": {"body": "("}}"#).unwrap_err().message;
        assert!(pattern.starts_with("`expect.body`: `(` is not a regular expression: "), "{pattern}");
    }

    #[test]
    fn points_are_as_declared() {
        let some = Some(Duration::from_millis(1));
        let timings =
            Timings { resolve: some, connect: some, tls: some, first_byte: some, transfer: some, total: some };
        point(&timings, Some(&Response::default()), Some(1.0)).check().unwrap();
    }

    #[test]
    fn outcomes() {
        let answer = Response { status: 200, body: b"hello".to_vec(), ..Response::default() };
        let timings = Timings { total: Some(Duration::from_millis(34)), ..Timings::default() };
        let (warning, critical) = ((Status::Warning, "a".to_owned()), (Status::Critical, "b".to_owned()));
        for (wrong, expected) in [
            (vec![], Outcome::ok("status 200, 5 bytes in 34 ms")),
            (vec![warning.clone()], Outcome::warning("a")),
            (vec![warning, critical], Outcome::critical("a; b")),
        ] {
            assert_eq!(outcome(&answer, &timings, &wrong), expected);
        }
    }
}
