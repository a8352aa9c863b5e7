//! What all runs share: the resolver, the TLS configuration, the pool for calls that can hang, and the counters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::beneath::{Asked, Found, excerpt_path};
use crate::command::Programs;
use crate::failure::{Failure, phase};
use crate::grants::{Grants, Seen};
use crate::pool::Pool;
use crate::resolve::Resolver;
use crate::script::Script;
use crate::secrets::Secrets;
use crate::sockets::{self, Sockets};
use crate::stats::Stats;
use crate::system::{Kernel, Places};
use crate::tls::Tls;

pub use crate::tls::Roots;

/// A healthy filesystem opens a path in microseconds, one of the network in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the world. One per process; make it once and share it.
#[derive(Debug)]
pub struct Probe {
    resolver: Resolver,
    tls: Tls,
    kernel: Kernel,
    programs: Programs,
    secrets: Secrets,
    sockets: Sockets,
    /// Asked for unix sockets, which may lie on a filesystem that does not answer.
    paths: Pool<Asked, Result<Arc<Found>, Failure>>,
    stats: Stats,
    script: Option<Arc<Script>>,
}

/// What a `Probe` is made of.
#[derive(Debug)]
pub struct Options {
    pub resolver: Resolver,
    pub roots: Roots,
    /// Where the kernel's `proc` is mounted.
    pub proc: PathBuf,
    /// Where the kernel's `sysfs` is mounted.
    pub sys: PathBuf,
    /// The device of the kernel's log.
    pub kmsg: PathBuf,
    /// The socket of the system bus, on which systemd answers.
    pub system_bus: PathBuf,
    /// What checks may use by name.
    pub secrets: Secrets,
    /// How many sockets and programs may be open at once.
    pub sockets: sockets::Limits,
    /// What answers in place of the world.
    pub script: Option<Arc<Script>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            resolver: Resolver::system(),
            roots: Roots::System,
            proc: "/proc".into(),
            sys: "/sys".into(),
            kmsg: "/dev/kmsg".into(),
            system_bus: "/run/dbus/system_bus_socket".into(),
            secrets: Secrets::default(),
            sockets: sockets::Limits::default(),
            script: None,
        }
    }
}

impl Probe {
    /// Nothing is asked of the world before the first call.
    pub fn new(options: Options) -> Probe {
        let Options { resolver, roots, proc, sys, kmsg, system_bus, secrets, sockets, script } = options;
        let resolver = script.as_ref().map_or(resolver, |script| Resolver::scripted(script.clone()));
        Probe {
            resolver,
            tls: Tls::new(roots),
            kernel: Kernel::new(Places { proc, sys, kmsg, system_bus }),
            programs: Programs::default(),
            secrets,
            sockets: Sockets::new(sockets),
            paths: Pool::new(|asked: &Asked| asked.find().map(Arc::new)),
            stats: Stats::default(),
            script,
        }
    }

    /// Names to addresses, without a grant in front: go through `Grants::resolve` or `lookup`.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Secrets by name, without a grant in front: ask `Grants::permits_secret` and `Secrets::permits_destination` first.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Who may open how many sockets and programs: take a permit before, keep it as long as the thing is open.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// What answers in place of the world, in the cases of a plugin.
    pub fn script(&self) -> Option<&Arc<Script>> {
        self.script.as_ref()
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Looks a name up for `std::net` and counts it.
    pub async fn lookup(
        &self,
        grants: &Grants,
        host: &str,
        deadline: Instant,
        seen: &mut Seen,
    ) -> Result<Vec<std::net::IpAddr>, Failure> {
        let result = grants.lookup(&self.resolver, host, deadline, seen).await;
        self.stats.lookup.count(&result);
        result
    }

    /// A unix socket under a `files` grant, resolved without following links out of it.
    pub(crate) async fn find_socket(&self, grants: &Grants, path: &str) -> Result<Arc<Found>, Failure> {
        grants.note_file(Path::new(path));
        let asked = Asked::read(grants.files(), path)?;
        let found = self.paths.ask(asked, Instant::now() + PATIENCE).await;
        found.map_err(|why| {
            Failure::new(why.code, phase::CONNECT, format!("opening {}: {}", excerpt_path(path), why.message))
        })?
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }
}
