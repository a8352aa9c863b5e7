//! What will hardly do what was meant, and is no error: of one check, with what its plugin says of itself.

use std::net::IpAddr;

use roundsman_model::check::{Check, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::name::{PUSHED, excerpt};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_plugin::describe::{Description, HOST_TAGS, Kind};
use roundsman_probe::address::{Reach, judged, reach};
use roundsman_probe::grants::{Grants, Seen};
use roundsman_probe::host::Host;
use roundsman_probe::pattern::{Pattern, Scheme};
use roundsman_schedule::window::Window;

use super::marks::{Mark, marks};
use crate::checks::Configured;
use crate::checks::fill::{Filled, fill_check};
use crate::config::Node;
use crate::config::nearest::nearest;
use crate::problem::Problem;
use crate::trust::Policy;

/// Tags of one line of InfluxDB; `host/influx/src/tags.rs` leaves out what is beyond.
const MAX_TAGS: usize = 64;
/// A check that is in maintenance for so long without a break is never run.
const MAINTENANCE_HORIZON: std::time::Duration = std::time::Duration::from_hours(32 * 24);

/// What there is to say of a check beyond its file. No description: the plugin cannot be asked, or there is none.
pub(super) fn of_check(
    configured: &Configured,
    description: Option<&Description>,
    node: &Node,
    own_ports: &[u16],
    now: Timestamp,
) -> Vec<Problem> {
    let check = &configured.check;
    let mut problems = Vec::new();
    if let Some(description) = description {
        problems.extend(thresholds(configured, description));
        problems.extend(tags(configured, description));
    }
    problems.extend(always_in_maintenance(configured, now));
    let every: Vec<Option<&Target>> =
        if check.targets.is_empty() { vec![None] } else { check.targets.iter().map(Some).collect() };
    for (number, target) in every.into_iter().enumerate() {
        let Ok(filled) = fill_check(check, target, node) else { continue };
        problems.extend(address(configured, number, filled.target.as_ref()));
        if let Some(description) = description {
            problems.extend(settings(configured, description, &filled, own_ports));
        }
    }
    problems.dedup();
    problems
}

/// What the configuration says of plugins that are not there: hardly what was meant.
pub(super) fn of_trust(policy: &Policy, plugins: &[&str]) -> Vec<Problem> {
    let missing = policy.names().filter(|(_, name)| !plugins.contains(&name.as_str()));
    let told = missing.map(|(list, name)| {
        let problem = Problem::error(format!("trust.{list}"), format!("there is no plugin `{name}`")).warning();
        match nearest(name.as_str(), plugins) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        }
    });
    told.collect()
}

/// Bounds on what the plugin never reports.
fn thresholds(configured: &Configured, description: &Description) -> Vec<Problem> {
    let known: Vec<String> = description.units().into_keys().collect();
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    for (number, threshold) in configured.check.thresholds.iter().enumerate() {
        let name = format!("{}.{}", threshold.series, threshold.field);
        let warn = |message: String| configured.problem_at(&format!("/thresholds/{number}/field"), message).warning();
        let series = description.series.iter().find(|series| series.name == threshold.series);
        match series.and_then(|series| series.fields.iter().find(|field| field.name == threshold.field)) {
            None => {
                let problem =
                    warn(format!("plugin `{}` reports no `{name}`: the bounds never count", configured.check.plugin));
                problems.push(match nearest(&name, &words) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None if words.is_empty() => problem,
                    None => problem.hint(format!("it reports {}", words.join(", "))),
                });
            }
            Some(field) if field.kind == Kind::Text => {
                problems.push(warn(format!("`{name}` is text: the bounds never count")));
            }
            Some(_) => {}
        }
    }
    problems
}

/// Labels that push out tags, or take their names.
fn tags(configured: &Configured, description: &Description) -> Vec<Problem> {
    let labels = &configured.check.labels;
    let mut problems = Vec::new();
    for series in &description.series {
        let count = HOST_TAGS.len() + labels.len() + series.tags.len();
        if count > MAX_TAGS {
            let name = &series.name;
            let message = format!(
                "a point of `{name}` has {count} tags with these labels: the last {} are left out",
                count - MAX_TAGS
            );
            problems.push(configured.problem_at("/labels", message).warning());
        }
        for tag in series.tags.iter().filter(|tag| labels.contains_key(&tag.name)) {
            let (name, series) = (&tag.name, &series.name);
            let message =
                format!("`{name}` is also a tag of the plugin's series `{series}`, which becomes `tag_{name}`");
            problems.push(configured.problem_at(&format!("/labels/{name}"), message).warning());
        }
    }
    problems
}

/// Maintenance without a break: the check would never be run.
fn always_in_maintenance(configured: &Configured, now: Timestamp) -> Option<Problem> {
    let maintenance = &configured.check.maintenance;
    let windows: Vec<Window> =
        maintenance.iter().filter_map(|m| Window::new(&m.cron, &m.timezone, m.length).ok()).collect();
    let mut at = now;
    while at < now + MAINTENANCE_HORIZON {
        at = windows.iter().filter_map(|window| window.covers(at)).max().filter(|end| *end > at)?;
    }
    let message = "from now on it is in maintenance without a break: it is never run";
    Some(configured.problem_at("/maintenance", message).warning().hint("`enabled: false` says so in one word"))
}

