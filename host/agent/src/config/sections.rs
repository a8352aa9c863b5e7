//! The sections of `roundsman.yaml`: their keys, defaults and rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use roundsman_model::name::{CheckName, excerpt};
use roundsman_probe::pattern::{Pattern, Scheme};
use roundsman_probe::secrets::{self, Source};

use crate::config::read::{Fields, Value, Walk};
use crate::config::yaml::{Node as Tree, Place};
use crate::config::{
    Api, Config, Format, Http, Influx, Level, Limits, Log, Node, Paths, SelfCheck, Shutdown, Store, Uplink,
};
use crate::config::{supervision, trust};

/// What `http.public` may open to other machines.
pub(super) const PUBLIC: [(&str, ()); 8] = [
    ("livez", ()),
    ("readyz", ()),
    ("alwayshappy", ()),
    ("alive", ()),
    ("ready", ()),
    ("metrics", ()),
    ("page", ()),
    ("api", ()),
];

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9640);
const DEFAULT_PUBLIC: [&str; 3] = ["livez", "readyz", "alwayshappy"];

const DAY: Duration = Duration::from_hours(24);
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;

/// Below 16 MiB the history would hold minutes; above 1 TiB somebody mistook the unit.
const STORE_SIZES: RangeInclusive<u64> = 16 * MI..=1024 * GI;
/// Below a minute nothing would be left to look at or to send after a short outage.
const STORE_AGES: RangeInclusive<Duration> = Duration::from_mins(1)..=DAY.saturating_mul(3_650);
/// 16 MiB let half a default plugin run; the other end is beyond any node.
const PLUGIN_MEMORY: RangeInclusive<u64> = 16 * MI..=1024 * GI;
const RUNS: RangeInclusive<u32> = 1..=100_000;
/// Shorter, and a batch holds nothing; longer, and what arrives is history.
const FLUSH_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(10);
/// A second lets a commit end; beyond ten minutes every supervisor has killed the process.
const GRACES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);
/// What file systems allow.
const MAX_PATH: usize = 4_096;
const MAX_URL: usize = 2_048;
/// Tag values are cut at 256 bytes.
const MAX_LABEL: usize = 256;
const MAX_LABELS: usize = 256;
const MAX_NODE_NAME: usize = 253;
/// Lines that one secret is sent along; each is looked at before it is sent.
const MAX_DESTINATIONS: usize = 256;
/// Each is looked at with every record of the others; a handful tells an outage from a coincidence.
const MAX_ANCHORS: usize = 32;

/// Where the node's name comes from when it is not configured.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) node_name: Option<String>,
    pub(super) host_name: String,
}

/// Reads all sections; what is wrong is noted and a default put in its place.
pub(super) fn read<'n>(mut root: Fields<'n>, fallback: &Fallback, empty: &'n Tree, walk: &mut Walk) -> Config {
    let mut section = |key: &'static str, walk: &mut Walk| -> Fields<'n> {
        let value = root.get(key, walk).unwrap_or_else(|| Value::new(empty, key));
        Fields::new(value, walk)
            .unwrap_or_else(|| Fields::new(Value::new(empty, key), walk).expect("an empty mapping is a mapping"))
    };
    let node = node(section("node", walk), fallback, walk);
    let paths = paths(section("paths", walk), walk);
    let http = http(section("http", walk), walk);
    let store = store(section("store", walk), walk);
    let limits = limits(section("limits", walk), walk);
    let trust = trust::read(section("trust", walk), walk);
    let log = log(section("log", walk), walk);
    let shutdown = shutdown(section("shutdown", walk), walk);
    let uplink = uplink(section("uplink", walk), walk);
    let self_check = self_check(section("selfCheck", walk), walk);
    let supervision = supervision::read(section("supervision", walk), walk);
    let influx = root.get("influx", walk).map(|value| destinations(&value, walk)).unwrap_or_default();
    let secrets = root.get("secrets", walk).map(|value| secrets(&value, walk)).unwrap_or_default();
    not_yet(&mut root, walk);
    root.finish(walk);
    Config { node, paths, http, influx, store, secrets, limits, trust, log, shutdown, uplink, self_check, supervision }
}

