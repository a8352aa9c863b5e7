//! Looks at usage, inodes and read-only flips of mounted filesystems.

mod judge;

use std::collections::BTreeSet;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::system::{self, Mount, Usage};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, state, warn};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Limit, Seen, Selection};

/// What is too full. A limit set to `null` is not looked at; the points are reported all the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Per cent of space in use, of what users may have.
    usage: Option<Limit>,
    /// Per cent of inodes in use.
    inodes: Option<Limit>,
    /// A filesystem that could be written to and no longer can is critical, until it can again.
    read_only: bool,
    select: Selection,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            usage: Some(Limit { warning: 85.0, critical: 95.0 }),
            inodes: Some(Limit { warning: 85.0, critical: 95.0 }),
            read_only: true,
            select: Selection::default(),
        }
    }
}

const DISK: Series = Series {
    name: "disk",
    help: "One mounted filesystem.",
    tags: &[Tag::bounded("path", "Where it is mounted.")],
    fields: &[
        Field::real("used_percent", "%", "Space in use, of what users may have."),
        Field::integer("total_bytes", "B", "Its size."),
        Field::integer("available_bytes", "B", "What is left for users other than root."),
        Field::real("inodes_used_percent", "%", "Inodes in use; absent where they are not counted."),
        Field::integer("inodes_free", "", "Inodes that are left; absent where they are not counted."),
        Field::boolean("read_only", "Whether it cannot be written to."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: disk
    plugin: disk
    interval: 60s
    timeout: 10s
    allow: {system: [filesystems]}
    settings:
      usage: {warning: 85, critical: 95}
      inodes: {warning: 85, critical: 95}
";

/// Under this key the paths are remembered that could be written to.
const WRITABLE: &str = "writable";
/// A summary names so many filesystems; the findings name all of them.
const NAMED: usize = 4;

/// The check.
#[derive(Debug)]
pub struct Disk;

/// What became of one filesystem.
#[derive(Debug)]
struct Finding {
    path: String,
    status: Status,
    text: String,
    used_percent: f64,
}

impl Check for Disk {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Looks at usage, inodes and read-only flips of mounted filesystems.")
            .series(&DISK)
            .findings("Where a filesystem is mounted.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        for (name, limit) in [("usage", &settings.usage), ("inodes", &settings.inodes)] {
            if limit.as_ref().is_some_and(|limit| limit.warning > limit.critical) {
                return Err(Fault::settings(format!("`{name}`: warning must not be above critical")));
            }
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let mounts = system::mounts()?;
        let mut findings: Vec<_> = settings.select.missing(&mounts).into_iter().map(Finding::missing).collect();
        let before: BTreeSet<String> = state::load(WRITABLE).unwrap_or_default();
        let mut writable = BTreeSet::new();
        for mount in settings.select.choose(mounts) {
            let was_writable = before.contains(&mount.path);
            let (finding, read_only) = examine(settings, &mount, was_writable)?;
            // Remembered until it can be written to again, so that it stays critical as long as it cannot.
            if was_writable || read_only == Some(false) {
                writable.insert(mount.path);
            }
            findings.push(finding);
        }
        for finding in &findings {
            report::finding(&finding.path, finding.status, &finding.text)?;
        }
        if writable != before
            && let Err(fault) = state::save(WRITABLE, &writable)
        {
            // What was found out now is worth more than the memory of it.
            warn!("read-only flips may go unseen: {}", fault.message);
        }
        Ok(outcome(&findings))
    }
}

/// Asks for one filesystem and reports its point. Also says whether it can be written to, if that is known.
fn examine(settings: &Settings, mount: &Mount, was_writable: bool) -> Result<(Finding, Option<bool>), Fault> {
    let usage = match system::usage(&mount.path) {
        Ok(usage) => usage,
        Err(failure) if failure.code == "denied" => return Err(failure.into()),
        Err(failure) => {
            let hangs = matches!(failure.code.as_str(), "hung" | "timeout");
            let status = if hangs { Status::Critical } else { Status::Unknown };
            return Ok((Finding::new(mount, status, failure.to_string(), 0.0), None));
        }
    };
    let seen = Seen::new(&usage, mount.read_only, was_writable && settings.read_only);
    point(&mount.path, &usage, &seen).report()?;
    let (status, text) = seen.judge(settings.usage.as_ref(), settings.inodes.as_ref());
    Ok((Finding::new(mount, status, text, seen.used_percent), Some(seen.read_only)))
}

fn point(path: &str, usage: &Usage, seen: &Seen) -> Point {
    Point::of(&DISK)
        .tag("path", path)
        .field("used_percent", seen.used_percent)
        .field("total_bytes", usage.total)
        .field("available_bytes", usage.available)
        .field("inodes_used_percent", seen.inodes_used_percent)
        .field("inodes_free", seen.inodes_used_percent.map(|_| usage.inodes_free))
        .field("read_only", seen.read_only)
}

impl Finding {
    fn new(mount: &Mount, status: Status, text: String, used_percent: f64) -> Self {
        Self { path: mount.path.clone(), status, text, used_percent }
    }

    fn missing(path: &str) -> Self {
        Self { path: path.to_owned(), status: Status::Critical, text: "is not mounted".to_owned(), used_percent: 0.0 }
    }
}

fn outcome(findings: &[Finding]) -> Outcome {
    let Some(fullest) = findings.iter().max_by(|a, b| a.used_percent.total_cmp(&b.used_percent)) else {
        return Outcome::unknown("no filesystem is mounted that `select` takes");
    };
    let status = findings.iter().fold(Status::Ok, |worst, finding| worst.worst(finding.status));
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Ok).collect();
    if wrong.is_empty() {
        let count = findings.len();
        return Outcome::ok(format!("{count} filesystems, the fullest is {}: {}", fullest.path, fullest.text));
    }
    let mut texts: Vec<_> =
        wrong.iter().take(NAMED).map(|finding| format!("{}: {}", finding.path, finding.text)).collect();
    if wrong.len() > NAMED {
        texts.push(format!("and {} more", wrong.len() - NAMED));
    }
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Disk);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"usage": {"warning": 95, "critical": 85}}"#, "`usage`: warning must not be above critical"),
            (
                r#"{"select": {"path": ["/"]}}"#,
                "`select.path`: unknown field `path`, expected one of `paths`, `excludePaths`, `excludeKinds`",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Disk>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn points_are_as_declared() {
        let usage = Usage { total: 10, inodes: 10, ..Usage::default() };
        point("/", &usage, &Seen::new(&usage, false, false)).check().unwrap();
    }

    #[test]
    fn outcomes() {
        let finding = |path: &str, status, used_percent| Finding {
            path: path.to_owned(),
            status,
            text: format!("{used_percent:.1} % used"),
            used_percent,
        };
        let many: Vec<_> = (0..6).map(|n| finding(&format!("/{n}"), Status::Warning, 90.0)).collect();
        for (findings, expected) in [
            (vec![], Outcome::unknown("no filesystem is mounted that `select` takes")),
            (
                vec![finding("/", Status::Ok, 10.0), finding("/var", Status::Ok, 20.0)],
                Outcome::ok("2 filesystems, the fullest is /var: 20.0 % used"),
            ),
            (
                vec![finding("/", Status::Ok, 10.0), finding("/var", Status::Critical, 99.0)],
                Outcome::critical("/var: 99.0 % used"),
            ),
            (vec![Finding::missing("/data")], Outcome::critical("/data: is not mounted")),
            (many, Outcome::warning("/0: 90.0 % used; /1: 90.0 % used; /2: 90.0 % used; /3: 90.0 % used; and 2 more")),
        ] {
            assert_eq!(outcome(&findings), expected);
        }
    }
}
