//! What there may be many of: processes, listening ports, units of systemd.

use std::time::{Duration, SystemTime};

use super::Failure;
use crate::bindings::roundsman::host::system;
use crate::exchange::at;

/// As many as the host looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List<T> {
    /// One for each.
    pub items: Vec<T>,
    /// Whether there were more.
    pub truncated: bool,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The id of the process that started it.
    pub parent: u32,
    /// As the kernel has it: at most 15 bytes.
    pub name: String,
    /// The arguments, joined by spaces, at most 4 KiB of them; the name in brackets for a thread of the kernel.
    pub command_line: String,
    /// `R`, `S`, `D`, `Z`, `T` …
    pub state: String,
    /// Whose it is.
    pub user_id: u32,
    /// How many threads it has.
    pub threads: u32,
    /// The memory that it holds.
    pub resident_bytes: u64,
    /// Processor time so far.
    pub cpu: Duration,
    /// When it was started.
    pub started: SystemTime,
}

/// A socket that waits for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `tcp`, `tcp6`, `udp`, `udp6`.
    pub protocol: String,
    /// Where it listens: `0.0.0.0`, `::1` …
    pub address: String,
    /// The port.
    pub port: u16,
    /// Whose it is.
    pub user_id: u32,
    /// The process that holds it, where the host may know it.
    pub pid: Option<u32>,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `nginx.service`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `loaded`, `not-found`, `masked` …
    pub load_state: String,
    /// `active`, `failed`, `inactive`, `activating` …
    pub active_state: String,
    /// `running`, `dead`, `auto-restart` …
    pub sub_state: String,
}

/// The processes at one moment. Grant `processes`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn processes() -> Result<List<Process>, Failure> {
    let list = system::processes()?;
    let (mut names, mut lines, mut states) =
        (list.names().into_iter(), list.command_lines().into_iter(), list.states().into_iter());
    let (parents, users, threads) = (list.parents(), list.user_ids(), list.threads());
    let (resident, cpu, started) = (list.resident_bytes(), list.cpu_ns(), list.started_ns());
    let items = list.pids().into_iter().enumerate().filter_map(|(n, pid)| {
        Some(Process {
            pid,
            parent: *parents.get(n)?,
            name: names.next()?,
            command_line: lines.next()?,
            state: states.next()?,
            user_id: *users.get(n)?,
            threads: *threads.get(n)?,
            resident_bytes: *resident.get(n)?,
            cpu: Duration::from_nanos(*cpu.get(n)?),
            started: at(*started.get(n)?),
        })
    });
    Ok(List { items: items.collect(), truncated: list.truncated() })
}

/// Sockets that wait for others, in the network namespace that the agent is in. Grant `ports`.
///
/// # Errors
/// As the kernel or the policy says.
pub fn listening_ports() -> Result<List<Port>, Failure> {
    let list = system::listening_ports()?;
    let (ports, users, pids) = (list.ports(), list.user_ids(), list.pids());
    let items =
        list.protocols().into_iter().zip(list.addresses()).enumerate().filter_map(|(n, (protocol, address))| {
            let pid = *pids.get(n)?;
            let (port, user_id) = (*ports.get(n)?, *users.get(n)?);
            Some(Port { protocol, address, port, user_id, pid: (pid != 0).then_some(pid) })
        });
    Ok(List { items: items.collect(), truncated: list.truncated() })
}

/// The units of systemd that failed. Grant `units`.
///
/// # Errors
/// `unsupported` where there is no systemd; otherwise as it or the policy says.
pub fn failed_units() -> Result<List<Unit>, Failure> {
    Ok(read_units(&system::failed_units()?))
}

/// The units of these names, whatever their state. Grant `units`.
///
/// # Errors
/// As [`failed_units`].
pub fn units<T: AsRef<str>>(names: &[T]) -> Result<List<Unit>, Failure> {
    let names: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    Ok(read_units(&system::units(&names)?))
}

fn read_units(list: &system::UnitList) -> List<Unit> {
    let (mut descriptions, mut loads) = (list.descriptions().into_iter(), list.load_states().into_iter());
    let (mut actives, mut subs) = (list.active_states().into_iter(), list.sub_states().into_iter());
    let items = list.names().into_iter().filter_map(|name| {
        Some(Unit {
            name,
            description: descriptions.next()?,
            load_state: loads.next()?,
            active_state: actives.next()?,
            sub_state: subs.next()?,
        })
    });
    List { items: items.collect(), truncated: list.truncated() }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}
