//! Answers of `http`.

use bytes::Bytes;
use roundsman_model::time::Timestamp;
use roundsman_probe::script::exchange::Told;
use roundsman_probe::script::http::{Answer, Reply, Sent, add_header};

use super::talk::bytes;
use super::{certificates, facts, failure, timings};
use crate::checks::json::json;
use crate::cmd::plugin::test::case::texts;
use crate::config::read::{Fields, Value, Walk};

const VERSIONS: [(&str, &str); 3] = [("1.0", "1.0"), ("1.1", "1.1"), ("2", "2")];

pub(super) fn answer(value: Value<'_>, clock: Timestamp, walk: &mut Walk) -> Option<Answer> {
    let mut fields = Fields::new(value, walk)?;
    let request = fields.require("request", walk);
    let sent = fields.get("sent", walk).and_then(|v| sent(v, walk)).unwrap_or_default();
    let failure = failure(&mut fields, "connect", walk);
    let status = fields.get("status", walk);
    let reply = match (failure, status) {
        (Some(told), None) => Err(told),
        (None, Some(status)) => Ok(reply(&mut fields, &status, walk)?),
        _ => {
            walk.error(fields.whole(), "an answer has either `status` or `failure`");
            return None;
        }
    };
    let (times, facts) = (timings(&mut fields, walk), facts(&mut fields, walk));
    let certificates = certificates(&mut fields, clock, walk);
    fields.finish(walk);
    let request = request?;
    let made = |text: &str| Answer::new(text, reply as Result<Reply, Told>);
    let mut answer = request.made(walk, made)?;
    (answer.sent, answer.times, answer.facts, answer.certificates) = (sent, times, facts, certificates);
    Some(answer)
}

fn reply(fields: &mut Fields<'_>, status: &Value<'_>, walk: &mut Walk) -> Option<Reply> {
    let status = status.integer(walk, 100..=599)?;
    let mut reply = Reply::new(u16::try_from(status).ok()?);
    if let Some(version) = fields.get("version", walk).and_then(|v| v.word(walk, &VERSIONS)) {
        reply.version = version;
    }
    for (key, headers) in [("headers", &mut reply.headers), ("trailers", &mut reply.trailers)] {
        let Some(value) = fields.get(key, walk) else { continue };
        for (name, text) in texts(&value, walk).unwrap_or_default() {
            if let Err(error) = add_header(headers, &name, &text) {
                walk.error(&value, error);
            }
        }
    }
    if let Some(body) = fields.get("body", walk).and_then(|v| bytes(&v, walk)) {
        reply.body = Bytes::from(body);
    }
    if let Some(body) = fields.get("json", walk).and_then(|v| json(&v, walk)) {
        reply.body = body.to_string().into();
    }
    Some(reply)
}

/// `sent: {headers: {accept: text/html}, body: a part of it}`: what the request must carry for the answer to be its.
fn sent(value: Value<'_>, walk: &mut Walk) -> Option<Sent> {
    let mut fields = Fields::new(value, walk)?;
    let headers = fields.get("headers", walk).and_then(|v| texts(&v, walk)).unwrap_or_default();
    let body = fields.get("body", walk).and_then(|v| v.text(walk)).map(str::to_owned);
    fields.finish(walk);
    Some(Sent { headers, body })
}
