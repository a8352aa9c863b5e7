//! `roundsman:net/icmp`: echo requests as handles, on top of `probe::icmp`.

use std::time::Duration;

use roundsman_probe::failure::{Failure, code, phase};
use roundsman_probe::icmp as probe;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::net::{icmp, types};
use crate::calls::{Came, nanoseconds};
use crate::host::explain;
use crate::host::noted::Noted;
use crate::state::RunState;

/// Echo requests that a guest draws up, and what became of those of the last `send`.
#[derive(Debug)]
pub struct Echo {
    echo: probe::Echo,
    /// Bytes that are charged to the run as long as the handle lives.
    held: usize,
    seen: Option<probe::Exchange>,
}

type Told<T> = std::result::Result<T, types::Failure>;

impl RunState {
    fn draw_up_echo(&mut self, echo: &Resource<Echo>, change: impl FnOnce(&mut probe::Echo)) -> Result<()> {
        change(&mut self.table.get_mut(echo)?.echo);
        Ok(())
    }

    fn seen_of(&mut self, echo: &Resource<Echo>) -> Result<Option<&probe::Exchange>> {
        Ok(self.table.get(echo)?.seen.as_ref())
    }
}

fn came(exchange: &probe::Exchange) -> Came {
    let (result, failed) = match &exchange.result {
        Ok(()) => (format!("{} of {} answered", exchange.answered(), exchange.replies.len()), exchange.answered() == 0),
        Err(failure) => (explain(failure), true),
    };
    let phases = exchange.phases().map(|(phase, time)| (phase.to_owned(), nanoseconds(time))).collect();
    Came { result, failed, phases }
}

impl icmp::Host for RunState {}

impl icmp::HostEcho for RunState {
    fn new(&mut self, address: String) -> Result<Resource<Echo>> {
        let held = address.len();
        self.limiter.hold(held)?;
        Ok(self.table.push(Echo { echo: probe::Echo::new(&address), held, seen: None })?)
    }

    fn set_count(&mut self, echo: Resource<Echo>, count: u32) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_count(count))
    }

    fn set_interval_ns(&mut self, echo: Resource<Echo>, nanoseconds: u64) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_interval(Duration::from_nanos(nanoseconds)))
    }

    fn set_size(&mut self, echo: Resource<Echo>, bytes: u32) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_size(bytes))
    }

    fn set_ttl(&mut self, echo: Resource<Echo>, hops: u8) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_ttl(hops))
    }

    fn set_dont_fragment(&mut self, echo: Resource<Echo>, wanted: bool) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_dont_fragment(wanted))
    }

    fn set_address_family(&mut self, echo: Resource<Echo>, family: String) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_address_family(&family))
    }

    fn set_source_address(&mut self, echo: Resource<Echo>, address: String) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_source_address(&address))
    }

    fn set_timeout_ns(&mut self, echo: Resource<Echo>, nanoseconds: u64) -> Result<()> {
        self.draw_up_echo(&echo, |e| e.set_timeout(Duration::from_nanos(nanoseconds)))
    }

    fn set_option(&mut self, echo: Resource<Echo>, name: String, value: String) -> Result<Told<()>> {
        let result = self.table.get_mut(&echo)?.echo.set_option(&name, &value);
        let before = self.trace.dialled();
        Ok(self.told(before, result))
    }

    async fn send(&mut self, echo: Resource<Echo>) -> Result<Told<()>> {
        let Echo { echo: asked, .. } = self.table.get(&echo)?;
        let before = self.trace.dial(Some(asked.destination()));
        let what = format!("{} echo requests to {}", asked.count(), asked.destination());
        let cut = |trace: probe::Trace| came(&trace.cut());
        let mut noted = Noted::begin(&self.trace, &what, probe::Trace::begin(), cut);
        let right = self.opened.datagrams.left().and_then(|left| {
            if asked.count() > left {
                let message = format!("this run may send {left} datagrams more, and these are {}", asked.count());
                return Err(Failure::new(code::LIMIT, phase::POLICY, message));
            }
            self.opened.open(&self.probe)
        });
        let result = match right {
            Ok(_permit) => {
                let grants = &self.job.assignment.grants;
                self.probe.icmp_traced(grants, asked, self.host_deadline, noted.course()).await
            }
            Err(failure) => {
                let result = Err(failure);
                self.probe.stats().icmp.count(&result);
                result
            }
        };
        let exchange = noted.end(|trace| trace.finish(result), came);
        self.opened.datagrams.spend(u32::try_from(exchange.replies.len()).unwrap_or(u32::MAX));
        let result = exchange.result.clone();
        self.table.get_mut(&echo)?.seen = Some(exchange);
        Ok(self.told(before, result))
    }

    fn results(&mut self, echo: Resource<Echo>) -> Result<Vec<icmp::Reply>> {
        let reply = |reply: &probe::Reply| icmp::Reply {
            round_trip_ns: reply.round_trip.map(nanoseconds),
            kind: reply.kind.as_str().to_owned(),
            from: reply.from.map(|from| from.to_string()),
            ttl: reply.ttl,
        };
        Ok(self.seen_of(&echo)?.map(|seen| seen.replies.iter().map(reply).collect()).unwrap_or_default())
    }

    fn duplicates(&mut self, echo: Resource<Echo>) -> Result<u32> {
        Ok(self.seen_of(&echo)?.map_or(0, |seen| seen.duplicates))
    }

    fn timing_ns(&mut self, echo: Resource<Echo>, phase: String) -> Result<Option<u64>> {
        Ok(self.seen_of(&echo)?.and_then(|seen| seen.timing(&phase)).map(nanoseconds))
    }

    fn peer_address(&mut self, echo: Resource<Echo>) -> Result<Option<String>> {
        Ok(self.seen_of(&echo)?.and_then(|seen| seen.peer).map(|peer| peer.to_string()))
    }

    fn fact(&mut self, echo: Resource<Echo>, name: String) -> Result<Option<String>> {
        Ok(self.seen_of(&echo)?.and_then(|seen| seen.fact(&name)).map(str::to_owned))
    }

    fn drop(&mut self, echo: Resource<Echo>) -> Result<()> {
        let echo = self.table.delete(echo)?;
        self.limiter.release(echo.held);
        Ok(())
    }
}
