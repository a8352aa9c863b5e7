//! Looks at one member of etcd: health, leader and its changes, alarms, size of the database, how fast the disk is.

mod facts;
mod judge;

use std::collections::BTreeMap;

use roundsman_sdk::http::{Failure, Family, Request, Response};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, context, state, warn};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::facts::{Alarms, Disk, Metrics, State};
use crate::judge::{Limits, Remembered};

/// Which member, and what is too much.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// A client URL of the member, `https://10.0.0.7:2379`, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination"}))]
    url: Option<String>,
    /// Where the member shows its metrics, if that is another URL: `http://127.0.0.1:2381`.
    #[schemars(extend("x-roundsman" = {"kind": "destination"}))]
    metrics_url: Option<String>,
    verify_certificate: bool,
    server_name: Option<String>,
    /// The secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    /// The secret with the client's certificate and key.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    client_certificate: Option<String>,
    family: Family,
    limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            metrics_url: None,
            verify_certificate: true,
            server_name: None,
            certificate_authority: None,
            client_certificate: None,
            family: Family::Any,
            limits: Limits::default(),
        }
    }
}

const ETCD: Series = Series {
    name: "etcd",
    help: "One member.",
    tags: &[],
    fields: &[
        Field::boolean("healthy", "Whether it says that it is."),
        Field::boolean("has_leader", "Whether it knows a leader."),
        Field::boolean("is_leader", "Whether it is the leader itself."),
        Field::boolean("is_learner", "Whether it has no vote yet."),
        Field::integer("raft_term", "", "Counts up with every election."),
        Field::integer("raft_index", "", "Entries of the log so far."),
        Field::integer("raft_lag", "", "Entries that it knows of and has not applied yet."),
        Field::integer("leader_changes", "", "Changes of the leader that it has seen since it started."),
        Field::integer("alarms", "", "Alarms of the cluster."),
        Field::integer("db_bytes", "B", "The size of the database's file."),
        Field::integer("db_in_use_bytes", "B", "What of it is in use; the rest comes back with a defragmentation."),
        Field::integer("quota_bytes", "B", "The size at which it refuses to write."),
        Field::real("db_percent", "%", "The size of the quota."),
        Field::real("fsync_p99_ms", "ms", "The write-ahead log to disk: 99 of 100 were faster, since the run before."),
        Field::real("fsync_mean_ms", "ms", "The mean of the same."),
        Field::real("commit_p99_ms", "ms", "The database to disk: 99 of 100 were faster, since the run before."),
        Field::real("health_ms", "ms", "How long the question for its health took."),
        Field::text("version", "Of etcd."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: etcd
    plugin: etcd
    interval: 15s
    timeout: 5s
    target: https://127.0.0.1:2379       # its address is granted; any other needs a line under `allow:`
    allow: {secrets: [etcd]}             # and under `trust:` in roundsman.yaml
    settings:
      certificateAuthority: etcd
      clientCertificate: etcd
      limits: {database: {warning: 70, critical: 90}, fsync: {warning: 50ms, critical: 500ms}}
";

/// Under this key the counters of the run before are remembered.
const REMEMBERED: &str = "before";
/// The page of metrics has some 150 KiB.
const MAX_BODY: u32 = 1 << 20;

/// The check.
#[derive(Debug)]
pub struct Etcd;

impl Check for Etcd {
    type Settings = Settings;

    fn describe() -> Describe {
        let summary = "Looks at a member of etcd: health, leader, alarms, size of the database, speed of the disk.";
        Describe::new(env!("CARGO_PKG_VERSION"), summary)
            .series(&ETCD)
            .findings("`health`, `leader`, `alarms`, `database` or `disk`.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        settings.limits.validate()
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let url = settings.url.as_deref().or(target.as_deref());
        let url = url.ok_or_else(|| Fault::settings("which member? Give the check a `target`, or set `url`"))?;
        let url = url.trim_end_matches('/');
        let request = settings.dressed(Request::get(&format!("{url}/health")));
        // Who does not answer this will not answer the rest.
        let health = match request.send() {
            Ok(health) => health,
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let took = request.timings().total.unwrap_or_default();
        report::latency(took);
        let seen = Seen {
            health: facts::health(health.status, &health.body),
            state: settings.ask(&format!("{url}/v3/maintenance/status"), "{}", State::read)?,
            alarms: settings.ask(&format!("{url}/v3/maintenance/alarm"), r#"{"action":"GET"}"#, Alarms::read)?,
            metrics: settings.metrics(settings.metrics_url.as_deref().map_or(url, |url| url.trim_end_matches('/')))?,
        };
        let before: Option<Remembered> = state::load(REMEMBERED);
        let verdicts = seen.judge(&settings.limits, before.as_ref());
        seen.point(before.as_ref()).field("health_ms", ms(took)).report()?;
        if let Err(fault) = state::save(REMEMBERED, &seen.remembered()) {
            warn!("the next run has nothing to compare with: {}", fault.message);
        }
        for (subject, (status, text)) in &verdicts {
            report::finding(subject, *status, text)?;
        }
        Ok(outcome(&verdicts))
    }
}

impl Settings {
    fn dressed(&self, request: Request) -> Request {
        let mut request = request.max_body(MAX_BODY).family(self.family).verify_certificate(self.verify_certificate);
        if let Some(name) = &self.server_name {
            request = request.server_name(name);
        }
        if let Some(secret) = &self.certificate_authority {
            request = request.certificate_authority(secret);
        }
        if let Some(secret) = &self.client_certificate {
            request = request.client_certificate(secret);
        }
        request
    }

    /// A question to the gateway of the v3 API. What does not answer is left out, and the log says why.
    fn ask<T>(&self, url: &str, question: &str, read: fn(&[u8]) -> Option<T>) -> Result<Option<T>, Fault> {
        let request = self.dressed(Request::new("POST", url).header("content-type", "application/json").body(question));
        let Some(answer) = usable(url, request.send())? else { return Ok(None) };
        let read = read(&answer.body);
        if read.is_none() {
            warn!("{url}: the answer is none of this API");
        }
        Ok(read)
    }

    fn metrics(&self, url: &str) -> Result<Option<Metrics>, Fault> {
        let url = format!("{url}/metrics");
        let Some(page) = usable(&url, self.dressed(Request::get(&url)).send())? else { return Ok(None) };
        Ok(Some(Metrics::read(&page.text())))
    }
}

/// An answer of status 200. That something may not be asked is a fault: it is the check's file that must change.
fn usable(url: &str, answer: Result<Response, Failure>) -> Result<Option<Response>, Fault> {
    match answer {
        Ok(answer) if answer.status == 200 => Ok(Some(answer)),
        Ok(answer) => {
            warn!("{url}: status {}", answer.status);
            Ok(None)
        }
        Err(failure) if failure.is_targets_doing() => {
            warn!("{url}: {failure}");
            Ok(None)
        }
        Err(failure) => {
            Err(failure.into_outcome_or_fault().err().unwrap_or_else(|| Fault::new("internal", "no reason")))
        }
    }
}

/// What a member says; none of it for what it did not.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Why it is not healthy; empty when it is.
    health: String,
    state: Option<State>,
    alarms: Option<Alarms>,
    metrics: Option<Metrics>,
}

impl Seen {
    fn point(&self, before: Option<&Remembered>) -> Point {
        let disk = |of: fn(&Metrics) -> &Disk, then: fn(&Remembered) -> &Disk| {
            let now = self.metrics.as_ref().map(of)?;
            now.since(before.map(then))
        };
        let fsync = disk(|m| &m.fsync, |b| &b.fsync);
        let commit = disk(|m| &m.commit, |b| &b.commit);
        let mut point = Point::of(&ETCD)
            .field("healthy", self.health.is_empty())
            .field("alarms", self.alarms.as_ref().map(|alarms| alarms.0.len()))
            .field("leader_changes", self.metrics.as_ref().and_then(|metrics| metrics.leader_changes))
            .field("quota_bytes", self.metrics.as_ref().and_then(|metrics| metrics.quota_bytes))
            .field("db_percent", self.db_percent())
            .field("fsync_p99_ms", fsync.map(|disk| disk.p99_s * 1e3))
            .field("fsync_mean_ms", fsync.map(|disk| disk.mean_s * 1e3))
            .field("commit_p99_ms", commit.map(|disk| disk.p99_s * 1e3));
        if let Some(state) = &self.state {
            point = point
                .field("has_leader", state.has_leader())
                .field("is_leader", state.is_leader())
                .field("is_learner", state.is_learner)
                .field("raft_term", state.raft_term)
                .field("raft_index", state.raft_index)
                .field("raft_lag", state.raft_index.saturating_sub(state.applied_index))
                .field("db_bytes", state.db_bytes)
                .field("db_in_use_bytes", state.db_in_use_bytes)
                .field("version", state.version.as_str());
        }
        point
    }
}

fn outcome(verdicts: &BTreeMap<&'static str, (Status, String)>) -> Outcome {
    let worst = verdicts.values().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let shown = verdicts.values().filter(|(status, _)| worst == Status::Ok || *status != Status::Ok);
    Outcome::new(worst, shown.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("; "))
}

roundsman_sdk::plugin!(Etcd);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (
                r#"{"limits": {"database": {"warning": 90, "critical": 80}}}"#,
                "`limits.database`: warning must not be above critical",
            ),
            (
                r#"{"limits": {"fsync": {"warning": "1s", "critical": "80ms"}}}"#,
                "`limits.fsync`: warning must not be above critical",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Etcd>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let verdicts = |list: &[(&'static str, Status)]| {
            list.iter().map(|(name, status)| (*name, (*status, format!("{name}!")))).collect()
        };
        assert_eq!(outcome(&verdicts(&[("a", Status::Ok), ("b", Status::Ok)])), Outcome::ok("a!; b!"));
        assert_eq!(
            outcome(&verdicts(&[("a", Status::Ok), ("b", Status::Warning), ("c", Status::Critical)])),
            Outcome::critical("b!; c!")
        );
    }
}
