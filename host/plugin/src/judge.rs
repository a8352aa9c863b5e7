//! What the end of a run means, and whom to blame for it.
//!
//! The rule: only what is known of the target counts against the target. That is what the plugin said in so many words,
//! and the deadline that came while it waited for an answer from the network. Whatever else ends a run says something
//! of the plugin or of this host, and leaves the target unknown.

use roundsman_model::record::{Blame, Status};
use roundsman_model::units::format_duration;
use roundsman_probe::failure::code;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use crate::bindings::roundsman::check::types::{Fault, Outcome};
use crate::files::Hangs;
use crate::gather::{MAX_SUMMARY, clean_code};
use crate::host::check::status_of;
use crate::limits::{Exhausted, MAX_BYTES_PER_CALL, MAX_HANDLES};
use crate::run::Ended;
use crate::state::RunState;

/// How much of what a guest printed last belongs into a summary.
const MAX_LAST_WORDS: usize = 640;

/// What the end of a run means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) blame: Blame,
    pub(crate) code: Option<String>,
    pub(crate) summary: String,
    /// The plugin had no say in how it ended.
    pub(crate) cut: bool,
}

impl Verdict {
    fn unknown(blame: Blame, code: &str, summary: &str) -> Self {
        Self { status: Status::Unknown, blame, code: Some(code.to_owned()), summary: summary.to_owned(), cut: true }
    }

    fn plugin(code: &str, summary: &str) -> Self {
        Self::unknown(Blame::Plugin, code, summary)
    }

    fn denied(denial: &str) -> Self {
        Self::unknown(Blame::Host, "denied", denial)
    }

    /// Whether what the run wrote through `state` is to be kept: it ended as the plugin wanted it to.
    pub(crate) fn keeps_state(&self) -> bool {
        self.blame == Blame::Target && !self.cut
    }
}

pub(crate) fn judge(ended: Ended<Result<Outcome, Fault>>, state: &RunState) -> Verdict {
    let mut verdict = judge_end(ended, state);
    let redaction = &state.gathered.redaction;
    verdict.summary = redaction.clean(&verdict.summary, MAX_SUMMARY);
    verdict.code = verdict.code.map(|code| match redaction.find(code.as_bytes()) {
        Some(_) => code::SECRET.to_owned(),
        None => clean_code(&code),
    });
    verdict
}

/// With texts as they came, neither cleaned nor cut.
fn judge_end(ended: Ended<Result<Outcome, Fault>>, state: &RunState) -> Verdict {
    let denial = state.trace.denied();
    match (ended, denial) {
        (Ended::Returned(Ok(outcome)), denial) => judge_outcome(&outcome, denial),
        (Ended::Failed(error), _) => judge_failure(&error, state),
        // Whatever the plugin makes of a refusal: it was the grants, not the target and not the plugin.
        (Ended::Returned(Err(_)) | Ended::Cut { .. }, Some(denial)) => Verdict::denied(&denial),
        (Ended::Returned(Err(fault)), None) => Verdict { cut: false, ..Verdict::plugin(&fault.code, &fault.message) },
        (Ended::Cut { computing }, None) => judge_cut(computing, state),
    }
}

fn judge_outcome(outcome: &Outcome, denial: Option<String>) -> Verdict {
    let status = status_of(outcome.status);
    match denial {
        // A refusal that came back to the plugin as an I/O error must not look like a target that is down.
        Some(denial) if status != Status::Ok => Verdict::denied(&denial),
        _ => Verdict { status, blame: Blame::Target, code: None, summary: outcome.summary.clone(), cut: false },
    }
}

