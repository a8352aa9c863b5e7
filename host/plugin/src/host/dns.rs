//! `roundsman:net/dns`: questions and answers as handles, on top of `probe::dns`.

use std::time::Duration;

use roundsman_probe::dns as probe;
use roundsman_probe::failure::Failure;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::net::{dns, types};
use crate::calls::{Came, nanoseconds};
use crate::host::explain;
use crate::host::http::Certificate;
use crate::host::noted::Noted;
use crate::state::RunState;

/// A question that a guest draws up, and what its last `send` saw.
#[derive(Debug)]
pub struct Query {
    query: probe::Query,
    /// Bytes that are charged to the run as long as the handle lives.
    held: usize,
    seen: Option<probe::Exchange>,
}

/// What a server said; the second is what is charged to the run as long as the handle lives.
#[derive(Debug)]
pub struct Answer(probe::Answer, usize);

type Told<T> = std::result::Result<T, types::Failure>;

impl RunState {
    /// Changes a question that is being drawn up, which may grow by so many bytes.
    fn draw_up_query(
        &mut self,
        query: &Resource<Query>,
        more: usize,
        change: impl FnOnce(&mut probe::Query),
    ) -> Result<()> {
        let query = self.table.get_mut(query)?;
        self.limiter.hold(more)?;
        query.held += more;
        change(&mut query.query);
        Ok(())
    }

    fn seen(&mut self, query: &Resource<Query>) -> Result<Option<&probe::Exchange>> {
        Ok(self.table.get(query)?.seen.as_ref())
    }
}

fn came(exchange: &probe::Exchange) -> Came {
    let (result, failed) = match &exchange.result {
        Ok(answer) => {
            let transport = exchange.fact("transport").unwrap_or_default();
            (format!("{}, {} records, {} bytes by {transport}", answer.rcode, answer.answer.len(), answer.bytes), false)
        }
        Err(failure) => (explain(failure), true),
    };
    let phases = exchange.phases().map(|(phase, time)| (phase.to_owned(), nanoseconds(time))).collect();
    Came { result, failed, phases }
}

impl dns::Host for RunState {}

impl dns::HostQuery for RunState {
    fn new(&mut self, name: String, kind: String) -> Result<Resource<Query>> {
        let held = name.len() + kind.len();
        self.limiter.hold(held)?;
        Ok(self.table.push(Query { query: probe::Query::new(&name, &kind), held, seen: None })?)
    }

    fn set_server(&mut self, query: Resource<Query>, address: String) -> Result<()> {
        self.draw_up_query(&query, address.len(), |q| q.set_server(&address))
    }

