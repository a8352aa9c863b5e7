//! The shipped plugins against real things: servers, ports, mounts and the kernel, through the command line and the agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use support::servers::skipped;
use support::{Place, eventually, plugin};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// What `roundsman probe` said, and its exit code.
#[derive(Debug)]
struct Seen {
    code: i32,
    report: Value,
}

impl Seen {
    fn summary(&self) -> &str {
        self.report["summary"].as_str().unwrap()
    }

    /// That the run came to this, and says so.
    #[track_caller]
    fn assert(&self, status: &str, says: &str) {
        assert_eq!((self.report["status"].as_str(), self.code), (Some(status), exit_code(status)), "{self:?}");
        assert!(self.summary().contains(says), "`{}` does not say `{says}`", self.summary());
    }

    /// The points of a series: tags and fields by name.
    fn points(&self, series: &str) -> Vec<(BTreeMap<String, String>, BTreeMap<String, Value>)> {
        let points = self.report["points"].as_array().unwrap().iter().filter(|point| point["series"] == series);
        let text = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
        let own = |(name, value): (&String, &Value)| (name.clone(), value.clone());
        let object = |point: &Value, part: &str| point[part].as_object().unwrap().clone();
        points
            .map(|point| {
                let (tags, fields) = (object(point, "tags"), object(point, "fields"));
                (tags.iter().map(text).collect(), fields.iter().map(own).collect())
            })
            .collect()
    }

    /// The one point of a series.
    #[track_caller]
    fn point(&self, series: &str) -> BTreeMap<String, Value> {
        let points = self.points(series);
        assert_eq!(points.len(), 1, "{self:?}");
        points.into_iter().next().unwrap().1
    }
}

/// Nagios' codes.
fn exit_code(status: &str) -> i32 {
    ["ok", "warning", "critical", "unknown"].iter().position(|word| *word == status).unwrap() as i32
}

/// A value of this kind as a number.
#[track_caller]
fn number(value: &Value, kind: &str) -> f64 {
    assert_eq!(self::kind(value), kind.to_lowercase(), "{value}");
    value.as_f64().unwrap()
}

/// What `describe` calls a value of this kind.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "real",
        Value::Number(_) => "integer",
        _ => "text",
    }
}

fn probe(name: &str, settings: &Value, more: &[&str]) -> Seen {
    probe_trusting(name, settings, more, None)
}

fn probe_trusting(name: &str, settings: &Value, more: &[&str], roots: Option<&Path>) -> Seen {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    command.arg("probe").arg(plugin(name)).args(["--output", "json", "--settings", &settings.to_string()]).args(more);
    if let Some(roots) = roots {
        command.env("SSL_CERT_FILE", roots);
    }
    let output = command.stdin(Stdio::null()).output().expect("the binary was built");
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    let seen = Seen { code: output.status.code().unwrap(), report };
    assert_declared(name, &seen);
    seen
}

/// The series that a plugin declares; asked once, since every question compiles it.
fn declared(name: &str) -> Value {
    static ASKED: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let mut asked = ASKED.lock().unwrap();
    let inspect = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
        let output = command.args(["plugin", "inspect", "--output", "json"]).arg(plugin(name)).output();
        let inspected: Value = serde_json::from_slice(&output.expect("the binary was built").stdout).unwrap();
        inspected["describe"]["series"].clone()
    };
    asked.entry(name.to_owned()).or_insert_with(inspect).clone()
}

/// That every point is as `describe` declares it, and that its numbers carry their unit in their name.
fn assert_declared(name: &str, seen: &Seen) {
    let declared = declared(name);
    let series = declared.as_array().unwrap();
    for point in seen.report["points"].as_array().unwrap() {
        let declared = series.iter().find(|s| s["name"] == point["series"]).expect("a declared series");
        for (field, value) in seen.points(point["series"].as_str().unwrap()).into_iter().flat_map(|point| point.1) {
            let declared = declared["fields"].as_array().unwrap().iter().find(|f| f["name"] == field.as_str()).unwrap();
            assert_eq!(declared["type"], kind(&value), "{field}: {value}");
            let suffix = match declared["unit"].as_str().unwrap() {
                "ms" => "_ms",
                "B" => "_bytes",
                "d" => "_days",
                _ => "",
            };
            assert!(field.ends_with(suffix), "{field} does not tell its unit {suffix}");
        }
    }
}

/// Hands each connection to a function on a thread of its own, for as long as the test program lives.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            std::thread::spawn(move || handle(stream));
        }
    });
    address
}

/// The path that a request asks for.
fn request(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned()
}

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

