//! `tcp` and `udp`: a server that comes to TLS by STARTTLS, one that sends datagrams back, and some that say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;

use super::{Expected, Table, bench, is, load, part, peers, says};
use crate::probe_support::{Server, hold};

fn line(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// Says what it saw once it is within TLS, wants the password, and says so when it has seen the end.
fn converse(mut stream: TcpStream, config: &Arc<ServerConfig>) {
    let from = peers::from(&stream);
    drop(stream.write_all(b"220 the greeting\r\n"));
    if line(&mut stream) != "STARTTLS" || stream.write_all(b"220 go ahead\r\n").is_err() {
        return;
    }
    let Some(mut stream) = peers::secured(config, stream) else { return };
    let seen = peers::seen_of(&stream.conn);
    thread::sleep(peers::THINKING);
    drop(stream.write_all(format!("250 told; from={from}; {seen}\r\n").as_bytes()));
    let welcome = line(&mut stream) == peers::PASSWORD;
    drop(stream.write_all(if welcome { b"235 the password is right\r\n" } else { b"535 no\r\n" }));
    drop(stream.read_to_end(&mut Vec::new()));
    drop(stream.write_all(b"bye, all was said"));
    stream.conn.send_close_notify();
    drop(stream.flush());
}

/// Sends back what it saw of each datagram.
fn answer(socket: UdpSocket) {
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
            thread::sleep(peers::THINKING);
            drop(socket.send_to(format!("at={at}; from={}; said={said}", from.ip()).as_bytes(), from));
        }
    });
}

/// At a unix socket: says one thing and closes.
fn greet(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"at a unix socket"));
        }
    });
}

fn tcp(table: &mut Table, shop: &peers::Shop) {
    let bench = bench(shop.options());
    let config = shop.config(shop.identity("mail.internal"), b"imap", true);
    let server = Server::new(move |stream| converse(stream, &config)).address;
    let both = peers::on_both(TcpListener::bind);
    for ip in ["127.0.0.1", "::1"] {
        Server::on(ip.parse().unwrap(), both, hold);
    }
    let silent = Server::new(hold).address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    greet(&socket);
    let plugin = load(&bench);
    let run =
        part("tcp", &[&format!("shop.example:{}", server.port())], &["tls://shop.example:*", "tcp://shop.example:*"]);
    let seen = "from=127.0.0.9; server-name=mail.internal; protocol=imap; client=2 certificates";
    table.take(
        &bench.run(&plugin, &run.secret("shop").secret("login")),
        &[
            ("tcp.connection.set-option", is("unsupported")),
            ("tcp.connection.connect", is("220 the greeting")),
            ("tcp.connection.send", is("220 go ahead")),
            ("tcp.connection.start-tls", is("1.3")),
            ("tcp.connection.set-source-address", is("127.0.0.9")),
            ("tcp.connection.set-server-name", is("mail.internal")),
            ("tcp.connection.set-protocols", is("imap")),
            ("tcp.connection.set-client-certificate", is("2 certificates")),
            ("tcp.connection.receive-until", is(format!("250 told; {seen}"))),
            ("tcp.connection.send-secret", is("235 the password is right")),
            ("tcp.connection.receive", is("bye")),
            ("tcp.connection.close", is(", all was said")),
            ("tcp.connection.peer-address", is(server)),
            ("tcp.connection.timing-ns", Expected::Between(1_000, 15_000_000_000)),
            ("tcp.connection.certificates", is("CN=mail.internal, CN=the root")),
            // Of `STARTTLS` and the end of a line twice; a secret does not count.
            ("tcp.connection.fact", is(12)),
            ("tcp.connection.set-certificate-authority", is("1.3 with it, certificate in tls without")),
            ("tcp.connection.set-verify-certificate", is("1.3 with false, certificate in tls without")),
        ],
    );
    let words = [&format!("both.example:{both}"), socket.to_str().unwrap(), &silent];
    let lines = ["tcp://both.example:*", "tcp://127.0.0.1:*"];
    table.take(
        &bench.run(&plugin, &part("tcp-more", &words, &lines).file(folder.path())),
        &[
            ("tcp.connection.set-address-family", is(format!("[::1]:{both}"))),
            ("tcp.connection.constructor", is("at a unix socket")),
            ("tcp.connection.set-timeout-ns", is("timeout in first-byte")),
        ],
    );
}

fn udp(table: &mut Table, shop: &peers::Shop) {
    let bench = bench(shop.options());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    answer(socket);
    let both = peers::on_both(UdpSocket::bind);
    for ip in ["127.0.0.1", "::1"] {
        answer(UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), both)).unwrap());
    }
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let plugin = load(&bench);
    let at = |host: &str, port: u16| format!("{host}:{port}");
    let words = [at("shop.example", server.port()), at("both.example", both), silent.local_addr().unwrap().to_string()];
    let lines = ["udp://shop.example:*", "udp://both.example:*", "udp://127.0.0.1:*"];
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let report = bench.run(&plugin, &part("udp", &words.each_ref().map(String::as_str), &lines));
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let thinking = i128::try_from(peers::THINKING.as_nanos()).unwrap();
    let length = format!("at={server}; from=127.0.0.9; said=hello").len();
    table.take(
        &report,
        &[
            ("udp.exchange.set-option", is("unsupported")),
            ("udp.exchange.constructor", is(server)),
            ("udp.exchange.send", is("hello")),
            ("udp.exchange.set-source-address", is("127.0.0.9")),
            ("udp.exchange.receive", says(format!("{length} bytes after "))),
            ("udp.exchange.timing-ns", Expected::Between(thinking, 15_000_000_000)),
            ("udp.exchange.peer-address", is(server)),
            ("udp.exchange.fact", is("kernel")),
            ("udp.exchange.set-address-family", is("::1")),
            ("udp.exchange.set-timeout-ns", is("timeout in first-byte")),
        ],
    );
    let told = report.story.log.iter().find_map(|line| line.text.strip_prefix("udp.exchange.receive=")).unwrap();
    let numbers: Vec<u128> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[1] >= peers::THINKING.as_nanos() && (before..=after).contains(&numbers[2]), "{told}");
}

pub(super) fn tour(table: &mut Table) {
    let shop = peers::Shop::new();
    tcp(table, &shop);
    udp(table, &shop);
}
