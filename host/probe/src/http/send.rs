//! A call from its request to its exchange: the deadline around it, the redirects within.

use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::hop::Hop;
use super::trace::Trace;
use super::{Exchange, Request, Response};
use crate::failure::Failure;
use crate::grants::Grants;
use crate::probe::Probe;

impl Probe {
    /// Sends a request, on a new connection for each hop, and tells what came of it until the deadline. Every hop is
    /// checked against the grants, and only addresses that were checked are dialled. One connection is open at a time:
    /// whoever calls holds one `sockets::Permit`.
    pub async fn http(&self, grants: &Grants, request: &Request, deadline: Instant) -> Exchange {
        let mut trace = Trace::begin();
        let result = self.http_traced(grants, request, deadline, &mut trace).await;
        trace.finish(result)
    }

    /// The same, for those who want to know how far a call came that they drop before its end: by `Trace::cut`.
    pub async fn http_traced(
        &self,
        grants: &Grants,
        request: &Request,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<Response, Failure> {
        let own = request.timeout.and_then(|timeout| trace.begun().checked_add(timeout));
        let deadline = own.map_or(deadline, |own| own.min(deadline));
        // Boxed once here, so that the futures of callers stay small.
        let call = Box::pin(self.follow(grants, request, trace, deadline));
        let result = match timeout_at(deadline, call).await {
            Ok(result) => result,
            Err(_) => Err(trace.timed_out()),
        };
        self.stats().http.count(&result);
        result
    }

    async fn follow(
        &self,
        grants: &Grants,
        request: &Request,
        trace: &mut Trace,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let mut call = Call::of(request)?;
        loop {
            trace.begin_hop(call.url.to_string());
            let follow = trace.facts.redirects < request.max_redirects;
            let hop = Hop { probe: self, grants, request, follow, deadline };
            let answer = hop.make(&mut call, trace).await?;
            let next = if follow { call.after(&answer, request)? } else { None };
            match next {
                Some(next) => call = next,
                None => return Ok(answer),
            }
            trace.facts.redirects += 1;
        }
    }
}
