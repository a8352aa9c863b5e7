//! What a run has open on the network: bounds on its sockets and datagrams, also on those of `std::net`.
//!
//! Of `std::net` Wasmtime does everything, except what is put in its place here: connecting is noted for the story of
//! the run, a socket takes a permit as long as its handle lives, and datagrams are counted. A run that opens nothing
//! pays for nothing of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use roundsman_model::name::PluginName;
use roundsman_model::record::Level;
use roundsman_probe::failure::{Failure, code, phase};
use roundsman_probe::pattern::Scheme;
use roundsman_probe::probe::Probe;
use roundsman_probe::sockets::{Permit, RunSockets};
use roundsman_probe::udp::Budget;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostOutgoingDatagramStream, HostUdpSocket, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::calls::Came;
use crate::state::RunState;

/// Sockets that one run may open one after the other. A closed connection keeps its port for a minute, and a machine has
/// 28,000 of them towards one peer.
const MAX_OPENED: u32 = 1024;
/// Names that one run asks for by `std::net`, in vain or not: it may get 16 answers.
const MAX_LOOK_UPS: u32 = 64;

/// What one run has open, and what it has opened and sent so far.
#[derive(Debug)]
pub(crate) struct Opened {
    plugin: PluginName,
    /// Made when the run first opens something: most runs never do.
    run: Option<RunSockets>,
    /// Of the sockets of `std::net`, by handle.
    permits: BTreeMap<u32, Permit>,
    sockets: u32,
    look_ups: u32,
    pub(crate) datagrams: Budget,
    /// Whether the log says already that a limit was met.
    told: bool,
}

impl Opened {
    pub(crate) fn new(plugin: &PluginName) -> Self {
        Self {
            plugin: plugin.clone(),
            run: None,
            permits: BTreeMap::new(),
            sockets: 0,
            look_ups: 0,
            datagrams: Budget::default(),
            told: false,
        }
    }

    /// Whose run it is.
    pub(crate) fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// The right to have one socket more open, or to start one program more.
    pub(crate) fn open(&mut self, probe: &Probe) -> Result<Permit, Failure> {
        if self.sockets == MAX_OPENED {
            let message = format!("this run has opened {MAX_OPENED} sockets, one after the other: it may open no more");
            return Err(Failure::new(code::LIMIT, phase::POLICY, message));
        }
        let run = self.run.get_or_insert_with(|| probe.sockets().run(&Arc::from(self.plugin.as_str())));
        let permit = run.open()?;
        self.sockets += 1;
        Ok(permit)
    }
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);
type Store<'a> = StoreContextMut<'a, RunState>;

