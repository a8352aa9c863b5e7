//! The keys of one check, with their defaults and ranges.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use roundsman_model::check::{Check, Limits, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::target::Target;
use roundsman_model::units::format_duration;
use roundsman_schedule::error::CronError;
use roundsman_schedule::grid::Grid;
use serde_json::{Map, Number, Value as Json};

use crate::checks::{fill, target};
use crate::config::Node;
use crate::config::read::{Fields, Value, Walk};
use crate::config::yaml::{Node as Tree, Resolved, Tree as Kind};

const DAY: Duration = Duration::from_hours(24);
/// Faster is no check but a load; rarer is what `cron` is for.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY.saturating_mul(31);
/// Longer than five minutes holds a slot that others wait for.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// A hundred results in a row confirm anything.
const THRESHOLDS: RangeInclusive<u32> = 1..=100;
/// Defaults of the kubelet's probes.
const SUCCESS_THRESHOLD: u32 = 1;
const FAILURE_THRESHOLD: u32 = 3;
/// The least that a component needs to begin, and the most of a small node.
const MEMORIES: RangeInclusive<u64> = 1 << 20..=256 << 20;
const CPUS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
/// One run of one check is not a metrics pipeline.
const POINTS: RangeInclusive<u32> = 0..=10_000;
const OUTPUTS: RangeInclusive<u64> = 1 << 10..=1 << 20;
const MAX_OWNER: usize = 256;
const MAX_RUNBOOK: usize = 2_048;
const MAX_GRANTS: usize = 256;
const MAX_GRANT: usize = 4_096;
/// The one zone in which no hour is missing or doubled.
const DEFAULT_ZONE: &str = "UTC";

/// Whose keys are read.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Check,
    /// `defaults:` by itself, where no key is required and keys need no partner.
    Defaults,
}

/// Reads a check; what is wrong is noted.
pub(super) fn read(mut fields: Fields<'_>, node: &Node, walk: &mut Walk) -> Option<Check> {
    let name = fields.own("name").and_then(|value| value.made(walk, CheckName::new));
    tell_missing(&fields, name.as_ref(), walk);
    let body = read_body(&mut fields, Role::Check, walk);
    let strings = filled_strings(&fields);
    fields.finish(walk);
    fill::check_strings(&strings, &body.targets, node, walk);
    body.into_check(name?)
}

/// Reads `defaults:` alone, so that what is wrong there is told even when every check overrides it.
pub(super) fn read_defaults(value: &Value<'_>, walk: &mut Walk) -> bool {
    let Some(mut fields) = Fields::new(value.clone(), walk) else { return false };
    if let Some(name) = fields.own("name") {
        walk.error(&name, "`name` has no default: every check has its own");
    }
    read_body(&mut fields, Role::Defaults, walk);
    fields.finish(walk);
    true
}

fn tell_missing(fields: &Fields<'_>, name: Option<&CheckName>, walk: &mut Walk) {
    let whole = fields.whole();
    let called = name.map_or_else(|| "a check".to_owned(), |name| format!("check `{name}`"));
    for (key, missing) in [("name", !fields.writes(&["name"])), ("plugin", fields.peek("plugin").is_none())] {
        if missing {
            walk.error(whole, format!("{called} needs the key `{key}`"));
        }
    }
    if ["interval", "cron", "ttl"].iter().all(|key| fields.peek(key).is_none()) {
        walk.error(whole, format!("{called} needs `interval` or `cron`"));
    }
}

/// Everything of a check but its name. A check without errors has a plugin and a timing.
struct Body<'n> {
    plugin: Option<PluginName>,
    timing: Option<Timing>,
    numbers: Numbers,
    targets: Vec<Written<'n>>,
    settings: Map<String, Json>,
    allow: Allow,
    limits: Limits,
    labels: BTreeMap<String, String>,
    owner: Option<String>,
    runbook: Option<String>,
    enabled: bool,
}

struct Numbers {
    timeout: Duration,
    initial_delay: Duration,
    retry_interval: Option<Duration>,
    success_threshold: u32,
    failure_threshold: u32,
}

