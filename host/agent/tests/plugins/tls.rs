//! The plugin tls against servers with certificates of their own CA, nginx among them.

use std::io::{Read, Write};

use serde_json::json;

use crate::bench::{Server, connects, number, probe, probe_trusting, serve};
use crate::http::Authority;
use crate::support::servers::free_address;

#[test]
fn certificates_and_handshakes() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("ca.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    for (days, settings, trusted, status, says) in [
        (60, json!({}), true, "ok", "good for 60 days"),
        (15, json!({}), true, "warning", "the certificate ends in 15."),
        (3, json!({}), true, "critical", "the certificate ends in 3."),
        (-3, json!({"verifyCertificate": false}), true, "critical", "the certificate ended 3 days ago"),
        (60, json!({}), false, "critical", "unknown issuer"),
        (60, json!({"verifyCertificate": false}), false, "ok", "good for 60 days"),
        (60, json!({"serverName": "other.example"}), true, "critical", "name mismatch"),
        (60, json!({"expect": {"names": ["other.example"]}}), true, "critical", "not good for other.example"),
        (60, json!({"expect": {"version": "1.3"}}), true, "ok", "TLS 1.3"),
    ] {
        let target = format!("tls://{}", authority.server(days));
        let seen = probe_trusting("tls", &settings, &["--target", &target], trusted.then_some(&roots));
        seen.assert(status, says);
        let point = seen.point("tls");
        assert!((number(&point["certificate_days"], "Real") - days as f64).abs() < 0.1, "{point:?}");
    }
}

#[test]
fn servers_without_tls() {
    let plain = serve(|mut stream| drop(stream.write_all(b"220 hello\r\n")));
    let target = format!("tls://{plain}");
    let seen = probe("tls", &json!({}), &["--target", &target, "--timeout", "2s"]);
    assert_eq!(seen.report["status"], "critical", "{seen:?}");
    let refusing = serve(|mut stream| {
        drop(stream.write_all(b"220 mx\r\n"));
        let mut line = [0; 128];
        while let Ok(count @ 1..) = stream.read(&mut line) {
            let answer: &[u8] = if line[..count].starts_with(b"STARTTLS") {
                b"454 not today\r\n"
            } else {
                b"250-mx\r\n250 PIPELINING\r\n"
            };
            drop(stream.write_all(answer));
        }
    });
    let seen = probe("tls", &json!({"startTls": "smtp"}), &["--target", &format!("tls://{refusing}")]);
    seen.assert("critical", "STARTTLS was not agreed on: 454 not today");
}

/// HTTP/2 as nginx agrees on it.
#[test]
fn protocols_of_nginx() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.pair(&["127.0.0.1"], 100);
    std::fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let roots = folder.path().join("ca.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let (address, place) = (free_address(), folder.path().display().to_string());
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr; events {{ worker_connections 64; }}
         http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
           uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
           server {{ listen {address} ssl http2; ssl_protocols TLSv1.2; ssl_certificate {place}/cert.pem;
             ssl_certificate_key {place}/key.pem; location / {{ return 200 'hello'; }} }} }}"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let config = format!("{place}/nginx.conf");
    let Some(mut server) = Server::start("nginx", folder, &["-p", &place, "-c", &config]) else { return };
    server.await_ready(|| connects(address));
    let target = format!("tls://{address}");
    for (settings, status, says) in [
        (json!({"alpn": ["h2"], "expect": {"alpn": "h2"}}), "ok", "TLS 1.2"),
        (json!({"expect": {"alpn": "h2"}}), "critical", "the protocol none was agreed on, expected h2"),
        (json!({"expect": {"version": "1.3"}}), "critical", "TLS 1.2 was agreed on, expected 1.3"),
    ] {
        probe_trusting("tls", &settings, &["--target", &target], Some(&roots)).assert(status, says);
    }
}