/// Sections of which nothing is carried out so far: whoever writes them relies on them.
fn not_yet(root: &mut Fields<'_>, walk: &mut Walk) {
    for (key, why) in
        [("peers", "every agent is on its own"), ("kubernetes", "the cluster's API is not asked for anything")]
    {
        if let Some(value) = root.own(key) {
            walk.error_hint(&value, format!("`{key}` is not built yet: {why}"), "leave the section out");
        }
    }
}

fn self_check(mut fields: Fields<'_>, walk: &mut Walk) -> SelfCheck {
    let enabled = fields.get("enabled", walk).and_then(|v| v.boolean(walk)).unwrap_or(true);
    fields.finish(walk);
    SelfCheck { enabled }
}

fn uplink(mut fields: Fields<'_>, walk: &mut Walk) -> Uplink {
    let value = fields.get("anchors", walk);
    let items = value.as_ref().and_then(|value| value.list(walk)).unwrap_or_default();
    if let Some(value) = value.filter(|_| items.len() > MAX_ANCHORS) {
        walk.error(&value, format!("{} anchors are more than {MAX_ANCHORS}", items.len()));
    }
    let mut anchors = Vec::new();
    for item in items {
        let Some(name) = item.made(walk, CheckName::new) else { continue };
        if anchors.contains(&name) {
            walk.error(&item, format!("the check `{name}` is here twice"));
        }
        anchors.push(name);
    }
    fields.finish(walk);
    Uplink { anchors }
}

fn node(mut fields: Fields<'_>, fallback: &Fallback, walk: &mut Walk) -> Node {
    let name = match fields.get("name", walk) {
        Some(value) => value.made(walk, node_name).unwrap_or_default(),
        None => fallback.name(walk),
    };
    let cluster = fields.get("cluster", walk).and_then(|v| v.made(walk, node_name));
    let zone = optional(&mut fields, "zone", walk, |v, walk| v.made(walk, node_name));
    let ip = optional(&mut fields, "ip", walk, |v, walk| {
        v.made(walk, |text| text.parse().map_err(|_| format!("`{}` is not an IP address", excerpt(text))))
    });
    let labels = fields.get("labels", walk).map(|value| node_labels(&value, walk)).unwrap_or_default();
    fields.finish(walk);
    Node { name, cluster: cluster.unwrap_or_else(|| "default".to_owned()), zone, ip, labels }
}

impl Fallback {
    fn name(&self, walk: &mut Walk) -> String {
        let (source, name) = match &self.node_name {
            Some(name) => ("$NODE_NAME", name),
            None => ("host name", &self.host_name),
        };
        node_name(name).unwrap_or_else(|reason| {
            let place = Place { source: walk.source(source), line: 0, column: 0 };
            let hint = "set `node: {name: …}` or ROUNDSMAN_NODE__NAME".to_owned();
            walk.note(place, "node.name", format!("it cannot be the node's name: {reason}"), Some(hint));
            String::new()
        })
    }
}

/// What Kubernetes calls a node, and what machines call themselves.
fn node_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= MAX_NODE_NAME && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let word = excerpt(text);
    Err(format!("`{word}` must be 1 to {MAX_NODE_NAME} letters, digits and . - _, beginning with a letter or digit"))
}

fn node_labels(value: &Value<'_>, walk: &mut Walk) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let entries = value.entries(walk).unwrap_or_default();
    if entries.len() > MAX_LABELS {
        walk.error(value, format!("more than {MAX_LABELS} labels"));
    }
    for (entry, inner) in entries {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if entry.key.is_empty() || entry.key.len() > MAX_NODE_NAME || !entry.key.chars().all(allowed) {
            let message = format!("`{}` cannot be a label: letters, digits and . - _ / only", excerpt(&entry.key));
            walk.note(entry.place, &inner.path, message, None);
        }
        let text = inner.line(walk, MAX_LABEL).unwrap_or_default();
        labels.insert(entry.key.to_string(), text.to_owned());
    }
    labels
}