/// A target and where its address is written.
pub(super) struct Written<'n> {
    pub(super) target: Target,
    pub(super) address: Value<'n>,
}

impl Body<'_> {
    fn into_check(self, name: CheckName) -> Option<Check> {
        Some(Check {
            name,
            plugin: self.plugin?,
            timing: self.timing?,
            timeout: self.numbers.timeout,
            initial_delay: self.numbers.initial_delay,
            retry_interval: self.numbers.retry_interval,
            success_threshold: self.numbers.success_threshold,
            failure_threshold: self.numbers.failure_threshold,
            targets: self.targets.into_iter().map(|written| written.target).collect(),
            settings: self.settings,
            allow: self.allow,
            limits: self.limits,
            labels: self.labels,
            owner: self.owner,
            runbook: self.runbook,
            enabled: self.enabled,
        })
    }
}

fn read_body<'n>(fields: &mut Fields<'n>, role: Role, walk: &mut Walk) -> Body<'n> {
    let plugin = fields.get("plugin", walk).and_then(|v| v.made(walk, PluginName::new));
    let timing = timing(fields, role, walk);
    let numbers = numbers(fields, timing.as_ref(), walk);
    let targets = target::targets(fields, walk);
    let settings = fields.get("settings", walk).and_then(|v| settings(&v, walk)).unwrap_or_default();
    let allow = fields.get("allow", walk).and_then(|v| allow(v, walk)).unwrap_or_default();
    let limits = limits(fields, walk);
    let labels = labels(fields, walk);
    let mut line = |key, max| fields.get(key, walk).and_then(|v| v.line(walk, max).map(str::to_owned));
    let owner = line("owner", MAX_OWNER);
    let runbook = line("runbook", MAX_RUNBOOK);
    let enabled = fields.get("enabled", walk).and_then(|v| v.boolean(walk)).unwrap_or(true);
    not_yet(fields, walk);
    Body { plugin, timing, numbers, targets, settings, allow, limits, labels, owner, runbook, enabled }
}

/// `interval` or `cron` with `timezone`; a check that writes one of them itself has no use for the default of another.
fn timing(fields: &mut Fields<'_>, role: Role, walk: &mut Walk) -> Option<Timing> {
    let [interval, cron, ttl] = fields.one_of(["interval", "cron", "ttl"], walk);
    let timezone = fields.get("timezone", walk);
    if let Some(value) = &ttl {
        walk.error_hint(value, "`ttl` is not built yet: results cannot be pushed", "write `interval` or `cron`");
    }
    if let (Some(_), Some(cron)) = (&interval, &cron) {
        walk.error(cron, "a check has either `interval` or `cron`, not both");
    }
    if let (Some(timezone), None) = (&timezone, &cron)
        && role == Role::Check
        && fields.writes(&["timezone"])
    {
        walk.error(timezone, "`timezone` belongs to `cron`; an interval has none");
    }
    match (interval, cron) {
        (Some(interval), _) => interval.duration(walk, INTERVALS).map(Timing::Interval),
        (None, Some(cron)) => read_cron(&cron, timezone.as_ref(), walk),
        (None, None) => None,
    }
}

fn read_cron(cron: &Value<'_>, timezone: Option<&Value<'_>>, walk: &mut Walk) -> Option<Timing> {
    let expression = cron.text(walk)?;
    let zone = match timezone {
        Some(value) => value.text(walk)?,
        None => DEFAULT_ZONE,
    };
    match Grid::cron(expression, zone) {
        Ok(_) => Some(Timing::Cron { expression: expression.to_owned(), timezone: zone.to_owned() }),
        Err(error) => {
            let place = match (&error, timezone) {
                (CronError::TimeZone { .. }, Some(timezone)) => timezone,
                _ => cron,
            };
            walk.error(place, error.to_string());
            None
        }
    }
}

