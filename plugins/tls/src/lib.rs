//! Looks at a TLS endpoint: how long its certificates are good, whether they are trusted, which protocol it speaks.

mod dialogue;
mod judge;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::tcp::{Connection, Failure, Family};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, context};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dialogue::StartTls;
use crate::judge::{Expect, Seen};

/// Where to connect, and what to expect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// `host:port`, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "tls"}))]
    address: Option<String>,
    /// What the certificate must be good for, where it is not the address's host.
    server_name: Option<String>,
    /// How TLS is agreed on in the clear; without it, it begins at once.
    start_tls: Option<StartTls>,
    /// Protocols that are offered in the handshake, such as `h2`.
    alpn: Vec<String>,
    /// `false` accepts any certificate: only how long it is good is looked at.
    verify_certificate: bool,
    /// The secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    /// The secret with the client's certificate and key.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    client_certificate: Option<String>,
    family: Family,
    expect: Expect,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: None,
            server_name: None,
            start_tls: None,
            alpn: Vec::new(),
            verify_certificate: true,
            certificate_authority: None,
            client_certificate: None,
            family: Family::Any,
            expect: Expect::default(),
        }
    }
}

const TLS: Series = Series {
    name: "tls",
    help: "One handshake.",
    tags: &[],
    fields: &[
        Field::real("resolve_ms", "ms", "From the name to addresses; absent for an address."),
        Field::real("connect_ms", "ms", "Until the connection stood."),
        Field::real("tls_ms", "ms", "The handshake."),
        Field::real("certificate_days", "d", "How long the peer's own certificate is still good."),
        Field::real("chain_days", "d", "How long all certificates of the chain are still good."),
        Field::integer("chain_length", "", "Certificates that the peer showed."),
        Field::boolean("trusted", "Whether the chain was accepted; absent where it is not verified."),
        Field::text("version", "`1.2` or `1.3`."),
        Field::text("cipher", "The cipher suite."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: certificates
    plugin: tls
    interval: 5m
    timeout: 5s
    target: tls://example.org:443        # its address is granted; any other needs a line under `allow:`
    settings:
      expect: {warningDays: 21, criticalDays: 7, version: \"1.2\"}
";

const PORT: u16 = 443;

/// The check.
#[derive(Debug)]
pub struct Tls;

impl Check for Tls {
    type Settings = Settings;

    fn describe() -> Describe {
        let summary = "Looks at a TLS endpoint: expiry, trust, names and protocol.";
        Describe::new(env!("CARGO_PKG_VERSION"), summary).series(&TLS).example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        settings.expect.validate()
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let address = settings.address.as_deref().or(target.as_deref());
        let address = address
            .ok_or_else(|| Fault::settings("nowhere to connect: give the check a `target`, or set `address`"))?;
        let port = settings.start_tls.map_or(PORT, StartTls::port);
        let connection = settings.connection(&with_port(bare(address), port));
        let ended = shake_hands(&connection, settings.start_tls);
        let seen = Seen::of(&connection, settings.verify_certificate, now());
        report_point(&connection, &seen)?;
        let failure = match ended {
            Ok(()) => None,
            // A certificate that is not accepted is told with everything else that is known of it.
            Err(failure) if failure.code == "certificate" => Some(failure),
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        if let Some(took) = connection.timings().tls {
            report::latency(took);
        }
        Ok(settings.expect.judge(&seen, failure.as_ref()))
    }
}

impl Settings {
    fn connection(&self, address: &str) -> Connection {
        let protocols: Vec<&str> = self.alpn.iter().map(String::as_str).collect();
        let mut connection = Connection::new(address)
            .family(self.family)
            .verify_certificate(self.verify_certificate)
            .protocols(&protocols);
        if let Some(name) = &self.server_name {
            connection = connection.server_name(name);
        }
        if let Some(secret) = &self.certificate_authority {
            connection = connection.certificate_authority(secret);
        }
        if let Some(secret) = &self.client_certificate {
            connection = connection.client_certificate(secret);
        }
        connection
    }
}

fn shake_hands(connection: &Connection, start_tls: Option<StartTls>) -> Result<(), Failure> {
    connection.connect()?;
    if let Some(protocol) = start_tls {
        protocol.agree(connection)?;
    }
    connection.start_tls()
}

/// Without the scheme, and without the path of a URL.
fn bare(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(authority, _)| authority)
}

fn with_port(address: &str, port: u16) -> String {
    let bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    match address.rsplit_once(':') {
        _ if bare_v6 => format!("[{address}]:{port}"),
        Some((_, given)) if given.parse::<u16>().is_ok() => address.to_owned(),
        _ => format!("{address}:{port}"),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn report_point(connection: &Connection, seen: &Seen) -> Result<(), Fault> {
    let timings = connection.timings();
    Point::of(&TLS)
        .field("resolve_ms", timings.resolve.map(ms))
        .field("connect_ms", timings.connect.map(ms))
        .field("tls_ms", timings.tls.map(ms))
        .field("certificate_days", seen.own_days)
        .field("chain_days", seen.chain_days)
        .field("chain_length", (seen.chain_length > 0).then_some(seen.chain_length))
        .field("trusted", seen.trusted)
        .field("version", seen.version.clone())
        .field("cipher", seen.cipher.clone())
        .report()
}

roundsman_sdk::plugin!(Tls);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (
                r#"{"expect": {"warningDays": 3, "criticalDays": 7}}"#,
                "`expect`: warningDays must not be below criticalDays, they are what is left",
            ),
            (r#"{"expect": {"version": "1.4"}}"#, "`expect.version`: unknown variant `1.4`, expected `1.2` or `1.3`"),
            (
                r#"{"startTls": "gopher"}"#,
                "`startTls`: unknown variant `gopher`, expected one of `smtp`, `lmtp`, `imap`, `pop3`, `ftp`, `postgres`",
            ),
            (r#"{"expect": {"sha256": ["xyz"]}}"#, "`expect.sha256[0]`: a digest has 64 hexadecimal digits"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Tls>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn addresses() {
        for (address, expected) in [
            ("https://shop.example/x?y", "shop.example:443"),
            ("tls://shop.example:8443", "shop.example:8443"),
            ("shop.example", "shop.example:443"),
            ("::1", "[::1]:443"),
            ("tls://[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(with_port(bare(address), PORT), expected);
        }
    }
}
