//! The interfaces `tcp` and `udp` through a guest: each function with an answer that nobody gives by default, and the
//! bounds on what one run opens and sends, also by `std::net`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};
use roundsman_model::check::Limits;
use roundsman_model::record::{Blame, Status};
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;
use roundsman_probe::secrets::{Place, Secrets, Source};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Bench, Run, guest, peers};
use crate::{assert_outcome, assert_unknown, bench, compiler};

/// Peers are made before the plugin is loaded: what is opened later counts as left open by a run.
const LIMITS: EngineLimits = EngineLimits { runs: 64, memory: 512 << 20 };

/// A certificate for a name, with its key.
fn certificate(name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0x1b]));
    (params.self_signed(&key).unwrap(), key)
}

fn server_config(chain: CertificateDer<'static>, key: &KeyPair, client: Option<&rcgen::Certificate>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = match client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = config.with_single_cert(vec![chain], key).unwrap();
    config.alpn_protocols = vec![b"imap".to_vec()];
    config
}

fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    address
}

fn line(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// Comes to TLS by STARTTLS, wants a certificate and a password, and says `bye` once the other side has closed.
fn mail(config: ServerConfig) -> SocketAddr {
    let config = Arc::new(config);
    serve(move |mut stream| {
        drop(stream.write_all(b"220 here\r\n"));
        if line(&mut stream) != "STARTTLS" || stream.write_all(b"220 go\r\n").is_err() {
            return;
        }
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        // The example of RFC 4616.
        let welcome = line(&mut stream) == "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"
            && stream.conn.peer_certificates().is_some_and(|shown| shown.len() == 1);
        drop(stream.write_all(if welcome { b"235 welcome\r\n" } else { b"535 no\r\n" }));
        drop(stream.read_to_end(&mut Vec::new()));
        drop(stream.write_all(b"bye"));
        stream.conn.send_close_notify();
        drop(stream.flush());
    })
}

fn tls_echo(config: ServerConfig) -> SocketAddr {
    let config = Arc::new(config);
    serve(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            drop(stream.write_all(&buffer[..count]));
        }
    })
}

fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..count], from));
        }
    });
    address
}

fn secret(folder: &Path, files: &[(&str, String)]) -> Secrets {
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let source = Source { place: Place::Directory(folder.to_owned()), destinations: Vec::new() };
    Secrets::new(BTreeMap::from([("mail".to_owned(), source)]))
}

/// What the guest logged, in order: `name=value`.
fn told(report: &Report) -> Vec<(&str, &str)> {
    report.story.log.iter().filter_map(|line| line.text.split_once('=')).collect()
}

fn of<'a>(told: &[(&str, &'a str)], name: &str) -> &'a str {
    told.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not in {told:?}")).1
}

