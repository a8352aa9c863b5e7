//! Name look-up for `std::net`: only names that are granted, by the agent's resolver, within the run's deadline.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use roundsman_probe::failure::{Failure, code};
use roundsman_probe::grants::Seen;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, subscribe};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::bindings::wasi::sockets::ip_name_lookup::{Host, HostResolveAddressStream};
use crate::calls::Came;
use crate::host::explain;
use crate::state::RunState;

/// A look-up under way, or its answer.
pub struct Addresses(Progress);

enum Progress {
    /// Goes on only while the guest waits for it.
    Asked(Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ErrorCode>> + Send>>),
    Answered(Result<std::vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Host for RunState {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<Addresses>, SocketError> {
        self.table.get(&network)?;
        let permit = self.room_for_look_up()?;
        let (probe, grants) = (self.probe.clone(), self.job.assignment.grants.clone());
        let (trace, deadline) = (self.trace.clone(), self.host_deadline);
        let call = trace.begin(&format!("look up {name}"), None);
        let asked = Box::pin(async move {
            let _open = permit;
            let mut seen = Seen::default();
            let answer = probe.lookup(&grants, &name, deadline, &mut seen).await;
            trace.end(call, came(&answer));
            match answer {
                Ok(addresses) if trace.saw(seen) => Ok(addresses),
                Ok(_) => Err(ErrorCode::TemporaryResolverFailure),
                Err(failure) => {
                    if failure.code == code::DENIED {
                        trace.deny(&failure);
                    }
                    Err(code_of(&failure))
                }
            }
        });
        Ok(self.table.push(Addresses(Progress::Asked(asked)))?)
    }
}

/// Our look-up fails with the errors of WASI's own sockets.
impl network::Host for RunState {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        self.sockets().convert_error_code(error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime_wasi::p2::IoError>) -> Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for RunState {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

fn came(answer: &std::result::Result<Vec<IpAddr>, Failure>) -> Came {
    match answer {
        Ok(addresses) => Came::well(format!("{} addresses", addresses.len())),
        Err(failure) => Came::to_nothing(explain(failure)),
    }
}

fn code_of(failure: &Failure) -> ErrorCode {
    match failure.code {
        code::DENIED => ErrorCode::AccessDenied,
        code::INVALID => ErrorCode::InvalidArgument,
        code::TIMEOUT => ErrorCode::TemporaryResolverFailure,
        _ => ErrorCode::NameUnresolvable,
    }
}

impl HostResolveAddressStream for RunState {
    fn resolve_next_address(&mut self, stream: Resource<Addresses>) -> Result<Option<IpAddress>, SocketError> {
        match &mut self.table.get_mut(&stream)?.0 {
            Progress::Asked(_) => Err(ErrorCode::WouldBlock.into()),
            Progress::Answered(Err(code)) => Err((*code).into()),
            Progress::Answered(Ok(addresses)) => Ok(addresses.next().map(Into::into)),
        }
    }

    fn subscribe(&mut self, stream: Resource<Addresses>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, stream)
    }

    fn drop(&mut self, stream: Resource<Addresses>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let Progress::Asked(asked) = &mut self.0 {
            self.0 = Progress::Answered(asked.await.map(Vec::into_iter));
        }
    }
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Addresses")
    }
}
