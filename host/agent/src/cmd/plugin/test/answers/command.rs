//! Answers of `command`.

use std::time::Duration;

use roundsman_probe::script::command::{Answer, Reply};

use super::{LONGEST, failure};
use crate::cmd::plugin::test::case::MAX_TEXT;
use crate::config::read::{Fields, Value, Walk};

pub(super) fn answer(value: Value<'_>, walk: &mut Walk) -> Option<Answer> {
    let mut fields = Fields::new(value, walk)?;
    let run = fields.require("run", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let input = fields.get("input", walk).and_then(|v| v.text(walk)).map(str::to_owned);
    let reply = match failure(&mut fields, "command", walk) {
        Some(told) => Err(told),
        None => Ok(reply(&mut fields, walk)),
    };
    fields.finish(walk);
    Some(Answer { run: run?, input, reply })
}

fn reply(fields: &mut Fields<'_>, walk: &mut Walk) -> Reply {
    let mut number = |key, walk: &mut Walk| {
        let number = fields.get(key, walk).and_then(|v| v.integer(walk, 0..=255))?;
        i32::try_from(number).ok()
    };
    let (exit, signal) = (number("exit", walk), number("signal", walk));
    let mut text = |key, walk: &mut Walk| {
        fields.get(key, walk).and_then(|v| v.text(walk)).map(|text| text.as_bytes().to_vec()).unwrap_or_default()
    };
    let (output, errors) = (text("output", walk), text("errors", walk));
    let mut time = |key, walk: &mut Walk| {
        fields.get(key, walk).and_then(|v| v.duration(walk, Duration::ZERO..=LONGEST)).unwrap_or_default()
    };
    let (duration, cpu) = (time("duration", walk), time("cpu", walk));
    // A program that was not killed ends with a status.
    Reply { exit: exit.or(signal.is_none().then_some(0)), signal, output, errors, duration, cpu }
}
