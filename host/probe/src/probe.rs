//! What all runs share: the resolver, the TLS configuration, the pool for calls that can hang, and the counters.

use std::path::PathBuf;

use tokio::time::Instant;

use crate::failure::Failure;
use crate::grants::{Grants, Seen};
use crate::resolve::Resolver;
use crate::stats::Stats;
use crate::system::Kernel;
use crate::tls::Tls;

pub use crate::tls::Roots;

/// The way to the world. One per process; make it once and share it.
#[derive(Debug)]
pub struct Probe {
    resolver: Resolver,
    tls: Tls,
    kernel: Kernel,
    stats: Stats,
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
}

impl Default for Options {
    fn default() -> Options {
        Options { resolver: Resolver::system(), roots: Roots::System, proc: "/proc".into(), sys: "/sys".into() }
    }
}

impl Probe {
    /// Nothing is asked of the world before the first call.
    pub fn new(options: Options) -> Probe {
        let Options { resolver, roots, proc, sys } = options;
        Probe { resolver, tls: Tls::new(roots), kernel: Kernel::new(proc, sys), stats: Stats::default() }
    }

    /// Names to addresses, without a grant in front: go through `Grants::resolve` or `lookup`.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
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

    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}