#[test]
fn every_function_of_tcp() {
    let (own, own_key) = certificate("here.example");
    let (client, client_key) = certificate("client.example");
    let folder = tempfile::tempdir().unwrap();
    let secrets = secret(
        folder.path(),
        &[
            ("ca.crt", own.pem()),
            ("tls.crt", client.pem()),
            ("tls.key", client_key.serialize_pem()),
            ("username", "tim".to_owned()),
            ("password", "tanstaaftanstaaf".to_owned()),
        ],
    );
    let bench = Bench::with_secrets(compiler(), LIMITS, secrets);
    let server = mail(server_config(own.der().clone(), &own_key, Some(&client)));
    let plugin = bench.load(&guest("net")).unwrap();
    // By another name than the certificate's.
    let granted = Run::what("mail", format!("localhost:{}", server.port()));
    let granted = granted.network(format!("tls://localhost:{}", server.port())).secret("mail");
    let report = bench.run(&plugin, &granted);
    assert_outcome(&report, Status::Ok, "bye");
    let told = told(&report);
    for (name, value) in [
        ("set-option", "Err(\"unsupported\")"),
        ("peer-address", &format!("Some(\"{server}\")")),
        ("tls-version", "Some(\"1.3\")"),
        ("alpn", "Some(\"imap\")"),
        ("certificate-error", "None"),
        ("subject", "\"CN=here.example\""),
        ("issuer", "\"CN=here.example\""),
        ("names", "[\"here.example\"]"),
        ("not-before", "1577836800"),
        ("not-after", "4102444800"),
        ("serial", "\"0a:1b\""),
        ("sha256", "32"),
        ("der", "true"),
        ("bytes-sent", "Some(\"23\")"),
        ("bytes-received", "Some(\"34\")"),
        ("resolve", "true"),
        ("connect", "true"),
        ("tls", "true"),
        ("first-byte", "true"),
        ("total", "true"),
    ] {
        assert_eq!(of(&told, name), value, "{name}");
    }
    assert!(of(&told, "tls-cipher").contains("TLS13_") && of(&told, "local-address").contains("127.0.0.1:"));
    let received: Vec<_> = told.iter().filter(|(name, _)| name.starts_with("receive")).map(|(_, text)| *text).collect();
    assert_eq!(received, ["\"220 here\\r\\n\"", "\"220 go\\r\\n\"", "\"235 welcome\\r\\n\"", "\"bye\""]);
    let calls: Vec<_> = report.story.calls.iter().map(|call| (call.what.as_str(), call.result.as_str())).collect();
    let at = format!("localhost:{}", server.port());
    let receive = format!("receive from {at}");
    let expected = [
        (format!("connect {at}"), "connected"),
        (receive.clone(), "10 bytes"),
        (receive.clone(), "8 bytes"),
        (format!("TLS with {at}"), "TLS 1.3"),
        (receive.clone(), "13 bytes"),
        (receive, "3 bytes"),
    ];
    assert_eq!(calls, expected.iter().map(|(what, result)| (what.as_str(), *result)).collect::<Vec<_>>());
    let without =
        Run { allow: roundsman_model::grants::Allow { secrets: Vec::new(), ..granted.allow.clone() }, ..granted };
    assert_unknown(&bench.run(&plugin, &without), Blame::Host, "denied", "allow: {secrets: [mail]}");
    assert_eq!(bench.engine.probe().sockets().open_now(), 0);
}

#[test]
fn certificates_that_are_not_trusted() {
    let bench = bench();
    let (own, key) = certificate("here.example");
    let server = tls_echo(server_config(own.der().clone(), &key, None));
    let plugin = bench.load(&guest("net")).unwrap();
    let run = |what: &str| {
        let run = Run::what(what, format!("here.example:{}", server.port()));
        bench.run(&plugin, &run.network(format!("tls://here.example:{}", server.port())))
    };
    let refused = run("tls");
    assert_outcome(&refused, Status::Critical, "certificate in tls: ");
    let anyhow = run("tls-anyhow");
    assert_outcome(&anyhow, Status::Ok, "hello");
    for report in [refused, anyhow] {
        assert_eq!(told(&report), [("certificate-error", "true"), ("certificates", "1")]);
    }
}

#[test]
fn every_function_of_udp() {
    let bench = bench();
    let echo = udp_echo();
    let plugin = bench.load(&guest("net")).unwrap();
    let run = Run::what("datagram", format!("here.example:{}", echo.port()));
    let report = bench.run(&plugin, &run.clone().network(format!("udp://here.example:{}", echo.port())));
    assert_outcome(&report, Status::Ok, "hello");
    let told = told(&report);
    for (name, value) in [
        ("set-option", "Err(\"unsupported\")"),
        ("after-ns", "true"),
        ("at-ns", "true"),
        ("resolve", "true"),
        ("first-byte", "true"),
        ("peer-address", &format!("Some(\"{echo}\")")),
    ] {
        assert_eq!(of(&told, name), value, "{name}");
    }
    assert!(of(&told, "local-address").contains("127.0.0.1:"));
    let denied = bench.run(&plugin, &run.network(format!("tcp://here.example:{}", echo.port())));
    let line = format!("add to the check: allow: {{network: [\"udp://here.example:{}\"]}}", echo.port());
    assert_unknown(&denied, Blame::Host, "denied", &line);
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = bench.run(&plugin, &Run::what("datagram", free).network(format!("udp://{free}")));
    assert_outcome(&report, Status::Critical, "refused in first-byte: ");
}

