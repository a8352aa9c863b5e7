//! WASI 0.2 for ordinary guest code, without wasi:http: one way out, one policy.
//!
//! It is Wasmtime's, except for what it does not bound or tell: names are looked up by our own resolver (`lookup`),
//! files are fenced (`files`), sockets and datagrams are counted (`connect`), and we know whether a guest waits for the
//! network or is asleep.

use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::p2::bindings::sockets::network::{self, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
use wasmtime_wasi::p2::{DynPollable, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use crate::bindings::wasi::sockets::ip_name_lookup;
use crate::state::RunState;

pub(super) fn link(l: &mut Linker<RunState>) -> Result<()> {
    type S = RunState;
    type Own = HasSelf<RunState>;
    error::add_to_linker::<S, Table>(l, |s| &mut s.table)?;
    streams::add_to_linker::<S, Table>(l, |s| &mut s.table)?;
    poll::add_to_linker::<S, Own>(l, |s| s)?;
    wall_clock::add_to_linker::<S, WasiClocks>(l, S::clocks)?;
    monotonic_clock::add_to_linker::<S, Own>(l, |s| s)?;
    random::random::add_to_linker::<S, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    random::insecure::add_to_linker::<S, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<S, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    cli::exit::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::environment::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::stdin::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::stdout::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::stderr::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::terminal_input::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::terminal_output::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::terminal_stdin::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::terminal_stdout::add_to_linker::<S, WasiCli>(l, S::cli)?;
    cli::terminal_stderr::add_to_linker::<S, WasiCli>(l, S::cli)?;
    filesystem::preopens::add_to_linker::<S, Own>(l, |s| s)?;
    filesystem::types::add_to_linker::<S, Own>(l, |s| s)?;
    sockets::tcp::add_to_linker::<S, WasiSockets>(l, S::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<S, Own>(l, |s| s)?;
    sockets::udp::add_to_linker::<S, WasiSockets>(l, S::sockets)?;
    sockets::udp_create_socket::add_to_linker::<S, Own>(l, |s| s)?;
    sockets::instance_network::add_to_linker::<S, WasiSockets>(l, S::sockets)?;
    network::add_to_linker::<S, WasiSockets>(l, &network::LinkOptions::default(), S::sockets)?;
    ip_name_lookup::add_to_linker::<S, Own>(l, |s| s)?;
    super::connect::link(l)
}

/// The handles of a run, as wasi:io wants them.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// How many handles of a type the guest has open. Asked only before a handle is made that costs a file descriptor.
pub(super) fn open_handles<T: 'static>(table: &mut ResourceTable) -> usize {
    table.iter_mut().filter(|entry| entry.is::<T>()).count()
}

impl RunState {
    fn awake(&mut self) {
        self.asleep = false;
        self.waiting = None;
    }

    /// A pollable that waits for a clock: remembered, so that sleep can be told from waiting for a peer.
    fn clock(&mut self, pollable: Resource<DynPollable>) -> Resource<DynPollable> {
        self.clocks.insert(pollable.rep());
        pollable
    }
}

impl tcp_create_socket::Host for RunState {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let permit = self.room_for_socket()?;
        let made = self.sockets().create_tcp_socket(family);
        self.keep_permit(permit, made)
    }
}

impl udp_create_socket::Host for RunState {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let permit = self.room_for_socket()?;
        let made = self.sockets().create_udp_socket(family).await;
        self.keep_permit(permit, made)
    }
}

impl monotonic_clock::Host for RunState {
    fn now(&mut self) -> Result<monotonic_clock::Instant> {
        self.clocks().now()
    }

    fn resolution(&mut self) -> Result<monotonic_clock::Duration> {
        self.clocks().resolution()
    }

    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> Result<Resource<DynPollable>> {
        let pollable = self.clocks().subscribe_instant(when)?;
        Ok(self.clock(pollable))
    }

    fn subscribe_duration(&mut self, when: monotonic_clock::Duration) -> Result<Resource<DynPollable>> {
        let pollable = self.clocks().subscribe_duration(when)?;
        Ok(self.clock(pollable))
    }
}

impl poll::Host for RunState {
    async fn poll(&mut self, list: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        self.asleep = list.iter().all(|pollable| self.clocks.contains(&pollable.rep()));
        self.waiting = Some(Instant::now());
        let ready = poll::Host::poll(&mut self.table, list).await;
        self.awake();
        ready
    }
}

impl poll::HostPollable for RunState {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(&mut self.table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.asleep = self.clocks.contains(&pollable.rep());
        self.waiting = Some(Instant::now());
        let ready = poll::HostPollable::block(&mut self.table, pollable).await;
        self.awake();
        ready
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.clocks.remove(&pollable.rep());
        poll::HostPollable::drop(&mut self.table, pollable)
    }
}