/// A port on which nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
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
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server at 127.0.0.1 whose certificate is good for so many days more.
    fn server(&self, days: i64) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        params.not_before = (now - 90 * day).into();
        let span = day * u32::try_from(days.abs()).unwrap();
        params.not_after = if days < 0 { now - span } else { now + span + day / 24 }.into();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.issuer).unwrap().der().clone();
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

#[test]
fn tcp_ports() {
    let greeting = serve(|mut stream| {
        drop(stream.write_all(b"220 mail ready\r\n"));
        let mut line = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut line) {
            if stream.write_all(format!("250 {}", String::from_utf8_lossy(&line[..count])).as_bytes()).is_err() {
                break;
            }
        }
    });
    for (settings, status, says) in [
        (json!({}), "ok", "connected to 127.0.0.1:"),
        (json!({"expect": "^220 "}), "ok", "got `220 mail ready`"),
        (json!({"send": "NOOP\r\n", "expect": "250 NOOP"}), "ok", "got `220 mail ready`"),
        (json!({"expect": "^SSH"}), "critical", "timeout (receive): /^SSH/ did not come; got `220 mail ready`"),
        (json!({"expect": "^SSH", "maxBytes": "4"}), "critical", "/^SSH/ is not in the first 4 bytes; got `220 `"),
    ] {
        let seen = probe("tcp", &settings, &["--target", &greeting.to_string(), "--timeout", "1s"]);
        seen.assert(status, says);
        let point = seen.point("tcp");
        let ms = |name: &str| number(&point[name], "Real");
        assert!(ms("connect_ms") > 0.0 && ms("total_ms") >= ms("connect_ms"), "{point:?}");
        assert_eq!(point.contains_key("first_byte_ms"), settings != json!({}), "{point:?}");
        assert!(!point.contains_key("resolve_ms"), "an address needs no look-up: {point:?}");
    }
    let hung_up = serve(drop);
    let seen = probe("tcp", &json!({"expect": "x"}), &["--target", &hung_up.to_string()]);
    seen.assert("critical", "closed before /x/ came; nothing came");
    let seen = probe("tcp", &json!({}), &["--target", &closed().to_string()]);
    seen.assert("critical", "refused (connect): 127.0.0.1:");
    assert_eq!(seen.report["latency_ms"], Value::Null);
    let seen = probe("tcp", &json!({"address": greeting.to_string()}), &[]);
    seen.assert("unknown", &format!("add to the check: allow: {{network: [\"tcp://{greeting}\"]}}"));
    let named = format!("localhost:{}", greeting.port());
    let seen = probe("tcp", &json!({}), &["--target", &named]);
    seen.assert("ok", "connected to localhost:");
    assert!(number(&seen.point("tcp")["resolve_ms"], "Real") >= 0.0);
}

#[test]
fn load_of_this_machine() {
    let all = ["--allow", "system=load", "--allow", "system=memory", "--allow", "system=pressure"];
    let never = json!({
        "load": null, "memory": {"warning": 0, "critical": 0}, "swap": null,
        "pressure": {"cpu": null, "memory": null, "io": null},
    });
    let seen = probe("load", &never, &all);
    seen.assert("ok", "% of memory available");
    let load = seen.point("load");
    let processors = std::thread::available_parallelism().unwrap().get() as f64;
    assert!(number(&load["processors"], "Integer") >= processors, "{load:?}");
    let each = number(&load["load5"], "Real") / number(&load["processors"], "Integer");
    assert!((number(&load["load5_per_processor"], "Real") - each).abs() < 1e-9, "{load:?}");
    let memory = seen.point("memory");
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total_kib: f64 = total.trim().trim_end_matches(" kB").parse().unwrap();
    assert!((number(&memory["total_bytes"], "Integer") - total_kib * 1024.0).abs() < 1.0, "{memory:?}");
    assert!((0.0..=100.0).contains(&number(&memory["available_percent"], "Real")), "{memory:?}");
    for (tags, fields) in seen.points("pressure") {
        assert!(["cpu", "memory", "io"].contains(&tags["resource"].as_str()), "{tags:?}");
        assert!(number(&fields["some_avg10"], "Real") >= 0.0);
    }
    let idle = json!({"parts": ["memory"], "memory": {"warning": 100, "critical": 100}});
    probe("load", &idle, &all).assert("critical", "limit 100 %");
    probe("load", &json!({"parts": ["load"]}), &[]).assert("unknown", "add to the check: allow: {system: [load]}");
}

const SEE_MOUNTS: [&str; 2] = ["--allow", "system=filesystems"];

