//! Answers of `system` that are long lists: processes, ports, units, the kernel's log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::time::Timestamp;
use roundsman_probe::script::system::Log;
use roundsman_probe::system::{KernelLine, Port, Ports, Process, Processes, Unit};

use super::system::size;
use super::{LONGEST, when};
use crate::cmd::plugin::test::case::MAX_TEXT;
use crate::config::read::{Fields, Value, Walk};

const PROTOCOLS: [(&str, &str); 4] = [("tcp", "tcp"), ("tcp6", "tcp6"), ("udp", "udp"), ("udp6", "udp6")];

/// The fields of one of many.
struct Item<'n>(Fields<'n>);

impl<'n> Item<'n> {
    fn text(&mut self, key: &'static str, otherwise: &str, walk: &mut Walk) -> String {
        self.0.get(key, walk).and_then(|v| v.line(walk, MAX_TEXT)).unwrap_or(otherwise).to_owned()
    }

    fn number(&mut self, key: &'static str, otherwise: u32, walk: &mut Walk) -> u32 {
        self.0.get(key, walk).and_then(|v| v.integer(walk, 0..=u32::MAX)).unwrap_or(otherwise)
    }
}

/// Each item of a list, read by its own keys.
fn each<'n, T>(
    value: &Value<'n>,
    walk: &mut Walk,
    mut read: impl FnMut(&mut Item<'n>, &mut Walk) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for item in value.list(walk)? {
        let Some(fields) = Fields::new(item, walk) else { continue };
        let mut item = Item(fields);
        all.extend(read(&mut item, walk));
        item.0.finish(walk);
    }
    Some(all)
}

pub(super) fn processes(value: &Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Arc<Processes>> {
    let mut next = 100;
    let list = each(value, walk, |item, walk| {
        next += 1;
        let name = item.0.require("name", walk).and_then(|v| v.line(walk, MAX_TEXT))?.to_owned();
        let state = item.text("state", "S", walk).chars().next().unwrap_or('S');
        let resident = item.0.get("resident", walk).and_then(|v| size(&v, walk));
        let cpu = item.0.get("cpu", walk).and_then(|v| v.duration(walk, Duration::ZERO..=LONGEST * 24 * 365));
        let started = item.0.get("started", walk).and_then(|v| when(&v, clock, walk)).unwrap_or(clock);
        Some(Process {
            pid: item.number("pid", next, walk),
            parent: item.number("parent", 1, walk),
            command_line: item.text("commandLine", &name, walk),
            name,
            state,
            user_id: item.number("userId", 0, walk),
            threads: item.number("threads", 1, walk),
            resident_bytes: resident.unwrap_or(1 << 20),
            cpu_ns: u64::try_from(cpu.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX),
            started_ns: started.0,
        })
    });
    list.map(|list| Arc::new(Processes { list, truncated: false }))
}

pub(super) fn ports(value: &Value<'_>, walk: &mut Walk) -> Option<Arc<Ports>> {
    let list = each(value, walk, |item, walk| {
        let port = item.0.require("port", walk).and_then(|v| v.integer(walk, 1..=65_535))?;
        let protocol = item.0.get("protocol", walk).and_then(|v| v.word(walk, &PROTOCOLS)).unwrap_or("tcp");
        let any: IpAddr = if protocol.ends_with('6') { [0_u16; 8].into() } else { [0_u8; 4].into() };
        let address = item.0.get("address", walk).and_then(|v| v.made(walk, |text| text.parse::<IpAddr>()));
        Some(Port {
            protocol,
            address: address.unwrap_or(any),
            port: u16::try_from(port).ok()?,
            user_id: item.number("userId", 0, walk),
            pid: item.number("pid", 0, walk),
        })
    });
    list.map(|list| Arc::new(Ports { list, truncated: false }))
}

/// A list of lines, or `{lines: […], lost: 3}`.
pub(super) fn kernel_log(value: &Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Log> {
    if value.node.get("lines").is_none() {
        return lines(value, clock, walk).map(|lines| Log { lines, lost: 0 });
    }
    let mut fields = Fields::new(value.clone(), walk)?;
    let lines = fields.require("lines", walk).and_then(|v| lines(&v, clock, walk));
    let lost = fields.get("lost", walk).and_then(|v| v.integer(walk, 0..=u32::MAX)).unwrap_or(0);
    fields.finish(walk);
    lines.map(|lines| Log { lines, lost: lost.into() })
}

fn lines(value: &Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Vec<KernelLine>> {
    let mut sequence = 0;
    each(value, walk, |item, walk| {
        sequence += 1;
        let text = item.0.require("text", walk).and_then(|v| v.line(walk, MAX_TEXT))?.to_owned();
        let mut small =
            |key, otherwise, walk: &mut Walk| u8::try_from(item.number(key, otherwise, walk)).unwrap_or(u8::MAX);
        let (priority, facility) = (small("priority", 6, walk), small("facility", 0, walk));
        let at = item.0.get("at", walk).and_then(|v| when(&v, clock, walk)).unwrap_or(clock);
        Some(KernelLine { priority, facility, sequence, at_ns: at.0, text })
    })
}

pub(super) fn units(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<Unit>> {
    each(value, walk, |item, walk| {
        let name = item.0.require("name", walk).and_then(|v| v.line(walk, MAX_TEXT))?.to_owned();
        let active_state = item.text("active", "active", walk);
        let sub = match active_state.as_str() {
            "active" => "running",
            "failed" => "failed",
            _ => "dead",
        };
        Some(Unit {
            description: item.text("description", &name, walk),
            load_state: item.text("load", "loaded", walk),
            sub_state: item.text("sub", sub, walk),
            active_state,
            name,
        })
    })
}
