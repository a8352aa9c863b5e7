//! The keys of one check, with their defaults and ranges.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use roundsman_model::check::{Check, Limits, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::name::{BUILT_IN, CheckName, PUSHED, PluginName};
use roundsman_model::target::Target;
use roundsman_model::threshold::Threshold;
use roundsman_model::units::format_duration;
use serde_json::{Map, Value as Json};

use crate::checks::timing::{Kind, TIMINGS, Time};
use crate::checks::{allow, bounds, discovery, fill, json, target, timing};
use crate::config::Node;
use crate::config::read::{Fields, Value, Walk};

pub(super) const DAY: Duration = Duration::from_hours(24);
/// Faster is no check but a load; rarer is what `cron` is for.
pub(super) const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY.saturating_mul(31);
/// Longer than five minutes holds a slot that others wait for.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// A hundred results in a row confirm anything.
const THRESHOLDS: RangeInclusive<u32> = 1..=100;
/// Defaults of the kubelet's probes.
const SUCCESS_THRESHOLD: u32 = 1;
const FAILURE_THRESHOLD: u32 = 3;
/// Where nothing comes that could confirm it: after silence, after the only run there is.
const FAILURE_THRESHOLD_AT_ONCE: u32 = 1;
/// The least that a component needs to begin, and the most of a small node.
const MEMORIES: RangeInclusive<u64> = 1 << 20..=256 << 20;
const CPUS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
/// One run of one check is not a metrics pipeline.
const POINTS: RangeInclusive<u32> = 0..=10_000;
const OUTPUTS: RangeInclusive<u64> = 1 << 10..=1 << 20;
const MAX_OWNER: usize = 256;
const MAX_RUNBOOK: usize = 2_048;
/// More dependencies than that are a group that should have a check of its own.
const MAX_DEPENDENCIES: usize = 64;
/// Keys that only say something of runs.
const OF_RUNS: [&str; 10] = [
    "timeout",
    "initialDelay",
    "retryInterval",
    "jitter",
    "catchUp",
    "catchUpDeadline",
    "settings",
    "thresholds",
    "allow",
    "limits",
];

/// Whose keys are read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    Check,
    /// `defaults:` by itself, where no key is required and keys need no partner.
    Defaults,
}

/// Reads a check; what is wrong is noted.
pub(super) fn read(mut fields: Fields<'_>, node: &Node, walk: &mut Walk) -> Option<Check> {
    let name = fields.own("name").and_then(|value| check_name(&value, walk));
    tell_missing(&fields, name.as_ref(), walk);
    let body = read_body(&mut fields, Role::Check, name.as_ref(), node, walk);
    let strings = filled_strings(&fields, body.time.timing.as_ref());
    fields.finish(walk);
    fill::check_strings(&strings, &body.targets, node, walk);
    body.into_check(name?)
}

/// Reads `defaults:` alone, so that what is wrong there is told even when every check overrides it.
pub(super) fn read_defaults(value: &Value<'_>, node: &Node, walk: &mut Walk) -> bool {
    let Some(mut fields) = Fields::new(value.clone(), walk) else { return false };
    if let Some(name) = fields.own("name") {
        walk.error(&name, "`name` has no default: every check has its own");
    }
    read_body(&mut fields, Role::Defaults, None, node, walk);
    fields.finish(walk);
    true
}

fn check_name(value: &Value<'_>, walk: &mut Walk) -> Option<CheckName> {
    let name = value.made(walk, CheckName::new)?;
    if name.as_str() == BUILT_IN {
        let message = format!("the name `{BUILT_IN}` is taken by the check that the agent makes of itself");
        walk.error_hint(value, message, "choose another name");
    }
    Some(name)
}

fn tell_missing(fields: &Fields<'_>, name: Option<&CheckName>, walk: &mut Walk) {
    let whole = fields.whole();
    let called = name.map_or_else(|| "a check".to_owned(), |name| format!("check `{name}`"));
    let no_timing = TIMINGS.iter().all(|key| fields.peek(key).is_none());
    let pushed = fields.writes(&["ttl"]) || (!fields.writes(&TIMINGS) && fields.peek("ttl").is_some());
    for (key, missing) in [("name", !fields.writes(&["name"])), ("plugin", !pushed && fields.peek("plugin").is_none())]
    {
        if missing {
            walk.error(whole, format!("{called} needs the key `{key}`"));
        }
    }
    if no_timing {
        let hint = "or `cron`, `at: start`, or `ttl` for results that are pushed";
        let message = format!("{called} needs `interval`");
        walk.note(whole.node.place, &whole.path, message, Some(hint.to_owned()));
    }
}