fn paths(mut fields: Fields<'_>, walk: &mut Walk) -> Paths {
    let mut of = |key, default: &str| {
        let value: Option<Value<'_>> = fields.get(key, walk);
        value.and_then(|v| path(&v, walk)).unwrap_or_else(|| PathBuf::from(default))
    };
    let plugins = of("plugins", "/etc/roundsman/plugins");
    let checks = of("checks", "/etc/roundsman/checks");
    let state = of("state", "/var/lib/roundsman");
    fields.finish(walk);
    Paths { plugins, checks, state }
}

pub(super) fn path(value: &Value<'_>, walk: &mut Walk) -> Option<PathBuf> {
    let text = value.line(walk, MAX_PATH)?;
    if text.is_empty() {
        walk.error(value, format!("{} is empty: write a path", value.label()));
        return None;
    }
    Some(walk.resolve(value, text))
}

/// A key that may be left empty, as a template does it: `tokenFile: ""`.
fn optional<'n, T>(
    fields: &mut Fields<'n>,
    key: &'static str,
    walk: &mut Walk,
    read: impl FnOnce(&Value<'n>, &mut Walk) -> Option<T>,
) -> Option<T> {
    let value = fields.get(key, walk)?;
    if value.text(walk)?.is_empty() { None } else { read(&value, walk) }
}

fn http(mut fields: Fields<'_>, walk: &mut Walk) -> Http {
    let listen = fields.get("listen", walk).and_then(|value| {
        let read = value.text(walk)?.parse::<SocketAddr>().ok();
        if read.is_none() {
            let message = format!("{} must be an IP address and a port", value.label());
            walk.error_hint(&value, message, "write 127.0.0.1:9640, or 0.0.0.0:9640 or [::]:9640 for every interface");
        }
        read
    });
    let public = fields.get("public", walk).and_then(|value| {
        let items = value.list(walk)?;
        let words = items.iter().filter_map(|item| item.word(walk, &PUBLIC).and_then(|()| item.text(walk)));
        Some(words.map(str::to_owned).collect())
    });
    let hosts = fields.get("hosts", walk).and_then(|value| {
        let items = value.list(walk)?;
        Some(items.iter().filter_map(|item| item.made(walk, node_name)).collect())
    });
    let token_file = optional(&mut fields, "tokenFile", walk, path);
    fields.finish(walk);
    Http {
        hosts: hosts.unwrap_or_default(),
        listen: listen.unwrap_or_else(|| SocketAddr::from(DEFAULT_LISTEN)),
        public: public.unwrap_or_else(|| DEFAULT_PUBLIC.map(str::to_owned).to_vec()),
        token_file,
    }
}

fn store(mut fields: Fields<'_>, walk: &mut Walk) -> Store {
    let max_size = fields.get("maxSize", walk).and_then(|v| v.size(walk, STORE_SIZES));
    let max_age = fields.get("maxAge", walk).and_then(|v| v.duration(walk, STORE_AGES));
    let transitions = fields.get("transitionsMaxAge", walk).and_then(|v| v.duration(walk, STORE_AGES));
    fields.finish(walk);
    Store {
        max_size: max_size.unwrap_or(512 * MI),
        max_age: max_age.unwrap_or(DAY * 7),
        transitions_max_age: transitions.unwrap_or(DAY * 90),
    }
}

fn limits(mut fields: Fields<'_>, walk: &mut Walk) -> Limits {
    let runs = fields.get("runs", walk).and_then(|v| v.integer(walk, RUNS));
    let memory = fields.get("memory", walk).and_then(|v| v.size(walk, PLUGIN_MEMORY));
    fields.finish(walk);
    Limits { runs: runs.unwrap_or(256), memory: memory.unwrap_or(512 * MI) }
}

fn log(mut fields: Fields<'_>, walk: &mut Walk) -> Log {
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|l| (l.as_str(), l));
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let level = fields.get("level", walk).and_then(|v| v.word(walk, &levels));
    let format = fields.get("format", walk).and_then(|v| v.word(walk, &formats));
    fields.finish(walk);
    Log { level: level.unwrap_or(Level::Info), format: format.unwrap_or(Format::Text) }
}

fn shutdown(mut fields: Fields<'_>, walk: &mut Walk) -> Shutdown {
    let grace = fields.get("grace", walk).and_then(|v| v.duration(walk, GRACES));
    fields.finish(walk);
    Shutdown { grace: grace.unwrap_or(Duration::from_secs(10)) }
}

