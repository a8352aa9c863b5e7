//! Asks a gRPC server how it is, by the protocol grpc.health.v1.

mod message;

use roundsman_sdk::http::{Family, Request, Response, Timings, Version};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::message::Health;

/// Whom to ask about what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// `http://host:port` without TLS, `https://host:port` with it, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination"}))]
    url: Option<String>,
    /// The service that is asked about; empty means the server as a whole.
    service: String,
    /// `false` accepts any certificate.
    verify_certificate: bool,
    /// The TLS server name, where it is not the URL's host.
    server_name: Option<String>,
    /// The secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    /// The secret with the client's certificate and key.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    client_certificate: Option<String>,
    /// The secret that becomes the metadata `authorization`.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    credentials: Option<String>,
    family: Family,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            service: String::new(),
            verify_certificate: true,
            server_name: None,
            certificate_authority: None,
            client_certificate: None,
            credentials: None,
            family: Family::Any,
        }
    }
}

const GRPC: Series = Series {
    name: "grpc",
    help: "One question to a server's health service.",
    tags: &[],
    fields: &[
        Field::real("total_ms", "ms", "All of it."),
        Field::real("resolve_ms", "ms", "From the name to addresses."),
        Field::real("connect_ms", "ms", "Until the connection stood."),
        Field::real("tls_ms", "ms", "The TLS handshake."),
        Field::real("first_byte_ms", "ms", "From the question to the first byte of the answer."),
        Field::integer("grpc_status", "", "0 for OK; the numbers of gRPC."),
        Field::text("serving", "`SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN` …"),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: orders
    plugin: grpc
    interval: 10s
    timeout: 3s
    target: http://127.0.0.1:50051       # without TLS; https://… with it
    settings: {service: shop.Orders}
";

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer has some ten bytes.
const MAX_BODY: u32 = 4 << 10;

/// The check.
#[derive(Debug)]
pub struct Grpc;

impl Check for Grpc {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Asks a gRPC server how it is, by grpc.health.v1.")
            .series(&GRPC)
            .example(EXAMPLE)
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let url = settings.url.as_deref().or(target.as_deref());
        let url = url.ok_or_else(|| Fault::settings("nobody to ask: give the check a `target`, or set `url`"))?;
        let request = settings.request(&endpoint(url)?);
        let answered = request.send();
        let timings = request.timings();
        let answer = match answered {
            Ok(answer) => answer,
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let said = Said::read(&answer);
        report_point(&timings, &said)?;
        if let Some(total) = timings.total {
            report::latency(total);
        }
        Ok(said.judge(&settings.service, ms(timings.total.unwrap_or_default())))
    }
}

impl Settings {
    fn request(&self, url: &str) -> Request {
        let mut request = Request::new("POST", url)
            .version(Version::Two)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(message::question(&self.service))
            .max_body(MAX_BODY)
            .keep_trailers(&["grpc-status", "grpc-message"])
            .family(self.family)
            .verify_certificate(self.verify_certificate);
        if let Some(name) = &self.server_name {
            request = request.server_name(name);
        }
        for (secret, set) in [
            (&self.certificate_authority, Request::certificate_authority as fn(Request, &str) -> Request),
            (&self.client_certificate, Request::client_certificate),
            (&self.credentials, Request::credentials),
        ] {
            if let Some(secret) = secret {
                request = set(request, secret);
            }
        }
        request
    }
}

/// The health service of the server that a URL names.
fn endpoint(url: &str) -> Result<String, Fault> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    if !matches!(scheme, "http" | "https") {
        return Err(Fault::settings(format!(
            "`{scheme}://` is not spoken here: write http:// without TLS, https:// with it"
        )));
    }
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    Ok(format!("{scheme}://{authority}{PATH}"))
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Not gRPC: the status of HTTP.
    Http(u16),
    /// Why gRPC did not carry the question out.
    Error(i32, String),
    Health(Health),
    Nonsense(&'static str),
}

impl Said {
    fn read(answer: &Response) -> Self {
        if answer.status != 200 {
            return Self::Http(answer.status);
        }
        // A server that has nothing to say puts the status among the headers.
        let part = |name: &str| answer.trailer(name).or_else(|| answer.header(name).next());
        let Some(code) = part("grpc-status") else { return Self::Nonsense("it ends without grpc-status") };
        match code.trim().parse() {
            Ok(0) => message::answer(&answer.body)
                .map_or(Self::Nonsense("it is no answer of the health service"), Self::Health),
            Ok(code) => {
                Self::Error(code, part("grpc-message").map(|text| message::unescape(&text)).unwrap_or_default())
            }
            Err(_) => Self::Nonsense("its grpc-status is no number"),
        }
    }

    fn judge(&self, service: &str, took_ms: f64) -> Outcome {
        let whom = if service.is_empty() { "the server" } else { service };
        match self {
            Self::Health(Health::Serving) => Outcome::ok(format!("{whom} is SERVING, asked in {took_ms:.1} ms")),
            Self::Health(other) => Outcome::critical(format!("{whom} is {other}")),
            // NOT_FOUND, by the protocol: a service that nobody registered.
            Self::Error(5, _) => Outcome::critical(format!("{whom} is unknown to the health service")),
            // UNIMPLEMENTED: alive, and nobody can say how it is.
            Self::Error(12, _) => Outcome::unknown("the server has no health service (grpc.health.v1)"),
            Self::Error(code, text) => Outcome::critical(format!("{}: {text}", message::code_name(*code))),
            Self::Http(status) => Outcome::critical(format!("the answer is HTTP {status}, not gRPC")),
            Self::Nonsense(why) => Outcome::critical(format!("the answer makes no sense: {why}")),
        }
    }
}

fn report_point(timings: &Timings, said: &Said) -> Result<(), Fault> {
    let (code, serving) = match said {
        Said::Health(serving) => (Some(0), Some(serving.to_string())),
        Said::Error(code, _) => (Some(*code), None),
        Said::Http(_) | Said::Nonsense(_) => (None, None),
    };
    Point::of(&GRPC)
        .field("total_ms", timings.total.map(ms))
        .field("resolve_ms", timings.resolve.map(ms))
        .field("connect_ms", timings.connect.map(ms))
        .field("tls_ms", timings.tls.map(ms))
        .field("first_byte_ms", timings.first_byte.map(ms))
        .field("grpc_status", code)
        .field("serving", serving)
        .report()
}

roundsman_sdk::plugin!(Grpc);

#[cfg(test)]
mod tests {
    use super::*;
    use roundsman_sdk::Status;

    fn answer(status: u16, body: &[u8], headers: &[(&str, &str)], trailers: &[(&str, &str)]) -> Response {
        let owned = |list: &[(&str, &str)]| {
            list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
        };
        Response {
            status,
            body: body.to_vec(),
            headers: owned(headers),
            trailers: owned(trailers),
            ..Response::default()
        }
    }

    #[test]
    fn answers() {
        let ok = ("grpc-status", "0");
        for (answer, said, status) in [
            (answer(200, &[0, 0, 0, 0, 2, 8, 1], &[], &[ok]), Said::Health(Health::Serving), Status::Ok),
            (answer(200, &[0, 0, 0, 0, 2, 8, 2], &[], &[ok]), Said::Health(Health::NotServing), Status::Critical),
            (answer(200, &[0, 0, 0, 0, 0], &[], &[ok]), Said::Health(Health::Unknown), Status::Critical),
            (answer(200, &[], &[("grpc-status", "5")], &[]), Said::Error(5, String::new()), Status::Critical),
            (answer(200, &[], &[("grpc-status", "12")], &[]), Said::Error(12, String::new()), Status::Unknown),
            (
                answer(200, &[], &[], &[("grpc-status", "14"), ("grpc-message", "too%20busy")]),
                Said::Error(14, "too busy".to_owned()),
                Status::Critical,
            ),
            (answer(404, &[], &[], &[]), Said::Http(404), Status::Critical),
            (answer(200, b"<html>", &[], &[]), Said::Nonsense("it ends without grpc-status"), Status::Critical),
            (
                answer(200, b"<html>", &[], &[ok]),
                Said::Nonsense("it is no answer of the health service"),
                Status::Critical,
            ),
        ] {
            let found = Said::read(&answer);
            assert_eq!((&found, found.judge("shop", 1.0).status), (&said, status), "{answer:?}");
        }
    }

    #[test]
    fn endpoints() {
        for (url, expected) in [
            ("http://h:1", Ok("http://h:1/grpc.health.v1.Health/Check")),
            ("https://h/x", Ok("https://h/grpc.health.v1.Health/Check")),
            ("h:50051", Ok("http://h:50051/grpc.health.v1.Health/Check")),
            ("tcp://h:1", Err("`tcp://` is not spoken here: write http:// without TLS, https:// with it")),
        ] {
            assert_eq!(
                endpoint(url).map_err(|fault| fault.message),
                expected.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }
}