/// A target's address grants itself; these do not.
fn address(configured: &Configured, number: usize, target: Option<&Target>) -> Option<Problem> {
    let address = &*target?.address;
    let pointer =
        if configured.writes("targets") { format!("/targets/{number}/address") } else { "/target".to_owned() };
    let warn = |message: String| configured.problem_at(&pointer, message).warning();
    if Pattern::of_target(address).is_none() {
        let (scheme, _) = address.split_once("://")?;
        let known = Scheme::ALL.map(Scheme::as_str).join(", ");
        let message = format!("`{}://` grants nothing: the schemes are {known}", excerpt(scheme));
        return Some(warn(message));
    }
    if configured.check.plugin.as_str() == PUSHED {
        return None;
    }
    // Without a port it names no socket exactly, and such an address needs to be.
    let ip: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let Reach::Special(kind) = reach(judged(ip)) else { return None };
    let message = format!("{ip} is {kind}: it is refused unless address and port are named");
    Some(warn(message).hint("write the port, too"))
}

/// Settings that lead to where nothing is granted.
fn settings(configured: &Configured, description: &Description, filled: &Filled, own_ports: &[u16]) -> Vec<Problem> {
    let Ok(grants) = Grants::compile(filled.target.as_slice(), &filled.allow, own_ports) else { return Vec::new() };
    let own = filled.target.iter().filter_map(|target| Pattern::of_target(&target.address));
    let patterns: Vec<Pattern> =
        own.chain(filled.allow.network.iter().filter_map(|l| Pattern::parse(l).ok())).collect();
    let value = serde_json::Value::Object(filled.settings.clone());
    let missing = marks(&description.settings, &value).into_iter().filter_map(|mark| {
        let line = missing(&mark, &filled.allow, &grants, &patterns)?;
        let message = format!("`{}` is not granted: a run that needs it is refused", excerpt(mark.text));
        let problem = configured.problem_at(&format!("/settings{}", mark.pointer), message).warning();
        Some(problem.hint(format!("add to the check: {line}")))
    });
    missing.collect()
}

/// The line of `allow:` that is missing, if one is.
fn missing(mark: &Mark<'_>, allow: &Allow, grants: &Grants, patterns: &[Pattern]) -> Option<String> {
    let unless_listed = |list: &str, lines: &[String]| {
        let listed = mark.text.is_empty() || lines.iter().any(|line| line == mark.text);
        (!listed).then(|| format!("allow: {{{list}: [{}]}}", excerpt(mark.text)))
    };
    match mark.kind {
        "destination" => {
            let (scheme, host, port) = destination(mark)?;
            let granted = |name: &str| patterns.iter().any(|line| line.allows_name(scheme, name, port));
            match host {
                Host::Address(ip) => grants
                    .permits_address(scheme, (ip, port).into(), &Seen::default())
                    .err()
                    .map(|denied| denied.add_line),
                Host::Name(name) if granted(name.as_str()) => None,
                Host::Name(name) => Some(format!("allow: {{network: [\"{scheme}://{}:{port}\"]}}", name.as_str())),
            }
        }
        "path" => {
            let path = std::path::Path::new(mark.text);
            let granted = grants.files().iter().any(|granted| path.starts_with(granted));
            (path.is_absolute() && !granted).then(|| format!("allow: {{files: [{}]}}", mark.text))
        }
        "secret" => unless_listed("secrets", &allow.secrets),
        "command" => unless_listed("commands", &allow.commands),
        _ => None,
    }
}

/// Where a setting leads to, as far as its text tells it.
fn destination(mark: &Mark<'_>) -> Option<(Scheme, Host, u16)> {
    let (word, rest) = mark.text.split_once("://").or(mark.scheme.map(|scheme| (scheme, mark.text)))?;
    let scheme = Scheme::parse(&word.to_ascii_lowercase())?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let uri: http::Uri = format!("http://{authority}/").parse().ok()?;
    let port = uri.port_u16().or(scheme.default_port())?;
    Some((scheme, Host::parse(uri.host()?).ok()?, port))
}

/// Runs a second of a check on all of its targets, as far as its file tells: pushed results count once in their `ttl`.
pub(super) fn rate(check: &Check, now: Timestamp) -> f64 {
    let targets = check.targets.len().max(1);
    let each = match &check.timing {
        Timing::Interval(period) | Timing::Ttl(period) => 1.0 / period.as_secs_f64().max(f64::MIN_POSITIVE),
        Timing::Cron { expression, timezone } => {
            let week = std::time::Duration::from_hours(7 * 24);
            let grid = roundsman_schedule::grid::Grid::cron(expression, timezone);
            grid.map_or(0.0, |grid| grid.count(now, now + week) as f64 / week.as_secs_f64())
        }
        Timing::Start => 0.0,
    };
    each * targets as f64
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
