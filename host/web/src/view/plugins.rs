//! Plugins as the API shows them: their files, where those come from, and how they behave.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::instant::Instant;

/// A plugin file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    pub name: Arc<str>,
    pub state: PluginState,
    /// Why it is not ready, or why its newest file is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The newest file cannot be used; the version before it goes on.
    #[serde(default)]
    pub outdated: bool,
    pub file: String,
    pub size_bytes: u64,
    /// SHA-256 of the version in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where the version in use comes from; absent where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compile_ms: Option<f64>,
    /// What the plugin says of itself: settings schema, series, example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub describe: Option<serde_json::Value>,
    /// Checks that use it.
    pub checks: Vec<Arc<str>>,
    /// How it behaves; absent where no version is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervision: Option<Supervision>,
}

/// Whether a plugin's runs are let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Supervision {
    pub state: Supervised,
    pub since: Instant,
    /// Why it does not run, in words with the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In the present window: runs that trapped or ran out of their limits, of all runs.
    pub failures: u32,
    pub runs: u32,
    /// Back-offs that count against it.
    pub backoffs: u32,
    /// From when on the next of its runs is let through, to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Instant>,
}

/// What becomes of a plugin's runs. The numbers are those of the metric `roundsman_plugin_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Supervised {
    Running = 0,
    /// It failed too often, and is left alone for a while.
    BackOff = 1,
    /// It is left alone until its file changes or somebody releases it.
    Quarantined = 2,
}

impl Supervised {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::BackOff => "backoff",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Where a plugin comes from, as far as it is proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub trust: Trust,
    /// The key of `trust.keys` that has signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<Arc<str>>,
    /// The id of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What the signature says of itself, which is signed, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
    /// Why a signature that is there counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Arc<str>>,
}

/// What proves where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// A key of the configuration has signed it.
    Signed,
    /// The configuration lists its digest.
    Listed,
    /// Nothing: the configuration asks for no proof.
    Unproved,
}

/// Whether a plugin can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Seen, not whole yet or waiting for its turn.
    Waiting,
    Compiling,
    Ready,
    /// No version of it can be used.
    Broken,
    /// A check names it, and there is no file.
    Missing,
}
