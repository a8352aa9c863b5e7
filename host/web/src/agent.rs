//! What this crate needs of the agent, as one trait: snapshots, a reader of the store, and the few things to do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use roundsman_model::record::{Finding, Point, Status};
use roundsman_model::silence::{MAX_SILENCES, Silence, Until};
use roundsman_store::{Reader, StoreError};
use tokio::sync::broadcast;

use crate::sample::Sample;
use crate::view;

/// A future behind a pointer, so that the trait can be used as one.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A running agent. Every method that does not return a `Later` answers at once, from memory, without waiting for the
/// engine.
pub trait Agent: fmt::Debug + Send + Sync + 'static {
    /// Who this is and how it fares.
    fn about(&self) -> view::About;

    /// The state of every (check, target), in any order.
    fn board(&self) -> Vec<view::Subject>;

    /// Every configured check, by name.
    fn checks(&self) -> Vec<view::Check>;

    /// Every plugin file that was seen, by name.
    fn plugins(&self) -> Vec<view::Plugin>;

    /// The silences that are in force, by id.
    fn silences(&self) -> Vec<Silence>;

    /// The agent's own numbers.
    fn sample(&self) -> Sample;

    /// Whether the engine's loop beats; the reason where it does not.
    fn beating(&self) -> Result<(), String>;

    /// A connection of its own to the store. May block for a moment; called where that is allowed.
    fn reader(&self) -> Result<Reader, StoreError>;

    /// What is published from now on. A receiver that cannot follow loses the oldest, never slows the sender.
    fn events(&self) -> broadcast::Receiver<view::Event>;

    /// Runs a check now, on one target or on all of them, and returns what was found: committed, as it is shown
    /// elsewhere. Ends with the run's own deadline. Dropping the future does not stop the run.
    fn run_now<'a>(&'a self, check: &'a str, target: Option<&'a str>)
    -> Later<'a, Result<Vec<view::Record>, RunError>>;

    /// Begins a silence; returns it once it is committed.
    fn silence(&self, draft: SilenceDraft) -> Later<'_, Result<Silence, SilenceError>>;

    /// Ends a silence; returns whether there was one of this id.
    fn unsilence(&self, id: u64) -> Later<'_, Result<bool, SilenceError>>;

    /// Lets a plugin run again that backs off or is quarantined; returns it as it is then, once that is committed.
    fn release<'a>(&'a self, plugin: &'a str) -> Later<'a, Result<view::Plugin, ReleaseError>>;

    /// Takes a result that somebody else found out, for a check with `ttl:`; returns the committed record.
    fn push(&self, pushed: Pushed) -> Later<'_, Result<view::Record, PushError>>;
}

/// A silence that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilenceDraft {
    /// None: all checks.
    pub check: Option<Arc<str>>,
    /// None: all targets. Empty: the node itself.
    pub target: Option<Arc<str>>,
    pub author: Arc<str>,
    pub reason: Arc<str>,
    /// `Recovery` is asked for one (check, target) only.
    pub until: Until,
}

/// A result that was pushed: its texts are clean and its names are good.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    pub check: Arc<str>,
    /// None: the node itself.
    pub target: Option<Arc<str>>,
    pub status: Status,
    pub summary: Arc<str>,
    pub points: Vec<Point>,
    pub findings: Vec<Finding>,
    pub latency_ns: Option<u64>,
}

/// Why a silence neither began nor ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// What was asked for is no silence: in words.
    #[error("{0}")]
    Invalid(String),
    #[error("there is no such check or target on this node")]
    NoSuchKey,
    #[error("it is ok at the moment: there is nothing to acknowledge")]
    NoProblem,
    #[error("there are {MAX_SILENCES} silences already")]
    TooMany,
    #[error("the store did not take it, so that it would be forgotten with the next restart")]
    NotStored,
    #[error("the agent is stopping")]
    Stopping,
}

/// Why a plugin was not released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("there is no plugin `{0}` on this node")]
    NoPlugin(String),
    #[error("plugin `{0}` is running: there is nothing to release it from")]
    Running(String),
    #[error("the store did not take it, so that it would be forgotten with the next restart")]
    NotStored,
    #[error("the agent is stopping")]
    Stopping,
}

/// Why a result was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    #[error("there is no check `{0}` on this node")]
    NoCheck(Arc<str>),
    #[error("check `{check}` has no target `{target}`")]
    NoTarget { check: Arc<str>, target: Arc<str> },
    #[error("check `{0}` runs by itself: results are pushed to checks with `ttl:`")]
    RunsByItself(Arc<str>),
    /// Disabled, or the store is behind: in words.
    #[error("the result was not taken: {0}")]
    NotTaken(String),
    #[error("the agent is stopping")]
    Stopping,
}

/// Why a check was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("there is no check `{0}` on this node")]
    NoCheck(String),
    #[error("check `{check}` has no target `{target}`")]
    NoTarget { check: String, target: String },
    #[error("{0} is being run at the moment")]
    Busy(String),
    /// Disabled, its plugin compiling, broken or missing: in words.
    #[error("the check cannot be run: {0}")]
    NotRunnable(String),
    #[error("the agent is stopping")]
    Stopping,
}
