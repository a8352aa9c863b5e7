//! `roundsman:host/system`: what the kernel and systemd say.

use roundsman_sdk::bindings::roundsman::host::system;

use crate::{show, tell};

fn words(failure: system::Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

/// Of the filesystem that is mounted there.
pub(crate) fn mounts(path: &str) -> Result<(), String> {
    let mounts = system::mounts().map_err(words)?;
    tell("system.mounts", mounts.iter().filter(|mount| mount.path() == path).count());
    let mount = mounts.iter().find(|mount| mount.path() == path).ok_or("it is not mounted")?;
    tell("system.mount.source", mount.source());
    tell("system.mount.path", mount.path());
    tell("system.mount.kind", mount.kind());
    tell("system.mount.read-only", mount.read_only());
    tell("system.mount.options", mount.options().join(","));
    let usage = system::usage(path).map_err(words)?;
    tell("system.usage", format!("{} per cent are free", 100 * usage.free() / usage.total()));
    tell("system.filesystem.total", usage.total());
    tell("system.filesystem.free", usage.free());
    tell("system.filesystem.available", usage.available());
    tell("system.filesystem.inodes", usage.inodes());
    tell("system.filesystem.inodes-free", usage.inodes_free());
    tell("system.filesystem.read-only", usage.read_only());
    Ok(())
}

pub(crate) fn kernel() -> Result<(), String> {
    let (one, five, fifteen) = system::load_average().map_err(words)?;
    tell("system.load-average", format!("{one:.2} {five:.2} {fifteen:.2}"));
    tell("system.processors", system::processors().map_err(words)?);
    let memory = system::memory().map_err(words)?;
    let total = memory.iter().find(|(name, _)| name == "MemTotal").map(|(_, bytes)| bytes);
    tell("system.memory", format!("MemTotal {}", show(total)));
    let uname = system::uname().map_err(words)?;
    let of = |name: &str| show(uname.iter().find(|(known, _)| known == name).map(|(_, value)| value));
    tell("system.uname", format!("{} {} {}", of("sysname"), of("release"), of("boot-id")));
    tell("system.sysctl", system::sysctl("kernel.ostype").map_err(words)?);
    Ok(())
}

pub(crate) fn pressure() -> Result<(), String> {
    let pressure = system::pressure("cpu").map_err(words)?;
    tell("system.pressure", show(pressure.iter().find(|(name, _)| name == "some.total").map(|(_, total)| total)));
    Ok(())
}

pub(crate) fn processes(pid: &str) -> Result<(), String> {
    let list = system::processes().map_err(words)?;
    let pids = list.pids();
    tell("system.processes", pids.len());
    let row = pids.iter().position(|other| other.to_string() == pid).ok_or("the process is not in the list")?;
    tell("system.process-list.pids", pids[row]);
    tell("system.process-list.parents", list.parents()[row]);
    tell("system.process-list.names", &list.names()[row]);
    tell("system.process-list.command-lines", &list.command_lines()[row]);
    tell("system.process-list.states", &list.states()[row]);
    tell("system.process-list.user-ids", list.user_ids()[row]);
    tell("system.process-list.threads", list.threads()[row]);
    tell("system.process-list.resident-bytes", list.resident_bytes()[row]);
    tell("system.process-list.cpu-ns", list.cpu_ns()[row]);
    tell("system.process-list.started-ns", list.started_ns()[row]);
    Ok(())
}

pub(crate) fn processes_truncated() -> Result<(), String> {
    tell("system.process-list.truncated", system::processes().map_err(words)?.truncated());
    Ok(())
}

pub(crate) fn ports(port: &str) -> Result<(), String> {
    let list = system::listening_ports().map_err(words)?;
    let ports = list.ports();
    tell("system.listening-ports", ports.len());
    let row = ports.iter().position(|other| other.to_string() == port).ok_or("the port is not in the list")?;
    tell("system.port-list.protocols", &list.protocols()[row]);
    tell("system.port-list.addresses", &list.addresses()[row]);
    tell("system.port-list.ports", ports[row]);
    tell("system.port-list.user-ids", list.user_ids()[row]);
    tell("system.port-list.pids", list.pids()[row]);
    Ok(())
}

pub(crate) fn ports_truncated() -> Result<(), String> {
    tell("system.port-list.truncated", system::listening_ports().map_err(words)?.truncated());
    Ok(())
}

pub(crate) fn kernel_log() -> Result<(), String> {
    let found = system::kernel_log(Some("start"), 2).map_err(words)?;
    let lines = found.lines();
    tell("system.kernel-log", lines.len());
    let line = lines.last().ok_or("the kernel's log is empty")?;
    // What it says is nobody's business.
    let told = (line.priority, line.facility, line.sequence, line.at_ns, line.text.len());
    tell("system.kernel-lines.lines", format!("{} {} {} {} {} bytes", told.0, told.1, told.2, told.3, told.4));
    tell("system.kernel-lines.cursor", found.cursor());
    tell("system.kernel-lines.more", found.more());
    Ok(())
}

pub(crate) fn kernel_log_lost(cursor: &str) -> Result<(), String> {
    tell("system.kernel-lines.lost", system::kernel_log(Some(cursor), 2).map_err(words)?.lost());
    Ok(())
}

/// Those that failed, and those of these names.
pub(crate) fn units(names: &[&str]) -> Result<(), String> {
    tell("system.failed-units", system::failed_units().map_err(words)?.names().join(", "));
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let list = system::units(&names).map_err(words)?;
    tell("system.units", list.names().len());
    tell("system.unit-list.names", list.names().join(", "));
    tell("system.unit-list.descriptions", list.descriptions().join(", "));
    tell("system.unit-list.load-states", list.load_states().join(", "));
    tell("system.unit-list.active-states", list.active_states().join(", "));
    tell("system.unit-list.sub-states", list.sub_states().join(", "));
    Ok(())
}

pub(crate) fn units_truncated() -> Result<(), String> {
    tell("system.unit-list.truncated", system::failed_units().map_err(words)?.truncated());
    Ok(())
}
