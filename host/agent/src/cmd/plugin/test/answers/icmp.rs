//! Answers of `icmp`.

use roundsman_probe::script::icmp::{Answer, Became};

use super::{failure, list, timings};
use crate::cmd::plugin::test::case::MAX_TEXT;
use crate::config::read::{Fields, Value, Walk};

/// What most machines begin with.
const TTL: u8 = 64;

pub(super) fn answer(value: Value<'_>, walk: &mut Walk) -> Option<Answer> {
    let mut fields = Fields::new(value, walk)?;
    let address = fields.require("address", walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let reply = match failure(&mut fields, "connect", walk) {
        Some(told) => Err(told),
        None => Ok(list(&mut fields, "replies", walk, |value, walk| value.made(walk, Became::parse))),
    };
    let mut number = |key, most, walk: &mut Walk| fields.get(key, walk).and_then(|v| v.integer(walk, 0..=most));
    let (duplicates, mtu, ttl) =
        (number("duplicates", 100, walk), number("mtu", 65_535, walk), number("ttl", 255, walk));
    let times = timings(&mut fields, walk);
    fields.finish(walk);
    let ttl = ttl.and_then(|ttl| u8::try_from(ttl).ok()).unwrap_or(TTL);
    Some(Answer { address: address?, reply, duplicates: duplicates.unwrap_or(0), mtu, ttl, times })
}
