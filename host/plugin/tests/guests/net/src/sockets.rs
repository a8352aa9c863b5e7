//! Each function once, with an answer that nobody gives by default.

use roundsman_sdk::bindings::roundsman::net::tcp::Connection;
use roundsman_sdk::bindings::roundsman::net::types::Failure;
use roundsman_sdk::bindings::roundsman::net::udp::Exchange;

use crate::tell;

const SECOND: u64 = 1_000_000_000;

/// A dialogue that comes to TLS by STARTTLS, with certificates of both sides and a password.
pub(crate) fn mail(address: &str) -> Result<String, Failure> {
    let mail = Connection::new(address);
    mail.set_timeout_ns(20 * SECOND);
    mail.set_address_family("ipv4");
    mail.set_source_address("127.0.0.1");
    mail.set_server_name("here.example");
    mail.set_protocols(&["smtp".to_owned(), "imap".to_owned()]);
    mail.set_certificate_authority("mail");
    mail.set_client_certificate("mail");
    tell("set-option", mail.set_option("colour", "red").map_err(|failure| failure.code));
    mail.connect()?;
    tell("peer-address", mail.peer_address());
    tell("receive-until", text(&mail.receive_until(b"\r\n", 512)?));
    mail.send(b"STARTTLS\r\n")?;
    tell("receive-until", text(&mail.receive_until(b"\r\n", 512)?));
    mail.start_tls()?;
    for name in ["tls-version", "tls-cipher", "alpn", "certificate-error", "local-address"] {
        tell(name, mail.fact(name));
    }
    for certificate in mail.certificates() {
        tell("subject", certificate.subject());
        tell("issuer", certificate.issuer());
        tell("names", certificate.names());
        tell("not-before", certificate.not_before());
        tell("not-after", certificate.not_after());
        tell("serial", certificate.serial());
        tell("sha256", certificate.sha256().len());
        tell("der", certificate.der().len() > 100);
    }
    mail.send(b"AUTH PLAIN ")?;
    mail.send_secret("mail", "", "sasl-plain")?;
    mail.send(b"\r\n")?;
    tell("receive", text(&mail.receive(512)?));
    mail.close()?;
    tell("receive", text(&mail.receive(512)?));
    tell("bytes-sent", mail.fact("bytes-sent"));
    tell("bytes-received", mail.fact("bytes-received"));
    for phase in ["resolve", "connect", "tls", "first-byte", "total"] {
        tell(phase, mail.timing_ns(phase).is_some_and(|time| time > 0));
    }
    Ok("bye".to_owned())
}

/// TLS at once, with whatever certificate or with a good one.
pub(crate) fn tls(address: &str, verify: bool) -> Result<String, Failure> {
    let connection = Connection::new(address);
    connection.set_verify_certificate(verify);
    connection.connect()?;
    let started = connection.start_tls();
    tell("certificate-error", connection.fact("certificate-error").is_some());
    tell("certificates", connection.certificates().len());
    started?;
    connection.send(b"hello")?;
    Ok(text(&connection.receive(512)?))
}

/// Says hello in clear, and tells what comes back.
pub(crate) fn plain(address: &str) -> Result<String, Failure> {
    let connection = Connection::new(address);
    connection.connect()?;
    connection.send(b"hello")?;
    Ok(text(&connection.receive(512)?))
}

pub(crate) fn datagram(address: &str) -> Result<String, Failure> {
    let exchange = Exchange::new(address);
    exchange.set_timeout_ns(20 * SECOND);
    exchange.set_address_family("ipv4");
    exchange.set_source_address("127.0.0.1");
    tell("set-option", exchange.set_option("colour", "red").map_err(|failure| failure.code));
    exchange.send(b"hello")?;
    let answer = exchange.receive(512)?;
    tell("after-ns", answer.after_ns > 0);
    tell("at-ns", answer.at_ns > 1_500_000_000_000_000_000);
    tell("resolve", exchange.timing_ns("resolve").is_some());
    tell("first-byte", exchange.timing_ns("first-byte") == Some(answer.after_ns));
    tell("peer-address", exchange.peer_address());
    tell("local-address", exchange.fact("local-address"));
    Ok(text(&answer.bytes))
}

/// Waits for a peer that says nothing: first for as long as it likes, then as long as the host does.
pub(crate) fn time_out(address: &str) -> Result<String, Failure> {
    let connection = Connection::new(address);
    connection.connect()?;
    connection.set_timeout_ns(SECOND / 50);
    tell("own", connection.receive(512).map_err(|failure| (failure.code, failure.phase)));
    connection.set_timeout_ns(3600 * SECOND);
    Ok(text(&connection.receive(512)?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
