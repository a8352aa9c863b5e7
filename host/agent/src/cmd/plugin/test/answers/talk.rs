//! Answers of `tcp` and `udp`: dialogues.

use roundsman_model::time::Timestamp;
use roundsman_probe::script::talk::{Answer, Echo, Step};

use super::{certificates, facts, failure, timings};
use crate::cmd::plugin::test::case::MAX_TEXT;
use crate::config::read::{Fields, Value, Walk};
use crate::config::yaml::Tree;

/// `key` is how the case names the peer: `connect` of `tcp`, `address` of `udp`.
pub(super) fn answer(value: Value<'_>, key: &'static str, clock: Timestamp, walk: &mut Walk) -> Option<Answer> {
    let mut fields = Fields::new(value, walk)?;
    let address = fields.require(key, walk).and_then(|v| v.line(walk, MAX_TEXT)).map(str::to_owned);
    let failure = failure(&mut fields, "connect", walk);
    let steps = fields.get("dialogue", walk).and_then(|v| v.list(walk)).unwrap_or_default();
    let dialogue = steps.into_iter().filter_map(|value| step(value, walk)).collect();
    let (times, facts) = (timings(&mut fields, walk), facts(&mut fields, walk));
    let certificates = certificates(&mut fields, clock, walk);
    fields.finish(walk);
    Some(Answer { address: address?, failure, dialogue, times, certificates, facts })
}

/// `{send: …}`, `{expect: …}`, `startTls`, `silence`, `{startTls: {failure: …}}` or `{failure: …}`.
fn step(value: Value<'_>, walk: &mut Walk) -> Option<Step> {
    if matches!(value.node.value, Tree::Scalar(_)) {
        return value.word(walk, &[("startTls", 0), ("silence", 1)]).map(|word| match word {
            0 => Step::StartTls(Ok(())),
            _ => Step::Silence,
        });
    }
    let mut fields = Fields::new(value, walk)?;
    let send = fields.get("send", walk).and_then(|v| bytes(&v, walk));
    let echo = fields.get("echo", walk).and_then(|v| echoes(&v, walk)).unwrap_or_default();
    let send = send.map(|bytes| Step::Send(bytes, echo));
    let expect = fields.get("expect", walk).and_then(|v| bytes(&v, walk)).map(Step::Expect);
    let tls = fields.get("startTls", walk).and_then(|v| {
        let mut fields = Fields::new(v, walk)?;
        let told = failure(&mut fields, "tls", walk);
        fields.finish(walk);
        told.map(|told| Step::StartTls(Err(told)))
    });
    let failed = failure(&mut fields, "transfer", walk).map(Step::Fail);
    let mut steps: Vec<Step> = [send, expect, tls, failed].into_iter().flatten().collect();
    if steps.len() != 1 {
        let ways = "{send: …}, {expect: …}, {failure: …}, startTls or silence";
        walk.error(fields.whole(), format!("a step of a dialogue is one of {ways}"));
    }
    fields.finish(walk);
    steps.pop()
}

/// `[{from: 40, at: 24, bytes: 8}]`: pieces of what was heard that are sent back.
fn echoes(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<Echo>> {
    let mut all = Vec::new();
    for item in value.list(walk)? {
        let Some(mut fields) = Fields::new(item, walk) else { continue };
        let mut number = |key, walk: &mut Walk| {
            let number = fields.require(key, walk).and_then(|v| v.integer(walk, 0..=65_535))?;
            usize::try_from(number).ok()
        };
        let (from, at, bytes) = (number("from", walk), number("at", walk), number("bytes", walk));
        fields.finish(walk);
        all.extend(from.zip(at).zip(bytes).map(|((from, at), bytes)| Echo { from, at, bytes }));
    }
    Some(all)
}

/// Text, or `{hex: "1c 02 00"}`.
pub(super) fn bytes(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<u8>> {
    if value.node.get("hex").is_none() {
        return value.text(walk).map(|text| text.as_bytes().to_vec());
    }
    let mut fields = Fields::new(value.clone(), walk)?;
    let bytes = fields.get("hex", walk).and_then(|v| v.made(walk, hex));
    fields.finish(walk);
    bytes
}

fn hex(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| match pair {
        [a, b] => Some((a.to_digit(16)? * 16 + b.to_digit(16)?) as u8),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or("must be pairs of hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hexadecimal_digits() {
        for (text, bytes) in [("1c 02ff", Some(vec![0x1c, 2, 0xff])), ("", Some(vec![])), ("1", None), ("xy", None)] {
            assert_eq!(hex(text).ok(), bytes, "{text}");
        }
    }
}