/// Everything of a check but its name. A check without errors has a plugin and a timing.
struct Body<'n> {
    plugin: Option<PluginName>,
    time: Time,
    numbers: Numbers,
    targets: Vec<Written<'n>>,
    settings: Map<String, Json>,
    thresholds: Vec<Threshold>,
    allow: Allow,
    limits: Limits,
    depends_on: Vec<CheckName>,
    negate: bool,
    shadow: bool,
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
            timing: self.time.timing?,
            jitter_percent: self.time.jitter_percent,
            catch_up: self.time.catch_up,
            timeout: self.numbers.timeout,
            initial_delay: self.numbers.initial_delay,
            retry_interval: self.numbers.retry_interval,
            success_threshold: self.numbers.success_threshold,
            failure_threshold: self.numbers.failure_threshold,
            targets: self.targets.into_iter().map(|written| written.target).collect(),
            settings: self.settings,
            thresholds: self.thresholds,
            allow: self.allow,
            limits: self.limits,
            depends_on: self.depends_on,
            maintenance: self.time.maintenance,
            negate: self.negate,
            shadow: self.shadow,
            labels: self.labels,
            owner: self.owner,
            runbook: self.runbook,
            enabled: self.enabled,
        })
    }
}

fn read_body<'n>(
    fields: &mut Fields<'n>,
    role: Role,
    name: Option<&CheckName>,
    node: &Node,
    walk: &mut Walk,
) -> Body<'n> {
    let (time, kind) = timing::read(fields, role, walk);
    let plugin = plugin(fields, role, kind, walk);
    let runs = kind != Kind::Ttl;
    if !runs {
        for key in OF_RUNS {
            fields.refuse(key, "makes no sense beside `ttl`: nothing is run, results are pushed", walk);
        }
    }
    let numbers = numbers(fields, &time, kind, walk);
    let targets = target::targets(fields, node, walk);
    let settings = fields.get_if(runs, "settings", walk).and_then(|v| json::object(&v, walk)).unwrap_or_default();
    let thresholds = if runs { bounds::thresholds(fields, walk) } else { Vec::new() };
    let allow = fields.get_if(runs, "allow", walk).and_then(|v| allow::allow(v, walk)).unwrap_or_default();
    let limits = if runs { limits(fields, walk) } else { Limits::default() };
    let labels = labels(fields, node, walk);
    let owner = line(fields, "owner", MAX_OWNER, node, walk);
    let runbook = line(fields, "runbook", MAX_RUNBOOK, node, walk);
    let depends_on = depends_on(fields, name, walk);
    let mut flag = |key, usual| fields.get(key, walk).and_then(|v| v.boolean(walk)).unwrap_or(usual);
    let (negate, shadow, enabled) = (flag("negate", false), flag("shadow", false), flag("enabled", true));
    discovery::placement(fields, walk);
    Body {
        plugin,
        time,
        numbers,
        targets,
        settings,
        thresholds,
        allow,
        limits,
        depends_on,
        negate,
        shadow,
        labels,
        owner,
        runbook,
        enabled,
    }
}

/// A check whose results are pushed has a plugin in name only.
fn plugin(fields: &mut Fields<'_>, role: Role, kind: Kind, walk: &mut Walk) -> Option<PluginName> {
    let own = fields.writes(&["plugin"]);
    let value = fields.get("plugin", walk);
    let name = value.as_ref().and_then(|v| v.made(walk, PluginName::new));
    if kind == Kind::Ttl {
        if let (Some(value), Some(name)) = (&value, &name)
            && own
            && name.as_str() != PUSHED
        {
            let message = format!("`{name}` is not run beside `ttl`: results are pushed");
            walk.error_hint(value, message, "leave `plugin` out");
        }
        return PluginName::new(PUSHED).ok();
    }
    let (value, name) = (value?, name?);
    match name.as_str() {
        BUILT_IN => walk.error(&value, format!("the plugin name `{BUILT_IN}` is taken by the agent itself")),
        PUSHED if role == Role::Check => {
            let message = format!("`{PUSHED}` stands for results that are pushed: it needs `ttl`");
            walk.error_hint(&value, message, "write `ttl: 5m` instead of when it is due, or name another plugin");
        }
        _ => {}
    }
    Some(name)
}

