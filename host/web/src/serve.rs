//! Listeners and connections: how many, for how long, and how they end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::authority::Authority;
use crate::routes::{App, Counters};
use crate::stream::{Socket, Stream};

/// Connections of one listener at once: scrapers, probes and people, with room; each costs some ten KiB.
pub const MAX_CONNECTIONS: usize = 256;

/// Connections from one address, so that one careless client does not shut out the kubelet's probes.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;

/// The time to send the head of a request, and to stay silent between two: longer than any client needs, too short to
/// fill the house with callers who never finish a sentence.
pub const HEAD_TIME: Duration = Duration::from_secs(5);

/// Heads are small; hyper's own limit would be 400 KiB for each connection.
const MAX_HEAD: usize = 16 * 1024;

/// What answers in progress get at shutdown, before they are cut.
pub const GRACE: Duration = Duration::from_secs(3);

/// When the process has no file descriptor left, accepting again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where requests come in.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix,
}

/// Serves one listener until `stop`; then answers in progress are finished, for at most `GRACE`.
pub async fn serve(listener: Listener, app: App, authority: Authority, stop: CancellationToken) {
    let service = TowerToHyperService::new(app.router(authority));
    let seats = Seats::new(app.counters());
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match seats.take(peer) {
                Some(seat) => {
                    let (service, stop, cut) = (service.clone(), stop.clone(), cut.clone());
                    connections.spawn(async move {
                        converse(Stream::new(socket), peer, service, stop, cut).await;
                        drop(seat);
                    });
                }
                None => drop(socket),
            },
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
}

/// One connection, from its first request to its last.
async fn converse<S>(stream: Stream, peer: Peer, service: S, stop: CancellationToken, cut: CancellationToken)
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = std::convert::Infallible>,
{
    let answer = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, ?peer, "a connection ended early");
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                // Small answers go out at once; a failure only costs some latency.
                if let Err(error) = socket.set_nodelay(true) {
                    debug!(%error, "TCP_NODELAY was refused");
                }
                Ok((Socket::Tcp(socket), Peer::Tcp(address)))
            }
            Self::Unix(listener) => listener.accept().await.map(|(socket, _)| (Socket::Unix(socket), Peer::Unix)),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Who holds a connection: the count by address, all callers of a unix socket as one.
#[derive(Debug, Clone)]
struct Seats {
    taken: Arc<Mutex<HashMap<Option<IpAddr>, usize>>>,
    counters: Arc<Counters>,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    address: Option<IpAddr>,
}

impl Seats {
    fn new(counters: Arc<Counters>) -> Self {
        Self { taken: Arc::default(), counters }
    }

    fn take(&self, peer: Peer) -> Option<Seat> {
        let (address, limit) = match peer {
            Peer::Tcp(address) => (Some(address.ip().to_canonical()), MAX_CONNECTIONS_PER_ADDRESS),
            Peer::Unix => (None, MAX_CONNECTIONS),
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let held = taken.get(&address).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS || held >= limit {
            self.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        taken.insert(address, held + 1);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat { seats: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.counters.connections.fetch_sub(1, Ordering::Relaxed);
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut held) = taken.entry(self.address) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::Tcp(SocketAddr::from(([10, 0, 0, last], 1)))
    }

    #[test]
    fn seats_are_bounded_by_address_and_altogether() {
        let seats = Seats::new(Arc::default());
        let mut held: Vec<Seat> = (0..MAX_CONNECTIONS_PER_ADDRESS).map(|_| seats.take(peer(1)).unwrap()).collect();
        assert!(seats.take(peer(1)).is_none());
        let mapped = SocketAddr::new("::ffff:10.0.0.1".parse().unwrap(), 1);
        assert!(seats.take(Peer::Tcp(mapped)).is_none(), "the same address in another spelling");
        while held.len() < MAX_CONNECTIONS {
            let next = u8::try_from(2 + held.len() % 200).unwrap();
            held.push(seats.take(peer(next)).unwrap());
        }
        assert!(seats.take(peer(250)).is_none());
        held.clear();
        assert!(seats.take(peer(1)).is_some());
        assert!(seats.taken.lock().unwrap().is_empty());
    }
}