fn numbers(fields: &mut Fields<'_>, timing: Option<&Timing>, walk: &mut Walk) -> Numbers {
    let timeout = fields.get("timeout", walk).and_then(|v| Some((v.duration(walk, TIMEOUTS)?, v)));
    if let (Some((timeout, value)), Some(Timing::Interval(interval))) = (&timeout, timing)
        && timeout > interval
    {
        let interval = format_duration(*interval);
        let message = format!("`timeout` is longer than the interval of {interval}: a slow run costs the next ticks");
        walk.warn(value, message);
    }
    let usual = match timing {
        Some(Timing::Interval(interval)) => DEFAULT_TIMEOUT.min(*interval),
        _ => DEFAULT_TIMEOUT,
    };
    let delay = fields.get("initialDelay", walk).and_then(|v| v.duration(walk, DELAYS));
    let retry_interval = fields.get("retryInterval", walk).and_then(|v| v.duration(walk, INTERVALS));
    let success = fields.get("successThreshold", walk).and_then(|v| v.integer(walk, THRESHOLDS));
    let failure = fields.get("failureThreshold", walk).and_then(|v| v.integer(walk, THRESHOLDS));
    Numbers {
        timeout: timeout.map_or(usual, |(timeout, _)| timeout),
        initial_delay: delay.unwrap_or(Duration::ZERO),
        retry_interval,
        success_threshold: success.unwrap_or(SUCCESS_THRESHOLD),
        failure_threshold: failure.unwrap_or(FAILURE_THRESHOLD),
    }
}

/// Key by key, as `limits`; together they may not be more than a tag set holds.
fn labels(fields: &mut Fields<'_>, walk: &mut Walk) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let layers = fields.both("labels");
    for layer in &layers {
        labels.extend(target::labels(layer, walk));
    }
    if let Some(last) = layers.last()
        && layers.len() > 1
        && labels.len() > target::MAX_LABELS
    {
        let message = format!("with those of `defaults:` these are more than {} labels", target::MAX_LABELS);
        walk.error(last, message);
    }
    labels
}

/// Key by key: a check that writes one limit keeps the defaults of the others.
fn limits(fields: &mut Fields<'_>, walk: &mut Walk) -> Limits {
    let mut limits = Limits::default();
    for layer in fields.both("limits") {
        let Some(mut fields) = Fields::new(layer, walk) else { continue };
        limits.memory = fields.get("memory", walk).and_then(|v| v.size(walk, MEMORIES)).unwrap_or(limits.memory);
        limits.cpu = fields.get("cpu", walk).and_then(|v| v.duration(walk, CPUS)).unwrap_or(limits.cpu);
        limits.points = fields.get("points", walk).and_then(|v| v.integer(walk, POINTS)).unwrap_or(limits.points);
        limits.output = fields.get("output", walk).and_then(|v| v.size(walk, OUTPUTS)).unwrap_or(limits.output);
        fields.finish(walk);
    }
    limits
}

fn allow(value: Value<'_>, walk: &mut Walk) -> Option<Allow> {
    let mut fields = Fields::new(value, walk)?;
    let mut list = |key: &'static str, walk: &mut Walk| {
        let value = fields.get(key, walk)?;
        let items = value.list(walk)?;
        if items.len() > MAX_GRANTS {
            walk.error(&value, format!("{} has more than {MAX_GRANTS} entries", value.label()));
        }
        let words: Vec<String> = items.iter().filter_map(|item| grant(item, walk)).collect();
        Some((value, words))
    };
    let words = |list: Option<(Value<'_>, Vec<String>)>| list.map(|(_, words)| words).unwrap_or_default();
    let allow = Allow {
        network: words(list("network", walk)),
        files: words(list("files", walk)),
        system: words(list("system", walk)),
        ..Allow::default()
    };
    for (key, why) in [
        ("secrets", "no interface takes a secret by name so far"),
        ("commands", "plugins cannot run programs so far"),
        ("kubernetes", "plugins cannot ask the cluster's API so far"),
    ] {
        if let Some((value, words)) = list(key, walk)
            && !words.is_empty()
        {
            walk.error_hint(&value, format!("`{key}` cannot be granted yet: {why}"), "leave the key out");
        }
    }
    fields.finish(walk);
    Some(allow)
}

fn grant(item: &Value<'_>, walk: &mut Walk) -> Option<String> {
    let text = item.line(walk, MAX_GRANT)?;
    if text.trim().is_empty() {
        walk.error(item, format!("{} is empty", item.label()));
        return None;
    }
    Some(text.to_owned())
}

