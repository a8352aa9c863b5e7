//! What a member of etcd tells: JSON of the gateway, in which large numbers are texts, and its page of metrics.

use roundsman_sdk::exposition::{quantile, samples};
use serde::{Deserialize, Deserializer, Serialize};

/// Buckets of a histogram that are remembered; etcd has 14.
const MAX_BUCKETS: usize = 64;

/// Of `/v3/maintenance/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct State {
    header: Header,
    pub(crate) version: String,
    #[serde(rename = "dbSize", deserialize_with = "number")]
    pub(crate) db_bytes: u64,
    #[serde(rename = "dbSizeInUse", deserialize_with = "number")]
    pub(crate) db_in_use_bytes: u64,
    #[serde(deserialize_with = "number")]
    leader: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) raft_index: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) raft_term: u64,
    #[serde(rename = "raftAppliedIndex", deserialize_with = "number")]
    pub(crate) applied_index: u64,
    pub(crate) is_learner: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Header {
    #[serde(deserialize_with = "number")]
    member_id: u64,
}

/// Of `/v3/maintenance/alarm`: `NOSPACE`, `CORRUPT`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms(pub(crate) Vec<String>);

/// Of `/metrics`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) leader_changes: Option<u64>,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) fsync: Disk,
    pub(crate) commit: Disk,
}

/// A histogram of how long something took, since the member started.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disk {
    buckets: Vec<(f64, f64)>,
    /// Those without a bound; JSON has no infinity.
    count: f64,
    sum_s: f64,
}

/// How fast it was for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    pub(crate) p99_s: f64,
    pub(crate) mean_s: f64,
}

/// Why a member is not healthy; empty when it says that it is.
pub(crate) fn health(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Health {
        health: String,
        #[serde(default)]
        reason: String,
    }
    match serde_json::from_slice::<Health>(body) {
        Ok(said) if said.health == "true" && status == 200 => String::new(),
        Ok(said) if said.reason.is_empty() => format!("it says health={} (status {status})", said.health),
        Ok(said) => said.reason,
        Err(_) => format!("its answer is none of etcd (status {status})"),
    }
}

/// A number, or a text of one: the gateway writes 64 bits as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl State {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|state: &Self| !state.version.is_empty())
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.leader != 0
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.has_leader() && self.leader == self.header.member_id
    }

    pub(crate) fn leader(&self) -> u64 {
        self.leader
    }
}

impl Alarms {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            alarms: Vec<Alarm>,
        }
        #[derive(Deserialize)]
        struct Alarm {
            #[serde(default)]
            alarm: String,
        }
        let list: List = serde_json::from_slice(body).ok()?;
        Some(Self(list.alarms.into_iter().map(|alarm| alarm.alarm).collect()))
    }
}

impl Metrics {
    pub(crate) fn read(page: &str) -> Self {
        let mut metrics = Self::default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts and sizes, far below 2^53; the cast keeps to the bounds"
        )]
        let whole = |value: f64| Some(value as u64);
        for sample in samples(page) {
            match sample.name {
                "etcd_server_leader_changes_seen_total" => metrics.leader_changes = whole(sample.value),
                "etcd_server_quota_backend_bytes" => metrics.quota_bytes = whole(sample.value),
                name => {
                    if let Some(part) = name.strip_prefix("etcd_disk_wal_fsync_duration_seconds_") {
                        metrics.fsync.take(part, sample.label("le"), sample.value);
                    } else if let Some(part) = name.strip_prefix("etcd_disk_backend_commit_duration_seconds_") {
                        metrics.commit.take(part, sample.label("le"), sample.value);
                    }
                }
            }
        }
        metrics
    }
}

impl Disk {
    fn take(&mut self, part: &str, bound: Option<&str>, value: f64) {
        match (part, bound.and_then(|bound| bound.parse::<f64>().ok())) {
            ("bucket", Some(bound)) if bound.is_finite() && self.buckets.len() < MAX_BUCKETS => {
                self.buckets.push((bound, value))
            }
            ("sum", _) => self.sum_s = value,
            ("count", _) => self.count = value,
            _ => {}
        }
    }

