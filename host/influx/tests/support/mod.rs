//! Real servers for tests: on free ports, in directories of their own, killed by their id in the end.
//!
//! Other crates use this folder with `#[path = "../../influx/tests/support/mod.rs"] mod support;` and the
//! dependencies `tempfile`, `serde_json`, `flate2` and `tokio`. A test whose server is not installed says so and passes;
//! where `CI=true` it fails.

#![allow(dead_code, unreachable_pub, reason = "every test uses some of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub mod mock;
pub mod proxy;

/// For everything that is waited for; far more than it takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Says that a test cannot be run here. Written past the capture of the test's output, so that it is seen.
pub fn skipped(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}, and CI=true asks for every test");
    // In one piece, because tests run at once.
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).expect("standard error is open");
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}

/// A server in a process of its own.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    directory: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    /// The path that answers 2xx once the server is there.
    alive: &'static str,
    child: Option<Child>,
}

/// How an influxd differs from the usual one.
#[derive(Debug, Default)]
pub struct Influxd {
    /// Asks for users; the first one is made with `CREATE USER … WITH ALL PRIVILEGES`.
    pub auth: bool,
    /// Largest request in bytes; none: the server's default.
    pub max_body: Option<usize>,
}

/// Debian's InfluxDB 1.6.7; none, and said so, where it is not installed.
pub fn influxd() -> Option<Server> {
    influxd_with(&Influxd::default())
}

/// The same with other settings.
pub fn influxd_with(settings: &Influxd) -> Option<Server> {
    let program = installed("influxd")?;
    // Somebody else may take the port between our look and the server's start.
    for _ in 0..3 {
        let (address, directory) = (free_address(), tempfile::tempdir().expect("a temporary directory"));
        let config = directory.path().join("influxd.conf");
        std::fs::write(&config, influxd_config(directory.path(), address, settings)).expect("the directory is ours");
        let arguments = vec!["run".to_owned(), "-config".to_owned(), config.display().to_string()];
        let mut server =
            Server { address, directory, program: program.clone(), arguments, alive: "/ping", child: None };
        if server.start() {
            return Some(server);
        }
    }
    panic!("influxd does not start");
}

fn influxd_config(directory: &Path, address: SocketAddr, settings: &Influxd) -> String {
    let directory = directory.display();
    let auth = settings.auth;
    let max_body = settings.max_body.map_or(String::new(), |bytes| format!("max-body-size = {bytes}"));
    format!(
        "reporting-disabled = true\n\
         bind-address = \"127.0.0.1:0\"\n\
         [meta]\ndir = \"{directory}/meta\"\nlogging-enabled = false\n\
         [data]\ndir = \"{directory}/data\"\nwal-dir = \"{directory}/wal\"\nquery-log-enabled = false\n\
         [coordinator]\n[retention]\n[shard-precreation]\n[monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"{address}\"\nlog-enabled = false\nauth-enabled = {auth}\n{max_body}\n\
         [subscriber]\nenabled = false\n[continuous_queries]\nenabled = false\n[logging]\nlevel = \"error\"\n"
    )
}

/// Debian's VictoriaMetrics; none, and said so, where it is not installed.
pub fn victoria_metrics() -> Option<Server> {
    let program = installed("victoria-metrics")?;
    for _ in 0..3 {
        let (address, directory) = (free_address(), tempfile::tempdir().expect("a temporary directory"));
        let arguments = vec![
            format!("-storageDataPath={}", directory.path().join("data").display()),
            format!("-httpListenAddr={address}"),
            "-retentionPeriod=100y".to_owned(),
        ];
        let mut server =
            Server { address, directory, program: program.clone(), arguments, alive: "/health", child: None };
        if server.start() {
            return Some(server);
        }
    }
    panic!("victoria-metrics does not start");
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!("{program} is not installed"));
    }
    found
}

impl Server {
    /// `http://address`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the process, also again after `kill`, and waits until it answers. False: it ended.
    pub fn start(&mut self) -> bool {
        let log = std::fs::File::create(self.directory.path().join("log")).expect("the directory is ours");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn().expect("the program is installed"));
        let end = Instant::now() + DEADLINE;
        while child.try_wait().expect("the child is ours").is_none() {
            if request(self.address, "GET", self.alive, &[], b"").is_ok_and(|(status, _)| status < 300) {
                return true;
            }
            assert!(Instant::now() < end, "the server does not answer: {:?}", self.program);
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Runs a statement of InfluxQL and gives its answer.
    pub fn query(&self, database: &str, statement: &str) -> serde_json::Value {
        let path = format!("/query?db={}&epoch=ns&q={}", encoded(database), encoded(statement));
        let (status, text) = request(self.address, "POST", &path, &[], b"").expect("the server answers");
        assert_eq!(status, 200, "{statement}: {text}");
        let answer: serde_json::Value = serde_json::from_str(&text).expect("the answer is JSON");
        assert!(answer["results"][0]["error"].is_null(), "{statement}: {text}");
        answer
    }

    /// The rows of the first statement: per series its tags, and its rows as objects.
    pub fn rows(&self, database: &str, statement: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let answer = self.query(database, statement);
        let mut rows = Vec::new();
        for series in answer["results"][0]["series"].as_array().into_iter().flatten() {
            let columns = series["columns"].as_array().expect("a series has columns");
            for values in series["values"].as_array().into_iter().flatten() {
                let mut row = series["tags"].as_object().cloned().unwrap_or_default();
                for (column, value) in columns.iter().zip(values.as_array().expect("a row is a list")) {
                    row.insert(column.as_str().expect("a column has a name").to_owned(), value.clone());
                }
                rows.push(row);
            }
        }
        rows
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One exchange over HTTP/1.0 on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    // A server that does not want the body may reset the connection after its answer.
    if answer.is_empty() {
        end?;
    }
    let answer = String::from_utf8_lossy(&answer);
    let bad = || std::io::Error::other(format!("not an answer: {answer:.100}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

/// A text as a value in a query string.
pub fn encoded(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
