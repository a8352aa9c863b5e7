//! What is wrong with a member of etcd.

use std::collections::BTreeMap;

use roundsman_sdk::{Fault, Span, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Seen;
use crate::facts::Disk;

/// What is too much. A limit set to `null` is not looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Limits {
    /// Per cent of the quota that the database may have.
    database: Option<Percent>,
    /// How long 99 of 100 writes of the log to disk may take. etcd's own advice is 10 ms.
    fsync: Option<Time>,
    /// Changes of the leader between two runs that are a warning; 0 does not look at them.
    leader_changes: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Percent {
    warning: f64,
    critical: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Time {
    warning: Span,
    critical: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let ms = |ms| Span(std::time::Duration::from_millis(ms));
        Self {
            database: Some(Percent { warning: 70.0, critical: 90.0 }),
            fsync: Some(Time { warning: ms(50), critical: ms(500) }),
            leader_changes: 1,
        }
    }
}

/// What is remembered of a run for the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Remembered {
    leader: u64,
    leader_changes: Option<u64>,
    pub(crate) fsync: Disk,
    pub(crate) commit: Disk,
}

type Verdict = (Status, String);

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), Fault> {
        let turned = [
            ("database", self.database.as_ref().is_some_and(|limit| limit.warning > limit.critical)),
            ("fsync", self.fsync.as_ref().is_some_and(|limit| limit.warning > limit.critical)),
        ];
        match turned.into_iter().find(|(_, turned)| *turned) {
            Some((name, _)) => Err(Fault::settings(format!("`limits.{name}`: warning must not be above critical"))),
            None => Ok(()),
        }
    }
}

impl Seen {
    pub(crate) fn remembered(&self) -> Remembered {
        let metrics = self.metrics.as_ref();
        Remembered {
            leader: self.state.as_ref().map_or(0, |state| state.leader()),
            leader_changes: metrics.and_then(|metrics| metrics.leader_changes),
            fsync: metrics.map(|metrics| metrics.fsync.clone()).unwrap_or_default(),
            commit: metrics.map(|metrics| metrics.commit.clone()).unwrap_or_default(),
        }
    }

    pub(crate) fn db_percent(&self) -> Option<f64> {
        let (size, quota) = (self.state.as_ref()?.db_bytes, self.metrics.as_ref()?.quota_bytes?);
        #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
        (quota > 0).then(|| size as f64 / quota as f64 * 100.0)
    }

