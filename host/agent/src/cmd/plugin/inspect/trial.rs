//! One run of a plugin, for what it costs; or why there was none.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::record::{Blame, Status};
use roundsman_plugin::load::Plugin;
use roundsman_probe::grants::Grants;
use serde::Serialize;

use crate::cmd::probe::{allow, job, target, took};

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Trial {
    None { not_run: String },
    Run(Run),
}

#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) status: Status,
    pub(super) blame: Blame,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    pub(super) summary: String,
    pub(super) duration_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) memory_bytes: u64,
    /// Calls of the host that looked at something outside.
    pub(super) host_calls: usize,
    pub(super) points: usize,
    pub(super) findings: usize,
}

impl Trial {
    pub(super) async fn of(
        plugin: &Plugin,
        settings: &serde_json::Value,
        address: Option<&str>,
        allowed: Vec<(String, String)>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let wrong = plugin.validate(settings).await;
        if !wrong.is_empty() {
            let not_run =
                format!("the settings are not right: {}; give --settings JSON, as in the example", wrong.join("; "));
            return Ok(Self::None { not_run });
        }
        let target = address.map(target);
        let grants = Grants::compile(target.as_slice(), &allow(allowed), &[])?;
        let job = job(plugin, settings, target, grants, timeout)?;
        let report = plugin.run(Arc::new(job)).await;
        Ok(Self::Run(Run {
            status: report.status,
            blame: report.blame,
            duration_ms: took(&report).as_secs_f64() * 1e3,
            cpu_ms: report.cpu.as_secs_f64() * 1e3,
            memory_bytes: report.memory_bytes,
            host_calls: report.story.calls.len(),
            points: report.points.len(),
            findings: report.findings.len(),
            code: report.code.map(|code| code.to_string()),
            summary: report.summary,
        }))
    }
}