/// Puts functions of our own in the place of Wasmtime's, which must be there already.
pub(super) fn link(linker: &mut Linker<RunState>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap(
        "[method]tcp-socket.start-connect",
        |mut store: Store<'_>,
         (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress)| {
            Ok((store.data_mut().start_connect(socket, network, address)?,))
        },
    )?;
    tcp.func_wrap("[method]tcp-socket.finish-connect", |mut store: Store<'_>, (socket,): (Resource<TcpSocket>,)| {
        Ok((store.data_mut().finish_connect(socket)?,))
    })?;
    tcp.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut store, handle| {
        let state = store.data_mut();
        HostTcpSocket::drop(&mut state.sockets(), Resource::new_own(handle))?;
        state.opened.permits.remove(&handle);
        Ok(())
    })?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        |mut store: Store<'_>, (stream, datagrams): (Resource<OutgoingDatagramStream>, Vec<OutgoingDatagram>)| {
            Ok((store.data_mut().send_datagrams(stream, datagrams)?,))
        },
    )?;
    udp.resource("udp-socket", ResourceType::host::<UdpSocket>(), |mut store, handle| {
        let state = store.data_mut();
        HostUdpSocket::drop(&mut state.sockets(), Resource::new_own(handle))?;
        state.opened.permits.remove(&handle);
        Ok(())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl RunState {
    /// Before a socket of `std::net` is made: a guest could otherwise use up the file descriptors that the agent itself
    /// lives on.
    pub(super) fn room_for_socket(&mut self) -> SocketResult<Permit> {
        let permit = self.opened.open(&self.probe);
        permit.map_err(|failure| {
            self.met_limit(&failure);
            ErrorCode::NewSocketLimit.into()
        })
    }

    /// Before a name is looked up, which takes a socket as well, for as long as it goes on.
    pub(super) fn room_for_look_up(&mut self) -> SocketResult<Permit> {
        let permit = if self.opened.look_ups == MAX_LOOK_UPS {
            let message = format!("this run has looked up {MAX_LOOK_UPS} names: it may look up no more");
            Err(Failure::new(code::LIMIT, phase::POLICY, message))
        } else {
            self.opened.look_ups += 1;
            self.opened.open(&self.probe)
        };
        permit.map_err(|failure| {
            self.met_limit(&failure);
            ErrorCode::TemporaryResolverFailure.into()
        })
    }

    /// The permit of a socket that was made lives as long as its handle.
    pub(super) fn keep_permit<T>(
        &mut self,
        permit: Permit,
        made: SocketResult<Resource<T>>,
    ) -> SocketResult<Resource<T>> {
        let socket = made?;
        self.opened.permits.insert(socket.rep(), permit);
        Ok(socket)
    }

    /// `std::net` has a number for an error and no words: those are for the log, once.
    fn met_limit(&mut self, failure: &Failure) {
        self.probe.stats().socket.count::<()>(&Err(failure.clone()));
        if !std::mem::replace(&mut self.opened.told, true) {
            self.gathered.log(Level::Warn, &format!("limit: {failure}"));
        }
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Result<(), ErrorCode>> {
        let (rep, to) = (socket.rep(), SocketAddr::from(address));
        self.trace.begin(&format!("connect {to}"), Some(rep));
        let address = match self.staged(to) {
            Ok(address) => address.into(),
            Err(code) => {
                self.trace.end_about(rep, Came::to_nothing(words(code)));
                return Ok(Err(code));
            }
        };
        let mut sockets = self.sockets();
        match sockets.start_connect(socket, network, address) {
            Ok(()) => Ok(Ok(())),
            Err(error) => {
                let code = sockets.convert_error_code(error)?;
                self.trace.end_about(rep, Came::to_nothing(words(code)));
                Ok(Err(code))
            }
        }
    }

    /// Where a socket connects to: the address itself, but in the cases of a plugin, whose peers are played.
    fn staged(&self, to: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let Some(script) = self.probe.script() else { return Ok(to) };
        // What is not granted is refused by whoever is asked for the address itself.
        if self.trace.permits(&self.job.assignment.grants, Scheme::Tcp, to).is_err() {
            return Ok(to);
        }
        script.stage(to).map_err(|failure| match failure.code {
            code::TIMEOUT => ErrorCode::Timeout,
            code::RESET => ErrorCode::ConnectionReset,
            code::UNREACHABLE => ErrorCode::RemoteUnreachable,
            _ => ErrorCode::ConnectionRefused,
        })
    }

    fn finish_connect(&mut self, socket: Resource<TcpSocket>) -> Result<Result<Streams, ErrorCode>> {
        let rep = socket.rep();
        let mut sockets = self.sockets();
        match sockets.finish_connect(socket) {
            Ok(streams) => {
                self.trace.end_about(rep, Came::well("connected"));
                Ok(Ok(streams))
            }
            Err(error) => {
                let code = sockets.convert_error_code(error)?;
                if code != ErrorCode::WouldBlock {
                    self.trace.end_about(rep, Came::to_nothing(words(code)));
                }
                Ok(Err(code))
            }
        }
    }

    /// Sends as many as the run may still send.
    fn send_datagrams(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
        mut datagrams: Vec<OutgoingDatagram>,
    ) -> Result<Result<u64, ErrorCode>> {
        if !datagrams.is_empty() {
            let left = match self.opened.datagrams.left() {
                Ok(left) => left,
                Err(failure) => {
                    self.met_limit(&failure);
                    return Ok(Err(ErrorCode::AccessDenied));
                }
            };
            datagrams.truncate(left.try_into().unwrap_or(usize::MAX));
        }
        let mut sockets = self.sockets();
        match HostOutgoingDatagramStream::send(&mut sockets, stream, datagrams) {
            Ok(sent) => {
                self.opened.datagrams.spend(u32::try_from(sent).unwrap_or(u32::MAX));
                Ok(Ok(sent))
            }
            Err(error) => Ok(Err(sockets.convert_error_code(error)?)),
        }
    }
}

/// WASI's own words are those of its WIT: `connection-refused`.
fn words(code: ErrorCode) -> String {
    code.name().replace('-', " ")
}
