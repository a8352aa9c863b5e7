//! What the rest of the agent asks of the engine, and what it answers.

use std::sync::Arc;

use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Finding, Point, Status};
use roundsman_model::silence::{Silence, Until};
use tokio::sync::oneshot;

use crate::subject::Prepared;

/// One order. Who asked may have gone when it is answered.
#[derive(Debug)]
pub(crate) enum Command {
    /// The whole set of checks, as it is to be from now on.
    Checks { checks: Vec<Prepared>, taken: oneshot::Sender<()> },
    /// A run off the schedule. The answer says whether it will take place; the record comes by the board.
    RunNow { key: Key, reply: oneshot::Sender<Result<(), NotNow>> },
    /// A result that somebody else found out. The answer says whether it is taken; the record comes by the board.
    Push { pushed: Box<Pushed>, reply: oneshot::Sender<Result<(), PushRefused>> },
    /// The answer comes when it is in force here; it is on disk after the store's next commit.
    Silence { silence: SilenceDraft, reply: oneshot::Sender<Result<Silence, SilenceRefused>> },
    /// The answer: whether there was such a silence.
    Unsilence { id: u64, reply: oneshot::Sender<bool> },
    /// The answer comes when the plugin's checks run again; that is on disk after the store's next commit.
    Release { plugin: PluginName, reply: oneshot::Sender<Result<(), NotReleased>> },
}

/// Why a run off the schedule does not take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotNow {
    Unknown,
    Busy,
    /// It takes pushed results: there is nothing to run.
    Pushed,
    /// Its plugin is quarantined: in words.
    Quarantined(Arc<str>),
}

/// Why a plugin is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReleased {
    Unknown,
    /// It is neither backing off nor quarantined.
    Running,
}

/// What somebody else found out.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) key: Key,
    pub(crate) status: Status,
    pub(crate) summary: Arc<str>,
    pub(crate) points: Vec<Point>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) latency_ns: Option<u64>,
}

/// Why a result is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushRefused {
    NoCheck,
    NoTarget,
    /// It runs by itself.
    NotPushed,
}

/// A silence to be.
#[derive(Debug, Clone)]
pub(crate) struct SilenceDraft {
    pub(crate) check: Option<Arc<str>>,
    pub(crate) target: Option<Arc<str>>,
    pub(crate) author: Arc<str>,
    pub(crate) reason: Arc<str>,
    pub(crate) until: Until,
}

/// Why there is no silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SilenceRefused {
    /// It would cover nothing.
    NoSuchKey,
    /// An acknowledgement of what is ok.
    NoProblem,
    TooMany,
    /// The author or the reason, in words.
    Invalid(String),
}
