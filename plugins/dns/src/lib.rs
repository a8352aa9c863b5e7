//! Asks a DNS server and looks at what it answers.

mod judge;

use roundsman_sdk::dns::{Family, Query, Transport};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Tag, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::Expect;

/// Whom to ask for what, and what to expect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// The name that is asked for, as it is: no search list is applied.
    name: String,
    /// `A`, `AAAA`, `MX`, `TXT`, `SRV`, `PTR` (by an address), `TYPE65` …
    #[serde(rename = "type")]
    kind: String,
    /// The server, instead of the target's address; `system` asks those of the node.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "dns"}))]
    server: Option<String>,
    transport: Transport,
    /// Whether the server shall ask others.
    recursion: bool,
    /// Asks for signatures.
    dnssec: bool,
    /// Which addresses of the server's name are tried.
    family: Family,
    /// With `transport: tls`: `false` accepts any certificate.
    verify_certificate: bool,
    /// With `transport: tls`: the name that the certificate must have, where it is not the server's.
    server_name: Option<String>,
    /// With `transport: tls`: the secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    expect: Expect,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: "A".to_owned(),
            server: None,
            transport: Transport::default(),
            recursion: true,
            dnssec: false,
            family: Family::Any,
            verify_certificate: true,
            server_name: None,
            certificate_authority: None,
            expect: Expect::default(),
        }
    }
}

const DNS: Series = Series {
    name: "dns",
    help: "One question and its answer.",
    tags: &[Tag::bounded("rcode", "`NOERROR`, `NXDOMAIN`, `SERVFAIL` …")],
    fields: &[
        Field::real("total_ms", "ms", "All of it."),
        Field::real("connect_ms", "ms", "Until the connection stood; absent with UDP."),
        Field::real("tls_ms", "ms", "The TLS handshake."),
        Field::real("first_byte_ms", "ms", "From the question to the answer."),
        Field::integer("answers", "", "Records of the section answer."),
        Field::integer("authorities", "", "Records of the section authority."),
        Field::integer("additionals", "", "Records of the section additional."),
        Field::real("least_ttl_s", "s", "The least time for which an answer may be kept."),
        Field::integer("message_bytes", "B", "Of the whole answer."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: cluster-dns
    plugin: dns
    interval: 10s
    timeout: 3s
    target: dns://10.96.0.10             # its address is granted; any other needs a line under `allow:`
    settings:
      name: kubernetes.default.svc.cluster.local
      expect: {answers: [10.96.0.1]}
";

/// The check.
#[derive(Debug)]
pub struct Dns;

impl Check for Dns {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Asks a DNS server and looks at what it answers.")
            .series(&DNS)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.name.is_empty() {
            return Err(Fault::settings("`name` is missing: what shall be asked for?"));
        }
        settings.expect.validate()
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let server = settings.server.as_deref().or(target.as_deref());
        let server = server.ok_or_else(|| {
            Fault::settings("nobody to ask: give the check a `target`, or set `server` (`system` for the node's own)")
        })?;
        let query = settings.query(server.strip_prefix("dns://").unwrap_or(server));
        let answer = match query.send() {
            Ok(answer) => answer,
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let timings = query.timings();
        let least = |records: &[roundsman_sdk::dns::Record]| records.iter().map(|record| record.ttl).min();
        Point::of(&DNS)
            .tag("rcode", answer.rcode.as_str())
            .field("total_ms", timings.total.map(ms))
            .field("connect_ms", timings.connect.map(ms))
            .field("tls_ms", timings.tls.map(ms))
            .field("first_byte_ms", timings.first_byte.map(ms))
            .field("answers", answer.answer.len())
            .field("authorities", answer.authority.len())
            .field("additionals", answer.additional.len())
            .field("least_ttl_s", least(&answer.answer).map(|ttl| ttl.as_secs_f64()))
            .field("message_bytes", answer.bytes)
            .report()?;
        if let Some(total) = timings.total {
            report::latency(total);
        }
        let by = query.peer_address().unwrap_or_else(|| server.to_owned());
        Ok(settings.expect.judge(&answer, &settings.kind, timings.total.unwrap_or_default(), &by))
    }
}

impl Settings {
    fn query(&self, server: &str) -> Query {
        let mut query = Query::new(&self.name, &self.kind)
            .transport(self.transport)
            .recursion(self.recursion)
            .dnssec(self.dnssec)
            .family(self.family)
            .verify_certificate(self.verify_certificate);
        if server != "system" {
            query = query.server(server);
        }
        if let Some(name) = &self.server_name {
            query = query.server_name(name);
        }
        if let Some(secret) = &self.certificate_authority {
            query = query.certificate_authority(secret);
        }
        query
    }
}

roundsman_sdk::plugin!(Dns);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            ("{}", "`name` is missing: what shall be asked for?"),
            (
                r#"{"name": "a", "transport": "https"}"#,
                "`transport`: unknown variant `https`, expected one of `udp`, `udp-only`, `tcp`, `tls`",
            ),
            (
                r#"{"name": "a", "expect": {"rcode": "NXDOMAIN", "answers": ["1.2.3.4"]}}"#,
                "`expect`: answers come with the rcode NOERROR only",
            ),
            (
                r#"{"name": "a", "expect": {"maxTtl": "1s", "minTtl": "2s"}}"#,
                "`expect`: minTtl must not be above maxTtl",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Dns>(settings).unwrap_err().message, message);
        }
    }
}