    fn set_transport(&mut self, query: Resource<Query>, name: String) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_transport(&name))
    }

    fn set_recursion(&mut self, query: Resource<Query>, wanted: bool) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_recursion(wanted))
    }

    fn set_dnssec(&mut self, query: Resource<Query>, wanted: bool) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_dnssec(wanted))
    }

    fn set_address_family(&mut self, query: Resource<Query>, family: String) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_address_family(&family))
    }

    fn set_timeout_ns(&mut self, query: Resource<Query>, nanoseconds: u64) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_timeout(Duration::from_nanos(nanoseconds)))
    }

    fn set_server_name(&mut self, query: Resource<Query>, name: String) -> Result<()> {
        self.draw_up_query(&query, name.len(), |q| q.set_server_name(&name))
    }

    fn set_verify_certificate(&mut self, query: Resource<Query>, verify: bool) -> Result<()> {
        self.draw_up_query(&query, 0, |q| q.set_verify_certificate(verify))
    }

    fn set_certificate_authority(&mut self, query: Resource<Query>, secret: String) -> Result<()> {
        self.draw_up_query(&query, secret.len(), |q| q.set_certificate_authority(&secret))
    }

    fn set_option(&mut self, query: Resource<Query>, name: String, value: String) -> Result<Told<()>> {
        let result = self.table.get_mut(&query)?.query.set_option(&name, &value);
        let before = self.trace.dialled();
        Ok(self.told(before, result))
    }

    async fn send(&mut self, query: Resource<Query>) -> Result<Told<Resource<Answer>>> {
        let Query { query: asked, .. } = self.table.get(&query)?;
        let before = self.trace.dial(Some(asked.destination()));
        let cut = |trace: probe::Trace| came(&trace.cut());
        let mut noted = Noted::begin(&self.trace, &asked.brief(), probe::Trace::begin(), cut);
        let right = self.opened.datagrams.left().and_then(|_| self.opened.open(&self.probe));
        let result = match right {
            // One socket is open at a time, however many servers are asked.
            Ok(_permit) => {
                let grants = &self.job.assignment.grants;
                self.probe.dns_traced(grants, asked, self.host_deadline, noted.course()).await
            }
            Err(failure) => {
                let result = Err(failure);
                self.probe.stats().dns.count(&result);
                result
            }
        };
        let mut exchange = noted.end(|trace| trace.finish(result), came);
        let attempts = exchange.fact("attempts").and_then(|count| count.parse().ok()).unwrap_or(0);
        self.opened.datagrams.spend(attempts);
        // The answer goes into a handle of its own; what was seen on the way stays with the question.
        let gone = Failure::new(roundsman_probe::failure::code::CLOSED, "", "taken");
        let result = std::mem::replace(&mut exchange.result, Err(gone));
        self.table.get_mut(&query)?.seen = Some(exchange);
        match self.told(before, result) {
            Ok(answer) => {
                let held = answer.size();
                self.limiter.hold(held)?;
                Ok(Ok(self.table.push(Answer(answer, held))?))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn timing_ns(&mut self, query: Resource<Query>, phase: String) -> Result<Option<u64>> {
        Ok(self.seen(&query)?.and_then(|seen| seen.timing(&phase)).map(nanoseconds))
    }

    fn peer_address(&mut self, query: Resource<Query>) -> Result<Option<String>> {
        Ok(self.seen(&query)?.and_then(|seen| seen.peer).map(|peer| peer.to_string()))
    }

    fn certificates(&mut self, query: Resource<Query>) -> Result<Vec<Resource<Certificate>>> {
        let chain = self.seen(&query)?.map(|seen| seen.certificates.clone()).unwrap_or_default();
        chain.into_iter().map(|certificate| Ok(self.table.push(Certificate(certificate))?)).collect()
    }

    fn fact(&mut self, query: Resource<Query>, name: String) -> Result<Option<String>> {
        Ok(self.seen(&query)?.and_then(|seen| seen.fact(&name)).map(str::to_owned))
    }

    fn drop(&mut self, query: Resource<Query>) -> Result<()> {
        let query = self.table.delete(query)?;
        self.limiter.release(query.held);
        Ok(())
    }
}

impl dns::HostAnswer for RunState {
    fn rcode(&mut self, answer: Resource<Answer>) -> Result<String> {
        Ok(self.table.get(&answer)?.0.rcode.clone())
    }

    fn flag(&mut self, answer: Resource<Answer>, name: String) -> Result<bool> {
        Ok(self.table.get(&answer)?.0.flag(&name))
    }

    fn records(&mut self, answer: Resource<Answer>, section: String) -> Result<Vec<dns::Entry>> {
        let entry = |entry: &probe::Entry| {
            let probe::Entry { name, kind, ttl_s, text } = entry.clone();
            dns::Entry { name, kind, ttl_s, text }
        };
        Ok(self.table.get(&answer)?.0.records(&section).iter().map(entry).collect())
    }

    fn bytes(&mut self, answer: Resource<Answer>) -> Result<u32> {
        Ok(self.table.get(&answer)?.0.bytes)
    }

    fn drop(&mut self, answer: Resource<Answer>) -> Result<()> {
        let answer = self.table.delete(answer)?;
        self.limiter.release(answer.1);
        Ok(())
    }
}
