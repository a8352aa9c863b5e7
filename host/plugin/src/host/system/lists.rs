//! Answers that are lists: processes, ports, units and lines of the kernel's log, as handles.

use std::sync::Arc;

use roundsman_probe::failure::Failure;
use roundsman_probe::system as probe;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::Told;
use crate::bindings::roundsman::host::system;
use crate::state::RunState;

/// A list that is charged to the run as long as its handle lives.
#[derive(Debug)]
pub struct List<T> {
    list: Arc<T>,
    held: usize,
}

/// The processes at one moment.
pub type ProcessList = List<probe::Processes>;
/// Sockets that wait for others.
pub type PortList = List<probe::Ports>;
/// Units of systemd.
pub type UnitList = List<probe::Units>;
/// A part of the kernel's log.
pub type KernelLines = List<probe::KernelLines>;

/// What is charged for it: its rows, and the texts in them.
pub(super) trait Size {
    fn size(&self) -> usize;
}

impl Size for probe::Processes {
    fn size(&self) -> usize {
        let texts = self.list.iter().map(|process| process.name.len() + process.command_line.len());
        size_of_val(self.list.as_slice()) + texts.sum::<usize>()
    }
}

impl Size for probe::Ports {
    fn size(&self) -> usize {
        size_of_val(self.list.as_slice())
    }
}

impl Size for probe::Units {
    fn size(&self) -> usize {
        let states = |unit: &probe::Unit| unit.load_state.len() + unit.active_state.len() + unit.sub_state.len();
        let texts = self.list.iter().map(|unit| unit.name.len() + unit.description.len() + states(unit));
        size_of_val(self.list.as_slice()) + texts.sum::<usize>()
    }
}

impl Size for probe::KernelLines {
    fn size(&self) -> usize {
        let texts = self.lines.iter().map(|line| line.text.len());
        size_of_val(self.lines.as_slice()) + texts.sum::<usize>()
    }
}

impl RunState {
    /// A list as a handle.
    pub(super) fn list<T: Size + Send + Sync + 'static>(
        &mut self,
        answer: std::result::Result<Arc<T>, Failure>,
    ) -> Result<Told<Resource<List<T>>>> {
        match self.answer(answer) {
            Ok(list) => {
                let held = list.size();
                self.limiter.hold(held)?;
                Ok(Ok(self.table.push(List { list, held })?))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// One thing of each row.
    fn column<T, R>(&self, list: &Resource<List<T>>, of: impl FnOnce(&T) -> Vec<R>) -> Result<Vec<R>>
    where
        T: Send + Sync + 'static,
    {
        Ok(of(&self.table.get(list)?.list))
    }

    fn give_back<T: Send + Sync + 'static>(&mut self, list: Resource<List<T>>) -> Result<()> {
        let list = self.table.delete(list)?;
        self.limiter.release(list.held);
        Ok(())
    }
}

/// One thing of each row of a list.
fn each<T, R>(list: &[T], of: impl Fn(&T) -> R) -> Vec<R> {
    list.iter().map(of).collect()
}

impl system::HostProcessList for RunState {
    fn pids(&mut self, list: Resource<ProcessList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |process| process.pid))
    }

    fn parents(&mut self, list: Resource<ProcessList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |process| process.parent))
    }

    fn names(&mut self, list: Resource<ProcessList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |process| process.name.clone()))
    }

    fn command_lines(&mut self, list: Resource<ProcessList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |process| process.command_line.clone()))
    }

    fn states(&mut self, list: Resource<ProcessList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |process| process.state.to_string()))
    }

    fn user_ids(&mut self, list: Resource<ProcessList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |process| process.user_id))
    }

    fn threads(&mut self, list: Resource<ProcessList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |process| process.threads))
    }

    fn resident_bytes(&mut self, list: Resource<ProcessList>) -> Result<Vec<u64>> {
        self.column(&list, |found| each(&found.list, |process| process.resident_bytes))
    }

    fn cpu_ns(&mut self, list: Resource<ProcessList>) -> Result<Vec<u64>> {
        self.column(&list, |found| each(&found.list, |process| process.cpu_ns))
    }

    fn started_ns(&mut self, list: Resource<ProcessList>) -> Result<Vec<i64>> {
        self.column(&list, |found| each(&found.list, |process| process.started_ns))
    }

    fn truncated(&mut self, list: Resource<ProcessList>) -> Result<bool> {
        Ok(self.table.get(&list)?.list.truncated)
    }

    fn drop(&mut self, list: Resource<ProcessList>) -> Result<()> {
        self.give_back(list)
    }
}

impl system::HostPortList for RunState {
    fn protocols(&mut self, list: Resource<PortList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |port| port.protocol.to_owned()))
    }

    fn addresses(&mut self, list: Resource<PortList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |port| port.address.to_string()))
    }

    fn ports(&mut self, list: Resource<PortList>) -> Result<Vec<u16>> {
        self.column(&list, |found| each(&found.list, |port| port.port))
    }

    fn user_ids(&mut self, list: Resource<PortList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |port| port.user_id))
    }

    fn pids(&mut self, list: Resource<PortList>) -> Result<Vec<u32>> {
        self.column(&list, |found| each(&found.list, |port| port.pid))
    }

    fn truncated(&mut self, list: Resource<PortList>) -> Result<bool> {
        Ok(self.table.get(&list)?.list.truncated)
    }

    fn drop(&mut self, list: Resource<PortList>) -> Result<()> {
        self.give_back(list)
    }
}

impl system::HostUnitList for RunState {
    fn names(&mut self, list: Resource<UnitList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |unit| unit.name.clone()))
    }

    fn descriptions(&mut self, list: Resource<UnitList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |unit| unit.description.clone()))
    }

    fn load_states(&mut self, list: Resource<UnitList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |unit| unit.load_state.clone()))
    }

    fn active_states(&mut self, list: Resource<UnitList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |unit| unit.active_state.clone()))
    }

    fn sub_states(&mut self, list: Resource<UnitList>) -> Result<Vec<String>> {
        self.column(&list, |found| each(&found.list, |unit| unit.sub_state.clone()))
    }

    fn truncated(&mut self, list: Resource<UnitList>) -> Result<bool> {
        Ok(self.table.get(&list)?.list.truncated)
    }

    fn drop(&mut self, list: Resource<UnitList>) -> Result<()> {
        self.give_back(list)
    }
}

impl system::HostKernelLines for RunState {
    fn lines(&mut self, list: Resource<KernelLines>) -> Result<Vec<system::KernelLine>> {
        let line = |line: &probe::KernelLine| system::KernelLine {
            priority: line.priority,
            facility: line.facility,
            sequence: line.sequence,
            at_ns: line.at_ns,
            text: line.text.clone(),
        };
        self.column(&list, |found| each(&found.lines, line))
    }

    fn cursor(&mut self, list: Resource<KernelLines>) -> Result<String> {
        Ok(self.table.get(&list)?.list.cursor.clone())
    }

    fn lost(&mut self, list: Resource<KernelLines>) -> Result<u64> {
        Ok(self.table.get(&list)?.list.lost)
    }

    fn more(&mut self, list: Resource<KernelLines>) -> Result<bool> {
        Ok(self.table.get(&list)?.list.more)
    }

    fn drop(&mut self, list: Resource<KernelLines>) -> Result<()> {
        self.give_back(list)
    }
}
