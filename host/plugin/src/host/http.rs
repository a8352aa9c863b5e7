//! `roundsman:net/http`: requests and responses as handles, on top of `probe::http`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roundsman_probe::failure::{Failure, code};
use roundsman_probe::{certificate, http as probe};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::net::{http, types};
use crate::calls::{CallId, Came, nanoseconds};
use crate::host::explain;
use crate::state::RunState;
use crate::trace::Trace;

/// A request that a guest draws up, and what its last `send` saw.
#[derive(Debug)]
pub struct Request {
    /// Shared with the call under way: a guest keeps nothing waiting by changing it.
    request: Arc<probe::Request>,
    /// For the record: what is being asked.
    what: String,
    /// Bytes that are charged to the run as long as the handle lives.
    held: usize,
    seen: Seen,
}

/// What is known of the last `send`, whether it succeeded or not.
#[derive(Debug, Default)]
struct Seen {
    timings: probe::Timings,
    peer: Option<SocketAddr>,
    certificates: Vec<Arc<certificate::Certificate>>,
    facts: probe::Facts,
}

/// What came back; the second is what is charged to the run as long as the handle lives.
#[derive(Debug)]
pub struct Response(probe::Response, usize);

/// One certificate of a chain.
#[derive(Debug)]
pub struct Certificate(pub(super) Arc<certificate::Certificate>);

impl RunState {
    /// Changes a request that is being drawn up, which may grow by so many bytes.
    fn draw_up(
        &mut self,
        request: &Resource<Request>,
        more: usize,
        change: impl FnOnce(&mut probe::Request),
    ) -> Result<()> {
        let request = self.table.get_mut(request)?;
        self.limiter.hold(more)?;
        request.held += more;
        change(Arc::make_mut(&mut request.request));
        Ok(())
    }

    /// Takes note of how a call ended: what was refused or never begun was not dialled.
    fn note(&mut self, before: Option<String>, failed: &Failure) {
        match failed.code {
            code::DENIED => {
                self.trace.dial(before);
                self.trace.deny(failed);
            }
            code::INVALID | code::LIMIT | code::UNSUPPORTED | code::SECRET => {
                self.trace.dial(before);
            }
            _ => {}
        }
    }
}

/// What a response keeps in memory.
fn size_of(response: &probe::Response) -> usize {
    let headers = response.headers.iter().chain(&response.trailers);
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
    response.body.len() + headers.sum::<usize>()
}

/// A call under way. A run that is cut drops it where it stands, which is then noted with its phase.
struct Watched {
    trace: Trace,
    id: CallId,
    course: Option<probe::Trace>,
}

impl Watched {
    fn begin(trace: &Trace, call: &probe::Request) -> Self {
        Self { trace: trace.clone(), id: trace.begin(&call.brief(), None), course: Some(probe::Trace::begin()) }
    }

    fn course(&mut self) -> &mut probe::Trace {
        self.course.get_or_insert_with(probe::Trace::begin)
    }

    fn end(mut self, result: std::result::Result<probe::Response, Failure>) -> probe::Exchange {
        let exchange = self.course.take().unwrap_or_else(probe::Trace::begin).finish(result);
        self.trace.end(self.id, came(&exchange));
        exchange
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(course) = self.course.take() {
            self.trace.end(self.id, came(&course.cut()));
        }
    }
}

fn came(exchange: &probe::Exchange) -> Came {
    let (result, failed) = match &exchange.result {
        Ok(response) => (response.status.to_string(), false),
        Err(failure) => (explain(failure), true),
    };
    let phases = exchange.phases().map(|(phase, time)| (phase.to_owned(), nanoseconds(time))).collect();
    Came { result, failed, phases }
}

impl http::Host for RunState {}
impl types::Host for RunState {}

impl http::HostRequest for RunState {
    fn new(&mut self, method: String, url: String) -> Result<Resource<Request>> {
        let held = method.len() + url.len();
        self.limiter.hold(held)?;
        let (request, what) = (Arc::new(probe::Request::new(&method, &url)), roundsman_model::name::excerpt(&url));
        Ok(self.table.push(Request { request, what, held, seen: Seen::default() })?)
    }

