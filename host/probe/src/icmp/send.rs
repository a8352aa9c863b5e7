//! Echo requests on their way: one after the other at their interval, while answers come.

use std::net::IpAddr;

use rustix::io::Errno;
use tokio::time::{Instant, timeout_at};

use super::socket::{Heard, Socket};
use super::{Echo, Exchange, Kind, Reply, Trace};
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::host::Host;
use crate::pattern::Scheme;
use crate::probe::Probe;

/// Packets that are nobody's answer, and answers beyond the first: thousands of them are a flood.
const MAX_IGNORED: u32 = 10_000;

impl Probe {
    /// Sends echo requests, and tells what became of each until the deadline. One socket is open.
    pub async fn icmp(&self, grants: &Grants, echo: &Echo, deadline: Instant) -> Exchange {
        let mut trace = Trace::begin();
        let result = self.icmp_traced(grants, echo, deadline, &mut trace).await;
        trace.finish(result)
    }

    /// The same, for those who want to know how far a call came that they drop before its end: by `Trace::cut`.
    pub async fn icmp_traced(
        &self,
        grants: &Grants,
        echo: &Echo,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<(), Failure> {
        trace.course.begin(phase::POLICY);
        // Boxed once here, so that the futures of callers stay small.
        let result = Box::pin(self.ping(grants, echo, deadline, trace)).await;
        if result.is_ok() {
            trace.course.end();
        }
        self.stats().icmp.count(&result);
        result
    }

    async fn ping(&self, grants: &Grants, echo: &Echo, deadline: Instant, trace: &mut Trace) -> Result<(), Failure> {
        if let Some(fault) = &echo.fault {
            return Err(fault.clone());
        }
        let host = Host::parse(&echo.address).map_err(|error| Failure::invalid(error.to_string()))?;
        if matches!(host, Host::Name(_)) {
            trace.course.pass(phase::RESOLVE);
        }
        let resolving = grants.resolve_host(self.resolver(), Scheme::Icmp, &host, 0, deadline);
        let Ok(addresses) = timeout_at(deadline, resolving).await else { return Err(trace.course.timed_out("")) };
        let addresses = echo.dial.choose(&host, addresses?)?;
        let peer = addresses.first().map(|address| address.ip());
        let peer = peer.ok_or_else(|| Failure::new(code::RESOLVE, phase::RESOLVE, "there is no address to ask"))?;
        trace.peer = Some(peer);
        if let Some(script) = self.script() {
            return super::scripted::ping(script, echo, peer, trace);
        }
        trace.course.pass(phase::CONNECT);
        let socket = Socket::open(echo, peer)?;
        trace.local = socket.local_address();
        trace.course.pass(phase::FIRST_BYTE);
        trace.requests = vec![(None, None); usize::try_from(echo.count).unwrap_or_default()];
        converse(&socket, echo, peer, deadline, trace).await
    }
}

/// Until every request has its answer, or none in its time, or the deadline is there.
async fn converse(
    socket: &Socket,
    echo: &Echo,
    peer: IpAddr,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<(), Failure> {
    let mut next = 0;
    let mut due = Instant::now();
    loop {
        listen(socket, peer, echo, trace)?;
        let now = Instant::now();
        if now >= deadline {
            return Ok(());
        }
        if next < trace.requests.len() && now >= due {
            request(socket, peer, next, echo, trace)?;
            next += 1;
            due = now.checked_add(echo.interval).unwrap_or(deadline);
            continue;
        }
        let expiry = |(sent, reply): &(Option<Instant>, Option<Reply>)| match (sent, reply) {
            (Some(sent), None) => Some(sent.checked_add(echo.timeout).unwrap_or(deadline)).filter(|at| *at > now),
            _ => None,
        };
        let last = trace.requests.iter().filter_map(expiry).max();
        let until = match (next < trace.requests.len(), last) {
            (true, _) => due,
            (false, Some(last)) => last,
            (false, None) => return Ok(()),
        };
        if let Ok(ready) = timeout_at(until.min(deadline), socket.ready()).await {
            ready.map_err(|error| Failure::socket(&error, phase::TRANSFER, "waiting for echo replies"))?;
        }
    }
}

fn request(socket: &Socket, peer: IpAddr, index: usize, echo: &Echo, trace: &mut Trace) -> Result<(), Failure> {
    let sequence = u16::try_from(index).unwrap_or(u16::MAX);
    let sent = Instant::now();
    let Err(errno) = socket.send(sequence) else {
        if let Some(slot) = trace.requests.get_mut(index) {
            slot.0 = Some(sent);
        }
        return Ok(());
    };
    trace.refusal = Some(std::io::Error::from(errno).to_string());
    let not_sent = if errno == Errno::MSGSIZE { Kind::TooBig } else { Kind::NotSent };
    if let Some(slot) = trace.requests.get_mut(index) {
        slot.1 = Some(Reply::without(not_sent));
    }
    // What would fit is in the error queue by now, and of the last request nobody would wait for it.
    while let Some(heard) = socket.refusal_by_now() {
        take(heard, peer, echo, trace)?;
    }
    Ok(())
}

/// Takes everything that the kernel has.
fn listen(socket: &Socket, peer: IpAddr, echo: &Echo, trace: &mut Trace) -> Result<(), Failure> {
    while let Some(heard) = socket.hear(peer) {
        take(heard, peer, echo, trace)?;
    }
    Ok(())
}

fn take(heard: Heard, peer: IpAddr, echo: &Echo, trace: &mut Trace) -> Result<(), Failure> {
    let now = Instant::now();
    let (sequence, reply) = match heard {
        Heard::Answer { sequence, from, ttl, lay } => {
            let sent = trace.requests.get(usize::from(sequence)).and_then(|(sent, _)| *sent);
            let round_trip = sent.map(|sent| now.saturating_duration_since(sent).saturating_sub(lay));
            (sequence, Reply { round_trip, kind: Kind::Reply, from: Some(from), ttl })
        }
        Heard::Refusal { sequence, kind, from, mtu } => {
            trace.mtu = mtu.or(trace.mtu);
            (sequence, Reply { from, ..Reply::without(kind) })
        }
        Heard::Mtu(mtu) => {
            trace.mtu = Some(mtu);
            return Ok(());
        }
        Heard::Own => return Ok(()),
        Heard::Stranger => return count(&mut trace.ignored, peer),
    };
    match trace.requests.get_mut(usize::from(sequence)) {
        Some((Some(_), slot @ None)) if reply.round_trip.is_none_or(|time| time <= echo.timeout) => {
            *slot = Some(reply);
            if trace.course.phase() == phase::FIRST_BYTE {
                trace.course.pass(phase::TRANSFER);
            }
            Ok(())
        }
        Some((Some(_), Some(before))) if reply.kind == Kind::Reply && before.kind == Kind::Reply => {
            count(&mut trace.duplicates, peer)
        }
        // Too late, or of a request that was never sent.
        _ => count(&mut trace.ignored, peer),
    }
}

fn count(counter: &mut u32, peer: IpAddr) -> Result<(), Failure> {
    *counter += 1;
    if *counter < MAX_IGNORED {
        return Ok(());
    }
    let message = format!("{peer} sends without end what nobody asked it for");
    Err(Failure::new(code::PROTOCOL, phase::TRANSFER, message))
}
