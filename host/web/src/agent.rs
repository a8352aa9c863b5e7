//! What this crate needs of the agent, as one trait: snapshots, a reader of the store, and one thing to do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use roundsman_store::{Reader, StoreError};
use tokio::sync::broadcast;

use crate::sample::Sample;
use crate::view;

/// A future behind a pointer, so that the trait can be used as one.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A running agent. Every method but `run_now` answers at once, from memory, without waiting for the engine.
pub trait Agent: fmt::Debug + Send + Sync + 'static {
    /// Who this is and how it fares.
    fn about(&self) -> view::About;

    /// The state of every (check, target), in any order.
    fn board(&self) -> Vec<view::Subject>;

    /// Every configured check, by name.
    fn checks(&self) -> Vec<view::Check>;

    /// Every plugin file that was seen, by name.
    fn plugins(&self) -> Vec<view::Plugin>;

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
