//! The real agent for tests: the binary in a process of its own, in a directory of its own, on a free port.
//!
//! ```ignore
//! mod support;
//! let place = Place::with_plugins(&["http"]);          // plugins/, checks/, state/ and roundsman.yaml in a tempdir
//! place.configure("influx: […]");                      // sections beside node, paths and http; optional
//! place.write_checks("a.yaml", "checks: […]");
//! let agent = place.start();                           // returns once /readyz says yes
//! let checks = agent.get("/api/v1/checks");            // JSON
//! agent.kill();                                        // SIGKILL; or agent.stop(): SIGTERM, and the exit code is 0
//! let again = place.start();                           // on what is left in state/
//! ```
//! An agent that is dropped is killed; when the test is failing, the end of its log is printed first. `servers` are
//! those of host/influx (influxd, victoria-metrics, a mock, `request`, `skipped`). Whoever uses this needs the
//! dev-dependencies `flate2`, `serde_json`, `tempfile`, `tokio` and `rustix`.

#![allow(dead_code, unreachable_pub, reason = "every test uses some of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../../../influx/tests/support/mod.rs"]
pub mod servers;

pub use servers::DEADLINE;

/// The node's name in every agent that is started here.
pub const NODE: &str = "node-a";
/// The cluster's.
pub const CLUSTER: &str = "test";

/// Lines of an agent's log that are shown when a test fails.
const LAST_LINES: usize = 60;

/// A directory in which an agent lives; it outlasts the process, so that another can go on from it.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    pub address: SocketAddr,
    child: Option<Child>,
    log: Log,
}

/// What an agent wrote to standard error, line by line.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

/// A process whose standard error is followed: an agent that may come up, or refuse to.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    log: Log,
    reader: JoinHandle<()>,
}

/// Polls until the condition holds; panics with `what` after a minute.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Polls until there is an answer, and returns it.
pub fn eventually_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The file of a plugin in plugins/: as `cargo xtask build` left it, or built now.
pub fn plugin(name: &str) -> PathBuf {
    let target = target_folder();
    let file = target.join("plugins").join(format!("{name}.wasm"));
    if file.is_file() {
        return file;
    }
    let cargo = std::env::var_os("CARGO").expect("the test is run by cargo; or run `cargo xtask build` before");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "plugin", "--target", "wasm32-wasip2", "--package"]);
    command.arg(format!("plugin-{name}")).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let status = command.status().expect("cargo can be started");
    let built = target.join("wasm32-wasip2/plugin").join(format!("{}.wasm", name.replace('-', "_")));
    assert!(status.success() && built.is_file(), "there is no {}: run `cargo xtask build`", file.display());
    built
}

/// The folder of what cargo builds: the binary lies in its release/ or debug/.
pub fn target_folder() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_roundsman"));
    binary.ancestors().nth(2).expect("a binary lies in a profile's folder").to_owned()
}