#[test]
fn disk_of_this_machine() {
    let any = json!({"usage": null, "inodes": null, "readOnly": false, "select": {"paths": ["/"]}});
    let seen = probe("disk", &any, &SEE_MOUNTS);
    seen.assert("ok", "1 filesystems, the fullest is /: ");
    let root = seen.points("disk");
    assert_eq!(root.len(), 1, "{root:?}");
    assert_eq!(root[0].0["path"], "/");
    let known = rustix::fs::statvfs("/").unwrap();
    assert_eq!(root[0].1["total_bytes"], json!(known.f_blocks * known.f_frsize));
    assert!((0.0..=100.0).contains(&number(&root[0].1["used_percent"], "Real")), "{root:?}");
    let missing = json!({"select": {"paths": ["/no/such/mount"]}});
    probe("disk", &missing, &SEE_MOUNTS).assert("critical", "/no/such/mount: is not mounted");
    probe("disk", &any, &[]).assert("unknown", "add to the check: allow: {system: [filesystems]}");
}

/// A small filesystem of its own; gone when it is dropped.
struct Mounted {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mounted {
    /// None, and said so, where this user may not mount.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let mounted = Self { path, _directory: directory };
        let done = mounted.mount(&["-t", "tmpfs", "-o", "size=1m", "roundsman-test"]);
        if !done {
            skipped("mounting a filesystem needs root");
            // Nothing to take away.
            std::mem::forget(mounted);
            return None;
        }
        Some(mounted)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("mount");
        let status = command.args(arguments).arg(&self.path).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn remount(&self, how: &str) {
        assert!(self.mount(&["-o", &format!("remount,{how}")]), "it was mounted by us");
    }

    fn selection(&self) -> Value {
        json!({"select": {"paths": [self.path]}})
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is still mounted keeps its directory, which is all that can be said about it here.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

#[test]
fn disk_that_fills_up() {
    let Some(mounted) = Mounted::new() else { return };
    let selection = mounted.selection();
    let path = mounted.path.display().to_string();
    probe("disk", &selection, &SEE_MOUNTS).assert("ok", &path);
    std::fs::write(mounted.path.join("large"), vec![0; 1000 << 10]).unwrap();
    let seen = probe("disk", &selection, &SEE_MOUNTS);
    seen.assert("critical", "% used");
    let finding = &seen.report["findings"][0];
    assert_eq!((finding["subject"].as_str(), finding["status"].as_str()), (Some(path.as_str()), Some("critical")));
    let (tags, fields) = seen.points("disk").remove(0);
    assert_eq!(tags["path"], path);
    assert!(number(&fields["used_percent"], "Real") > 95.0, "{fields:?}");
    assert_eq!(fields["total_bytes"], json!(1 << 20));
    assert!(number(&fields["available_bytes"], "Integer") < 50_000.0, "{fields:?}");
    std::fs::remove_file(mounted.path.join("large")).unwrap();
    for n in 0.. {
        if std::fs::File::create(mounted.path.join(n.to_string())).is_err() {
            break;
        }
    }
    probe("disk", &selection, &SEE_MOUNTS).assert("critical", "% of inodes");
}

/// What the plugin remembers through `state`, across a restart of the agent.
#[test]
fn disk_that_becomes_read_only() {
    let Some(mounted) = Mounted::new() else { return };
    let place = Place::with_plugins(&["disk"]);
    let settings = mounted.selection();
    place.write_checks(
        "disk.yaml",
        &format!(
            "checks:\n  - {{name: disk, plugin: disk, interval: 100ms, timeout: 2s, failureThreshold: 1, \
             allow: {{system: [filesystems]}}, settings: {settings}}}\n"
        ),
    );
    let newest = |agent: &support::Agent| agent.get("/api/v1/records?check=disk&limit=1")["records"][0].clone();
    let is = |agent: &support::Agent, status: &str, says: &str| {
        let record = newest(agent);
        record["status"] == status && record["summary"].as_str().is_some_and(|summary| summary.contains(says))
    };
    let flipped = "read-only, was writable before";
    let agent = place.start();
    eventually("it can be written to", || is(&agent, "ok", ""));
    mounted.remount("ro");
    eventually("that it flipped is critical", || is(&agent, "critical", flipped));
    agent.stop();
    let agent = place.start();
    let before = newest(&agent);
    eventually("it runs again", || newest(&agent)["time"] != before["time"]);
    assert!(is(&agent, "critical", flipped), "it is still known that it could be written to: {:?}", newest(&agent));
    mounted.remount("rw");
    eventually("it can be written to again", || is(&agent, "ok", ""));
    agent.stop();
}
