//! The plugin http.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use crate::bench::{Server, closed, connects, number, probe, probe_trusting, request, serve};
use crate::support::servers::free_address;

const BODY: &str = r#"{"status": "up", "items": [{"n": 3}]}"#;

fn answer(path: &str) -> String {
    let (status, header) = match path {
        "/" => ("200 OK", "x-version: 7.1"),
        "/moved" => ("302 Found", "location: /"),
        _ => ("500 Internal Server Error", "x-version: 7.1"),
    };
    format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}", BODY.len())
}

/// What cannot be sent was not wanted.
fn answering(mut stream: TcpStream) {
    let path = request(&mut stream);
    drop(stream.write_all(answer(&path).as_bytes()));
}

#[test]
fn http_answers() {
    let url = format!("http://{}", serve(answering));
    for (settings, status, says) in [
        (json!({}), "ok", "status 200, 37 bytes in "),
        (json!({"expect": {"body": "\"up\""}}), "ok", "status 200"),
        (json!({"expect": {"body": "down"}}), "critical", "body does not match /down/"),
        (json!({"expect": {"bodyNot": "up"}}), "critical", "body matches /up/"),
        (json!({"expect": {"json": [{"pointer": "/items/0/n", "equals": 3, "atMost": 3}]}}), "ok", "status 200"),
        (
            json!({"expect": {"json": [{"pointer": "/items/0/n", "atLeast": 4}]}}),
            "critical",
            "JSON at /items/0/n is 3, expected at least 4",
        ),
        (json!({"expect": {"json": [{"pointer": "/gone"}]}}), "critical", "JSON has nothing at /gone"),
        (json!({"expect": {"header": [{"name": "X-Version", "matches": "^7"}]}}), "ok", "status 200"),
        (
            json!({"expect": {"header": [{"name": "X-Version", "matches": "^8"}]}}),
            "critical",
            "header X-Version is `7.1`",
        ),
        (json!({"expect": {"header": [{"name": "ETag"}]}}), "critical", "header ETag is missing"),
        (json!({"path": "/broken"}), "critical", "status 500, expected 200-299"),
        (json!({"path": "/broken", "expect": {"status": [500]}}), "ok", "status 500"),
        (json!({"path": "/moved"}), "critical", "status 302, expected 200-299"),
        (json!({"path": "/moved", "maxRedirects": 1}), "ok", "status 200"),
    ] {
        let seen = probe("http", &settings, &["--target", &url]);
        seen.assert(status, says);
        let point = seen.point("http");
        let ms = |name: &str| number(&point[name], "Real");
        assert!(ms("connect_ms") > 0.0 && ms("first_byte_ms") > 0.0, "{point:?}");
        assert!(ms("total_ms") >= ms("connect_ms") + ms("first_byte_ms"), "{point:?}");
        assert_eq!(point["body_bytes"], json!(BODY.len()));
        assert!(!point.contains_key("tls_ms") && !point.contains_key("certificate_days"), "{point:?}");
        assert_eq!(seen.report["blame"], "target");
        assert!(seen.report["latency_ms"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn http_without_an_answer() {
    let seen = probe("http", &json!({}), &["--target", &format!("http://{}", closed())]);
    seen.assert("critical", "refused");
    assert!(!seen.point("http").contains_key("status_code"));
    assert_eq!(seen.report["latency_ms"], Value::Null, "of no answer, nobody can say how long it took");
    let reset = serve(drop);
    probe("http", &json!({}), &["--target", &format!("http://{reset}")]).assert("critical", "");
    let denied = probe("http", &json!({"url": format!("http://{reset}/")}), &[]);
    denied.assert("unknown", &format!("add to the check: allow: {{network: [\"http://{reset}\"]}}"));
    assert_eq!((&denied.report["code"], &denied.report["blame"]), (&json!("denied"), &json!("host")));
}

/// A CA, and servers whose certificates it signed.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, good for some names and so many days more.
    fn issue(&self, names: &[&str], days: i64) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        params.not_before = (now - 90 * day).into();
        let span = day * u32::try_from(days.abs()).unwrap();
        params.not_after = if days < 0 { now - span } else { now + span + day / 24 }.into();
        // With a name like its issuer's it would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, names[0]);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The same as text, for servers that read files.
    pub(crate) fn pair(&self, names: &[&str], days: i64) -> (String, String) {
        let (certificate, key) = self.issue(names, days);
        (certificate.pem(), key.serialize_pem())
    }

    /// A server at 127.0.0.1 whose certificate is good for so many days more.
    pub(crate) fn server(&self, days: i64) -> SocketAddr {
        let (certificate, key) = self.issue(&["127.0.0.1"], days);
        let certificate: CertificateDer<'static> = certificate.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        serve(move |stream| {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let path = request(&mut stream);
            // A client that does not trust us is gone by now.
            drop(stream.write_all(answer(&path).as_bytes()));
            stream.conn.send_close_notify();
            drop(stream.flush());
        })
    }
}

#[test]
fn http_certificates() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("ca.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let any = json!({"verifyCertificate": false});
    for (days, settings, trusted, status, says) in [
        (60, json!({}), true, "ok", "status 200"),
        (8, json!({}), true, "warning", "certificate ends in 8.0 days"),
        (2, json!({}), true, "critical", "certificate ends in 2.0 days"),
        (60, json!({"expect": {"certificate": {"warningDays": 90, "criticalDays": 30}}}), true, "warning", "60.0 days"),
        (-3, json!({}), true, "critical", "certificate"),
        (-3, any.clone(), true, "critical", "certificate ended 3.0 days ago"),
        (60, json!({}), false, "critical", "certificate"),
        (60, any, false, "ok", "status 200"),
    ] {
        let url = format!("https://{}", authority.server(days));
        let seen = probe_trusting("http", &settings, &["--target", &url], trusted.then_some(&roots));
        seen.assert(status, says);
        let point = seen.point("http");
        let left = number(&point["certificate_days"], "Real");
        assert!((left - days as f64).abs() < 0.1, "{left} instead of {days}");
        assert!(status == "critical" || number(&point["tls_ms"], "Real") > 0.0, "{point:?}");
    }
}

/// A certificate of its own, a token and HTTP/2, as nginx asks for them; and a unix socket.
#[test]
fn http_of_nginx() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let (certificate, key) = authority.pair(&["127.0.0.1"], 100);
    for (name, text) in [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &authority.pem)] {
        std::fs::create_dir_all(folder.path().join("tls")).unwrap();
        std::fs::write(folder.path().join("tls").join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("token"), "t0ken-0123456789\n").unwrap();
    let address = free_address();
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr; events {{ worker_connections 64; }}
         http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
           uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
           server {{ listen {address} ssl http2; ssl_certificate {place}/tls/tls.crt; ssl_certificate_key {place}/tls/tls.key;
             ssl_client_certificate {place}/tls/ca.crt; ssl_verify_client on;
             location / {{ if ($http_authorization != 'Bearer t0ken-0123456789') {{ return 401; }}
               return 200 '$server_protocol for $host from $ssl_client_verify'; }} }}
           server {{ listen unix:{place}/socket; location / {{ return 200 'local'; }} }} }}"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let config = format!("{place}/nginx.conf");
    let Some(mut server) = Server::start("nginx", folder, &["-p", &place, "-c", &config]) else { return };
    server.await_ready(|| connects(address));
    let (tls, token) = (format!("tls={place}/tls"), format!("token={place}/token"));
    let target = format!("https://{address}");
    let whole = json!({"certificateAuthority": "tls", "clientCertificate": "tls", "credentials": "token"});
    let with = |more: Value| {
        let mut settings = whole.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    for (settings, status, says) in [
        (with(json!({"expect": {"body": "^HTTP/2.0 for 127.0.0.1 from SUCCESS$"}})), "ok", "status 200"),
        (with(json!({"version": "1.1", "expect": {"body": "^HTTP/1.1 "}})), "ok", "status 200"),
        (with(json!({"credentials": null})), "critical", "status 401"),
        (with(json!({"clientCertificate": null})), "critical", "status 400"),
        (with(json!({"certificateAuthority": null})), "critical", "certificate"),
        (with(json!({"family": "ipv6"})), "unknown", "IPv6"),
        (
            with(json!({
                "url": "https://shop.example/", "connectTo": address.to_string(), "serverName": "127.0.0.1",
                "expect": {"body": " for shop.example "}
            })),
            "ok",
            "status 200",
        ),
    ] {
        let seen = probe("http", &settings, &["--target", &target, "--secret", &tls, "--secret", &token]);
        seen.assert(status, says);
    }
    let local = json!({"unixSocket": format!("{place}/socket"), "expect": {"body": "^local$"}});
    let files = format!("files={place}");
    probe("http", &local, &["--target", "http://node.example", "--allow", &files]).assert("ok", "status 200");
    probe("http", &local, &["--target", "http://node.example"]).assert("unknown", "allow: {files: [");
}
