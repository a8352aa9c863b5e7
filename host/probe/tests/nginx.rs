//! HTTP against a real nginx: both versions, a client's certificate, a unix socket, redirects between schemes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::{Exchange, Request};
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};
use support::authority::{Authority, HOSTS};
use support::*;
use tempfile::TempDir;
use tokio::time::Instant;

struct Nginx {
    directory: TempDir,
    /// For plain HTTP, TLS, and TLS with client certificates.
    ports: [u16; 3],
    child: Child,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

const CONFIGURATION: &str = r#"
daemon off; master_process off; worker_processes 1; pid DIR/pid; error_log DIR/log;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3;
  uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5; default_type text/plain;
  ssl_certificate DIR/chain.pem; ssl_certificate_key DIR/key.pem; ssl_client_certificate DIR/ca.pem;
  server { listen 127.0.0.1:PLAIN; listen unix:DIR/sock;
    location / { return 200 "$server_protocol $http_host"; }
    location /token { if ($http_authorization != "Bearer s3cret-token") { return 401; } return 200 "welcome"; }
    location /tls { return 301 https://shop.example:SECURE/; } }
  server { listen 127.0.0.1:SECURE ssl http2;
    location / { return 200 "$server_protocol $ssl_server_name $host"; }
    location /back { return 302 http://shop.example:PLAIN/; } }
  server { listen 127.0.0.1:MUTUAL ssl http2; ssl_verify_client on;
    location / { return 200 "$server_protocol $ssl_client_s_dn"; } }
}
"#;

impl Nginx {
    /// None where nginx is not installed.
    fn start(authority: &Authority) -> Option<Nginx> {
        let program = installed("nginx")?;
        // Somebody else may take a port between its choice and its use; then nginx ends at once.
        for _ in 0..10 {
            if let Some(nginx) = Nginx::attempt(&program, authority) {
                return Some(nginx);
            }
        }
        panic!("nginx does not start");
    }

    fn attempt(program: &Path, authority: &Authority) -> Option<Nginx> {
        let directory = tempfile::tempdir().unwrap();
        let own = authority.identity("shop.example", |_| {});
        let place = |name: &str| directory.path().join(name);
        fs::write(place("chain.pem"), &own.chain_pem).unwrap();
        fs::write(place("key.pem"), own.key.serialize_pem()).unwrap();
        fs::write(place("ca.pem"), &authority.pem).unwrap();
        let ports = [(); 3].map(|()| {
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
        });
        let mut text = CONFIGURATION.replace("DIR", directory.path().to_str().unwrap());
        for (word, port) in ["PLAIN", "SECURE", "MUTUAL"].into_iter().zip(ports) {
            text = text.replace(word, &port.to_string());
        }
        fs::write(place("conf"), text).unwrap();
        let mut command = Command::new(program);
        command.args(["-p", directory.path().to_str().unwrap(), "-e", "log", "-c", "conf"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = std::time::Instant::now() + LONG;
        while TcpStream::connect(("127.0.0.1", ports[2])).is_err() {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(std::time::Instant::now() < end, "{}", fs::read_to_string(place("log")).unwrap_or_default());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Some(Nginx { directory, ports, child })
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{program} is not installed, and CI=true asks for every test"
        );
        // In one piece and past the capture of the test's output, so that it is seen.
        std::io::stderr().write_all(format!("SKIPPED: {program} is not installed\n").as_bytes()).unwrap();
    }
    found
}

fn told(exchange: &Exchange) -> String {
    match &exchange.result {
        Ok(answer) => format!("{} {} {}", answer.version, answer.status, String::from_utf8_lossy(&answer.body)),
        Err(failure) => failure.code.to_owned(),
    }
}

#[tokio::test]
async fn everything_against_nginx() {
    let authority = Authority::new("the root");
    let Some(nginx) = Nginx::start(&authority) else { return };
    let [plain, secure, mutual] = nginx.ports;
    let place = |name: &str| nginx.directory.path().join(name);
    let client = authority.identity("client", |_| {});
    fs::create_dir(place("client")).unwrap();
    fs::write(place("client/tls.crt"), &client.chain_pem).unwrap();
    fs::write(place("client/tls.key"), client.key.serialize_pem()).unwrap();
    fs::write(place("token"), "s3cret-token\n").unwrap();
    let source = |place| Source { place, destinations: Vec::new() };
    let secrets = BTreeMap::from([
        ("client".to_owned(), source(Place::Directory(place("client")))),
        ("ca".to_owned(), source(Place::File(place("ca.pem")))),
        ("token".to_owned(), source(Place::File(place("token")))),
    ]);
    let probe = Probe::new(Options {
        resolver: Resolver::fixed(HOSTS),
        roots: Roots::Only(Vec::new()),
        secrets: Secrets::new(secrets),
        ..Options::default()
    });
    let allow = Allow {
        network: vec!["http://shop.example:*".to_owned(), "https://shop.example:*".to_owned()],
        files: vec![nginx.directory.path().to_str().unwrap().to_owned()],
        secrets: ["client", "ca", "token"].map(str::to_owned).to_vec(),
        ..Allow::default()
    };
    let grants = Grants::compile(&[], &allow, &[]).unwrap();
    let host = |port: u16| format!("shop.example:{port}");
    let (socket, both, none) = (place("sock"), "both", "");
    for (url, version, way, expected) in [
        (format!("http://{}/", host(plain)), "auto", none, format!("1.1 200 HTTP/1.1 {}", host(plain))),
        (format!("http://{}/", host(plain)), "1.1", none, format!("1.1 200 HTTP/1.1 {}", host(plain))),
        // This listener knows no HTTP/2 without TLS.
        (format!("http://{}/", host(plain)), "2", none, code::PROTOCOL.to_owned()),
        ("http://app.internal/".to_owned(), "auto", "unix", "1.1 200 HTTP/1.1 app.internal".to_owned()),
        (format!("https://{}/", host(secure)), "auto", none, "2 200 HTTP/2.0 shop.example shop.example".to_owned()),
        (format!("https://{}/", host(secure)), "2", none, "2 200 HTTP/2.0 shop.example shop.example".to_owned()),
        (format!("https://{}/", host(secure)), "1.1", none, "1.1 200 HTTP/1.1 shop.example shop.example".to_owned()),
        (format!("http://{}/tls", host(plain)), "auto", none, "2 200 HTTP/2.0 shop.example shop.example".to_owned()),
        (format!("https://{}/back", host(secure)), "auto", none, format!("1.1 200 HTTP/1.1 {}", host(plain))),
        (format!("https://{}/", host(mutual)), "auto", both, "2 200 HTTP/2.0 CN=client".to_owned()),
        (format!("https://{}/", host(mutual)), "1.1", both, "1.1 200 HTTP/1.1 CN=client".to_owned()),
        (format!("http://{}/token", host(plain)), "auto", "token", "1.1 200 welcome".to_owned()),
        (format!("http://{}/token", host(plain)), "auto", none, "1.1 401".to_owned()),
        (format!("https://{}/", host(mutual)), "auto", none, "2 400".to_owned()),
    ] {
        let mut request = Request::new("GET", &url);
        request.set_version(version);
        request.set_certificate_authority("ca");
        request.set_max_redirects(2);
        match way {
            "unix" => request.set_unix_socket(socket.to_str().unwrap()),
            "both" => request.set_client_certificate("client"),
            "token" => request.set_credentials("token"),
            _ => {}
        }
        let exchange = probe.http(&grants, &request, Instant::now() + LONG).await;
        let found = told(&exchange);
        assert!(found.starts_with(&expected), "{url} {version} {way}: {found}, not {expected}: {:?}", exchange.result);
    }
}