fn judge_cut(computing: bool, state: &RunState) -> Verdict {
    let after = format_duration(state.job.timeout);
    let doing = match state.trace.dialled() {
        _ if computing => "it was computing",
        _ if state.asleep => "it was asleep",
        None => "it was waiting, but not for the network",
        Some(peer) => {
            let summary = format!("no answer from {peer} within {after}");
            let code = Some("timeout".to_owned());
            return Verdict { status: Status::Critical, blame: Blame::Target, code, summary, cut: true };
        }
    };
    Verdict::plugin("timeout", &format!("the plugin was cut after {after}: {doing}"))
}

fn judge_failure(error: &wasmtime::Error, state: &RunState) -> Verdict {
    let limits = state.job.assignment.limits;
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let limit = format_duration(limits.cpu);
            let way_out = "raise the check's `limits: {cpu}` if it needs more";
            return Verdict::plugin("cpu", &format!("the plugin used up its {limit} of processor time; {way_out}"));
        }
        Some(Trap::StackOverflow) => return Verdict::plugin("stack", "the plugin overflowed its stack"),
        _ => {}
    }
    if let Some(exhausted) = state.limiter.exhausted {
        return out_of_memory(exhausted, limits.memory);
    }
    if error.is::<Hangs>() {
        let summary = "opening the files in the check's `allow: {files}` hangs in the kernel: is a file system stuck?";
        return Verdict::unknown(Blame::Host, "hung", summary);
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        let summary =
            format!("no room for another run: {full}; lower the agent's `limits: {{runs}}`, or spread the checks");
        return Verdict::unknown(Blame::Host, "limit", &summary);
    }
    if let Some(what) = beyond_limit(error) {
        return Verdict::plugin("limit", &format!("the plugin was cut: {what}"));
    }
    broke_off(error, state)
}

fn out_of_memory(exhausted: Exhausted, limit: u64) -> Verdict {
    match exhausted {
        Exhausted::Check => {
            let (limit, way_out) = (limit >> 20, "raise the check's `limits: {memory}` if it needs them");
            Verdict::plugin("memory", &format!("the plugin wanted more than its {limit} MiB of memory; {way_out}"))
        }
        Exhausted::Agent => {
            let summary = "all runs together hold the agent's `limits: {memory}`; raise it, or spread the checks";
            Verdict::unknown(Blame::Host, "memory", summary)
        }
        Exhausted::Table => Verdict::plugin("memory", "the plugin wanted too large a table"),
    }
}

/// Which limit of the sandbox a guest met that is no trap of WebAssembly's own.
fn beyond_limit(error: &wasmtime::Error) -> Option<String> {
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Some(format!("it held more than {MAX_HANDLES} handles"));
    }
    // Wasmtime keeps the types of these two to itself.
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls") {
        let most = MAX_BYTES_PER_CALL >> 20;
        return Some(format!("it handed over more than {most} MiB in one call"));
    }
    text.contains("handle limit exceeded").then(|| format!("it held more than {MAX_HANDLES} handles"))
}

fn broke_off(error: &wasmtime::Error, state: &RunState) -> Verdict {
    // What a language's runtime prints before it gives up says more than the trap itself.
    let said = state.output.last_words(&state.gathered.redaction, MAX_LAST_WORDS);
    let why = match (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>()) {
        (Some(exit), _) if said.is_empty() => format!("it ended itself with code {}", exit.0),
        (Some(exit), _) => format!("it ended itself with code {}: {said}", exit.0),
        _ if !said.is_empty() => said,
        // Rust and C keep what has an address on a stack of their own in linear memory.
        (None, Some(trap @ Trap::MemoryOutOfBounds)) => {
            format!("{trap}; a plugin whose own stack overflows ends like this")
        }
        (None, Some(trap)) => trap.to_string(),
        (None, None) => error.root_cause().to_string(),
    };
    Verdict::plugin("trap", &format!("the plugin broke off: {why}"))
}

/// Why a call that is no run broke off, in words.
pub(crate) fn explain(error: &wasmtime::Error, state: &RunState) -> String {
    state.gathered.redaction.clean(&judge_failure(error, state).summary, MAX_SUMMARY)
}