    fn add_header(&mut self, request: Resource<Request>, name: String, value: Vec<u8>) -> Result<()> {
        self.draw_up(&request, name.len() + value.len(), |r| r.add_header(&name, &value))
    }

    fn set_body(&mut self, request: Resource<Request>, body: Vec<u8>) -> Result<()> {
        self.draw_up(&request, body.len(), |r| r.set_body(body))
    }

    fn set_max_body(&mut self, request: Resource<Request>, bytes: u32) -> Result<()> {
        self.draw_up(&request, 0, |r| r.set_max_body(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }

    fn set_max_redirects(&mut self, request: Resource<Request>, count: u32) -> Result<()> {
        self.draw_up(&request, 0, |r| r.set_max_redirects(count))
    }

    fn set_timeout_ns(&mut self, request: Resource<Request>, nanoseconds: u64) -> Result<()> {
        self.draw_up(&request, 0, |r| r.set_timeout(Duration::from_nanos(nanoseconds)))
    }

    fn set_verify_certificate(&mut self, request: Resource<Request>, verify: bool) -> Result<()> {
        self.draw_up(&request, 0, |r| r.set_verify_certificate(verify))
    }

    fn set_server_name(&mut self, request: Resource<Request>, name: String) -> Result<()> {
        self.draw_up(&request, name.len(), |r| r.set_server_name(&name))
    }

    fn set_address_family(&mut self, request: Resource<Request>, family: String) -> Result<()> {
        self.draw_up(&request, family.len(), |r| r.set_address_family(&family))
    }

    fn set_source_address(&mut self, request: Resource<Request>, address: String) -> Result<()> {
        self.draw_up(&request, address.len(), |r| r.set_source_address(&address))
    }

    fn set_connect_to(&mut self, request: Resource<Request>, address: String) -> Result<()> {
        self.draw_up(&request, address.len(), |r| r.set_connect_to(&address))
    }

    fn set_unix_socket(&mut self, request: Resource<Request>, path: String) -> Result<()> {
        self.draw_up(&request, path.len(), |r| r.set_unix_socket(&path))
    }

    fn set_version(&mut self, request: Resource<Request>, version: String) -> Result<()> {
        self.draw_up(&request, version.len(), |r| r.set_version(&version))
    }

    fn set_certificate_authority(&mut self, request: Resource<Request>, secret: String) -> Result<()> {
        self.draw_up(&request, secret.len(), |r| r.set_certificate_authority(&secret))
    }

    fn set_client_certificate(&mut self, request: Resource<Request>, secret: String) -> Result<()> {
        self.draw_up(&request, secret.len(), |r| r.set_client_certificate(&secret))
    }

    fn set_credentials(&mut self, request: Resource<Request>, secret: String) -> Result<()> {
        self.draw_up(&request, secret.len(), |r| r.set_credentials(&secret))
    }

    fn set_option(
        &mut self,
        request: Resource<Request>,
        name: String,
        value: String,
    ) -> Result<Result<(), types::Failure>> {
        let request = &mut self.table.get_mut(&request)?.request;
        Ok(Arc::make_mut(request).set_option(&name, &value).map_err(failure))
    }

    async fn send(&mut self, request: Resource<Request>) -> Result<Result<Resource<Response>, types::Failure>> {
        let Request { request: call, what, .. } = self.table.get(&request)?;
        let (call, before) = (call.clone(), self.trace.dial(Some(what.clone())));
        let mut watched = Watched::begin(&self.trace, &call);
        // One connection is open at a time, however many redirects there are.
        let result = match self.opened.open(&self.probe) {
            Ok(_permit) => {
                let grants = &self.job.assignment.grants;
                self.probe.http_traced(grants, &call, self.host_deadline, watched.course()).await
            }
            Err(failure) => {
                let result = Err(failure);
                self.probe.stats().http.count(&result);
                result
            }
        };
        let exchange = watched.end(result);
        let seen = &mut self.table.get_mut(&request)?.seen;
        seen.timings = exchange.timings;
        seen.peer = exchange.peer;
        seen.certificates = exchange.certificates;
        seen.facts = exchange.facts;
        match exchange.result {
            Ok(response) => {
                let held = size_of(&response);
                self.limiter.hold(held)?;
                Ok(Ok(self.table.push(Response(response, held))?))
            }
            Err(failed) => {
                self.note(before, &failed);
                Ok(Err(failure(failed)))
            }
        }
    }

    fn timing_ns(&mut self, request: Resource<Request>, phase: String) -> Result<Option<u64>> {
        let timing = self.table.get(&request)?.seen.timings.get(&phase);
        Ok(timing.map(|timing| u64::try_from(timing.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn peer_address(&mut self, request: Resource<Request>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.seen.peer.map(|peer| peer.to_string()))
    }

    fn certificates(&mut self, request: Resource<Request>) -> Result<Vec<Resource<Certificate>>> {
        let chain = self.table.get(&request)?.seen.certificates.clone();
        chain.into_iter().map(|certificate| Ok(self.table.push(Certificate(certificate))?)).collect()
    }

    fn fact(&mut self, request: Resource<Request>, name: String) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.seen.facts.get(&name))
    }

    fn drop(&mut self, request: Resource<Request>) -> Result<()> {
        let request = self.table.delete(request)?;
        self.limiter.release(request.held);
        Ok(())
    }
}

impl http::HostResponse for RunState {
    fn status(&mut self, response: Resource<Response>) -> Result<u16> {
        Ok(self.table.get(&response)?.0.status)
    }

    fn version(&mut self, response: Resource<Response>) -> Result<String> {
        Ok(self.table.get(&response)?.0.version.to_owned())
    }

    fn header(&mut self, response: Resource<Response>, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(self.table.get(&response)?.0.header(&name).map(<[u8]>::to_vec).collect())
    }

    fn headers(&mut self, response: Resource<Response>) -> Result<Vec<(String, Vec<u8>)>> {
        let headers = &self.table.get(&response)?.0.headers;
        Ok(headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
    }

    fn body(&mut self, response: Resource<Response>) -> Result<Vec<u8>> {
        Ok(self.table.get(&response)?.0.body.to_vec())
    }

    fn trailer(&mut self, response: Resource<Response>, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(self.table.get(&response)?.0.trailer(&name).map(<[u8]>::to_vec).collect())
    }

    fn body_truncated(&mut self, response: Resource<Response>) -> Result<bool> {
        Ok(self.table.get(&response)?.0.truncated)
    }

    fn drop(&mut self, response: Resource<Response>) -> Result<()> {
        let response = self.table.delete(response)?;
        self.limiter.release(response.1);
        Ok(())
    }
}

impl types::HostCertificate for RunState {
    fn subject(&mut self, certificate: Resource<Certificate>) -> Result<String> {
        Ok(self.table.get(&certificate)?.0.subject().to_owned())
    }

    fn issuer(&mut self, certificate: Resource<Certificate>) -> Result<String> {
        Ok(self.table.get(&certificate)?.0.issuer().to_owned())
    }

    fn names(&mut self, certificate: Resource<Certificate>) -> Result<Vec<String>> {
        Ok(self.table.get(&certificate)?.0.names().to_vec())
    }

    fn not_before(&mut self, certificate: Resource<Certificate>) -> Result<i64> {
        Ok(self.table.get(&certificate)?.0.not_before())
    }

    fn not_after(&mut self, certificate: Resource<Certificate>) -> Result<i64> {
        Ok(self.table.get(&certificate)?.0.not_after())
    }

    fn serial(&mut self, certificate: Resource<Certificate>) -> Result<String> {
        Ok(self.table.get(&certificate)?.0.serial().to_owned())
    }

    fn sha256(&mut self, certificate: Resource<Certificate>) -> Result<Vec<u8>> {
        Ok(self.table.get(&certificate)?.0.sha256().to_vec())
    }

    fn der(&mut self, certificate: Resource<Certificate>) -> Result<Vec<u8>> {
        Ok(self.table.get(&certificate)?.0.der().to_vec())
    }

    fn drop(&mut self, certificate: Resource<Certificate>) -> Result<()> {
        self.table.delete(certificate)?;
        Ok(())
    }
}

fn failure(failure: Failure) -> types::Failure {
    types::Failure { code: failure.code.to_owned(), phase: failure.phase.to_owned(), message: failure.message }
}