fn numbers(fields: &mut Fields<'_>, time: &Time, kind: Kind, walk: &mut Walk) -> Numbers {
    let runs = kind != Kind::Ttl;
    let timeout = fields.get_if(runs, "timeout", walk).and_then(|v| Some((v.duration(walk, TIMEOUTS)?, v)));
    let delay = fields.get_if(runs, "initialDelay", walk).and_then(|v| v.duration(walk, DELAYS));
    let retry = fields.get_if(runs, "retryInterval", walk).and_then(|v| Some((v.duration(walk, INTERVALS)?, v)));
    let interval = match &time.timing {
        Some(Timing::Interval(interval)) => Some(*interval),
        _ => None,
    };
    if let Some(interval) = interval {
        let shown = format_duration(interval);
        if let Some((_, value)) = timeout.as_ref().filter(|(timeout, _)| *timeout > interval) {
            let what = "a slow run costs the next ticks";
            walk.warn(value, format!("`timeout` is longer than the interval of {shown}: {what}"));
        }
        if let Some((_, value)) = retry.as_ref().filter(|(retry, _)| *retry >= interval) {
            let what = "the next tick comes first, so it changes nothing";
            walk.warn(value, format!("`retryInterval` is not shorter than the interval of {shown}: {what}"));
        }
    }
    // The only run there is: without another one it confirms nothing.
    let once = kind == Kind::Start && retry.is_none();
    let mut threshold = |key, usual: u32| {
        let Some(value) = fields.get(key, walk) else { return usual };
        let count = value.integer(walk, THRESHOLDS);
        if once && count.is_some_and(|count| count > 1) {
            let message = format!("{} can never be reached: `at: start` is one run", value.label());
            walk.warn(&value, format!("{message} as long as there is no `retryInterval`"));
        }
        count.unwrap_or(usual)
    };
    let failures = if once || !runs { FAILURE_THRESHOLD_AT_ONCE } else { FAILURE_THRESHOLD };
    Numbers {
        success_threshold: threshold("successThreshold", SUCCESS_THRESHOLD),
        failure_threshold: threshold("failureThreshold", failures),
        timeout: timeout.map_or(interval.unwrap_or(DEFAULT_TIMEOUT).min(DEFAULT_TIMEOUT), |(timeout, _)| timeout),
        initial_delay: delay.unwrap_or(Duration::ZERO),
        retry_interval: retry.map(|(retry, _)| retry),
    }
}

/// Names of other checks. A default that names the check itself is meant for its neighbours.
fn depends_on(fields: &mut Fields<'_>, name: Option<&CheckName>, walk: &mut Walk) -> Vec<CheckName> {
    let own = fields.writes(&["dependsOn"]);
    let Some(value) = fields.get("dependsOn", walk) else { return Vec::new() };
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_DEPENDENCIES {
        walk.error(&value, format!("{} checks are more than {MAX_DEPENDENCIES}", items.len()));
    }
    let mut depends_on = Vec::new();
    for item in items {
        let Some(other) = item.made(walk, CheckName::new) else { continue };
        if name == Some(&other) {
            if own {
                walk.error(&item, format!("check `{other}` cannot depend on itself"));
            }
        } else if depends_on.contains(&other) {
            walk.error(&item, format!("the check `{other}` is here twice"));
        } else {
            depends_on.push(other);
        }
    }
    depends_on
}

/// One line in which what is known of the node is filled in.
fn line(fields: &mut Fields<'_>, key: &'static str, max: usize, node: &Node, walk: &mut Walk) -> Option<String> {
    let value = fields.get(key, walk)?;
    let text = value.line(walk, max)?;
    fill::of_node(&value, text, node, max, walk)
}

/// Key by key, as `limits`; together they may not be more than a tag set holds.
fn labels(fields: &mut Fields<'_>, node: &Node, walk: &mut Walk) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let layers = fields.both("labels");
    for layer in &layers {
        labels.extend(target::labels(layer, node, walk));
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

/// Every string of the check in which `${…}` is filled in for each target.
fn filled_strings<'n>(fields: &Fields<'n>, timing: Option<&Timing>) -> Vec<Value<'n>> {
    let mut strings = Vec::new();
    if matches!(timing, Some(Timing::Ttl(_))) {
        return strings;
    }
    for key in ["settings", "allow"] {
        if let Some(value) = fields.peek(key) {
            json::variables(&value, &mut strings);
        }
    }
    strings
}