    /// One verdict for each part.
    pub(crate) fn judge(&self, limits: &Limits, before: Option<&Remembered>) -> BTreeMap<&'static str, Verdict> {
        let unknown = |what: &str| (Status::Unknown, format!("{what} is not told: the log says why"));
        let mut verdicts = BTreeMap::new();
        let health = if self.health.is_empty() {
            (Status::Ok, "healthy".to_owned())
        } else {
            (Status::Critical, format!("not healthy: {}", self.health))
        };
        verdicts.insert("health", health);
        verdicts.insert("leader", self.leader(limits, before).unwrap_or_else(|| unknown("the leader")));
        let alarms = self.alarms.as_ref().map(|alarms| match alarms.0.as_slice() {
            [] => (Status::Ok, "no alarm".to_owned()),
            raised => (Status::Critical, format!("alarm {}", raised.join(", "))),
        });
        verdicts.insert("alarms", alarms.unwrap_or_else(|| unknown("whether there are alarms")));
        if let Some(limit) = &limits.database {
            verdicts.insert("database", self.database(limit).unwrap_or_else(|| unknown("the size of the database")));
        }
        if let Some(limit) = &limits.fsync
            && let Some(verdict) = self.disk(limit, before)
        {
            verdicts.insert("disk", verdict);
        }
        verdicts
    }

    fn leader(&self, limits: &Limits, before: Option<&Remembered>) -> Option<Verdict> {
        let state = self.state.as_ref()?;
        if !state.has_leader() {
            return Some((Status::Critical, "there is no leader".to_owned()));
        }
        // A member that started anew counts from nothing; then its memory of the leader tells.
        let counted = self.metrics.as_ref().and_then(|metrics| metrics.leader_changes);
        let then = before.and_then(|before| before.leader_changes);
        let counted = counted.zip(then).and_then(|(now, then)| now.checked_sub(then));
        let other = before.is_some_and(|before| before.leader != 0 && before.leader != state.leader());
        let changes = counted.unwrap_or_default().max(u64::from(other));
        if limits.leader_changes > 0 && changes >= limits.leader_changes {
            return Some((Status::Warning, format!("the leader changed {changes} times since the run before")));
        }
        Some((Status::Ok, if state.is_leader() { "leader".to_owned() } else { "follower".to_owned() }))
    }

    fn database(&self, limit: &Percent) -> Option<Verdict> {
        let percent = self.db_percent()?;
        let mib = self.state.as_ref()?.db_bytes >> 20;
        let status = match percent {
            percent if percent >= limit.critical => Status::Critical,
            percent if percent >= limit.warning => Status::Warning,
            _ => Status::Ok,
        };
        Some((status, format!("database {mib} MiB, {percent:.0} % of its quota")))
    }

    /// None when nothing was written since the run before.
    fn disk(&self, limit: &Time, before: Option<&Remembered>) -> Option<Verdict> {
        let speed = self.metrics.as_ref()?.fsync.since(before.map(|before| &before.fsync))?;
        let status = match speed.p99_s {
            p99 if p99 >= limit.critical.0.as_secs_f64() => Status::Critical,
            p99 if p99 >= limit.warning.0.as_secs_f64() => Status::Warning,
            _ => Status::Ok,
        };
        Some((status, format!("log to disk in {:.1} ms (p99)", speed.p99_s * 1e3)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::{PAGE, STATUS};
    use crate::facts::{Alarms, Metrics, State};

    fn seen() -> Seen {
        Seen {
            health: String::new(),
            state: State::read(STATUS.as_bytes()),
            alarms: Some(Alarms::default()),
            metrics: Some(Metrics::read(PAGE)),
        }
    }

    fn texts(seen: &Seen, before: Option<&Remembered>) -> Vec<(&'static str, Status, String)> {
        seen.judge(&Limits::default(), before).into_iter().map(|(name, (status, text))| (name, status, text)).collect()
    }

    #[test]
    fn a_healthy_member() {
        let expected = [
            ("alarms", Status::Ok, "no alarm"),
            ("database", Status::Ok, "database 0 MiB, 0 % of its quota"),
            ("disk", Status::Ok, "log to disk in 1.9 ms (p99)"),
            ("health", Status::Ok, "healthy"),
            ("leader", Status::Ok, "leader"),
        ];
        let found = texts(&seen(), None);
        assert_eq!(
            found.iter().map(|(name, status, text)| (*name, *status, text.as_str())).collect::<Vec<_>>(),
            expected
        );
        let quiet = texts(&seen(), Some(&seen().remembered()));
        assert!(quiet.iter().all(|(name, ..)| *name != "disk"), "nothing was written since then: {quiet:?}");
    }

    #[test]
    fn what_is_wrong() {
        let verdict = |seen: &Seen, before: Option<&Remembered>, part: &str| {
            seen.judge(&Limits::default(), before).remove(part).unwrap()
        };
        let mut sick = seen();
        sick.health = "RAFT NO LEADER".to_owned();
        sick.alarms = Some(Alarms(vec!["NOSPACE".to_owned()]));
        sick.state = State::read(
            STATUS.replace(r#""leader":"10276657743932975437","#, "").replace("\"20480\"", "\"2000000000\"").as_bytes(),
        );
        assert_eq!(verdict(&sick, None, "health"), (Status::Critical, "not healthy: RAFT NO LEADER".to_owned()));
        assert_eq!(verdict(&sick, None, "alarms"), (Status::Critical, "alarm NOSPACE".to_owned()));
        assert_eq!(verdict(&sick, None, "leader"), (Status::Critical, "there is no leader".to_owned()));
        assert_eq!(
            verdict(&sick, None, "database"),
            (Status::Critical, "database 1907 MiB, 93 % of its quota".to_owned())
        );

        let mut before = seen().remembered();
        before.leader_changes = Some(0);
        assert_eq!(
            verdict(&seen(), Some(&before), "leader"),
            (Status::Warning, "the leader changed 1 times since the run before".to_owned())
        );
        (before.leader, before.leader_changes) = (7, Some(5));
        assert_eq!(
            verdict(&seen(), Some(&before), "leader").0,
            Status::Warning,
            "another leader, and a count that began anew"
        );

        let dumb = Seen::default();
        for part in ["leader", "alarms", "database"] {
            assert_eq!(verdict(&dumb, None, part).0, Status::Unknown, "{part}");
        }
    }
}
