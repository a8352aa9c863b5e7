//! Reads `answers:` of a case: what the world says to a plugin.

mod command;
mod dns;
mod http;
mod icmp;
mod lists;
mod system;
mod talk;

use std::time::Duration;

use roundsman_model::time::Timestamp;
use roundsman_model::units::parse_duration;
use roundsman_probe::script::Script;
use roundsman_probe::script::exchange::{PHASES, Shown, Times, Told};

use super::case::{MAX_TEXT, instant, texts};
use crate::config::read::{Fields, Value, Walk};

/// Phases of an answer: longer ones were cut by any deadline.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn read(value: Value<'_>, clock: Timestamp, script: &mut Script, walk: &mut Walk) {
    let Some(mut fields) = Fields::new(value, walk) else { return };
    script.http = list(&mut fields, "http", walk, |value, walk| http::answer(value, clock, walk));
    script.dns = list(&mut fields, "dns", walk, |value, walk| dns::answer(value, clock, walk));
    script.tcp = list(&mut fields, "tcp", walk, |value, walk| talk::answer(value, "connect", clock, walk));
    script.udp = list(&mut fields, "udp", walk, |value, walk| talk::answer(value, "address", clock, walk));
    script.icmp = list(&mut fields, "icmp", walk, icmp::answer);
    script.command = list(&mut fields, "command", walk, command::answer);
    if let Some(value) = fields.get("system", walk) {
        script.system = system::answers(value, clock, walk);
    }
    fields.finish(walk);
}

/// The answers of one interface.
fn list<'n, T>(
    fields: &mut Fields<'n>,
    key: &'static str,
    walk: &mut Walk,
    mut read: impl FnMut(Value<'n>, &mut Walk) -> Option<T>,
) -> Vec<T> {
    let Some(value) = fields.get(key, walk) else { return Vec::new() };
    value.list(walk).unwrap_or_default().into_iter().filter_map(|item| read(item, walk)).collect()
}

/// `failure: {code: refused, phase: connect, message: …}`.
fn failure(fields: &mut Fields<'_>, phase: &str, walk: &mut Walk) -> Option<Told> {
    let value = fields.get("failure", walk)?;
    let mut fields = Fields::new(value.clone(), walk)?;
    let code = fields.require("code", walk).and_then(|v| v.text(walk));
    let phase = fields.get("phase", walk).and_then(|v| v.text(walk)).unwrap_or(phase);
    let message = fields.get("message", walk).and_then(|v| v.line(walk, MAX_TEXT));
    fields.finish(walk);
    Told::new(code?, phase, message).map_err(|error| walk.error(&value, error)).ok()
}

/// `timings: {connect: 3ms, total: 20ms}`.
fn timings(fields: &mut Fields<'_>, walk: &mut Walk) -> Times {
    let mut times = Times::default();
    let Some(value) = fields.get("timings", walk) else { return times };
    for (entry, value) in value.entries(walk).unwrap_or_default() {
        let Some(took) = value.duration(walk, Duration::ZERO..=LONGEST) else { continue };
        if !times.set(&entry.key, took) {
            walk.error(&value, format!("`{}` is no phase: write one of {}", entry.key, PHASES.join(", ")));
        }
    }
    times
}

/// `facts: {alpn: h2}`.
fn facts(fields: &mut Fields<'_>, walk: &mut Walk) -> Vec<(String, String)> {
    fields.get("facts", walk).and_then(|value| texts(&value, walk)).unwrap_or_default()
}

/// `certificates: [{subject: CN=shop.example, notAfter: +20d}]`, the peer's own first.
fn certificates(fields: &mut Fields<'_>, clock: Timestamp, walk: &mut Walk) -> Vec<Shown> {
    list(fields, "certificates", walk, |value, walk| {
        let mut fields = Fields::new(value, walk)?;
        let mut text = |key, walk: &mut Walk| {
            fields.get(key, walk).and_then(|value| value.line(walk, MAX_TEXT)).unwrap_or_default().to_owned()
        };
        let (subject, issuer, serial) = (text("subject", walk), text("issuer", walk), text("serial", walk));
        let names = words(&mut fields, "names", walk);
        let not_before = fields.get("notBefore", walk).and_then(|v| when(&v, clock, walk));
        let not_after = fields.get("notAfter", walk).and_then(|v| when(&v, clock, walk));
        fields.finish(walk);
        let seconds =
            |time: Option<Timestamp>, otherwise: i64| time.map_or(otherwise, |time| time.0.div_euclid(1_000_000_000));
        let now = clock.0.div_euclid(1_000_000_000);
        Some(Shown {
            subject,
            issuer,
            names,
            not_before: seconds(not_before, now - YEAR_S),
            not_after: seconds(not_after, now + YEAR_S),
            serial,
        })
    })
}

/// For how long a certificate was, and will be, good of which the case does not say so.
const YEAR_S: i64 = 365 * 86_400;

/// An instant, or how far from the case's clock it is: `+20d`, `-1h`.
fn when(value: &Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Timestamp> {
    let text = value.text(walk)?;
    if let Some(later) = text.strip_prefix('+') {
        return value.made(walk, |_| parse_duration(later)).map(|by| clock + by);
    }
    match text.strip_prefix('-') {
        Some(earlier) => value.made(walk, |_| parse_duration(earlier)).map(|by| clock - by),
        None => instant(value, walk),
    }
}

/// A list of texts.
fn words(fields: &mut Fields<'_>, key: &'static str, walk: &mut Walk) -> Vec<String> {
    list(fields, key, walk, |value, walk| value.line(walk, MAX_TEXT).map(str::to_owned))
}
