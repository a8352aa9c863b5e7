//! The interface `dns` through a guest: each function with an answer that nobody gives by default, and the bounds on what
//! one run asks.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use roundsman_model::record::{Blame, Status};
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;
use roundsman_probe::secrets::{Place, Secrets, Source};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Bench, Run, guest, peers};
use crate::{assert_outcome, assert_unknown, bench, compiler};

const LIMITS: EngineLimits = EngineLimits { runs: 64, memory: 512 << 20 };

/// What the guest logged, in order: `name=value`.
fn told(report: &Report) -> Vec<(&str, &str)> {
    report.story.log.iter().filter_map(|line| line.text.split_once('=')).collect()
}

/// The answer to a question, with one record in each section, and EDNS with words of its own.
fn reply(query: &[u8], flags: u16, rcode: u8) -> Vec<u8> {
    let question = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let low = flags.to_be_bytes();
    let mut bytes = [&query[..2], &[low[0], low[1] | rcode, 0, 1, 0, 1, 0, 1, 0, 2], &query[12..question]].concat();
    bytes.extend(b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x00\x07\x00\x03\x01\x02\xff");
    bytes.extend(b"\xc0\x10\x00\x02\x00\x01\x00\x00\x00\x08\x00\x05\x02ns\xc0\x10");
    bytes.extend(b"\x02ns\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\x7f\x00\x00\x01");
    bytes.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0f\x00\x08\x00\x12closed");
    bytes
}

fn dns_server(handle: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            drop(socket.send_to(&handle(&query[..length]), from));
        }
    });
    address
}

#[test]
fn every_function_of_dns() {
    let bench = bench();
    let server = dns_server(|query| {
        // No recursion, but the flags `ad` and `cd`, and DO in the last record of the question.
        let asked = query[2..4] == [0x00, 0x30] && query[query.len() - 4] == 0x80;
        reply(query, if asked { 0x8430 } else { 0x8000 }, 5)
    });
    let plugin = bench.load(&guest("ask")).unwrap();
    let granted = Run::what("query", format!("here.example:{}", server.port()));
    let granted = granted.network(format!("dns://here.example:{}", server.port()));
    let report = bench.run(&plugin, &granted);
    assert_outcome(&report, Status::Ok, "asked");
    let expected = [
        ("set-option", "Err(\"unsupported\")"),
        ("before", "(None, None, 0, None)"),
        ("rcode", "\"REFUSED\""),
        ("aa", "true"),
        ("tc", "false"),
        ("rd", "false"),
        ("ra", "false"),
        ("ad", "true"),
        ("cd", "true"),
        ("x", "false"),
        ("answer", "\"www.shop.test. 7 TYPE65280 \\\\# 3 0102FF\""),
        ("authority", "\"shop.test. 8 NS ns.shop.test.\""),
        ("additional", "\"ns.shop.test. 9 A 127.0.0.1\""),
        ("bytes", "105"),
        ("resolve", "true"),
        ("first-byte", "true"),
        ("total", "true"),
        ("connect", "None"),
        ("peer-address", &format!("Some(\"{server}\")")),
        ("transport", "Some(\"udp\")"),
        ("attempts", "Some(\"1\")"),
        ("ignored", "Some(\"0\")"),
        ("extended-error", "Some(\"18 closed\")"),
        ("x", "None"),
    ];
    assert_eq!(told(&report), expected);
    let [call] = report.story.calls.as_slice() else { panic!("{:?}", report.story.calls) };
    assert_eq!(call.what, format!("TYPE65280 www.shop.test of here.example:{}", server.port()));
    assert_eq!(call.result, "REFUSED, 1 records, 105 bytes by udp");
    let phases: Vec<_> = call.phases.iter().map(|(phase, _)| phase.as_str()).collect();
    assert_eq!(phases, ["resolve", "first-byte"]);
}

#[test]
fn dns_over_tls() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "dns.example");
    let own = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), own.pem()).unwrap();
    let source = Source { place: Place::Directory(folder.path().to_owned()), destinations: Vec::new() };
    let secrets = Secrets::new(BTreeMap::from([("dns".to_owned(), source)]));
    let bench = Bench::with_secrets(compiler(), LIMITS, secrets);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![own.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut query = [0; 2048];
            let Ok(length @ 14..) = stream.read(&mut query) else { continue };
            let answer = reply(&query[2..length], 0x8180, 3);
            drop(stream.write_all(&[&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat()));
            drop(stream.flush());
            drop(stream.read(&mut query));
        }
    });
    let plugin = bench.load(&guest("ask")).unwrap();
    let granted = Run::what("query-tls", format!("here.example:{}", server.port()));
    let granted = granted.network(format!("dns://here.example:{}", server.port()));
    let report = bench.run(&plugin, &granted.clone().secret("dns"));
    assert_outcome(&report, Status::Ok, "asked");
    let expected = [
        ("result", "Ok(\"NXDOMAIN\")"),
        ("tls-version", "Some(\"1.3\")"),
        ("transport", "Some(\"tls\")"),
        ("certificates", "[\"CN=dns.example\"]"),
        ("resolve", "true"),
        ("connect", "true"),
        ("tls", "true"),
        ("first-byte", "true"),
        ("transfer", "true"),
        ("total", "true"),
        // By the name of the server, for which the certificate is not made out.
        ("result", "Err(\"certificate\")"),
        ("certificate-error", "true"),
        ("certificates", "1"),
        ("result", "Ok(\"NXDOMAIN\")"),
        ("certificate-error", "true"),
    ];
    assert_eq!(told(&report), expected);
    let denied = bench.run(&plugin, &granted);
    assert_eq!(told(&denied)[0], ("result", "Err(\"denied\")"));
    assert!(denied.story.calls[0].result.contains("allow: {secrets: [dns]}"), "{:?}", denied.story.calls);
}

#[test]
fn questions_that_are_refused_or_not_answered() {
    let bench = bench();
    let server = dns_server(|query| reply(query, 0x8180, 0));
    let silent = peers::silent_udp();
    let silent_at = silent.local_addr().unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plugin = bench.load(&guest("ask")).unwrap();
    for (with, grant, line) in [
        (server.to_string(), format!("udp://{server}"), format!("dns://{server}")),
        (String::new(), format!("dns://{server}"), "dns://system".to_owned()),
        (format!("here.example:{}", server.port()), String::new(), format!("dns://here.example:{}", server.port())),
    ] {
        let run = Run::what("query-plainly", with);
        let run = if grant.is_empty() { run } else { run.network(grant) };
        let line = format!("add to the check: allow: {{network: [\"{line}\"]}}");
        assert_unknown(&bench.run(&plugin, &run), Blame::Host, "denied", &line);
    }
    let run = |server: SocketAddr| Run::what("query-plainly", server).network(format!("dns://{server}"));
    assert_outcome(&bench.run(&plugin, &run(server)), Status::Ok, "NOERROR, Some(\"1\") attempts");
    assert_outcome(&bench.run(&plugin, &run(nobody)), Status::Critical, "refused in first-byte: ");
    let report = bench.run(&plugin, &run(silent_at).within(Duration::from_millis(400)));
    assert_outcome(&report, Status::Critical, "timeout in first-byte: ");
    assert!(report.summary.contains("the last of 2 attempts"), "{}", report.summary);
    let report = bench.run(&plugin, &Run::what("queries", server).network(format!("dns://{server}")));
    assert_outcome(&report, Status::Ok, "256 and then limit in policy: this run has sent 256 datagrams");
    assert_eq!(bench.engine.probe().sockets().open_now(), 0);
}