impl Place {
    /// A directory with empty plugins/ and checks/ and a configuration on a free port.
    pub fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        for folder in [place.plugins(), place.checks()] {
            std::fs::create_dir(folder).expect("the directory is ours");
        }
        place.configure("");
        place
    }

    /// The same with some of our plugins.
    pub fn with_plugins(names: &[&str]) -> Self {
        let place = Self::new();
        for name in names {
            place.add_plugin(name);
        }
        place
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    pub fn checks(&self) -> PathBuf {
        self.path().join("checks")
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Copies one of our plugins into plugins/ in one step (a temporary file, then a rename).
    pub fn add_plugin(&self, name: &str) {
        replace(&self.plugins().join(format!("{name}.wasm")), &std::fs::read(plugin(name)).expect("it was just there"));
    }

    /// Writes a file in checks/ in one step.
    pub fn write_checks(&self, file: &str, yaml: &str) {
        replace(&self.checks().join(file), yaml.as_bytes());
    }

    /// Writes roundsman.yaml anew: `more` are further sections, beside node, paths and http. Unless they ask for it, the
    /// agent does not look at itself: on a busy machine it would have something to say.
    pub fn configure(&self, more: &str) {
        let root = self.path().display();
        let own = if more.contains("selfCheck:") { "" } else { "selfCheck: {enabled: false}\n" };
        let yaml = format!(
            "node: {{name: {NODE}, cluster: {CLUSTER}}}\n\
             paths: {{plugins: {root}/plugins, checks: {root}/checks, state: {root}/state}}\n\
             http: {{listen: \"127.0.0.1:0\"}}\n{own}{more}\n"
        );
        self.configure_whole(&yaml);
    }

    /// Writes roundsman.yaml as it is.
    pub fn configure_whole(&self, yaml: &str) {
        replace(&self.path().join("roundsman.yaml"), yaml.as_bytes());
    }

    /// A subcommand of the binary that takes `--config`, such as `validate`, with nothing of our environment's.
    pub fn command(&self, subcommand: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROUNDSMAN_") {
                command.env_remove(name);
            }
        }
        command.args(subcommand).arg("--config").arg(self.path().join("roundsman.yaml"));
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Starts an agent and waits until it is ready: its checks are in force.
    pub fn start(&self) -> Agent {
        let agent = self.start_listening();
        eventually("the agent is ready", || agent.request("GET", "/readyz").is_ok_and(|(status, _)| status == 200));
        agent
    }

    /// Starts an agent and waits no longer than until its port is known.
    pub fn start_listening(&self) -> Agent {
        let mut starting = self.spawn();
        let address = eventually_some("the agent listens", || {
            if let Some(status) = starting.child.try_wait().expect("the child is ours") {
                panic!("the agent ended with {status}:\n{}", starting.log.text());
            }
            starting.log.address()
        });
        Agent { address, child: Some(starting.child), log: starting.log }
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&self) -> Starting {
        let mut command = self.command(&["run"]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the agent's binary was built");
        let (log, lines) = (Log::default(), BufReader::new(child.stderr.take().expect("it is piped")));
        let followed = log.clone();
        let follow = move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                followed.0.lock().expect("no thread panicked").push(String::from_utf8_lossy(&line).into_owned());
            }
        };
        Starting { child, log, reader: std::thread::spawn(follow) }
    }

    /// Runs an agent that is expected to refuse: what it ended with, and what it said.
    pub fn start_refused(&self) -> (ExitStatus, String) {
        let mut starting = self.spawn();
        let ended = |child: &mut Child| child.try_wait().expect("the child is ours");
        let status = eventually_some("the agent refuses to start", || ended(&mut starting.child));
        starting.reader.join().expect("it does not panic");
        (status, starting.log.text())
    }

    /// Runs a subcommand to its end, with `--config`.
    pub fn run(&self, subcommand: &[&str]) -> Output {
        self.command(subcommand).output().expect("the agent's binary was built")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was not stopped").id()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A path of the API whose answer is JSON; the status has to be 200.
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = self.request("GET", path).expect("the agent answers");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text:.200}"))
    }

    /// Any request without a body over TCP: the status and the text.
    pub fn request(&self, method: &str, path: &str) -> std::io::Result<(u16, String)> {
        servers::request(self.address, method, path, &[], b"")
    }

    /// A subcommand that talks to a running agent, such as `status`, with `--addr`.
    pub fn cli(&self, subcommand: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
        command.args(subcommand).args(["--addr", &self.address.to_string()]).stdin(Stdio::null());
        command.output().expect("the agent's binary was built")
    }

    /// Waits until every plugin named is ready.
    pub fn await_plugins(&self, names: &[&str]) {
        eventually(&format!("{names:?} are ready"), || {
            let plugins = self.get("/api/v1/plugins");
            let list = plugins["plugins"].as_array().expect("a list");
            names.iter().all(|name| list.iter().any(|p| p["name"] == *name && p["state"] == "ready"))
        });
    }

    /// SIGKILL: no farewell.
    pub fn kill(mut self) -> Log {
        self.end();
        self.log.clone()
    }

    /// SIGTERM, and the orderly end that has to follow: exit code 0.
    pub fn stop(mut self) -> Log {
        let mut child = self.child.take().expect("it was not stopped");
        terminate(&child);
        let status = eventually_some("the agent stops", || child.try_wait().expect("the child is ours"));
        assert!(status.success(), "the agent ended with {status}:\n{}", self.log.text());
        self.log.clone()
    }

    /// Waits for an end that was brought about in another way.
    pub fn wait(mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was not stopped");
        eventually_some("the agent ends", || child.try_wait().expect("the child is ours"))
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log ends:\n{}", self.log.tail());
        }
        self.end();
    }
}

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no thread panicked").clone()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// From the line `listening url="http://127.0.0.1:1234/"`.
    fn address(&self) -> Option<SocketAddr> {
        let lines = self.0.lock().expect("no thread panicked");
        lines.iter().find_map(|line| {
            let (_, rest) = line.split_once("listening url=")?;
            rest.trim_matches('"').strip_prefix("http://")?.trim_end_matches('/').parse().ok()
        })
    }
}

/// SIGTERM to a child that is not waited for yet.
fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the child is ours");
}

/// Puts a file in its place in one step: nobody sees half of it.
pub fn replace(path: &Path, content: &[u8]) {
    let folder = path.parent().expect("a file in a folder");
    // Beside the watched folders, in the same file system.
    let beside = folder.parent().unwrap_or(folder);
    let mut file = tempfile::NamedTempFile::new_in(beside).expect("the directory is ours");
    std::io::Write::write_all(&mut file, content).expect("there is space");
    file.persist(path).expect("the directory is ours");
}
