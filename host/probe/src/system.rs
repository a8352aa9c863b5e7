//! What the node's kernel says: each question behind its grant, those that can hang on a pool of their own.
//!
//! - `mounts`: the table of mounts; `kernel`: load, processors, memory, pressure, uname; `usage`: one filesystem
//! - `processes`, `ports`: what runs and what listens; `sysctl`: one parameter; `kmsg`: the kernel's log
//! - `units`: systemd's units, by `bus`: as much of D-Bus as one question needs
//!
//! Questions to filesystems can hang for ever in the kernel (a dead NFS server). The table of mounts takes a lock that
//! such a filesystem may hold while it is unmounted, and the arguments of a process lie behind the lock of its memory,
//! so they are read on the pool, too; so is what takes milliseconds. The few small files of `proc` that are made from
//! memory are read where the question is asked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use crate::failure::{Failure, chain, code, phase};
use crate::grants::Grants;
use crate::pool::Pool;
use crate::probe::Probe;
use crate::script::Script;

mod bus;
mod kernel;
mod kmsg;
mod mounts;
mod ports;
mod processes;
mod sysctl;
mod units;
mod usage;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use kmsg::holds as kmsg_holds;
pub use kmsg::{KernelLine, KernelLines};
pub use mounts::Mount;
pub use ports::{Port, Ports};
pub(crate) use processes::Stat;
pub use processes::{Process, Processes};
pub use units::{Unit, Units};
pub use usage::Usage;

/// Bytes read of a file of `proc`: ten times what the largest of the small ones has.
const MAX_SMALL_FILE: u64 = 64 << 10;
/// Bytes read of the table of mounts: room for more mounts than are kept.
const MAX_MOUNT_TABLE: u64 = 4 << 20;

/// Where the kernel and systemd are asked.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) proc: PathBuf,
    pub(crate) sys: PathBuf,
    pub(crate) kmsg: PathBuf,
    pub(crate) system_bus: PathBuf,
}

/// What asks them.
#[derive(Debug)]
pub(crate) struct Kernel {
    proc: PathBuf,
    sys: PathBuf,
    pool: Pool<Question, Result<Answer, Failure>>,
    bus: bus::Bus,
}

/// What is asked on the pool; equal questions are asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Mounts,
    Usage(PathBuf),
    /// The number of earlier questions of this kind that hang.
    Processes(usize),
    Ports,
    Sysctl(PathBuf),
    KernelLog(kmsg::From, usize),
}

#[derive(Debug, Clone)]
enum Answer {
    Mounts(Vec<Mount>),
    Usage(Usage),
    Processes(Arc<Processes>),
    Ports(Arc<Ports>),
    Sysctl(String),
    KernelLog(Arc<KernelLines>),
}

impl Kernel {
    pub(crate) fn new(places: Places) -> Kernel {
        let Places { proc, sys, kmsg, system_bus } = places;
        let (of_pool, reading) = (proc.clone(), processes::Reading::default());
        let pool = Pool::new(move |question: &Question| match question {
            Question::Mounts => read(&of_pool.join("self/mountinfo"), MAX_MOUNT_TABLE)
                .map(|text| Answer::Mounts(mounts::parse(&String::from_utf8_lossy(&text)))),
            Question::Usage(path) => usage::usage(path).map(Answer::Usage),
            Question::Processes(_) => {
                processes::processes(&of_pool, &reading).map(|found| Answer::Processes(Arc::new(found)))
            }
            Question::Ports => ports::ports(&of_pool).map(|found| Answer::Ports(Arc::new(found))),
            Question::Sysctl(path) => sysctl::read(&of_pool, path).map(Answer::Sysctl),
            Question::KernelLog(from, most) => {
                let boot = text(&of_pool.join("sys/kernel/random/boot_id"))?;
                kmsg::read(&kmsg, boot.trim(), from, *most).map(|lines| Answer::KernelLog(Arc::new(lines)))
            }
        });
        Kernel { proc, sys, pool, bus: bus::Bus::new(system_bus) }
    }
}

impl Probe {
    /// The filesystems that are mounted here, each path once. Grant `filesystems`.
    pub async fn mounts(&self, grants: &Grants, deadline: Instant) -> Result<Vec<Mount>, Failure> {
        let question = || Ok(Question::Mounts);
        self.ask(grants, "filesystems", Script::mounts, question, deadline, |answer| match answer {
            Answer::Mounts(mounts) => Some(mounts),
            _ => None,
        })
        .await
    }

