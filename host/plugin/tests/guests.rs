//! Hostile guests, and what becomes of them: a status, a blame, a code, and a sandbox as it was before.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../probe/tests/support/mod.rs"]
mod probe_support;
mod support;

#[path = "cases/beside.rs"]
mod beside;
#[path = "cases/contract.rs"]
mod contract;
#[path = "cases/echoes.rs"]
mod echoes;
#[path = "cases/evil.rs"]
mod evil;
#[path = "cases/files.rs"]
mod files;
#[path = "cases/floods.rs"]
mod floods;
#[path = "cases/limits.rs"]
mod limits;
#[path = "cases/load.rs"]
mod load;
#[path = "cases/network.rs"]
mod network;
#[path = "cases/node.rs"]
mod node;
#[path = "cases/questions.rs"]
mod questions;
#[path = "cases/secrets.rs"]
mod secrets;
#[path = "cases/sockets.rs"]
mod sockets;
#[path = "cases/table.rs"]
mod table;

use roundsman_model::record::{Blame, Status};
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;

use crate::support::Bench;

fn compiler() -> Compiler {
    Compiler::new(env!("CARGO_BIN_EXE_roundsman-compile").into())
}

fn bench() -> Bench {
    Bench::new(compiler())
}

fn bench_with(limits: EngineLimits) -> Bench {
    Bench::with_limits(compiler(), limits)
}

/// That a run ended as an unknown with this blame and code, and says so.
#[track_caller]
fn assert_unknown(report: &Report, blame: Blame, code: &str, says: &str) {
    assert_eq!(
        (report.status, report.blame, report.code.as_deref()),
        (Status::Unknown, blame, Some(code)),
        "{report:?}"
    );
    assert!(report.summary.contains(says), "`{}` does not say `{says}`", report.summary);
    assert!(report.memory_changes.is_empty(), "what a failed run wrote is not kept: {report:?}");
}

/// That a run ended in an outcome of the plugin's own.
#[track_caller]
fn assert_outcome(report: &Report, status: Status, says: &str) {
    assert_eq!((report.status, report.blame, report.code.as_deref()), (status, Blame::Target, None), "{report:?}");
    assert!(report.summary.contains(says), "`{}` does not say `{says}`", report.summary);
}
