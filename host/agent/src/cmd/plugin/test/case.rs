//! Reads a cases file: what a plugin is given, what the world answers, and what is expected of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_model::record::Status;
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::Memory;
use roundsman_probe::script::Script;
use roundsman_web::instant::Instant;
use serde_json::Value as Json;

use super::answers;
use super::expect::{Expect, expect};
use crate::checks::allow::allow;
use crate::checks::json::json;
use crate::config::MAX_FILE;
use crate::config::read::{Fields, Value, Walk};
use crate::config::yaml::Tree;
use crate::problem::Problem;

/// Without another word a case takes place then, so that it comes out the same on every day.
const CLOCK: Timestamp = Timestamp(1_767_225_600_000_000_000);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest name of a case: it is printed in one line.
const MAX_NAME: usize = 120;
/// What one file or one answer may hold.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// Of its first key.
    pub(super) line: u32,
    pub(super) settings: Json,
    pub(super) target: Option<Target>,
    pub(super) allow: Allow,
    pub(super) memory: Memory,
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// By name: the files of each secret, of which one alone has no name.
    pub(super) secrets: BTreeMap<String, Vec<(String, String)>>,
    pub(super) previous: Option<Status>,
    pub(super) attempt: u32,
    pub(super) timeout: Duration,
    pub(super) clock: Timestamp,
    pub(super) script: Script,
    pub(super) expect: Expect,
}

/// All cases of a file, or everything that is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<Case>, Vec<Problem>> {
    let text = crate::watch::read::read_stable(path, MAX_FILE).map_err(|error| {
        let hint = "write the cases there, or name another file by --cases; `roundsman plugin new` makes an example";
        vec![Problem::error(path, crate::plugins::chain(&error)).hint(hint)]
    })?;
    parse(path, &text.bytes)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Case>, Vec<Problem>> {
    let mut walk = Walk::default();
    let source = walk.file(path);
    let mut read = Vec::new();
    if let Some(root) = walk.parse(source, text)
        && let Some(mut fields) = Fields::new(Value::new(&root, ""), &mut walk)
    {
        let list = fields.require("cases", &mut walk).and_then(|value| value.list(&mut walk)).unwrap_or_default();
        read = list.into_iter().filter_map(|item| case(item, &mut walk)).collect();
        fields.finish(&mut walk);
    }
    let (errors, _) = walk.finish();
    if errors.is_empty() { Ok(read) } else { Err(errors) }
}

fn case(value: Value<'_>, walk: &mut Walk) -> Option<Case> {
    let line = value.node.place.line;
    let mut fields = Fields::new(value, walk)?;
    let name = fields.require("name", walk).and_then(|v| v.line(walk, MAX_NAME)).unwrap_or_default().to_owned();
    let settings =
        fields.get("settings", walk).and_then(|v| json(&v, walk)).unwrap_or_else(|| Json::Object(Default::default()));
    let target = fields.get("target", walk).and_then(|v| target(&v, walk));
    let allow = fields.get("allow", walk).and_then(|v| allow(v, walk)).unwrap_or_default();
    let memory = fields.get("state", walk).map(|v| memory(&v, walk)).unwrap_or_default();
    let clock = fields.get("clock", walk).and_then(|v| instant(&v, walk)).unwrap_or(CLOCK);
    let files = fields.get("files", walk).map(|v| files(&v, walk)).unwrap_or_default();
    let secrets = fields.get("secrets", walk).map(|v| secrets(&v, walk)).unwrap_or_default();
    let previous = fields.get("previous", walk).and_then(|v| v.word(walk, &STATUS));
    let attempt = fields.get("attempt", walk).and_then(|v| v.integer(walk, 1..=1000)).unwrap_or(1);
    let range = Duration::from_millis(1)..=Duration::from_secs(60);
    let timeout = fields.get("timeout", walk).and_then(|v| v.duration(walk, range)).unwrap_or(TIMEOUT);
    let mut script = Script::at(clock);
    if let Some(value) = fields.get("answers", walk) {
        answers::read(value, clock, &mut script, walk);
    }
    let expect = fields.require("expect", walk).and_then(|v| expect(v, walk));
    fields.finish(walk);
    let expect = expect?;
    Some(Case {
        name,
        line,
        settings,
        target,
        allow,
        memory,
        files,
        secrets,
        previous,
        attempt,
        timeout,
        clock,
        script,
        expect,
    })
}

/// The words for a status.
pub(super) const STATUS: [(&str, Status); 4] =
    [("ok", Status::Ok), ("warning", Status::Warning), ("critical", Status::Critical), ("unknown", Status::Unknown)];