    /// How fast it was since then; since the member's start where nobody knows of then, or it started anew.
    pub(crate) fn since(&self, then: Option<&Self>) -> Option<Speed> {
        let same = |then: &&Self| {
            let bounds = |disk: &Self| disk.buckets.iter().map(|(bound, _)| *bound).collect::<Vec<_>>();
            then.count <= self.count && bounds(then) == bounds(self)
        };
        let none = Self { buckets: self.buckets.iter().map(|(bound, _)| (*bound, 0.0)).collect(), ..Self::default() };
        let then = then.filter(same).unwrap_or(&none);
        let count = self.count - then.count;
        let mut buckets: Vec<_> =
            self.buckets.iter().zip(&then.buckets).map(|((bound, now), (_, then))| (*bound, now - then)).collect();
        buckets.push((f64::INFINITY, count));
        let p99_s = quantile(0.99, &buckets)?;
        Some(Speed { p99_s, mean_s: (self.sum_s - then.sum_s) / count })
    }
}

#[cfg(test)]
#[path = "facts/holds.rs"]
mod holds;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As etcd 3.4 answers.
    pub(crate) const STATUS: &str = r#"{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"1","raft_term":"2"},"version":"3.4.23","dbSize":"20480","leader":"10276657743932975437","raftIndex":"7","raftTerm":"2","raftAppliedIndex":"6","dbSizeInUse":"16384"}"#;
    pub(crate) const PAGE: &str = "etcd_server_leader_changes_seen_total 1\netcd_server_quota_backend_bytes 2.147483648e+09\n\
        etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 90\netcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 100\n\
        etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 100\netcd_disk_wal_fsync_duration_seconds_sum 0.05\n\
        etcd_disk_wal_fsync_duration_seconds_count 100\n";

    #[test]
    fn answers() {
        let state = State::read(STATUS.as_bytes()).unwrap();
        assert!(state.has_leader() && state.is_leader() && !state.is_learner);
        assert_eq!(
            (state.db_bytes, state.db_in_use_bytes, state.raft_index, state.applied_index),
            (20_480, 16_384, 7, 6)
        );
        assert!(State::read(b"{}").is_none() && State::read(b"<html>").is_none());
        let alarms = Alarms::read(br#"{"header":{},"alarms":[{"memberID":"1","alarm":"NOSPACE"}]}"#);
        assert_eq!(alarms, Some(Alarms(vec!["NOSPACE".to_owned()])));
        assert_eq!(Alarms::read(b"{}"), Some(Alarms::default()));
        for (status, body, why) in [
            (200, r#"{"health":"true"}"#, ""),
            (503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#, "RAFT NO LEADER"),
            (503, r#"{"health":"false"}"#, "it says health=false (status 503)"),
            (404, "nothing", "its answer is none of etcd (status 404)"),
        ] {
            assert_eq!(health(status, body.as_bytes()), why);
        }
    }

    #[test]
    fn metrics() {
        let metrics = Metrics::read(PAGE);
        assert_eq!((metrics.leader_changes, metrics.quota_bytes), (Some(1), Some(2_147_483_648)));
        let speed = metrics.fsync.since(None).unwrap();
        assert!((speed.p99_s - 0.0019).abs() < 1e-9 && (speed.mean_s - 0.0005).abs() < 1e-9, "{speed:?}");
        assert_eq!(metrics.commit.since(None), None, "nothing was measured");
        let mut later = metrics.fsync.clone();
        later.buckets[0].1 = 190.0;
        later.buckets[1].1 = 200.0;
        (later.count, later.sum_s) = (200.0, 0.15);
        let speed = later.since(Some(&metrics.fsync)).unwrap();
        assert!((speed.p99_s - 0.000_99).abs() < 1e-9 && (speed.mean_s - 0.001).abs() < 1e-9, "{speed:?}");
        let anew = metrics.fsync.since(Some(&later)).unwrap();
        assert!((anew.mean_s - 0.0005).abs() < 1e-9, "a member that started anew counts from nothing");
    }
}
