//! One request that a script answers in place of the network.

use std::net::SocketAddr;

use super::Response;
use super::call::Call;
use super::trace::Trace;
use crate::failure::Failure;
use crate::script::Script;
use crate::script::http::Asked;

/// As `hop::hop`, once the grants have allowed the addresses.
pub(super) fn hop(
    script: &Script,
    call: &Call,
    max_body: usize,
    addresses: &[SocketAddr],
    trace: &mut Trace,
) -> Result<Response, Failure> {
    let url = call.url.to_string();
    let asked = Asked { method: call.method.as_str(), url, headers: &call.headers, body: &call.body };
    let answer = script.http(&asked)?;
    trace.tell(answer, addresses.first().copied());
    let reply = answer.reply.as_ref().map_err(|told| told.failure())?;
    let kept = reply.body.len().min(max_body);
    Ok(Response {
        status: reply.status,
        version: reply.version,
        headers: reply.headers.clone(),
        body: reply.body.slice(..kept),
        trailers: reply.trailers.clone(),
        truncated: kept < reply.body.len(),
    })
}