/// An address alone, or `{name, address, labels}`.
fn target(value: &Value<'_>, walk: &mut Walk) -> Option<Target> {
    if value.node.get("address").is_none() {
        let address = value.line(walk, MAX_NAME * 16)?;
        return Some(Target { name: address.into(), address: address.into(), labels: Default::default() });
    }
    let mut fields = Fields::new(value.clone(), walk)?;
    let address = fields.require("address", walk).and_then(|v| v.line(walk, MAX_NAME * 16))?;
    let name = fields.get("name", walk).and_then(|v| v.line(walk, MAX_NAME)).unwrap_or(address);
    let labels = fields.get("labels", walk).and_then(|v| texts(&v, walk)).unwrap_or_default();
    fields.finish(walk);
    Some(Target { name: name.into(), address: address.into(), labels: labels.into_iter().collect() })
}

/// A mapping of texts.
pub(super) fn texts(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<(String, String)>> {
    let entries = value.entries(walk)?;
    let pair = |(entry, value): (&crate::config::yaml::Entry, Value<'_>), walk: &mut Walk| {
        Some((entry.key.to_string(), value.text(walk)?.to_owned()))
    };
    Some(entries.into_iter().filter_map(|entry| pair(entry, walk)).collect())
}

/// What a value is as bytes: text as it is, anything else as JSON, as the SDK's `state::save` writes it.
fn bytes(value: &Value<'_>, walk: &mut Walk) -> Option<Vec<u8>> {
    Some(match json(value, walk)? {
        Json::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

fn memory(value: &Value<'_>, walk: &mut Walk) -> Memory {
    let entries = value.entries(walk).unwrap_or_default();
    entries.into_iter().filter_map(|(entry, value)| Some((entry.key.to_string(), bytes(&value, walk)?))).collect()
}

fn files(value: &Value<'_>, walk: &mut Walk) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (entry, value) in value.entries(walk).unwrap_or_default() {
        let plain =
            Path::new(&*entry.key).components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        if !entry.key.starts_with('/') || entry.key.ends_with('/') || !plain {
            walk.error(
                &value,
                format!("`{}` must be the whole path of a file, from / on, without `.` and `..`", entry.key),
            );
        } else if let Some(text) = value.text(walk) {
            files.push((entry.key.to_string(), text.as_bytes().to_vec()));
        }
    }
    files
}

/// `secrets: {shop: a token, etcd: {username: u, password: p}}`.
fn secrets(value: &Value<'_>, walk: &mut Walk) -> BTreeMap<String, Vec<(String, String)>> {
    let mut secrets = BTreeMap::new();
    for (entry, value) in value.entries(walk).unwrap_or_default() {
        let files = match &value.node.value {
            Tree::Map(_) => texts(&value, walk),
            _ => value.text(walk).map(|text| vec![(String::new(), text.to_owned())]),
        };
        let plain = |(name, _): &(String, String)| !name.contains(['/', '\0']) && !name.starts_with('.');
        if files.as_ref().is_some_and(|files| !files.iter().all(plain)) {
            walk.error(&value, "the keys of a secret are names of files");
        }
        secrets.extend(files.map(|files| (entry.key.to_string(), files)));
    }
    secrets
}

/// An instant as RFC 3339 text.
pub(super) fn instant(value: &Value<'_>, walk: &mut Walk) -> Option<Timestamp> {
    value.made(walk, |text| text.parse::<Instant>().map(|instant| instant.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../../../docs/plugins.md");

    /// The document's own case, with its own answers.
    #[test]
    fn what_the_document_shows_is_read() {
        let mut blocks = DOCUMENT.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let (cases, answers) = (blocks.next().unwrap(), blocks.next().unwrap());
        let answers: String = answers.lines().map(|line| format!("    {line}\n")).collect();
        let place = cases.lines().find(|line| line.trim_start().starts_with("answers: {…}")).unwrap();
        let whole = cases.replace(&format!("{place}\n"), &answers);
        let read = match parse(Path::new("plugins.md"), whole.as_bytes()) {
            Ok(read) => read,
            Err(problems) => panic!("{problems:?}"),
        };
        let [case] = &read[..] else { panic!("one case") };
        let script = &case.script;
        assert_eq!((script.http.len(), script.dns.len(), script.tcp.len(), script.udp.len()), (2, 1, 1, 1));
        assert_eq!((script.icmp.len(), script.command.len(), script.system.usage.len()), (1, 1, 2));
        assert!(script.system.kernel_log.is_some() && script.system.units.is_some());
        assert_eq!((case.files.len(), case.secrets.len(), case.memory["last"].as_slice()), (1, 1, &b"5"[..]));
    }
}
