//! Who belongs to a group of processes, and whether there are as many as there should be.

use std::time::{Duration, SystemTime};

use roundsman_sdk::system::Process;
use roundsman_sdk::{Fault, Pattern, Severity, Size, Status};
use schemars::JsonSchema;
use serde::Deserialize;

/// As the kernel keeps the name of a process.
const MAX_NAME: usize = 15;

/// Something that is not as it should be.
pub(crate) type Complaint = (Status, String);

/// From how many on something is a warning, and from how many on critical.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) warning: u32,
    pub(crate) critical: u32,
}

/// Processes that belong together: all that is said of them must fit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Group {
    /// What it is called in points and findings.
    pub(crate) group: String,
    /// The kernel's name of the process, exactly; at most 15 bytes.
    #[serde(default)]
    name: Option<String>,
    /// A regular expression that must be found in the command line.
    #[serde(default)]
    command: Option<Pattern>,
    /// The id of the user whose they are.
    #[serde(default)]
    user: Option<u32>,
    /// At least so many; 1 unless set, 0 when `max` is.
    #[serde(default)]
    min: Option<u32>,
    /// At most so many; 0 forbids them.
    #[serde(default)]
    max: Option<u32>,
    /// The memory that they may hold together.
    #[serde(default)]
    max_memory: Option<Size>,
    /// What it is when it is not as expected.
    #[serde(default)]
    status: Severity,
}

/// The processes of a group.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<&'a Process>);

/// What the processes of a group come to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) count: usize,
    pub(crate) threads: i64,
    pub(crate) resident_bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) youngest: Option<Duration>,
}

/// All processes by their state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) total: usize,
    pub(crate) threads: i64,
    pub(crate) running: usize,
    pub(crate) uninterruptible: usize,
    pub(crate) zombies: usize,
    pub(crate) stopped: usize,
}

pub(crate) fn validate(groups: &[Group]) -> Result<(), Fault> {
    for (n, group) in groups.iter().enumerate() {
        let wrong = |message: String| Err(Fault::settings(format!("`groups[{n}]`: {message}")));
        if group.name.is_none() && group.command.is_none() && group.user.is_none() {
            return wrong(format!("say which processes belong to {}: name, command or user", group.group));
        }
        if let Some(name) = group.name.as_ref().filter(|name| name.len() > MAX_NAME) {
            return wrong(format!("the kernel keeps {MAX_NAME} bytes of a name: use `command` for {name}"));
        }
        if group.min.zip(group.max).is_some_and(|(min, max)| min > max) {
            return wrong("min must not be above max".to_owned());
        }
        if groups[..n].iter().any(|other| other.group == group.group) {
            return wrong(format!("there is a group {} already", group.group));
        }
    }
    Ok(())
}

impl Group {
    pub(crate) fn members<'a>(&self, processes: &'a [Process]) -> Members<'a> {
        Members(processes.iter().filter(|process| self.has(process)).collect())
    }

    fn has(&self, process: &Process) -> bool {
        // What has ended is no longer there to do its work.
        process.state != "Z"
            && self.name.as_ref().is_none_or(|name| *name == process.name)
            && self.command.as_ref().is_none_or(|pattern| pattern.0.is_match(&process.command_line))
            && self.user.is_none_or(|user| user == process.user_id)
    }

    pub(crate) fn judge(&self, sum: &Sum, truncated: bool) -> Option<Complaint> {
        let Self { group, min, max, max_memory, .. } = self;
        let count = u32::try_from(sum.count).unwrap_or(u32::MAX);
        let min = min.unwrap_or(u32::from(max.is_none()));
        let wrong = match (max, max_memory) {
            (Some(max), _) if count > *max => format!("{group}: {count} processes, at most {max} may run"),
            (_, Some(Size(most))) if sum.resident_bytes > *most => {
                format!("{group}: {} MiB of memory, at most {} MiB", sum.resident_bytes >> 20, most >> 20)
            }
            // One that is missing may be among those that were not looked at.
            _ if count < min && truncated => {
                return Some((
                    Status::Unknown,
                    format!("{group}: {count} of {min} found, and not all processes could be looked at"),
                ));
            }
            _ if count < min => format!("{group}: {count} processes, at least {min} must run"),
            _ => return None,
        };
        Some((self.status.into(), wrong))
    }
}

impl Members<'_> {
    pub(crate) fn sum(&self, now: SystemTime) -> Sum {
        let mut sum = Sum { count: self.0.len(), ..Sum::default() };
        for process in &self.0 {
            sum.threads += i64::from(process.threads);
            sum.resident_bytes = sum.resident_bytes.saturating_add(process.resident_bytes);
            sum.cpu = sum.cpu.saturating_add(process.cpu);
            let age = now.duration_since(process.started).unwrap_or_default();
            sum.youngest = Some(sum.youngest.map_or(age, |youngest| youngest.min(age)));
        }
        sum
    }
}

