//! Answers of `dns`.

use roundsman_model::time::Timestamp;
use roundsman_probe::dns::Entry;
use roundsman_probe::script::dns::{Answer, Reply, entry};

use super::{certificates, facts, failure, list, timings, words};
use crate::cmd::plugin::test::case::MAX_TEXT;
use crate::config::read::{Fields, Value, Walk};

pub(super) fn answer(value: Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Answer> {
    let mut fields = Fields::new(value, walk)?;
    let query = fields.require("query", walk);
    let server = fields.get("server", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let reply = match failure(&mut fields, "first-byte", walk) {
        Some(told) => Err(told),
        None => Ok(reply(&mut fields, walk)),
    };
    let (times, facts) = (timings(&mut fields, walk), facts(&mut fields, walk));
    let certificates = certificates(&mut fields, clock, walk);
    fields.finish(walk);
    let mut answer = query?.made(walk, |text| Answer::new(text, reply))?;
    (answer.server, answer.times, answer.facts, answer.certificates) = (server, times, facts, certificates);
    Some(answer)
}

fn reply(fields: &mut Fields<'_>, walk: &mut Walk) -> Reply {
    let rcode = fields.get("rcode", walk).and_then(|v| v.line(walk, MAX_TEXT)).unwrap_or("NOERROR").to_owned();
    let flags = words(fields, "flags", walk);
    let mut records =
        |key, walk: &mut Walk| -> Vec<Entry> { list(fields, key, walk, |value, walk| value.made(walk, entry)) };
    let (answer, authority) = (records("answer", walk), records("authority", walk));
    Reply { rcode, flags, answer, authority, additional: records("additional", walk) }
}
