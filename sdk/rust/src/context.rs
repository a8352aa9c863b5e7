//! What this run is about. Only inside the host; a native call panics.

use std::time::{Duration, SystemTime};

use crate::Status;
use crate::bindings::roundsman::check::context;

/// What is kept at least for what comes after the last wait.
const RESERVE: Duration = Duration::from_millis(50);

/// What the check looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As the operator calls it.
    pub name: String,
    /// As the operator wrote it, for instance `https://shop.example` or `10.0.0.7:5432`.
    pub address: String,
    /// Sorted by key.
    pub labels: Vec<(String, String)>,
}

/// The name of the check that the operator configured.
pub fn check_name() -> String {
    context::check_name()
}

/// The settings as JSON. [`Check::run`](crate::Check::run) gets them read.
pub fn settings() -> String {
    context::settings()
}

/// The target; none when the check looks at the node itself.
pub fn target() -> Option<Target> {
    let name = context::target_name()?;
    Some(Target { name, address: context::target_address().unwrap_or_default(), labels: context::target_labels() })
}

/// The target's address alone.
pub fn target_address() -> Option<String> {
    context::target_address()
}

/// The node's name.
pub fn node_name() -> String {
    context::node_name()
}

/// The node's labels.
pub fn node_labels() -> Vec<(String, String)> {
    context::node_labels()
}

/// What is left until the run is cut. Calls to the host end a little earlier, with `timeout`.
pub fn remaining() -> Duration {
    Duration::from_nanos(context::remaining_ns())
}

/// How long a plugin that waits by itself, say with `std::net`, should wait at most: what calls to the host get too. The
/// rest of [`remaining`] is for saying what hung.
pub fn budget() -> Duration {
    let remaining = remaining();
    remaining.saturating_sub(RESERVE.max(remaining / 20))
}

/// The instant for which this run was due.
pub fn scheduled() -> SystemTime {
    crate::exchange::at(context::scheduled_ns())
}

/// 1 for a run on schedule; counts up while a change of state is being confirmed.
pub fn attempt() -> u32 {
    context::attempt()
}

/// The status of the run before this one, if there was one.
pub fn previous_status() -> Option<Status> {
    context::previous_status().map(Status::from)
}