impl Census {
    pub(crate) fn of(processes: &[Process]) -> Self {
        let mut census = Self { total: processes.len(), ..Self::default() };
        for process in processes {
            census.threads += i64::from(process.threads);
            match process.state.as_str() {
                "R" => census.running += 1,
                "D" => census.uninterruptible += 1,
                "Z" => census.zombies += 1,
                "T" | "t" => census.stopped += 1,
                _ => {}
            }
        }
        census
    }

    pub(crate) fn judge(
        &self,
        total: Option<&Limit>,
        zombies: Option<&Limit>,
        stuck: Option<&Limit>,
    ) -> Vec<Complaint> {
        let rows = [
            (self.total, total, "processes"),
            (self.zombies, zombies, "zombies"),
            (self.uninterruptible, stuck, "uninterruptible processes"),
        ];
        let judge = |(count, limit, what): (usize, Option<&Limit>, &str)| {
            let (limit, count) = (limit?, u32::try_from(count).unwrap_or(u32::MAX));
            let (status, limit) = match count {
                count if count >= limit.critical => (Status::Critical, limit.critical),
                count if count >= limit.warning => (Status::Warning, limit.warning),
                _ => return None,
            };
            Some((status, format!("{count} {what}, limit {limit}")))
        };
        rows.into_iter().filter_map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, state: &str) -> Process {
        Process {
            pid: 1,
            parent: 0,
            name: name.to_owned(),
            command_line: format!("/usr/bin/{name} --serve"),
            state: state.to_owned(),
            user_id: 7,
            threads: 2,
            resident_bytes: 3 << 20,
            cpu: Duration::from_secs(1),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
        }
    }

    fn group(json: &str) -> Group {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn members() {
        let all = [process("etcd", "S"), process("etcd", "Z"), process("sh", "D")];
        for (json, count) in [
            (r#"{"group": "g", "name": "etcd"}"#, 1),
            (r#"{"group": "g", "command": "--serve$"}"#, 2),
            (r#"{"group": "g", "command": "^/usr/bin/sh ", "user": 7}"#, 1),
            (r#"{"group": "g", "user": 8}"#, 0),
        ] {
            assert_eq!(group(json).members(&all).0.len(), count, "{json}");
        }
        let sum =
            group(r#"{"group": "g", "user": 7}"#).members(&all).sum(SystemTime::UNIX_EPOCH + Duration::from_secs(160));
        let expected = Sum {
            count: 2,
            threads: 4,
            resident_bytes: 6 << 20,
            cpu: Duration::from_secs(2),
            youngest: Some(Duration::from_secs(60)),
        };
        assert_eq!(sum, expected);
    }

    #[test]
    fn verdicts() {
        let sum = |count| Sum { count, resident_bytes: 5 << 20, ..Sum::default() };
        for (json, count, truncated, expected) in [
            (r#"{"group": "g", "name": "a"}"#, 1, false, None),
            (
                r#"{"group": "g", "name": "a"}"#,
                0,
                false,
                Some((Status::Critical, "g: 0 processes, at least 1 must run")),
            ),
            (
                r#"{"group": "g", "name": "a"}"#,
                0,
                true,
                Some((Status::Unknown, "g: 0 of 1 found, and not all processes could be looked at")),
            ),
            (r#"{"group": "g", "name": "a", "max": 0}"#, 0, false, None),
            (
                r#"{"group": "g", "name": "a", "max": 0, "status": "warning"}"#,
                2,
                false,
                Some((Status::Warning, "g: 2 processes, at most 0 may run")),
            ),
            (
                r#"{"group": "g", "name": "a", "maxMemory": "4Mi"}"#,
                1,
                false,
                Some((Status::Critical, "g: 5 MiB of memory, at most 4 MiB")),
            ),
        ] {
            let found = group(json).judge(&sum(count), truncated);
            assert_eq!(found, expected.map(|(status, text)| (status, text.to_owned())), "{json}");
        }
    }

    #[test]
    fn all_of_them() {
        let census = Census::of(&[
            process("a", "R"),
            process("a", "D"),
            process("a", "D"),
            process("a", "Z"),
            process("a", "t"),
        ]);
        assert_eq!(census, Census { total: 5, threads: 10, running: 1, uninterruptible: 2, zombies: 1, stopped: 1 });
        let limit = |warning, critical| Limit { warning, critical };
        let wrong = census.judge(Some(&limit(6, 7)), Some(&limit(1, 2)), Some(&limit(1, 2)));
        let expected = [
            (Status::Warning, "1 zombies, limit 1".to_owned()),
            (Status::Critical, "2 uninterruptible processes, limit 2".to_owned()),
        ];
        assert_eq!(wrong, expected);
    }
}