/// Keys that nothing carries out so far. A value that changes nothing is let through; any other is
/// refused, because a check that ignores its maintenance or its dependency alarms people for nothing.
fn not_yet(fields: &mut Fields<'_>, walk: &mut Walk) {
    let refuse = |value: Option<Value<'_>>, harmless: &dyn Fn(&Tree) -> bool, why: &str, walk: &mut Walk| {
        if let Some(value) = value
            && !harmless(value.node)
        {
            walk.error_hint(&value, format!("{} is not built yet: {why}", value.label()), "leave the key out");
        }
    };
    let word = |word: &'static str| move |node: &Tree| matches!(&node.value, Kind::Scalar(s) if &*s.text == word);
    let empty = |node: &Tree| matches!(&node.value, Kind::List(items) if items.is_empty());
    let never = |_: &Tree| false;
    for (key, harmless, why) in [
        ("jitter", &never as &dyn Fn(&Tree) -> bool, "every check has a fixed phase of its own"),
        ("catchUp", &word("skip"), "missed ticks are counted and skipped"),
        ("catchUpDeadline", &never, "missed ticks are counted and skipped"),
        ("thresholds", &empty, "the plugin alone decides about warning and critical"),
        ("placement", &word("every-node"), "every check runs on every node that has its file"),
        ("dependsOn", &empty, "no check waits for another"),
        ("maintenance", &empty, "it would alarm during the maintenance"),
        ("negate", &word("false"), "the status is the plugin's own"),
        ("shadow", &word("false"), "every check counts"),
    ] {
        let value = fields.get(key, walk);
        refuse(value, harmless, why, walk);
    }
}

fn settings(value: &Value<'_>, walk: &mut Walk) -> Option<Map<String, Json>> {
    value.entries(walk)?;
    match json(value, walk) {
        Some(Json::Object(map)) => Some(map),
        _ => None,
    }
}

pub(super) fn json(value: &Value<'_>, walk: &mut Walk) -> Option<Json> {
    match &value.node.value {
        Kind::List(_) => {
            let items = value.list(walk)?;
            Some(Json::Array(items.iter().filter_map(|item| json(item, walk)).collect()))
        }
        Kind::Map(_) => {
            let entries = value.entries(walk)?;
            let pairs = entries.iter().filter_map(|(entry, inner)| Some((entry.key.to_string(), json(inner, walk)?)));
            Some(Json::Object(pairs.collect()))
        }
        Kind::Scalar(scalar) => match scalar.resolve() {
            Resolved::Null => Some(Json::Null),
            Resolved::Boolean(value) => Some(Json::Bool(value)),
            Resolved::Text(text) => Some(Json::String(text.to_owned())),
            Resolved::Integer(number) => number_of(Number::from_i128(number), value, walk),
            Resolved::Real(number) => number_of(Number::from_f64(number), value, walk),
        },
    }
}

fn number_of(number: Option<Number>, value: &Value<'_>, walk: &mut Walk) -> Option<Json> {
    if number.is_none() {
        let message = format!("{} is a number that JSON cannot hold", value.label());
        walk.error_hint(value, message, "quote it if it is meant as text");
    }
    number.map(Json::Number)
}

/// Every string of the check in which `${…}` is filled in.
fn filled_strings<'n>(fields: &Fields<'n>) -> Vec<Value<'n>> {
    let mut strings = Vec::new();
    for key in ["settings", "allow"] {
        if let Some(value) = fields.peek(key) {
            collect(&value, &mut strings);
        }
    }
    strings
}

fn collect<'n>(value: &Value<'n>, strings: &mut Vec<Value<'n>>) {
    match &value.node.value {
        Kind::Scalar(scalar) if scalar.text.contains("${") => strings.push(value.clone()),
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            let item = |(i, node)| Value::new(node, format!("{}[{i}]", value.path));
            items.iter().enumerate().map(item).for_each(|item| collect(&item, strings));
        }
        Kind::Map(entries) => {
            entries.iter().filter_map(|entry| value.inner(&entry.key)).for_each(|inner| collect(&inner, strings));
        }
    }
}