#[test]
fn peers_that_do_not_answer_and_lines_that_are_not_there() {
    let bench = bench();
    let silent = peers::silent();
    let echo = peers::echo();
    let plugin = bench.load(&guest("net")).unwrap();
    let run = Run::what("time-out", silent).network(format!("tcp://{silent}")).within(Duration::from_millis(400));
    let report = bench.run(&plugin, &run);
    assert_outcome(&report, Status::Critical, "timeout in first-byte: ");
    assert_eq!(told(&report), [("own", "Err((\"timeout\", \"first-byte\"))")]);
    let call = report.story.calls.last().unwrap();
    assert_eq!(call.what, format!("receive from {silent}"));
    assert!(call.phases.len() == 1 && call.phases[0].0 == "first-byte" && call.phases[0].1 > 100_000_000, "{call:?}");
    let closed = peers::closed();
    let report = bench.run(&plugin, &Run::what("plain", closed).network(format!("tcp://{closed}")));
    assert_outcome(&report, Status::Critical, "refused in connect: ");
    let report = bench.run(&plugin, &Run::what("plain", echo));
    assert_unknown(&report, Blame::Host, "denied", &format!("allow: {{network: [\"tcp://{echo}\"]}}"));
    let report = bench.run(&plugin, &Run::what("plain", echo).network(format!("tcp://{echo}")));
    assert_outcome(&report, Status::Ok, "hello");
}

/// Whatever a guest tries, so many sockets and datagrams and no more; and all of them are given back.
#[test]
fn ten_thousand_of_everything() {
    let bench = bench();
    let silent = peers::silent();
    let datagrams = udp_echo();
    let plugin = bench.load(&guest("net")).unwrap();
    for (what, says) in [
        ("connect-and-hold", "9968 limit, 32 ok"),
        ("connect-and-drop", "8976 limit, 1024 ok"),
        ("std-connect-and-hold", "9968 No file descriptors available (os error 33), 32 ok"),
        ("std-connect-and-drop", "8976 No file descriptors available (os error 33), 1024 ok"),
        ("datagrams", "9744 limit, 256 ok"),
        ("exchanges", "9744 limit, 256 ok"),
        ("std-datagrams", "9744 Permission denied (os error 2), 256 ok"),
    ] {
        let (scheme, peer) = if what.contains("connect") { ("tcp", silent) } else { ("udp", datagrams) };
        let report = bench.run(&plugin, &Run::what(what, peer).network(format!("{scheme}://{peer}")));
        assert_outcome(&report, Status::Ok, says);
        assert_eq!(bench.engine.probe().sockets().open_now(), 0, "{what}");
        let told = report.story.log.iter().filter(|line| line.text.starts_with("limit: this run has ")).count();
        assert_eq!(told, usize::from(what.starts_with("std-")), "{what}: said once in the log: {:?}", report.story.log);
    }
    let report = bench.run(&plugin, &Run::what("std-look-ups", "nobody.example").network("tcp://*.example:80"));
    let failed = "failed to lookup address information";
    assert_outcome(&report, Status::Ok, &format!("64 {failed}: Name does not resolve, 9936 {failed}: Try again"));
    assert_eq!(bench.engine.probe().stats().lookup.calls(), 64);
    assert!(report.story.log[0].text.starts_with("limit: this run has looked up 64 names"), "{:?}", report.story.log);
    let refused: Vec<_> = bench.engine.probe().sockets().refused().collect();
    assert_eq!(refused, [("run", 2 * 9968), ("plugin", 0), ("agent", 0)]);
}

/// What the host keeps for a guest is the guest's.
#[test]
fn buffers_that_are_filled() {
    let bench = bench();
    let flood = serve(|mut stream| while stream.write_all(&[b'x'; 1 << 16]).is_ok() {});
    let plugin = bench.load(&guest("net")).unwrap();
    let limits = Limits { memory: 16 << 20, ..Run::new().limits };
    let run = Run { limits, ..Run::what("fill-buffers", flood).network(format!("tcp://{flood}")) };
    assert_unknown(&bench.run(&plugin, &run), Blame::Plugin, "memory", "more than its 16 MiB of memory");
    assert_eq!(bench.engine.probe().sockets().open_now(), 0);
}