fn secrets(value: &Value<'_>, walk: &mut Walk) -> BTreeMap<String, Source> {
    let mut secrets = BTreeMap::new();
    for (entry, inner) in value.entries(walk).unwrap_or_default() {
        if CheckName::new(&entry.key).is_err() {
            let message = format!("`{}` cannot name a secret: a-z, 0-9 and '-' only", excerpt(&entry.key));
            walk.note(entry.place, &inner.path, message, None);
        }
        let Some(mut fields) = Fields::new(inner.clone(), walk) else { continue };
        let file = fields.get("file", walk).and_then(|v| path(&v, walk));
        let directory = fields.get("directory", walk).and_then(|v| path(&v, walk));
        let destinations = fields.get("destinations", walk).map(|value| secret_destinations(&value, walk));
        let place = match (file, directory, fields.writes(&["file", "directory"])) {
            (Some(file), None, _) => Some(secrets::Place::File(file)),
            (None, Some(directory), _) => Some(secrets::Place::Directory(directory)),
            (None, None, true) => None,
            _ => {
                walk.error(&inner, format!("{} needs either `file` or `directory`", inner.label()));
                None
            }
        };
        fields.finish(walk);
        if let Some(place) = place {
            secrets.insert(entry.key.to_string(), Source { place, destinations: destinations.unwrap_or_default() });
        }
    }
    secrets
}

/// Where a secret may be sent to: lines like those of `allow: {network: […]}`, of schemes that carry one.
fn secret_destinations(value: &Value<'_>, walk: &mut Walk) -> Vec<Pattern> {
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_DESTINATIONS {
        walk.error(value, format!("{} destinations are more than {MAX_DESTINATIONS}", items.len()));
    }
    let carries = [Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Tls];
    let line = |text: &str| match Pattern::parse(text) {
        Ok(line) if line.scheme().is_some_and(|scheme| carries.contains(&scheme)) => Ok(line),
        Ok(_) => Err(format!("`{}`: secrets are sent over https, http, tls and tcp alone", excerpt(text))),
        Err(reason) => Err(format!("`{}` {reason}", excerpt(text))),
    };
    items.iter().filter_map(|item| item.made(walk, line)).collect()
}

fn destinations(value: &Value<'_>, walk: &mut Walk) -> Vec<Influx> {
    let mut names = BTreeSet::new();
    let mut destinations = Vec::new();
    for item in value.list(walk).unwrap_or_default() {
        let Some(fields) = Fields::new(item.clone(), walk) else { continue };
        let Some(destination) = destination(fields, walk) else { continue };
        if !names.insert(destination.name.clone()) {
            let place = item.inner("name").unwrap_or_else(|| item.clone());
            walk.error(&place, format!("two destinations are named `{}`", destination.name));
        }
        destinations.push(destination);
    }
    destinations
}

#[derive(Clone, Copy, PartialEq)]
enum Version {
    V1,
    V2,
    V3,
}

fn destination(mut fields: Fields<'_>, walk: &mut Walk) -> Option<Influx> {
    let name = fields.require("name", walk).and_then(|v| {
        v.made(walk, |text| {
            CheckName::new(text)
                .map(|_| text.to_owned())
                .map_err(|_| format!("`{}` must be 1 to 63 characters of a-z, 0-9 and '-'", excerpt(text)))
        })
    });
    let versions = [("v1", Version::V1), ("v2", Version::V2), ("v3", Version::V3)];
    let written = fields.get("api", walk);
    let version = written.as_ref().map_or(Some(Version::V2), |v| v.word(walk, &versions));
    if let (Some(value), Some(Version::V3)) = (&written, version) {
        walk.error_hint(value, "`api: v3` cannot be spoken yet", "InfluxDB 3 takes `api: v2` as well");
    }
    let url = fields.require("url", walk).and_then(|v| url(&v, version, walk));
    let flush = fields.get("flushInterval", walk).and_then(|v| v.duration(walk, FLUSH_INTERVALS));
    let api = match version {
        Some(Version::V1) => Some(v1(&mut fields, walk)),
        Some(Version::V2) => Some(v2(&mut fields, walk)),
        Some(Version::V3) | None => {
            V1_KEYS.iter().chain(&V2_KEYS).for_each(|key| drop(fields.own(key)));
            None
        }
    };
    fields.finish(walk);
    Some(Influx { name: name?, url: url?, api: api?, flush_interval: flush.unwrap_or(Duration::from_secs(10)) })
}

