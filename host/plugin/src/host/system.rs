//! `roundsman:host/system`: what the node's kernel says, on top of `probe::system`.

mod lists;

use std::sync::Arc;

use roundsman_probe::failure::{Failure, code};
use roundsman_probe::system as probe;
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::host::system;
use crate::host::explain;
use crate::state::RunState;

pub use lists::{KernelLines, PortList, ProcessList, UnitList};

/// What a guest is told.
type Told<T> = std::result::Result<T, system::Failure>;

/// One mounted filesystem.
#[derive(Debug)]
pub struct Mount(probe::Mount);

/// How full one filesystem is.
#[derive(Debug)]
pub struct Usage(probe::Usage);

impl RunState {
    /// For the story: a kernel that answers needs no words.
    fn note_failed<T>(&self, begun: Instant, what: &str, of: Option<&str>, answer: &std::result::Result<T, Failure>) {
        if let Err(failure) = answer {
            self.trace.failed(begun, &[what, of.unwrap_or_default()].join(" "), explain(failure));
        }
    }

    /// An answer of the kernel for the guest; a refusal is remembered for the record.
    fn answer<T>(&self, answer: std::result::Result<T, Failure>) -> Told<T> {
        answer.map_err(|failure| {
            if failure.code == code::DENIED {
                self.trace.deny(&failure);
            }
            system::Failure { code: failure.code.to_owned(), message: failure.message }
        })
    }
}

impl system::Host for RunState {
    async fn mounts(&mut self) -> Result<Told<Vec<Resource<Mount>>>> {
        let begun = Instant::now();
        let mounts = self.probe.mounts(&self.job.assignment.grants, self.host_deadline).await;
        self.note_failed(begun, "mounts", None, &mounts);
        let mounts = match self.answer(mounts) {
            Ok(mounts) => mounts,
            Err(failure) => return Ok(Err(failure)),
        };
        let handles: Result<Vec<_>> = mounts.into_iter().map(|mount| Ok(self.table.push(Mount(mount))?)).collect();
        Ok(Ok(handles?))
    }

    async fn usage(&mut self, path: String) -> Result<Told<Resource<Usage>>> {
        let begun = Instant::now();
        let usage = self.probe.usage(&self.job.assignment.grants, &path, self.host_deadline).await;
        self.note_failed(begun, "usage", Some(&path), &usage);
        match self.answer(usage) {
            Ok(usage) => Ok(Ok(self.table.push(Usage(usage))?)),
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn load_average(&mut self) -> Result<Told<(f64, f64, f64)>> {
        let load = self.probe.load_average(&self.job.assignment.grants);
        Ok(self.answer(load.map(|[one, five, fifteen]| (one, five, fifteen))))
    }

    fn processors(&mut self) -> Result<Told<u32>> {
        let processors = self.probe.processors(&self.job.assignment.grants);
        Ok(self.answer(processors))
    }

    fn memory(&mut self) -> Result<Told<Vec<(String, u64)>>> {
        let memory = self.probe.memory(&self.job.assignment.grants);
        Ok(self.answer(memory))
    }

    fn pressure(&mut self, what: String) -> Result<Told<Vec<(String, f64)>>> {
        let pressure = self.probe.pressure(&self.job.assignment.grants, &what);
        Ok(self.answer(pressure))
    }

    fn uname(&mut self) -> Result<Told<Vec<(String, String)>>> {
        let uname = self.probe.uname(&self.job.assignment.grants);
        let owned =
            |list: Vec<(&str, String)>| list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(self.answer(uname.map(owned)))
    }

    async fn sysctl(&mut self, name: String) -> Result<Told<String>> {
        let begun = Instant::now();
        let value = self.probe.sysctl(&self.job.assignment.grants, &name, self.host_deadline).await;
        self.note_failed(begun, "sysctl", Some(&name), &value);
        Ok(self.answer(value))
    }

    async fn processes(&mut self) -> Result<Told<Resource<ProcessList>>> {
        let begun = Instant::now();
        let processes = self.probe.processes(&self.job.assignment.grants, self.host_deadline).await;
        self.note_failed(begun, "processes", None, &processes);
        self.list(processes)
    }

    async fn listening_ports(&mut self) -> Result<Told<Resource<PortList>>> {
        let begun = Instant::now();
        let ports = self.probe.listening_ports(&self.job.assignment.grants, self.host_deadline).await;
        self.note_failed(begun, "listening ports", None, &ports);
        self.list(ports)
    }

    async fn kernel_log(&mut self, cursor: Option<String>, max_lines: u32) -> Result<Told<Resource<KernelLines>>> {
        let (begun, grants) = (Instant::now(), &self.job.assignment.grants);
        let lines = self.probe.kernel_log(grants, cursor.as_deref(), max_lines, self.host_deadline).await;
        self.note_failed(begun, "kernel log", None, &lines);
        self.list(lines)
    }

    async fn failed_units(&mut self) -> Result<Told<Resource<UnitList>>> {
        let begun = Instant::now();
        let units = self.probe.failed_units(&self.job.assignment.grants, self.host_deadline).await;
        self.note_failed(begun, "failed units", None, &units);
        self.list(units.map(Arc::new))
    }

    async fn units(&mut self, names: Vec<String>) -> Result<Told<Resource<UnitList>>> {
        let begun = Instant::now();
        let units = self.probe.units(&self.job.assignment.grants, &names, self.host_deadline).await;
        self.note_failed(begun, "units", None, &units);
        self.list(units.map(Arc::new))
    }
}

impl system::HostMount for RunState {
    fn source(&mut self, mount: Resource<Mount>) -> Result<String> {
        Ok(self.table.get(&mount)?.0.source.clone())
    }

    fn path(&mut self, mount: Resource<Mount>) -> Result<String> {
        Ok(self.table.get(&mount)?.0.path.clone())
    }

    fn kind(&mut self, mount: Resource<Mount>) -> Result<String> {
        Ok(self.table.get(&mount)?.0.kind.clone())
    }

    fn read_only(&mut self, mount: Resource<Mount>) -> Result<bool> {
        Ok(self.table.get(&mount)?.0.read_only)
    }

    fn options(&mut self, mount: Resource<Mount>) -> Result<Vec<String>> {
        Ok(self.table.get(&mount)?.0.options.clone())
    }

    fn drop(&mut self, mount: Resource<Mount>) -> Result<()> {
        self.table.delete(mount)?;
        Ok(())
    }
}

impl system::HostFilesystem for RunState {
    fn total(&mut self, usage: Resource<Usage>) -> Result<u64> {
        Ok(self.table.get(&usage)?.0.total)
    }

    fn free(&mut self, usage: Resource<Usage>) -> Result<u64> {
        Ok(self.table.get(&usage)?.0.free)
    }

    fn available(&mut self, usage: Resource<Usage>) -> Result<u64> {
        Ok(self.table.get(&usage)?.0.available)
    }

    fn inodes(&mut self, usage: Resource<Usage>) -> Result<u64> {
        Ok(self.table.get(&usage)?.0.inodes)
    }

    fn inodes_free(&mut self, usage: Resource<Usage>) -> Result<u64> {
        Ok(self.table.get(&usage)?.0.inodes_free)
    }

    fn read_only(&mut self, usage: Resource<Usage>) -> Result<bool> {
        Ok(self.table.get(&usage)?.0.read_only)
    }

    fn drop(&mut self, usage: Resource<Usage>) -> Result<()> {
        self.table.delete(usage)?;
        Ok(())
    }
}
