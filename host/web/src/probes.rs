//! Whether the agent lives and is ready: for the kubelet, and as kubenurse answers it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use roundsman_model::record::Status;
use roundsman_model::state::State as Standing;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::error::Refusal;
use crate::params::Given;
use crate::routes::Shared;
use crate::serve::Peer;
use crate::view::{Component, Health, Subject};

/// 200 while the engine's loop beats. Nothing else: a restart would not mend anything else.
pub(crate) async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    match shared.agent.beating() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, "restart the agent: its engine does not go on")
                .into_response()
        }
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    components: Vec<Component>,
}

/// 200 or 503, with what every part says of itself.
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>, given: Given) -> Result<Response, Refusal> {
    given.expect(&[])?;
    let about = shared.agent.about();
    let ready = about.ready && about.components.iter().all(|part| part.health != Health::Failed);
    let body = Readiness { ready, components: about.components };
    Ok((readiness(ready), axum::Json(body)).into_response())
}

/// kubenurse: 200 or 503, without a body.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> StatusCode {
    readiness(shared.agent.about().ready)
}

fn readiness(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// kubenurse: an empty 200 for whoever finds the way here, and a note of who that was.
pub(crate) async fn alwayshappy(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> StatusCode {
    if let Some(Ok(origin)) = headers.get("kubenurse-neighbour-origin").map(|origin| origin.to_str()) {
        shared.callers.note(origin, Instant::now());
    }
    StatusCode::OK
}

/// Neighbours that asked lately: kubenurse's proof that somebody looks at this node.
#[derive(Debug, Default)]
pub(crate) struct Callers(Mutex<HashMap<String, Instant>>);

/// As kubenurse has it.
const CALLERS_MEMORY: Duration = Duration::from_secs(60);

/// Anybody can send the header: more callers than any node has watchers are not remembered.
const MAX_CALLERS: usize = 1_024;

/// The longest name of a pod.
const MAX_CALLER: usize = 253;

impl Callers {
    fn note(&self, origin: &str, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if origin.is_empty() || origin.len() > MAX_CALLER {
            return;
        }
        if seen.len() >= MAX_CALLERS {
            seen.retain(|_, at| now.duration_since(*at) < CALLERS_MEMORY);
        }
        if seen.len() < MAX_CALLERS || seen.contains_key(origin) {
            seen.insert(origin.to_owned(), now);
        }
    }

    pub(crate) fn count(&self, now: Instant) -> usize {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now.duration_since(*at) < CALLERS_MEMORY);
        seen.len()
    }
}

/// kubenurse's answer, as far as there is something to say; its field names are not ours.
#[derive(Serialize)]
struct Alive {
    hostname: String,
    headers: BTreeMap<String, Vec<String>>,
    user_agent: String,
    request_uri: String,
    remote_addr: String,
    last_check_result: BTreeMap<String, serde_json::Value>,
}

/// kubenurse: an empty 500 until there is a first result, then always 200, whatever the results are.
pub(crate) async fn alive(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let board = shared.agent.board();
    if !board.is_empty() && board.iter().all(|subject| subject.last.is_none()) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut results: BTreeMap<String, serde_json::Value> =
        board.iter().map(|subject| (key(subject), result(subject).into())).collect();
    // Clients of kubenurse look for both; there are no neighbours as long as agents do not know each other.
    results.insert("neighbourhood".to_owned(), serde_json::Value::Array(Vec::new()));
    results.insert("neighbourhood_state".to_owned(), "skipped".into());
    let answer = Alive {
        hostname: shared.agent.about().node,
        user_agent: text(&headers, &header::USER_AGENT).unwrap_or_default(),
        headers: echoed(&headers),
        request_uri: uri.to_string(),
        remote_addr: match peer {
            Peer::Tcp(address) => address.to_string(),
            Peer::Unix => "unix".to_owned(),
        },
        last_check_result: results,
    };
    let mut body = Vec::new();
    let mut to = Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b" "));
    answer.serialize(&mut to).expect("maps with text as keys can always be written");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn key(subject: &Subject) -> String {
    match &subject.target {
        None => subject.check.to_string(),
        Some(target) => format!("{}/{target}", subject.check),
    }
}

/// `ok`, `skipped`, or what is wrong.
fn result(subject: &Subject) -> String {
    match (subject.state, &subject.last) {
        (Standing::Skipped, _) => "skipped".to_owned(),
        (Standing::Stale, _) => "stale: nothing was heard for too long".to_owned(),
        (_, Some(last)) if last.status == Status::Ok => "ok".to_owned(),
        (_, Some(last)) if !last.summary.is_empty() => last.summary.to_string(),
        (_, Some(last)) => last.status.as_str().to_owned(),
        (state, None) => state.as_str().to_owned(),
    }
}

/// Headers that say how the request came here. Never credentials: kubenurse shows them all to whoever asks through an
/// ingress that adds some.
fn echoed(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    const HARMLESS: [(&str, &str); 9] = [
        ("accept", "Accept"),
        ("accept-encoding", "Accept-Encoding"),
        ("accept-language", "Accept-Language"),
        ("user-agent", "User-Agent"),
        ("via", "Via"),
        ("x-forwarded-for", "X-Forwarded-For"),
        ("x-forwarded-host", "X-Forwarded-Host"),
        ("x-forwarded-proto", "X-Forwarded-Proto"),
        ("x-real-ip", "X-Real-Ip"),
    ];
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    let given = HARMLESS.iter().map(|(name, shown)| ((*shown).to_owned(), values(name)));
    given.filter(|(_, values)| !values.is_empty()).collect()
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_bounded_and_forgotten() {
        let callers = Callers::default();
        let start = Instant::now();
        for n in 0..=MAX_CALLERS {
            callers.note(&format!("pod-{n}"), start);
        }
        callers.note("", start);
        callers.note(&"x".repeat(MAX_CALLER + 1), start);
        assert_eq!(callers.count(start), MAX_CALLERS);
        callers.note("late", start + CALLERS_MEMORY);
        assert_eq!(callers.count(start + CALLERS_MEMORY), 1);
    }
}
