//! `roundsman:net/tcp`, with a server that comes to TLS by STARTTLS and then says what it saw.

use roundsman_sdk::bindings::roundsman::net::tcp::Connection;
use roundsman_sdk::bindings::roundsman::net::types::Failure;

use crate::{failed, option, part, show, tell, text};

/// Drawn up with everything but what makes the server's certificate a good one.
fn to_server(address: &str) -> Connection {
    let mail = Connection::new(address);
    mail.set_source_address("127.0.0.9");
    mail.set_server_name("mail.internal");
    mail.set_protocols(&["smtp".to_owned(), "imap".to_owned()]);
    mail.set_client_certificate("shop");
    mail
}

/// To where TLS may begin; what was said on the way.
fn dialogue(mail: &Connection) -> Result<(String, String), Failure> {
    mail.connect()?;
    let greeting = mail.receive_until(b"\r\n", 512)?;
    mail.send(b"STARTTLS\r\n")?;
    Ok((text(&greeting), text(&mail.receive_until(b"\r\n", 512)?)))
}

pub(crate) fn mail(address: &str) -> Result<(), Failure> {
    let mail = to_server(address);
    mail.set_certificate_authority("shop");
    tell("tcp.connection.set-option", option(mail.set_option("colour", "red")));
    let (greeting, answer) = dialogue(&mail)?;
    tell("tcp.connection.connect", greeting);
    tell("tcp.connection.send", answer);
    mail.start_tls()?;
    let version = show(mail.fact("tls-version"));
    tell("tcp.connection.start-tls", &version);
    let seen = text(&mail.receive_until(b"\r\n", 512)?);
    tell("tcp.connection.set-source-address", part(&seen, "from"));
    tell("tcp.connection.set-server-name", part(&seen, "server-name"));
    tell("tcp.connection.set-protocols", part(&seen, "protocol"));
    tell("tcp.connection.set-client-certificate", part(&seen, "client"));
    tell("tcp.connection.receive-until", seen);
    mail.send_secret("login", "password", "plain")?;
    mail.send(b"\r\n")?;
    tell("tcp.connection.send-secret", text(&mail.receive_until(b"\r\n", 512)?));
    mail.close()?;
    tell("tcp.connection.receive", text(&mail.receive(3)?));
    tell("tcp.connection.close", text(&mail.receive(512)?));
    tell("tcp.connection.peer-address", show(mail.peer_address()));
    tell("tcp.connection.timing-ns", show(mail.timing_ns("tls")));
    let subjects: Vec<_> = mail.certificates().iter().map(|certificate| certificate.subject()).collect();
    tell("tcp.connection.certificates", subjects.join(", "));
    tell("tcp.connection.fact", show(mail.fact("bytes-sent")));

    let without = to_server(address);
    dialogue(&without)?;
    let refused = failed(without.start_tls());
    tell("tcp.connection.set-certificate-authority", format!("{version} with it, {refused} without"));
    let anyhow = to_server(address);
    anyhow.set_verify_certificate(false);
    dialogue(&anyhow)?;
    anyhow.start_tls()?;
    let version = show(anyhow.fact("tls-version"));
    tell("tcp.connection.set-verify-certificate", format!("{version} with false, {refused} without"));
    Ok(())
}

/// To a name with two addresses, to a unix socket, and to somebody who says nothing.
pub(crate) fn more(both: &str, socket: &str, silent: &str) -> Result<(), Failure> {
    let connection = Connection::new(both);
    connection.set_address_family("ipv6");
    connection.connect()?;
    tell("tcp.connection.set-address-family", show(connection.peer_address()));
    let connection = Connection::new(&format!("unix:{socket}"));
    connection.connect()?;
    tell("tcp.connection.constructor", text(&connection.receive(512)?));
    let connection = Connection::new(silent);
    connection.set_timeout_ns(50_000_000);
    connection.connect()?;
    tell("tcp.connection.set-timeout-ns", failed(connection.receive(512)));
    Ok(())
}
