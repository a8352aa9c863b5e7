//! A sandbox to try guests in, the guests themselves, and what it must have given back when they are gone.

#![allow(dead_code, unreachable_pub, reason = "the tests and the examples each take what they need")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use roundsman_model::check::Limits;
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::{Engine, EngineLimits};
use roundsman_plugin::job::{Assignment, Job, Memory, Node, Report};
use roundsman_plugin::load::{LoadError, Plugin};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::Secrets;
use tokio::runtime::Runtime;

pub mod component;
pub mod peers;

/// For everything that is waited for; far more than it takes.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Names that the sandbox of the tests can look up.
const HOSTS: &str = "127.0.0.1 here.example\n";

/// One at a time, so that what a test leaves behind can be told from what others have open. A test takes its bench before
/// anything else that it opens: so it gives it back after everything else, too.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An engine, and what plugins are loaded with.
pub struct Bench {
    pub engine: Engine,
    pub runtime: Runtime,
    compiler: Compiler,
    cache: Cache,
    /// What was open before a run. A plugin keeps the file of its machine code open.
    open_files: Mutex<BTreeSet<Open>>,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    pub fn new(compiler: Compiler) -> Self {
        Self::with_limits(compiler, EngineLimits { runs: 64, memory: 512 << 20 })
    }

    pub fn with_limits(compiler: Compiler, limits: EngineLimits) -> Self {
        Self::with_secrets(compiler, limits, Secrets::default())
    }

    pub fn with_secrets(compiler: Compiler, limits: EngineLimits, secrets: Secrets) -> Self {
        let options =
            Options { resolver: Resolver::fixed(HOSTS), roots: Roots::Only(Vec::new()), secrets, ..Options::default() };
        Self::with_options(compiler, limits, options)
    }

    pub fn with_options(compiler: Compiler, limits: EngineLimits, options: Options) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = Engine::new(limits, Arc::new(Probe::new(options))).unwrap();
        // Kept from one test program to the next: a file is named by what it was made from.
        let cache = Cache::open(&target_folder().join("guests/machine-code"), engine.compatibility()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Opened once per process, for the compiler's end to be heard of.
        runtime.block_on(async { drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())) });
        Self { engine, runtime, compiler, cache, open_files: Mutex::new(open_files()), _alone: alone }
    }

    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        let name = PluginName::new("guest").unwrap();
        let loading = Plugin::load(&self.engine, &self.compiler, &self.cache, name, bytes);
        let loaded = self.runtime.block_on(loading).map(Arc::new);
        if loaded.is_ok() {
            self.remember_open_files();
        }
        loaded
    }

    /// Loads what cannot be a plugin, and says why it is none.
    pub fn refused(&self, bytes: &[u8]) -> String {
        self.remember_open_files();
        let why = match self.load(bytes) {
            Ok(plugin) => panic!("{plugin:?} was not refused"),
            Err(error) => chain(&error),
        };
        self.assert_floor();
        why
    }

    /// One run, and the sandbox as it was before it.
    pub fn run(&self, plugin: &Arc<Plugin>, run: &Run) -> Report {
        let report = self.runtime.block_on(plugin.run(run.job()));
        self.assert_floor();
        report
    }

    fn remember_open_files(&self) {
        *self.open_files.lock().unwrap_or_else(PoisonError::into_inner) = open_files();
    }

    /// Nothing is left of any run: no memory in the budget, no open file.
    pub fn assert_floor(&self) {
        let before = self.open_files.lock().unwrap_or_else(PoisonError::into_inner);
        // By what they are and not by how many: what an earlier test's peer closes now must not hide what a run left
        // open. Some are closed on threads apart.
        let end = Instant::now() + DEADLINE;
        loop {
            let left: Vec<_> = open_files().difference(&before).cloned().collect();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "still open after {DEADLINE:?}: {left:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.engine.memory().used(), 0, "memory is given back with the run");
    }
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Run {
    pub settings: serde_json::Value,
    pub target: Option<String>,
    pub allow: Allow,
    pub limits: Limits,
    pub timeout: Duration,
    pub memory: Memory,
    /// Ports on which the agent itself would listen.
    pub own_ports: Vec<u16>,
}

impl Run {
    /// Nothing but a timeout that no test waits for.
    pub fn new() -> Self {
        Self {
            settings: serde_json::json!({}),
            target: None,
            allow: Allow::default(),
            // A machine on which others build must not be what ends a run.
            limits: Limits { cpu: Duration::from_secs(5), ..Limits::default() },
            timeout: DEADLINE,
            memory: Memory::new(),
            own_ports: Vec::new(),
        }
    }

    /// What the guest `hostile` is to do.
    pub fn what(what: &str, with: impl ToString) -> Self {
        Self { settings: serde_json::json!({"what": what, "with": with.to_string()}), ..Self::new() }
    }

    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn network(mut self, line: impl ToString) -> Self {
        self.allow.network.push(line.to_string());
        self
    }

    pub fn secret(mut self, name: &str) -> Self {
        self.allow.secrets.push(name.to_owned());
        self
    }

    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.allow.files.push(path.as_ref().display().to_string());
        self
    }

    pub fn job(&self) -> Arc<Job> {
        let target = self.target.as_ref().map(|address| Target {
            name: "target".into(),
            address: address.as_str().into(),
            labels: Default::default(),
        });
        let grants = Grants::compile(target.as_slice(), &self.allow, &self.own_ports).unwrap();
        let assignment = Assignment {
            key: Key::new(CheckName::new("check").unwrap(), target.as_ref().map(|t| &*t.name)),
            settings: self.settings.to_string(),
            target,
            node: Arc::new(Node::default()),
            grants: Arc::new(grants),
            limits: self.limits,
        };
        Arc::new(Job {
            assignment: Arc::new(assignment),
            scheduled: Timestamp(1_700_000_000_000_000_000),
            attempt: 1,
            previous: None,
            memory: Arc::new(self.memory.clone()),
            timeout: self.timeout,
        })
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

/// The component of a guest in tests/guests, built once by each test program that asks for it.
pub fn guest(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let folder = target_folder().join("guests");
        let mut command = Command::new(cargo);
        // From here, so that the repository's .cargo/config.toml counts.
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"]);
        command.args(["--manifest-path", "tests/guests/Cargo.toml", "--target-dir"]).arg(&folder);
        assert!(command.status().unwrap().success(), "the guests cannot be built: run `cargo xtask build` once");
        folder.join("wasm32-wasip2/release")
    });
    std::fs::read(built.join(format!("{name}.wasm"))).unwrap()
}

/// Where cargo builds: the running program lies in its release/deps or release/examples.
pub fn target_folder() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// Says that a test cannot be run here. Written past the capture of the test's output, so that it is seen.
pub fn skipped(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}, and CI=true asks for every test");
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}

/// Polls until the condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A descriptor of this process, and what it leads to. Sockets and pipes have names of their own that never come again.
type Open = (String, PathBuf);

fn open_files() -> BTreeSet<Open> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = entries.flatten().filter_map(|entry| {
        // Gone again: it was open for a moment. The listing itself is open, too, and is none of ours.
        let leads_to = std::fs::read_link(entry.path()).ok().filter(|path| !path.ends_with("fd"))?;
        Some((entry.file_name().to_string_lossy().into_owned(), leads_to))
    });
    open.collect()
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
