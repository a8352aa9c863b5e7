//! What happens, as it happens: a bounded number of listeners, and none of them can slow anything down.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as Sent, KeepAlive};
use futures_util::stream::{Stream, unfold};
use http::StatusCode;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use crate::error::Refusal;
use crate::params::Given;
use crate::routes::Shared;
use crate::view::Event;

/// Listeners at once: dashboards and `--watch`. Each costs one encoding of every event.
pub(crate) const MAX_STREAMS: usize = 32;

/// Proxies cut connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a listener wants to hear; nothing given means everything.
#[derive(Debug)]
struct Wanted {
    event: Option<String>,
    check: Option<String>,
    target: Option<String>,
}

/// One listener.
#[derive(Debug)]
struct Listener {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    wanted: Wanted,
    /// Set once the last event was sent.
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn drop_slow(&mut self) {
        self.shared.counters.streams_dropped.fetch_add(1, Ordering::Relaxed);
        self.over = true;
    }
}

impl Drop for Listener {
    /// A listener that stopped reading is cut by its socket, and never came to see how far behind it was.
    fn drop(&mut self) {
        if !self.over && matches!(self.events.try_recv(), Err(TryRecvError::Lagged(_))) {
            self.drop_slow();
        }
    }
}

/// Sends events until the listener goes, falls behind, or the agent stops.
pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
    given: Given,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Refusal> {
    let params = given.expect(&["event", "check", "target"])?;
    let text = |name| params.text(name).map(str::to_owned);
    let wanted = Wanted { event: text("event"), check: text("check"), target: text("target") };
    if let Some(event) = &wanted.event
        && !KINDS.contains(&event.as_str())
    {
        let error = format!("event: unknown word `{}`", roundsman_model::name::excerpt(event));
        return Err(Refusal::bad(error, format!("known are {}", KINDS.join(", "))));
    }
    let place = shared.streams.clone().try_acquire_owned().map_err(|error: TryAcquireError| {
        let hint = format!("at most {MAX_STREAMS} listen at once: close one, or poll /api/v1/status");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("too many listeners: {error}"), hint)
    })?;
    let events = shared.agent.events();
    let listener = Listener { shared, events, wanted, over: false, _place: place };
    Ok(Sse::new(unfold(listener, next)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

async fn next(mut listener: Listener) -> Option<(Result<Sent, Infallible>, Listener)> {
    if listener.over {
        return None;
    }
    loop {
        let received = tokio::select! {
            biased;
            () = listener.shared.stop.cancelled() => return None,
            received = listener.events.recv() => received,
        };
        match received {
            Ok(event) if listener.wanted.takes(&event) => return Some((Ok(sent(&event)), listener)),
            Ok(_) => {}
            Err(RecvError::Closed) => return None,
            Err(RecvError::Lagged(missed)) => {
                listener.drop_slow();
                let data = format!("{{\"missed\":{missed},\"hint\":\"read faster, or ask for one check\"}}");
                return Some((Ok(Sent::default().event("dropped").data(data)), listener));
            }
        }
    }
}

const KINDS: [&str; 4] = ["record", "transition", "plugin", "checks"];

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Record(_) => KINDS[0],
        Event::Transition(_) => KINDS[1],
        Event::Plugin { .. } => KINDS[2],
        Event::Checks { .. } => KINDS[3],
    }
}

/// JSON has no bare line ends, so an event is always one `data:` line.
fn sent(event: &Event) -> Sent {
    let data = serde_json::to_string(event).expect("an event has text as keys and finite numbers");
    Sent::default().event(kind(event)).data(data)
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        let (check, target) = match event {
            Event::Record(ran) => (Some(&ran.check), ran.target.as_deref()),
            Event::Transition(transition) => (Some(&transition.check), transition.target.as_deref()),
            Event::Plugin { .. } | Event::Checks { .. } => (None, None),
        };
        self.event.as_deref().is_none_or(|wanted| wanted == kind(event))
            && self.check.as_deref().is_none_or(|wanted| check.is_some_and(|check| **check == *wanted))
            && self.target.as_deref().is_none_or(|wanted| target.unwrap_or("") == wanted && check.is_some())
    }
}
