//! What belongs to one run inside the sandbox: its handles, its limits, what it has reported, what it has touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::name::PluginName;
use roundsman_model::record::Level;
use roundsman_model::time::Timestamp;
use roundsman_probe::grants::Grants;
use roundsman_probe::pattern::Scheme;
use roundsman_probe::probe::Probe;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::clocks::HostWallClock;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::capture::Captured;
use crate::describe::Description;
use crate::engine::Engine;
use crate::files::{Fence, Hangs, Preopen};
use crate::gather::Gathered;
use crate::host::connect::Opened;
use crate::job::Job;
use crate::limits::{Limiter, MAX_HANDLES};
use crate::redaction::Redaction;
use crate::trace::Trace;

/// Random bytes that one call may ask for; the default of 64 MiB is a way to burn the host's time.
const MAX_RANDOM: u64 = 64 << 10;

/// Random numbers of a case.
const SEED: [u8; 16] = *b"roundsman's dice";

/// A clock that stands still.
struct Standing(Timestamp);

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0.since(Timestamp(0))
    }
}

/// The data of a store.
pub(crate) struct RunState {
    pub(crate) table: ResourceTable,
    /// Made when the guest first asks for something of WASI: most runs never do.
    wasi: Option<WasiCtx>,
    pub(crate) limiter: Limiter,
    pub(crate) probe: Arc<Probe>,
    pub(crate) job: Arc<Job>,
    pub(crate) description: Option<Arc<Description>>,
    pub(crate) gathered: Gathered,
    pub(crate) output: Captured,
    pub(crate) trace: Trace,
    /// What it has open on the network, and how much it has sent.
    pub(crate) opened: Opened,
    /// What the guest may read. Empty in most runs.
    pub(crate) preopens: Vec<Preopen>,
    /// Handles of directories of which only some files are granted.
    pub(crate) fenced: BTreeMap<u32, Arc<Fence>>,
    /// The paths of the directories that are granted, by handle; empty unless somebody wants to know what is read.
    pub(crate) roots: BTreeMap<u32, String>,
    /// Handles of pollables that wait for a clock, and for nothing else.
    pub(crate) clocks: BTreeSet<u32>,
    /// Whether the guest waits for clocks alone. Still set when the run was cut meanwhile.
    pub(crate) asleep: bool,
    /// Since when the guest waits for whatever it polls. Still set when the run was cut meanwhile.
    pub(crate) waiting: Option<Instant>,
    /// Calls to the host end here, a little before the run itself is cut.
    pub(crate) host_deadline: Instant,
    pub(crate) deadline: Instant,
}

impl RunState {
    pub(crate) fn new(
        engine: &Engine,
        plugin: &PluginName,
        job: Arc<Job>,
        description: Option<Arc<Description>>,
        began: Instant,
    ) -> Self {
        let limits = job.assignment.limits;
        let redaction = Redaction::new(&engine.probe, &job.assignment.grants);
        let deadline = began + job.timeout;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            table,
            wasi: None,
            limiter: Limiter::new(engine.memory.clone(), limits.memory),
            probe: engine.probe.clone(),
            description,
            gathered: Gathered::new(&limits, redaction.clone()),
            output: Captured::default(),
            trace: Trace::new(redaction),
            opened: Opened::new(plugin),
            preopens: Vec::new(),
            fenced: BTreeMap::new(),
            roots: BTreeMap::new(),
            clocks: BTreeSet::new(),
            asleep: false,
            waiting: None,
            host_deadline: deadline - margin(job.timeout),
            deadline,
            job,
        }
    }

    /// Opens the files that are granted; what is not there is for the guest to find out, and for the log.
    pub(crate) async fn open_files(&mut self, engine: &Engine) -> Result<(), Hangs> {
        let grants = self.job.assignment.grants.clone();
        if grants.files().is_empty() {
            return Ok(());
        }
        let root = self.probe.script().and_then(|script| script.root.clone());
        let (preopens, missing) = crate::files::open(grants, root, engine.opening.clone(), self.host_deadline).await?;
        self.preopens = preopens;
        missing.iter().for_each(|line| self.gathered.log(Level::Warn, line));
        Ok(())
    }

    fn make_wasi(&self) -> WasiCtx {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(self.output.clone()).stderr(self.output.clone()).max_random_size(MAX_RANDOM);
        wasi.allow_tcp(true).allow_udp(true);
        if let Some(script) = self.probe.script() {
            // A case comes out the same every time.
            wasi.secure_random(Deterministic::new(SEED.to_vec())).insecure_random(Deterministic::new(SEED.to_vec()));
            wasi.insecure_random_seed(u128::from_be_bytes(SEED));
            if let Some(at) = script.clock {
                wasi.wall_clock(Standing(at));
            }
        }
        let (grants, trace, probe) = (self.job.assignment.grants.clone(), self.trace.clone(), self.probe.clone());
        wasi.socket_addr_check(move |address, purpose| {
            let address = probe.script().map_or(address, |script| script.meant(address));
            let allowed = match purpose {
                // A client's implicit bind; anything else would be a server.
                SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => address.ip().is_unspecified() && address.port() == 0,
                SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
                SocketAddrUse::TcpConnect => permit(&grants, &probe, &trace, Scheme::Tcp, address),
                SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                    permit(&grants, &probe, &trace, Scheme::Udp, address)
                }
            };
            Box::pin(std::future::ready(allowed))
        });
        wasi.build()
    }
}

fn permit(grants: &Grants, probe: &Probe, trace: &Trace, scheme: Scheme, address: SocketAddr) -> bool {
    match trace.permits(grants, scheme, address) {
        Ok(()) => {
            probe.stats().socket.count(&Ok(()));
            trace.dial(Some(format!("{scheme}://{address}")));
            true
        }
        Err(denied) => {
            probe.stats().socket.refuse();
            trace.deny(denied);
            false
        }
    }
}

/// How long before the end of a run its calls to the host end, so that a plugin can still say what hung.
fn margin(timeout: std::time::Duration) -> std::time::Duration {
    const LEAST: std::time::Duration = std::time::Duration::from_millis(50);
    // Very short timeouts keep at least half of themselves for the call.
    LEAST.max(timeout / 20).min(timeout / 2)
}

impl WasiView for RunState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        if self.wasi.is_none() {
            self.wasi = Some(self.make_wasi());
        }
        let ctx = self.wasi.as_mut().expect("it was made in the line above");
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl std::fmt::Debug for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunState").field("job", &self.job).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins() {
        for (timeout_ms, margin_ms) in [(10_000, 500), (2_000, 100), (1_000, 50), (200, 50), (60, 30), (1, 0)] {
            assert_eq!(margin(Duration::from_millis(timeout_ms)).as_millis(), margin_ms, "{timeout_ms}");
        }
    }
}
