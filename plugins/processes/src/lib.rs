//! Looks at the node's processes: those that must be there, those that must not, and those that are stuck.

mod judge;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, system};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Census, Complaint, Group, Limit};

/// What is expected of the processes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// Processes that belong together, and how many there must be of them; `max: 0` forbids them.
    groups: Vec<Group>,
    /// Processes in all, at most.
    total: Option<Limit>,
    /// Zombies: ended, and nobody asks how. At most.
    zombies: Option<Limit>,
    /// Processes that wait for a disk or another device and cannot be killed. At most.
    uninterruptible: Option<Limit>,
}

const PROCESSES: Series = Series {
    name: "processes",
    help: "All processes of the node.",
    tags: &[],
    fields: &[
        Field::integer("total", "", "Processes, those of the kernel among them."),
        Field::integer("threads", "", "Their threads."),
        Field::integer("running", "", "Processes that run or could run."),
        Field::integer("uninterruptible", "", "Processes that wait for a device and cannot be killed."),
        Field::integer("zombies", "", "Processes that ended, and nobody asks how."),
        Field::integer("stopped", "", "Processes that a signal or a debugger stopped."),
    ],
};

const GROUP: Series = Series {
    name: "process_group",
    help: "Processes that belong together.",
    tags: &[Tag::bounded("group", "Its name in the settings.")],
    fields: &[
        Field::integer("count", "", "Processes."),
        Field::integer("threads", "", "Their threads."),
        Field::integer(
            "resident_bytes",
            "B",
            "The memory that they hold together; shared memory counts more than once.",
        ),
        Field::real("cpu_seconds", "s", "Processor time that they have had so far."),
        Field::real("youngest_seconds", "s", "Age of the one that was started last."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: processes
    plugin: processes
    interval: 30s
    timeout: 5s
    allow: {system: [processes]}
    settings:
      groups:
        - {group: ssh, name: sshd, min: 1}
        - {group: miners, command: \"xmrig|minerd\", max: 0}
      zombies: {warning: 50, critical: 500}
      uninterruptible: {warning: 20, critical: 100}
";

/// The check.
#[derive(Debug)]
pub struct Processes;

impl Check for Processes {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(
            env!("CARGO_PKG_VERSION"),
            "Looks for processes that must or must not be there, and for stuck ones.",
        )
        .series(&PROCESSES)
        .series(&GROUP)
        .findings("A group of processes.", true)
        .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        judge::validate(&settings.groups)?;
        let limits = [
            ("total", &settings.total),
            ("zombies", &settings.zombies),
            ("uninterruptible", &settings.uninterruptible),
        ];
        for (name, limit) in limits {
            if limit.as_ref().is_some_and(|limit| limit.warning > limit.critical) {
                return Err(Fault::settings(format!("`{name}`: warning must not be above critical")));
            }
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let list = system::processes()?;
        let now = std::time::SystemTime::now();
        let census = Census::of(&list.items);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Point::of(&PROCESSES)
            .field("total", count(census.total))
            .field("threads", census.threads)
            .field("running", count(census.running))
            .field("uninterruptible", count(census.uninterruptible))
            .field("zombies", count(census.zombies))
            .field("stopped", count(census.stopped))
            .report()?;
        let mut wrong: Vec<Complaint> = Vec::new();
        for group in &settings.groups {
            let members = group.members(&list.items);
            let sum = members.sum(now);
            Point::of(&GROUP)
                .tag("group", group.group.as_str())
                .field("count", count(sum.count))
                .field("threads", sum.threads)
                .field("resident_bytes", sum.resident_bytes)
                .field("cpu_seconds", sum.cpu.as_secs_f64())
                .field("youngest_seconds", sum.youngest.map(|age| age.as_secs_f64()))
                .report()?;
            let complaint = group.judge(&sum, list.truncated);
            let (status, text) =
                complaint.clone().unwrap_or_else(|| (Status::Ok, format!("{}: {} processes", group.group, sum.count)));
            report::finding(&group.group, status, &text)?;
            wrong.extend(complaint);
        }
        wrong.extend(census.judge(
            settings.total.as_ref(),
            settings.zombies.as_ref(),
            settings.uninterruptible.as_ref(),
        ));
        Ok(outcome(&census, &wrong))
    }
}

fn outcome(census: &Census, wrong: &[Complaint]) -> Outcome {
    if wrong.is_empty() {
        return Outcome::ok(format!(
            "{} processes, {} zombies, {} uninterruptible",
            census.total, census.zombies, census.uninterruptible
        ));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Processes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"groups": [{"name": "a", "min": 1}]}"#, "`groups[0]`: missing field `group`"),
            (
                r#"{"groups": [{"group": "a", "min": 1}]}"#,
                "`groups[0]`: say which processes belong to a: name, command or user",
            ),
            (
                r#"{"groups": [{"group": "a", "name": "x", "min": 3, "max": 2}]}"#,
                "`groups[0]`: min must not be above max",
            ),
            (
                r#"{"groups": [{"group": "a", "name": "x"}, {"group": "a", "name": "y"}]}"#,
                "`groups[1]`: there is a group a already",
            ),
            (
                r#"{"groups": [{"group": "a", "name": "a-name-of-sixteen"}]}"#,
                "`groups[0]`: the kernel keeps 15 bytes of a name: use `command` for a-name-of-sixteen",
            ),
            (r#"{"zombies": {"warning": 3, "critical": 2}}"#, "`zombies`: warning must not be above critical"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Processes>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let census = Census { total: 3, zombies: 1, ..Census::default() };
        assert_eq!(outcome(&census, &[]), Outcome::ok("3 processes, 1 zombies, 0 uninterruptible"));
        let wrong = [(Status::Warning, "a".to_owned()), (Status::Critical, "b".to_owned())];
        assert_eq!(outcome(&census, &wrong), Outcome::critical("a; b"));
    }
}
