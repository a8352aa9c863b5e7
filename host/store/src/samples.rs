//! Records and changes for the tests beside the code.

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Blame, Origin, Record, Status, Story};
use roundsman_model::state::{Change, Standing, State};
use roundsman_model::time::Timestamp;

use crate::entry::{Recorded, TagSet};

/// A plain outcome at an instant.
pub(crate) fn recorded(key: &Key, time: i64, status: Status) -> Recorded {
    let record = Record {
        key: key.clone(),
        plugin: PluginName::new("p").unwrap(),
        origin: Origin::Schedule,
        time: Timestamp(time),
        started: Timestamp(time),
        status,
        blame: Blame::Target,
        code: None,
        summary: "x".repeat(200).into(),
        standing: Standing { state: State::Ok, ..Standing::pending(Timestamp(1)) },
        attempt: 1,
        latency_ns: None,
        duration_ns: 1,
        lag_ns: 1,
        cpu_ns: 1,
        interval_ns: 1,
        points: Vec::new(),
        findings: Vec::new(),
        suspect: false,
    };
    Recorded {
        record,
        tags: TagSet::new([("check", key.check.as_str())]),
        change: None,
        findings: Vec::new(),
        memory: Vec::new(),
        counts: Counts::default(),
        last_tick: Timestamp(time),
        story: Story::default(),
        conduct: None,
    }
}

pub(crate) fn change(at: i64) -> Change {
    Change { from: State::Ok, to: State::Critical, since: Timestamp(1), at: Timestamp(at), quiet: None }
}