    /// How full the filesystem mounted at a path is. Grant `filesystems`.
    pub async fn usage(&self, grants: &Grants, path: &str, deadline: Instant) -> Result<Usage, Failure> {
        let question = || usage::mount_path(path).map(Question::Usage);
        let script = |script: &Script| script.usage(path);
        self.ask(grants, "filesystems", script, question, deadline, |answer| match answer {
            Answer::Usage(usage) => Some(usage),
            _ => None,
        })
        .await
    }

    /// The processes that are running, a bounded number of them. Grant `processes`.
    pub async fn processes(&self, grants: &Grants, deadline: Instant) -> Result<Arc<Processes>, Failure> {
        let mut result = self.processes_beside(0, grants, deadline).await;
        for hanging in 1..=processes::MAX_HANGING {
            // A process whose arguments cannot be read is passed over by whoever asks next.
            let hung = result.as_ref().is_err_and(|failure| failure.code == code::HUNG);
            if !hung || Instant::now() >= deadline {
                break;
            }
            result = self.processes_beside(hanging, grants, deadline).await;
        }
        self.counted(result)
    }

    async fn processes_beside(
        &self,
        hanging: usize,
        grants: &Grants,
        deadline: Instant,
    ) -> Result<Arc<Processes>, Failure> {
        let question = || Ok(Question::Processes(hanging));
        self.ask_uncounted(grants, "processes", Script::processes, question, deadline, |answer| match answer {
            Answer::Processes(processes) => Some(processes),
            _ => None,
        })
        .await
    }

    /// Sockets that wait for others, in the network namespace of the agent. Grant `ports`.
    pub async fn listening_ports(&self, grants: &Grants, deadline: Instant) -> Result<Arc<Ports>, Failure> {
        let question = || Ok(Question::Ports);
        self.ask(grants, "ports", Script::listening_ports, question, deadline, |answer| match answer {
            Answer::Ports(ports) => Some(ports),
            _ => None,
        })
        .await
    }

    /// One of the kernel's parameters, by its name with dots. Grant `sysctl`.
    pub async fn sysctl(&self, grants: &Grants, name: &str, deadline: Instant) -> Result<String, Failure> {
        let question = || sysctl::path(name).map(Question::Sysctl);
        let script = |script: &Script| script.sysctl(name);
        self.ask(grants, "sysctl", script, question, deadline, |answer| match answer {
            Answer::Sysctl(value) => Some(value),
            _ => None,
        })
        .await
    }

    /// The kernel's log after a cursor; without one, a cursor for what will come. Grant `kernel-log`.
    pub async fn kernel_log(
        &self,
        grants: &Grants,
        cursor: Option<&str>,
        max_lines: u32,
        deadline: Instant,
    ) -> Result<Arc<KernelLines>, Failure> {
        let most = usize::try_from(max_lines).unwrap_or(usize::MAX).min(kmsg::MAX_LINES);
        let question = || kmsg::From::parse(cursor).map(|from| Question::KernelLog(from, most));
        let script = |script: &Script| script.kernel_log(cursor, most);
        self.ask(grants, "kernel-log", script, question, deadline, |answer| match answer {
            Answer::KernelLog(lines) => Some(lines),
            _ => None,
        })
        .await
    }

    /// The units of systemd that failed. Grant `units`.
    pub async fn failed_units(&self, grants: &Grants, deadline: Instant) -> Result<Units, Failure> {
        let result = match self.permits(grants, "units", Script::failed_units) {
            Ok(None) => units::failed(&self.kernel().bus, deadline).await,
            Ok(Some(units)) => Ok(units),
            Err(failure) => Err(failure),
        };
        self.counted(result)
    }

    /// The units of systemd by these names. Grant `units`.
    pub async fn units(&self, grants: &Grants, names: &[String], deadline: Instant) -> Result<Units, Failure> {
        let result = match self.permits(grants, "units", |script| script.units(names)) {
            Ok(None) => units::by_names(&self.kernel().bus, names, deadline).await,
            Ok(Some(units)) => Ok(units),
            Err(failure) => Err(failure),
        };
        self.counted(result)
    }

    /// Over 1, 5 and 15 minutes. Grant `load`.
    pub fn load_average(&self, grants: &Grants) -> Result<[f64; 3], Failure> {
        self.granted(grants, "load", Script::load_average, |kernel| kernel::load_average(&kernel.small("loadavg")?))
    }

