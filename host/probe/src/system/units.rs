//! Units of systemd, as it tells them on the system bus.

use tokio::time::Instant;

use super::bus::{Body, Bus, Call, Reader};
use super::printable;
use crate::failure::{Failure, code};

/// Units that are kept: more than any system has loaded.
const MAX_UNITS: usize = 4096;
/// Names of one question.
const MAX_NAMES: usize = 256;
/// As systemd has it.
const MAX_NAME: usize = 255;
/// What systemd answers with: name, description, three states, the unit that it follows, its object, and a job.
const LIST: &str = "a(ssssssouso)";

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub description: String,
    /// `loaded`, `not-found`, `masked` …
    pub load_state: String,
    /// `active`, `failed`, `inactive`, `activating` …
    pub active_state: String,
    /// `running`, `dead`, `auto-restart` …
    pub sub_state: String,
}

/// Some units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    pub list: Vec<Unit>,
    /// Whether there were more than are kept.
    pub truncated: bool,
}

/// Those that failed.
pub(super) async fn failed(bus: &Bus, deadline: Instant) -> Result<Units, Failure> {
    ask(bus, "ListUnitsFiltered", &["failed".to_owned()], deadline).await
}

/// Those of these names, whatever their state.
pub(super) async fn by_names(bus: &Bus, names: &[String], deadline: Instant) -> Result<Units, Failure> {
    if names.len() > MAX_NAMES {
        return Err(super::failed(code::LIMIT, format!("{} units are asked for, more than {MAX_NAMES}", names.len())));
    }
    if let Some(name) = names.iter().find(|name| !is_unit(name)) {
        let name = roundsman_model::name::excerpt(name);
        return Err(super::failed(code::NOT_FOUND, format!("`{name}` is no name of a unit, such as `nginx.service`")));
    }
    // No names would mean nothing here, and systemd need not be asked.
    if names.is_empty() { Ok(Units::default()) } else { ask(bus, "ListUnitsByNames", names, deadline).await }
}

/// With its kind: systemd passes over what has none.
fn is_unit(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    name.len() <= MAX_NAME
        && name.bytes().all(allowed)
        && name.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && !kind.is_empty())
}

async fn ask(bus: &Bus, member: &str, strings: &[String], deadline: Instant) -> Result<Units, Failure> {
    let call = Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        argument: Some(strings),
    };
    let body = bus.call(call, LIST, deadline).await?;
    parse(&body).ok_or_else(|| super::failed(code::IO, "systemd's list of units is malformed"))
}

fn parse(body: &Body) -> Option<Units> {
    let mut units = Units::default();
    let mut reader = Reader::new(body);
    // Its length in bytes: it goes to the end of the body, behind what brings it to where structures begin.
    reader.u32()?;
    reader.align(8)?;
    while !reader.is_at_end() {
        if units.list.len() == MAX_UNITS {
            units.truncated = true;
            break;
        }
        units.list.push(unit(&mut reader)?);
    }
    Some(units)
}

fn unit(reader: &mut Reader<'_>) -> Option<Unit> {
    reader.align(8)?;
    let mut text = || reader.string().map(|text| printable(text.as_bytes()));
    let (name, description, load_state, active_state, sub_state) = (text()?, text()?, text()?, text()?, text()?);
    let (_follows, _object) = (reader.string()?, reader.string()?);
    let (_job, _kind, _object) = (reader.u32()?, reader.string()?, reader.string()?);
    Some(Unit { name, description, load_state, active_state, sub_state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, good) in [
            ("nginx.service", true),
            ("dev-disk-by\\x2duuid.device", true),
            ("getty@tty1.service", true),
            ("a.b:c_d-e.timer", true),
            ("nginx", false),
            ("nginx.", false),
            (".service", false),
            ("*.service", false),
            ("a b.service", false),
            ("a\0.service", false),
            ("", false),
            (&format!("{}.service", "a".repeat(248)), false),
        ] {
            assert_eq!(is_unit(name), good, "{name:?}");
        }
    }
}
