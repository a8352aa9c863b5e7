//! Answers of `system`.

use roundsman_model::time::Timestamp;
use roundsman_model::units::parse_size;
use roundsman_probe::script::system::{Answers, Says, UNAME};
use roundsman_probe::system::{Mount, Usage};

use super::{failure, lists, words};
use crate::cmd::plugin::test::case::{MAX_TEXT, texts};
use crate::config::read::{Fields, Value, Walk};

/// Where failures of the kernel take place.
const PHASE: &str = "policy";

pub(super) fn answers(value: Value<'_>, clock: Timestamp, walk: &mut Walk) -> Answers {
    let mut answers = Answers::default();
    let Some(mut fields) = Fields::new(value, walk) else { return answers };
    answers.load = says(&mut fields, "load", walk, load);
    answers.processors = says(&mut fields, "processors", walk, |value, walk| value.integer(walk, 1..=65_536));
    answers.memory = says(&mut fields, "memory", walk, |value, walk| named(value, walk, size));
    answers.uname = says(&mut fields, "uname", walk, uname);
    answers.mounts = says(&mut fields, "mounts", walk, |value, walk| {
        let items = value.list(walk)?;
        Some(items.into_iter().filter_map(|item| mount(item, walk)).collect())
    });
    answers.pressure = of_each(&mut fields, "pressure", walk, |value, walk| named(value, walk, real));
    answers.usage = of_each(&mut fields, "usage", walk, usage);
    answers.sysctl = of_each(&mut fields, "sysctl", walk, |value, walk| value.text(walk).map(str::to_owned));
    answers.processes = says(&mut fields, "processes", walk, |value, walk| lists::processes(value, clock, walk));
    answers.ports = says(&mut fields, "ports", walk, lists::ports);
    answers.kernel_log = says(&mut fields, "kernelLog", walk, |value, walk| lists::kernel_log(value, clock, walk));
    answers.units = says(&mut fields, "units", walk, lists::units);
    fields.finish(walk);
    answers
}

/// An answer, or `{failure: {code: hung}}` in its place.
fn either<'n, T>(
    value: Value<'n>,
    walk: &mut Walk,
    read: impl FnOnce(&Value<'n>, &mut Walk) -> Option<T>,
) -> Option<Says<T>> {
    if value.node.get("failure").is_none() {
        return read(&value, walk).map(Ok);
    }
    let mut fields = Fields::new(value, walk)?;
    let told = failure(&mut fields, PHASE, walk);
    fields.finish(walk);
    told.map(Err)
}

fn says<'n, T>(
    fields: &mut Fields<'n>,
    key: &'static str,
    walk: &mut Walk,
    read: impl FnOnce(&Value<'n>, &mut Walk) -> Option<T>,
) -> Option<Says<T>> {
    let value = fields.get(key, walk)?;
    either(value, walk, read)
}

/// Answers by name: the paths of `usage`, the words of `pressure`.
fn of_each<'n, T>(
    fields: &mut Fields<'n>,
    key: &'static str,
    walk: &mut Walk,
    read: impl Fn(&Value<'n>, &mut Walk) -> Option<T>,
) -> Vec<(String, Says<T>)> {
    let Some(value) = fields.get(key, walk) else { return Vec::new() };
    let entries = value.entries(walk).unwrap_or_default();
    let answer = |(entry, value): (&crate::config::yaml::Entry, Value<'n>), walk: &mut Walk| {
        Some((entry.key.to_string(), either(value, walk, &read)?))
    };
    entries.into_iter().filter_map(|entry| answer(entry, walk)).collect()
}

/// A mapping of numbers.
fn named<T>(
    value: &Value<'_>,
    walk: &mut Walk,
    number: impl Fn(&Value<'_>, &mut Walk) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let entries = value.entries(walk)?;
    Some(
        entries.into_iter().filter_map(|(entry, value)| Some((entry.key.to_string(), number(&value, walk)?))).collect(),
    )
}

pub(super) fn size(value: &Value<'_>, walk: &mut Walk) -> Option<u64> {
    value.made(walk, parse_size)
}

fn real(value: &Value<'_>, walk: &mut Walk) -> Option<f64> {
    value.made(walk, |text| text.parse::<f64>().map_err(|_| "must be a number"))
}

fn load(value: &Value<'_>, walk: &mut Walk) -> Option<[f64; 3]> {
    let numbers: Vec<f64> = value.list(walk)?.iter().filter_map(|item| real(item, walk)).collect();
    let three = <[f64; 3]>::try_from(numbers).ok();
    if three.is_none() {
        walk.error(value, "`load` must be three numbers: over 1, 5 and 15 minutes");
    }
    three
}

fn uname(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<(&'static str, String)>> {
    let mut said = Vec::new();
    for (name, text) in texts(value, walk)? {
        match UNAME.into_iter().find(|known| **known == name) {
            Some(known) => said.push((known, text)),
            None => walk.error(value, format!("`{name}` is no name of `uname`: write some of {}", UNAME.join(", "))),
        }
    }
    Some(said)
}

fn mount(value: Value<'_>, walk: &mut Walk) -> Option<Mount> {
    let mut fields = Fields::new(value, walk)?;
    let path = fields.require("path", walk).and_then(|v| v.line(walk, MAX_TEXT))?.to_owned();
    let mut text = |key, otherwise: &str, walk: &mut Walk| {
        fields.get(key, walk).and_then(|v| v.line(walk, MAX_TEXT)).unwrap_or(otherwise).to_owned()
    };
    let (source, kind) = (text("source", "/dev/sda1", walk), text("kind", "ext4", walk));
    let read_only = fields.get("readOnly", walk).and_then(|v| v.boolean(walk)).unwrap_or(false);
    let options = words(&mut fields, "options", walk);
    fields.finish(walk);
    Some(Mount { source, path, kind, read_only, options })
}

fn usage(value: &Value<'_>, walk: &mut Walk) -> Option<Usage> {
    let mut fields = Fields::new(value.clone(), walk)?;
    let mut number = |key, walk: &mut Walk| fields.get(key, walk).and_then(|v| size(&v, walk));
    let (total, free, available) = (number("total", walk), number("free", walk), number("available", walk));
    let (inodes, inodes_free) = (number("inodes", walk), number("inodesFree", walk));
    let read_only = fields.get("readOnly", walk).and_then(|v| v.boolean(walk)).unwrap_or(false);
    fields.finish(walk);
    let (total, free) = (total.unwrap_or(0), free.or(available).unwrap_or(0));
    Some(Usage {
        total,
        free,
        available: available.unwrap_or(free),
        inodes: inodes.unwrap_or(0),
        inodes_free: inodes_free.or(inodes).unwrap_or(0),
        read_only,
    })
}
