//! Every endpoint in one table, and the application that answers them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use http::{StatusCode, Uri, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::authority::Authority;
use crate::door::{self, Door};
use crate::error::Refusal;
use crate::probes::Callers;
use crate::readers::Readers;
use crate::{api, dossier, events, history, metrics, page, probes, results, silences};

/// One endpoint: how it is asked for. Everything that is not `GET` changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub method: &'static str,
    /// With parameters in braces, as in the OpenAPI document.
    pub path: &'static str,
}

/// The document that describes the API, as it is checked in.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

/// What answers requests; cheap to clone, to be served on several listeners.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) readers: Readers,
    pub(crate) counters: Arc<Counters>,
    pub(crate) callers: Callers,
    /// Places for listeners of events.
    pub(crate) streams: Arc<Semaphore>,
    /// Ends what would never end by itself.
    pub(crate) stop: CancellationToken,
}

/// What this crate counts of itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) requests_refused: Arc<AtomicU64>,
    pub(crate) streams_dropped: AtomicU64,
}

impl App {
    /// An application for an agent. `stop` ends event streams; give it to [`crate::serve::serve`] as well.
    pub fn new(agent: Arc<dyn Agent>, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            readers: Readers::new(agent.clone()),
            agent,
            counters: Arc::default(),
            callers: Callers::default(),
            streams: Arc::new(Semaphore::new(events::MAX_STREAMS)),
            stop,
        }))
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.0.counters.clone()
    }

    /// The routes behind the door of one listener.
    pub(crate) fn router(&self, authority: Authority) -> Router {
        let door = Arc::new(Door { authority, refused: self.0.counters.requests_refused.clone() });
        let routes = table().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
        routes
            .fallback(nothing_here)
            .method_not_allowed_fallback(other_method)
            .layer(from_fn_with_state(door, door::pass))
            .with_state(self.0.clone())
    }
}

/// Every endpoint there is.
pub fn routes() -> impl Iterator<Item = Route> {
    table().into_iter().map(|(method, path, _)| Route { method, path })
}

fn table() -> [(&'static str, &'static str, MethodRouter<Arc<Shared>>); 24] {
    [
        ("GET", "/", get(page::board)),
        ("GET", "/style.css", get(page::style)),
        ("GET", "/checks/{name}", get(history::check)),
        ("GET", "/api/v1/agent", get(api::agent)),
        ("GET", "/api/v1/checks", get(api::checks)),
        ("GET", "/api/v1/checks/{name}", get(dossier::check)),
        ("POST", "/api/v1/checks/{name}/run", post(api::run)),
        ("GET", "/api/v1/events", get(events::stream)),
        ("GET", "/api/v1/openapi.json", get(openapi)),
        ("GET", "/api/v1/plugins", get(api::plugins)),
        ("POST", "/api/v1/plugins/{name}/release", post(api::release)),
        ("GET", "/api/v1/records", get(api::records)),
        ("POST", "/api/v1/results", post(results::push)),
        ("GET", "/api/v1/silences", get(silences::list)),
        ("POST", "/api/v1/silences", post(silences::add)),
        ("DELETE", "/api/v1/silences/{id}", delete(silences::remove)),
        ("GET", "/api/v1/status", get(api::status)),
        ("GET", "/api/v1/transitions", get(api::transitions)),
        ("GET", "/metrics", get(metrics::page)),
        ("GET", "/livez", get(probes::livez)),
        ("GET", "/readyz", get(probes::readyz)),
        ("GET", "/alive", get(probes::alive)),
        ("GET", "/alwayshappy", get(probes::alwayshappy)),
        ("GET", "/ready", get(probes::ready)),
    ]
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nothing_here(uri: Uri) -> Refusal {
    let error = format!("there is nothing at `{}`", roundsman_model::name::excerpt(uri.path()));
    Refusal::new(StatusCode::NOT_FOUND, error, "/api/v1/openapi.json lists what there is")
}

async fn other_method(uri: Uri) -> Refusal {
    let error = format!("`{}` does not take this method", roundsman_model::name::excerpt(uri.path()));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error, "/api/v1/openapi.json lists what there is")
}
