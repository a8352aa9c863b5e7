//! Results that others found out and push: a dead man's switch for what runs elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use roundsman_model::record::Status;
use serde::{Deserialize, Serialize};

use crate::agent::{PushError, Pushed};
use crate::error::Refusal;
use crate::params::{Given, Params, STATUSES, json};
use crate::reported::{FindingForm, MAX_SUMMARY, PointForm, Reported};
use crate::routes::Shared;
use crate::text::{clean, listed};
use crate::view;

/// The record is committed within a second; a disk that takes longer is no reason to keep a cron job waiting for ever.
const COMMIT_TIME: Duration = Duration::from_secs(30);

/// More is a mistake of units, and would overflow in nanoseconds at some point.
const MAX_LATENCY_MS: f64 = 1e12;

const EXAMPLE: &str = r#"send {"check": "backup", "status": "ok", "summary": "…"}, or ask for /api/v1/results?check=backup&status=ok with the summary as body"#;

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    check: String,
    target: Option<String>,
    /// A word, or the exit code of a Nagios plugin.
    status: serde_json::Value,
    #[serde(default)]
    summary: String,
    latency_ms: Option<f64>,
    #[serde(default)]
    points: Vec<PointForm>,
    #[serde(default)]
    findings: Vec<FindingForm>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    record: view::Record,
}

/// Takes one result; answers with the committed record.
pub(crate) async fn push(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    given: Given,
    body: Bytes,
) -> Result<Json<Taken>, Refusal> {
    let params = given.expect(&["check", "target", "status", "latency_ms"])?;
    let form = if params.is_empty() { json(&body, EXAMPLE)? } else { simple(&params, &headers, &body)? };
    let checks = shared.agent.checks();
    let pushed = pushed(&shared, &checks, form)?;
    match tokio::time::timeout(COMMIT_TIME, shared.agent.push(pushed)).await {
        Ok(Ok(record)) => Ok(Json(Taken { record })),
        Ok(Err(error)) => Err(refusal(&error, &checks)),
        Err(_) => {
            let error = format!("the result was not committed within {} s", COMMIT_TIME.as_secs());
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, error, "GET /api/v1/agent tells the health of the store"))
        }
    }
}

/// The short form: everything in the query, and the body, if there is one, is the summary as plain text.
fn simple(params: &Params, headers: &HeaderMap, body: &[u8]) -> Result<Form, Refusal> {
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json && !body.is_empty() {
        return Err(Refusal::bad("the result is in the query and in the body", EXAMPLE));
    }
    let needed = |name: &str| {
        let value = params.text(name).filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| Refusal::bad(format!("`{name}` is missing"), EXAMPLE))
    };
    let latency = params.text("latency_ms").map(str::parse::<f64>).transpose();
    Ok(Form {
        check: needed("check")?,
        target: params.text("target").map(str::to_owned),
        status: needed("status")?.into(),
        summary: String::from_utf8_lossy(body).into_owned(),
        latency_ms: latency.map_err(|_| bad_latency())?,
        points: Vec::new(),
        findings: Vec::new(),
    })
}

/// Checks everything that can be said without the engine.
fn pushed(shared: &Shared, checks: &[view::Check], form: Form) -> Result<Pushed, Refusal> {
    let name: Arc<str> = form.check.as_str().into();
    let Some(check) = checks.iter().find(|check| *check.name == *name) else {
        return Err(refusal(&PushError::NoCheck(name), checks));
    };
    if check.ttl.is_none() {
        return Err(refusal(&PushError::RunsByItself(name), checks));
    }
    let status = status(&form.status)?;
    let latency_ns = match form.latency_ms {
        None => None,
        // In bounds, so that the cast cannot lose more than a fraction of a nanosecond.
        Some(ms) if (0.0..=MAX_LATENCY_MS).contains(&ms) => Some((ms * 1e6) as u64),
        Some(_) => return Err(bad_latency()),
    };
    let plugins = if form.points.is_empty() { Vec::new() } else { shared.agent.plugins() };
    let mut reported = Reported::new(check, &plugins);
    form.points.into_iter().try_for_each(|point| reported.point(point))?;
    form.findings.into_iter().try_for_each(|finding| reported.finding(finding, &self::status))?;
    Ok(Pushed {
        check: name,
        target: form.target.filter(|target| !target.is_empty()).map(Arc::from),
        status,
        summary: clean(&form.summary, MAX_SUMMARY).into(),
        points: reported.points,
        findings: reported.findings,
        latency_ns,
    })
}

/// A word, or the exit code of a Nagios plugin as number or text.
fn status(given: &serde_json::Value) -> Result<Status, Refusal> {
    let text = match given {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let found = STATUSES.into_iter().find(|known| known.as_str() == text || (*known as u8).to_string() == text);
    found.ok_or_else(|| {
        let error = format!("status: `{}` is not known", roundsman_model::name::excerpt(&text));
        Refusal::bad(error, "known are ok, warning, critical, unknown, and the exit codes 0, 1, 2, 3 for them")
    })
}

fn bad_latency() -> Refusal {
    Refusal::bad("latency_ms: not a number of milliseconds", "write for instance 12.5, or leave it out")
}

/// What is wrong, and which names are right.
fn refusal(error: &PushError, checks: &[view::Check]) -> Refusal {
    let pushable = || {
        let names = checks.iter().filter(|check| check.ttl.is_some()).map(|check| &*check.name);
        match listed(names).as_str() {
            "none" => "no check here takes results: write one with `ttl:` instead of `interval:`".to_owned(),
            names => format!("results are taken for: {names}; a check with `ttl:` is run by nobody here"),
        }
    };
    let (status, hint) = match error {
        PushError::NoCheck(_) => (StatusCode::NOT_FOUND, pushable()),
        PushError::NoTarget { check, .. } => {
            let targets = checks.iter().find(|known| known.name == *check).map(|known| &known.targets[..]);
            let hint = match targets.unwrap_or_default() {
                [] => "it is about the node itself: leave `target` out".to_owned(),
                targets => format!("its targets are: {}", listed(targets.iter().map(|target| &*target.name))),
            };
            (StatusCode::NOT_FOUND, hint)
        }
        PushError::RunsByItself(_) => (StatusCode::CONFLICT, pushable()),
        PushError::NotTaken(_) => (StatusCode::CONFLICT, "GET /api/v1/checks tells how it is configured".to_owned()),
        PushError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "ask again after the restart".to_owned()),
    };
    Refusal::new(status, clean(&error.to_string(), MAX_SUMMARY), hint)
}