const V1_KEYS: [&str; 4] = ["database", "retentionPolicy", "username", "passwordFile"];
const V2_KEYS: [&str; 3] = ["org", "bucket", "tokenFile"];

fn v1(fields: &mut Fields<'_>, walk: &mut Walk) -> Api {
    foreign(fields, &V2_KEYS, "v2", walk);
    let word = |v: &Value<'_>, walk: &mut Walk| v.line(walk, MAX_LABEL).map(str::to_owned);
    let database = required_word(fields, "database", walk);
    let retention_policy = optional(fields, "retentionPolicy", walk, word);
    let username = optional(fields, "username", walk, word);
    let password_file = optional(fields, "passwordFile", walk, path);
    if username.is_none() && password_file.is_some() {
        walk.error(fields.whole(), "`passwordFile` needs a `username` beside it");
    }
    Api::V1 { database, retention_policy, username, password_file }
}

fn v2(fields: &mut Fields<'_>, walk: &mut Walk) -> Api {
    foreign(fields, &V1_KEYS, "v1", walk);
    let org = required_word(fields, "org", walk);
    let bucket = required_word(fields, "bucket", walk);
    let token_file = optional(fields, "tokenFile", walk, path);
    Api::V2 { org, bucket, token_file }
}

fn required_word(fields: &mut Fields<'_>, key: &'static str, walk: &mut Walk) -> String {
    let Some(value) = fields.require(key, walk) else { return String::new() };
    match value.line(walk, MAX_LABEL) {
        Some("") => {
            walk.error(&value, format!("{} is empty", value.label()));
            String::new()
        }
        text => text.unwrap_or_default().to_owned(),
    }
}

/// Keys that the chosen API does not use; empty ones are let through, as templates leave them.
fn foreign(fields: &mut Fields<'_>, keys: &[&'static str], version: &str, walk: &mut Walk) {
    for key in keys {
        if let Some(value) = fields.own(key)
            && value.text(walk).is_some_and(|text| !text.is_empty())
        {
            let hint = format!("leave it out, or write `api: {version}`");
            walk.error_hint(&value, format!("{} belongs to `api: {version}`", value.label()), hint);
        }
    }
}

fn url(value: &Value<'_>, version: Option<Version>, walk: &mut Walk) -> Option<String> {
    let text = value.line(walk, MAX_URL)?;
    match url_fault(text, version) {
        None => Some(text.trim_end_matches('/').to_owned()),
        Some((message, hint)) => {
            walk.error_hint(value, format!("{}: {message}", value.label()), hint);
            None
        }
    }
}

fn url_fault(text: &str, version: Option<Version>) -> Option<(String, &'static str)> {
    const SHAPE: &str = "write http://host:port or https://host:port";
    let Ok(uri) = text.parse::<http::Uri>() else {
        return Some((format!("`{}` is not a URL", excerpt(text)), SHAPE));
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some((format!("`{}` is not an http:// or https:// URL", excerpt(text)), SHAPE));
    }
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.contains('@') {
        return Some((
            "credentials do not belong into a URL: it is logged and shown".to_owned(),
            "use tokenFile, or username and passwordFile",
        ));
    }
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    if uri.host().is_none_or(str::is_empty) || port.is_some_and(|(_, p)| p.parse::<u16>().map_or(true, |p| p == 0)) {
        return Some((format!("`{}` has no valid host and port", excerpt(text)), SHAPE));
    }
    if uri.query().is_some() || text.contains('#') {
        return Some(("a query or fragment cannot be sent".to_owned(), SHAPE));
    }
    let prefix = uri.path().trim_end_matches('/');
    if version == Some(Version::V2) && !prefix.is_empty() {
        return Some((
            format!("the path `{}` cannot be kept with `api: v2`", excerpt(prefix)),
            "let the proxy serve InfluxDB at its root, or use `api: v1`",
        ));
    }
    None
}
