//! Scripted answers of the node's kernel.

use std::sync::Arc;

use super::Script;
use super::exchange::Told;
use crate::failure::Failure;
use crate::system::{KernelLine, KernelLines, Mount, Ports, Processes, Unit, Units, Usage};

/// The name of these answers in a case.
pub(crate) const PART: &str = "system";

/// The names of `uname`, in their order.
pub const UNAME: [&str; 6] = ["sysname", "release", "version", "machine", "boot-id", "uptime-s"];

/// What the kernel says to a question, as often as it is asked.
pub type Says<T> = Result<T, Told>;

/// Numbers by their names.
pub type Named<T> = Vec<(String, T)>;

/// What the kernel says; none: the case does not answer it.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub mounts: Option<Says<Vec<Mount>>>,
    /// By the path of the mount.
    pub usage: Named<Says<Usage>>,
    pub load: Option<Says<[f64; 3]>>,
    pub processors: Option<Says<u32>>,
    pub memory: Option<Says<Named<u64>>>,
    /// Of `cpu`, `memory` or `io`.
    pub pressure: Named<Says<Named<f64>>>,
    pub uname: Option<Says<Vec<(&'static str, String)>>>,
    pub sysctl: Named<Says<String>>,
    pub processes: Option<Says<Arc<Processes>>>,
    pub ports: Option<Says<Arc<Ports>>>,
    /// What came after the cursor: the first lines of it that are asked for are given.
    pub kernel_log: Option<Says<Log>>,
    /// All units that there are; those that failed are `failed`.
    pub units: Option<Says<Vec<Unit>>>,
}

/// The kernel's log since the cursor that a case begins with.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub lines: Vec<KernelLine>,
    pub lost: u64,
}

impl Answers {
    /// The questions with an answer.
    pub(crate) fn written(&self) -> Vec<String> {
        let single = [
            ("mounts", self.mounts.is_some()),
            ("load", self.load.is_some()),
            ("processors", self.processors.is_some()),
            ("memory", self.memory.is_some()),
            ("uname", self.uname.is_some()),
            ("processes", self.processes.is_some()),
            ("ports", self.ports.is_some()),
            ("kernel-log", self.kernel_log.is_some()),
            ("units", self.units.is_some()),
        ];
        let single = single.into_iter().filter(|(_, there)| *there).map(|(question, _)| question.to_owned());
        let usage = self.usage.iter().map(|(path, _)| format!("usage {path}"));
        let pressure = self.pressure.iter().map(|(what, _)| format!("pressure {what}"));
        let sysctl = self.sysctl.iter().map(|(name, _)| format!("sysctl {name}"));
        single.chain(usage).chain(pressure).chain(sysctl).collect()
    }
}

/// By what the use of an answer is noted.
pub(crate) fn key(question: &str) -> String {
    format!("{PART}[{question}]")
}

impl Script {
    pub(crate) fn mounts(&self) -> Result<Vec<Mount>, Failure> {
        self.says("mounts", self.system.mounts.as_ref())
    }

    pub(crate) fn usage(&self, path: &str) -> Result<Usage, Failure> {
        self.says(&format!("usage {path}"), named(&self.system.usage, path))
    }

    pub(crate) fn load_average(&self) -> Result<[f64; 3], Failure> {
        self.says("load", self.system.load.as_ref())
    }

    pub(crate) fn processors(&self) -> Result<u32, Failure> {
        self.says("processors", self.system.processors.as_ref())
    }

    pub(crate) fn memory(&self) -> Result<Vec<(String, u64)>, Failure> {
        self.says("memory", self.system.memory.as_ref())
    }

    pub(crate) fn pressure(&self, what: &str) -> Result<Vec<(String, f64)>, Failure> {
        self.says(&format!("pressure {what}"), named(&self.system.pressure, what))
    }

    pub(crate) fn uname(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        self.says("uname", self.system.uname.as_ref())
    }

    pub(crate) fn sysctl(&self, name: &str) -> Result<String, Failure> {
        self.says(&format!("sysctl {name}"), named(&self.system.sysctl, name))
    }

    pub(crate) fn processes(&self) -> Result<Arc<Processes>, Failure> {
        self.says("processes", self.system.processes.as_ref())
    }

    pub(crate) fn listening_ports(&self) -> Result<Arc<Ports>, Failure> {
        self.says("ports", self.system.ports.as_ref())
    }

    /// A cursor is the number of the first line that has not been read: `line-3`. `start` is that of the first, and
    /// whoever comes without one is told where the log ends. Any other cursor is what the case begins with.
    pub(crate) fn kernel_log(&self, cursor: Option<&str>, most: usize) -> Result<Arc<KernelLines>, Failure> {
        let log = self.says("kernel-log", self.system.kernel_log.as_ref())?;
        let from = match cursor {
            None => log.lines.len(),
            Some(cursor) => cursor.strip_prefix("line-").and_then(|number| number.parse().ok()).unwrap_or(0),
        };
        let lines: Vec<KernelLine> = log.lines.iter().skip(from).take(most).cloned().collect();
        let next = from.saturating_add(lines.len());
        let lost = if from == 0 { log.lost } else { 0 };
        Ok(Arc::new(KernelLines { cursor: format!("line-{next}"), lost, more: next < log.lines.len(), lines }))
    }

    pub(crate) fn failed_units(&self) -> Result<Units, Failure> {
        let all = self.says("units", self.system.units.as_ref())?;
        let list = all.into_iter().filter(|unit| unit.active_state == "failed").collect();
        Ok(Units { list, truncated: false })
    }

    /// As systemd has it: a unit that nobody knows is `not-found` and `inactive`.
    pub(crate) fn units(&self, names: &[String]) -> Result<Units, Failure> {
        let all = self.says("units", self.system.units.as_ref())?;
        let unit = |name: &String| {
            let known = all.iter().find(|unit| unit.name == *name).cloned();
            known.unwrap_or_else(|| Unit {
                name: name.clone(),
                description: name.clone(),
                load_state: "not-found".to_owned(),
                active_state: "inactive".to_owned(),
                sub_state: "dead".to_owned(),
            })
        };
        Ok(Units { list: names.iter().map(unit).collect(), truncated: false })
    }

    fn says<T: Clone>(&self, question: &str, answer: Option<&Says<T>>) -> Result<T, Failure> {
        let answer = answer.ok_or_else(|| self.unanswerable(&format!("{PART} {question}")))?;
        self.mark(key(question));
        answer.clone().map_err(|told| told.failure())
    }
}

fn named<'a, T>(answers: &'a [(String, T)], name: &str) -> Option<&'a T> {
    answers.iter().find(|(own, _)| own == name).map(|(_, answer)| answer)
}
