//! Echo requests that a script answers in place of the network.

use std::net::IpAddr;

use super::{Echo, Kind, Reply, Trace};
use crate::failure::Failure;
use crate::script::Script;
use crate::script::icmp::Became;

/// As if they were sent, once the grants have allowed the address.
pub(super) fn ping(script: &Script, echo: &Echo, peer: IpAddr, trace: &mut Trace) -> Result<(), Failure> {
    let answer = script.icmp(&echo.address, echo.count)?;
    trace.told = Some(answer.times.clone());
    let became = answer.reply.as_ref().map_err(|told| told.failure())?;
    let reply = |became: &Became| match became {
        Became::Answered(took) => {
            Reply { round_trip: Some(*took), kind: Kind::Reply, from: Some(peer), ttl: Some(answer.ttl) }
        }
        Became::Not(kind) => Reply::without(*kind),
    };
    let count = usize::try_from(echo.count).unwrap_or(usize::MAX);
    trace.requests = became.iter().take(count).map(|became| (None, Some(reply(became)))).collect();
    (trace.duplicates, trace.mtu) = (answer.duplicates, answer.mtu);
    Ok(())
}