    /// Processors that are online. Grant `load`.
    pub fn processors(&self, grants: &Grants) -> Result<u32, Failure> {
        let list = |kernel: &Kernel| text(&kernel.sys.join("devices/system/cpu/online"));
        self.granted(grants, "load", Script::processors, |kernel| kernel::processors(&list(kernel)?))
    }

    /// What `meminfo` gives in bytes. Grant `memory`.
    pub fn memory(&self, grants: &Grants) -> Result<Vec<(String, u64)>, Failure> {
        self.granted(grants, "memory", Script::memory, |kernel| kernel::memory(&kernel.small("meminfo")?))
    }

    /// Pressure stall information of `cpu`, `memory` or `io`. Grant `pressure`.
    pub fn pressure(&self, grants: &Grants, what: &str) -> Result<Vec<(String, f64)>, Failure> {
        self.granted(
            grants,
            "pressure",
            |script| script.pressure(what),
            |kernel| {
                let file = ["cpu", "memory", "io"].into_iter().find(|known| *known == what);
                let file = file.ok_or_else(|| failed(code::UNSUPPORTED, "pressure is of `cpu`, `memory` or `io`"))?;
                let text = kernel.small(&format!("pressure/{file}")).map_err(|error| match error.code {
                    code::NOT_FOUND => failed(code::UNSUPPORTED, "this kernel has no pressure stall information"),
                    _ => error,
                })?;
                kernel::pressure(&text)
            },
        )
    }

    /// `sysname`, `release`, `version`, `machine`, `boot-id`, `uptime-s`. Grant `uname`.
    pub fn uname(&self, grants: &Grants) -> Result<Vec<(&'static str, String)>, Failure> {
        self.granted(grants, "uname", Script::uname, |kernel| {
            let (boot_id, uptime) = (kernel.small("sys/kernel/random/boot_id")?, kernel.small("uptime")?);
            Ok(kernel::uname(boot_id.trim(), kernel::uptime(&uptime)?))
        })
    }

    async fn ask<T>(
        &self,
        grants: &Grants,
        word: &str,
        script: impl FnOnce(&Script) -> Result<T, Failure>,
        question: impl FnOnce() -> Result<Question, Failure>,
        deadline: Instant,
        take: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, Failure> {
        self.counted(self.ask_uncounted(grants, word, script, question, deadline, take).await)
    }

    async fn ask_uncounted<T>(
        &self,
        grants: &Grants,
        word: &str,
        script: impl FnOnce(&Script) -> Result<T, Failure>,
        question: impl FnOnce() -> Result<Question, Failure>,
        deadline: Instant,
        take: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, Failure> {
        if let Some(scripted) = self.permits(grants, word, script)? {
            return Ok(scripted);
        }
        let answer = self.kernel().pool.ask(question()?, deadline).await??;
        // Each question has its own kind of answer.
        take(answer).ok_or_else(|| failed(code::IO, "the pool gave the answer to another question"))
    }

    fn granted<T>(
        &self,
        grants: &Grants,
        word: &str,
        script: impl FnOnce(&Script) -> Result<T, Failure>,
        ask: impl FnOnce(&Kernel) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = self.permits(grants, word, script);
        self.counted(answer.and_then(|scripted| scripted.map_or_else(|| ask(self.kernel()), Ok)))
    }

    /// What a script says, if there is one. None: it may be asked.
    fn permits<T>(
        &self,
        grants: &Grants,
        word: &str,
        says: impl FnOnce(&Script) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        grants.permits_system(word)?;
        self.script().map(|script| says(script)).transpose()
    }

    fn counted<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.stats().system.count(&result);
        result
    }
}

impl Kernel {
    fn small(&self, name: &str) -> Result<String, Failure> {
        text(&self.proc.join(name))
    }
}

fn failed(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(code, phase::SYSTEM, message)
}

fn text(path: &Path) -> Result<String, Failure> {
    read(path, MAX_SMALL_FILE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
    result.map(|_| bytes).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => code::NOT_FOUND,
            io::ErrorKind::PermissionDenied => code::DENIED,
            io::ErrorKind::Unsupported => code::UNSUPPORTED,
            _ => code::IO,
        };
        failed(code, format!("cannot read {}: {}", path.display(), chain(&error)))
    })
}

/// A text of somebody else's as one printable line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
