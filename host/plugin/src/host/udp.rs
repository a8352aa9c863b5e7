//! `roundsman:net/udp`: exchanges of datagrams as handles, on top of `probe::udp`.

use std::time::Duration;

use roundsman_probe::udp::{self as probe, MAX_RECEIVE};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::net::{types, udp};
use crate::calls::nanoseconds;
use crate::host::watch::Watch;
use crate::state::RunState;

/// An exchange that a guest draws up, or has.
#[derive(Debug)]
pub struct Exchange {
    exchange: probe::Exchange,
    /// For people: `udp://ntp.example:123`.
    what: String,
    /// Bytes that are charged to the run as long as the handle lives.
    held: usize,
}

type Told<T> = std::result::Result<T, types::Failure>;

impl udp::Host for RunState {}

impl udp::HostExchange for RunState {
    fn new(&mut self, address: String) -> Result<Resource<Exchange>> {
        let held = address.len();
        self.limiter.hold(held)?;
        let exchange = probe::Exchange::new(&address);
        let what = format!("udp://{address}");
        Ok(self.table.push(Exchange { exchange, what, held })?)
    }

    fn set_timeout_ns(&mut self, exchange: Resource<Exchange>, nanoseconds: u64) -> Result<()> {
        self.table.get_mut(&exchange)?.exchange.set_timeout(Duration::from_nanos(nanoseconds));
        Ok(())
    }

    fn set_address_family(&mut self, exchange: Resource<Exchange>, family: String) -> Result<()> {
        self.table.get_mut(&exchange)?.exchange.set_address_family(&family);
        Ok(())
    }

    fn set_source_address(&mut self, exchange: Resource<Exchange>, address: String) -> Result<()> {
        self.table.get_mut(&exchange)?.exchange.set_source_address(&address);
        Ok(())
    }

    fn set_option(&mut self, exchange: Resource<Exchange>, name: String, value: String) -> Result<Told<()>> {
        let result = self.table.get_mut(&exchange)?.exchange.set_option(&name, &value);
        let before = self.trace.dialled();
        Ok(self.told(before, result))
    }

    async fn send(&mut self, exchange: Resource<Exchange>, datagram: Vec<u8>) -> Result<Told<()>> {
        let Exchange { exchange: call, what, .. } = self.table.get_mut(&exchange)?;
        let right = self.opened.datagrams.left().and_then(|_| match call.is_open() {
            true => Ok(None),
            false => self.opened.open(&self.probe).map(Some),
        });
        let permit = match right {
            Ok(permit) => permit,
            Err(failure) => {
                let before = self.trace.dialled();
                return Ok(self.told(before, Err(failure)));
            }
        };
        let grants = self.job.assignment.grants.clone();
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::quietly(&self.trace, format!("send to {what}"), call);
        let result = self.probe.udp_send(&grants, watch.subject, permit, &datagram, self.host_deadline).await;
        watch.end(&result, |_, ()| String::new());
        if result.is_ok() {
            self.opened.datagrams.spend(1);
        }
        Ok(self.told(before, result))
    }

    async fn receive(&mut self, exchange: Resource<Exchange>, max_bytes: u32) -> Result<Told<udp::Datagram>> {
        let room = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MAX_RECEIVE);
        self.limiter.hold(room)?;
        let Exchange { exchange: call, what, .. } = self.table.get_mut(&exchange)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::begin(&self.trace, format!("receive from {what}"), call);
        let result = self.probe.udp_receive(watch.subject, room, self.host_deadline).await;
        watch.end(&result, |_, datagram| format!("{} bytes", datagram.bytes.len()));
        self.limiter.release(room);
        let result = result.map(|probe::Datagram { bytes, after, at_ns }| udp::Datagram {
            bytes,
            after_ns: nanoseconds(after),
            at_ns,
        });
        Ok(self.told(before, result))
    }

    fn timing_ns(&mut self, exchange: Resource<Exchange>, phase: String) -> Result<Option<u64>> {
        Ok(self.table.get(&exchange)?.exchange.timing(&phase).map(nanoseconds))
    }

    fn peer_address(&mut self, exchange: Resource<Exchange>) -> Result<Option<String>> {
        Ok(self.table.get(&exchange)?.exchange.peer().map(|peer| peer.to_string()))
    }

    fn fact(&mut self, exchange: Resource<Exchange>, name: String) -> Result<Option<String>> {
        Ok(self.table.get(&exchange)?.exchange.fact(&name))
    }

    fn drop(&mut self, exchange: Resource<Exchange>) -> Result<()> {
        let exchange = self.table.delete(exchange)?;
        self.limiter.release(exchange.held);
        Ok(())
    }
}
