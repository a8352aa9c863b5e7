//! One run of a shipped plugin by `roundsman probe`, what it said, and servers of a few lines.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::plugin;
use crate::support::servers::skipped;

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: i32,
    pub(crate) report: Value,
}

impl Seen {
    pub(crate) fn summary(&self) -> &str {
        self.report["summary"].as_str().unwrap()
    }

    /// That the run came to this, and says so.
    #[track_caller]
    pub(crate) fn assert(&self, status: &str, says: &str) {
        assert_eq!((self.report["status"].as_str(), self.code), (Some(status), exit_code(status)), "{self:?}");
        assert!(self.summary().contains(says), "`{}` does not say `{says}`", self.summary());
    }

    /// The points of a series: tags and fields by name.
    pub(crate) fn points(&self, series: &str) -> Vec<(BTreeMap<String, String>, BTreeMap<String, Value>)> {
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
    pub(crate) fn point(&self, series: &str) -> BTreeMap<String, Value> {
        let points = self.points(series);
        assert_eq!(points.len(), 1, "{self:?}");
        points.into_iter().next().unwrap().1
    }
}

/// Nagios' codes.
pub(crate) fn exit_code(status: &str) -> i32 {
    ["ok", "warning", "critical", "unknown"].iter().position(|word| *word == status).unwrap() as i32
}

/// A value of this kind as a number.
#[track_caller]
pub(crate) fn number(value: &Value, kind: &str) -> f64 {
    assert_eq!(self::kind(value), kind.to_lowercase(), "{value}");
    value.as_f64().unwrap()
}

/// What `describe` calls a value of this kind.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "real",
        Value::Number(_) => "integer",
        _ => "text",
    }
}

pub(crate) fn probe(name: &str, settings: &Value, more: &[&str]) -> Seen {
    probe_trusting(name, settings, more, None)
}

pub(crate) fn probe_trusting(name: &str, settings: &Value, more: &[&str], roots: Option<&Path>) -> Seen {
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
pub(crate) fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
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
pub(crate) fn request(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A port on which nobody listens.
pub(crate) fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server of Debian in a process of its own, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts a program that is on the search path. None, and said so, without it.
    pub(crate) fn start(program: &str, folder: tempfile::TempDir, arguments: &[&str]) -> Option<Self> {
        let path = installed(program)?;
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(path);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Some(Self { child: command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")), folder })
    }

    /// Waits until it is ready, or shows its log.
    pub(crate) fn await_ready(&mut self, mut ready: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !ready() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(Instant::now() < end, "the server is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where a program is. None, and said so, where it is not.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps these apart, where they are installed at all.
    let apart = ["/usr/sbin", "/usr/lib/nagios/plugins"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(apart).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!("{program} is not installed (`cargo xtask test` fetches it)"));
    }
    found
}

pub(crate) fn connects(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}
