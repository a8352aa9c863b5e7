//! The agent's configuration: `roundsman.yaml`, the environment and flags, joined and checked.
//!
//! - `yaml`: a located tree; `read`: typed reading of it; `nearest`: the word that was probably meant
//! - `overlay`: environment and flags; `sections`, `supervision`, `trust`: the sections of `roundsman.yaml`
//!
//! Absent by design: the environment and the host name are arguments, and no other file is read: token and password
//! files are named here and opened by whoever needs them.

pub mod nearest;
mod overlay;
pub mod read;
mod sections;
mod supervision;
pub mod trust;
pub mod yaml;

#[cfg(test)]
mod holds;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use roundsman_model::name::CheckName;
use roundsman_model::supervision::Rules;
use roundsman_probe::secrets::Source;
use serde::Serialize;

use crate::config::read::{Fields, Value, Walk};
use crate::config::trust::Trust;
use crate::config::yaml::{Node as Tree, Place};
use crate::problem::Problem;

/// A configuration or checks file is text that a person can read; a larger one is something else by mistake.
pub const MAX_FILE: u64 = 1 << 20;

/// The whole configuration. Every key has a default.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub node: Node,
    pub paths: Paths,
    pub http: Http,
    /// Names are unique.
    pub influx: Vec<Influx>,
    pub store: Store,
    /// By name.
    pub secrets: BTreeMap<String, Source>,
    pub limits: Limits,
    pub trust: Trust,
    pub log: Log,
    pub shutdown: Shutdown,
    pub uplink: Uplink,
    pub self_check: SelfCheck,
    /// `supervision:` when plugins that break are left alone.
    pub supervision: Rules,
}

/// `node:` who this agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Default: `NODE_NAME` of the environment, else the host name.
    pub name: String,
    pub cluster: String,
    pub zone: Option<String>,
    /// None: not told; `${node.ip}` cannot be used then.
    pub ip: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
}

/// `paths:` directories. Like every path, relative ones begin at the folder of the configuration file, or at the
/// working directory of the process where a variable or a flag names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    pub plugins: PathBuf,
    pub checks: PathBuf,
    pub state: PathBuf,
}

/// `http:` the API and the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
    /// Words of `sections::PUBLIC` that other machines may read without the token.
    pub public: Vec<String>,
    /// Names beside IP addresses, `localhost` and the node's own by which browsers may ask: others could be foreign
    /// pages whose name was pointed here.
    pub hosts: Vec<String>,
    pub token_file: Option<PathBuf>,
}

/// One entry of `influx:`, a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Influx {
    /// Names the cursor in the store: another name begins anew.
    pub name: String,
    /// `http://` or `https://`, without credentials, query or fragment, and without a `/` at its end.
    pub url: String,
    pub api: Api,
    pub flush_interval: Duration,
}

/// How a destination is spoken to, with what only that way needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `/write` of InfluxDB 1.x.
    V1 {
        database: String,
        /// None: the database's default policy.
        retention_policy: Option<String>,
        username: Option<String>,
        password_file: Option<PathBuf>,
    },
    /// `/api/v2/write`.
    V2 { org: String, bucket: String, token_file: Option<PathBuf> },
}

/// `store:` budgets of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    pub max_size: u64,
    pub max_age: Duration,
    pub transitions_max_age: Duration,
}

/// `limits:` of the whole agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Runs in flight at once.
    pub runs: u32,
    /// Bytes that plugins may really hold together.
    pub memory: u64,
}

/// `log:` what the agent writes on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub level: Level,
    pub format: Format,
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// One line for people, or one JSON object, per event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// `shutdown:` the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// From the signal to the exit, whatever is still going on.
    pub grace: Duration,
}

/// `uplink:` how the node notices that it is itself cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uplink {
    /// When every target of every one of these checks fails from here, failures of others over the network are suspect.
    /// Names are unique. Empty: nothing is ever suspect.
    pub anchors: Vec<CheckName>,
}

/// `selfCheck:` the built-in check `roundsman`, by which the agent looks at itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfCheck {
    pub enabled: bool,
}

/// A configuration that can be used, and what is doubtful about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Joins file, environment and `--set key.key=value` flags: later ones win. Without a file the defaults hold.
    /// Relative paths in the file begin at its folder.
    pub fn load<S: AsRef<str>>(
        file: Option<(&Path, &[u8])>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        settings: &[S],
        host_name: &str,
    ) -> Result<Loaded, Vec<Problem>> {
        let (config, errors, warnings) = Self::examine(file, environment, settings, host_name);
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(errors.into_iter().chain(warnings).collect()),
        }
    }

    /// The same with what is wrong beside it, errors and warnings: where there are errors, defaults took the place of
    /// what could not be read. Only for who wants to say more than that.
    pub fn examine<S: AsRef<str>>(
        file: Option<(&Path, &[u8])>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        settings: &[S],
        host_name: &str,
    ) -> (Option<Self>, Vec<Problem>, Vec<Problem>) {
        let mut walk = Walk::default();
        let source = match file {
            Some((path, _)) => walk.file(path),
            None => walk.source("defaults"),
        };
        let start = Place { source, line: u32::from(file.is_some()), column: 1 };
        let mut root = read_file(&mut walk, source, file).unwrap_or_else(|| Tree::empty_map(start));
        if root.is_null() {
            root = Tree::empty_map(start);
        }
        let environment: Vec<_> = environment.into_iter().collect();
        let node_name = environment.iter().find(|(name, _)| name == "NODE_NAME").and_then(|(_, value)| value.to_str());
        let fallback = sections::Fallback { node_name: node_name.map(str::to_owned), host_name: host_name.to_owned() };
        overlay::environment(&mut root, &mut walk, environment);
        overlay::settings(&mut root, &mut walk, settings);
        let config = Fields::new(Value::new(&root, ""), &mut walk)
            .map(|fields| sections::read(fields, &fallback, &Tree::empty_map(start), &mut walk));
        let (errors, warnings) = walk.finish();
        (config, errors, warnings)
    }
}

fn read_file(walk: &mut Walk, source: u16, file: Option<(&Path, &[u8])>) -> Option<Tree> {
    let (_, text) = file?;
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if size > MAX_FILE {
        let message = format!("the file is larger than {}", read::format_size(MAX_FILE));
        walk.note(Place { source, line: 0, column: 0 }, "", message, None);
        return None;
    }
    walk.parse(source, text)
}

impl Level {
    /// The word of the configuration, which `tracing` understands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
