//! What targets are like: each wanders from one status to another, some of them all the time.

use std::collections::HashMap;
use std::time::Duration;

use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Finding, Status};

use super::random::Random;

#[derive(Debug, Default)]
pub(super) struct Fates {
    by_key: HashMap<Key, Fate>,
    /// Targets of which nobody answers in time: every third.
    pub(super) outage: bool,
    /// The node is cut off.
    pub(super) cut: bool,
}

#[derive(Debug)]
struct Fate {
    status: Status,
    /// It changes once in so many runs.
    calm: u64,
    value: i64,
    /// Whether it reports findings, and a number of its own.
    lists: bool,
    number: u64,
}

/// What a run is going to find out, and after how long.
#[derive(Debug)]
pub(super) struct Throw {
    pub(super) status: Status,
    pub(super) blame: Blame,
    pub(super) code: Option<&'static str>,
    pub(super) cut: bool,
    pub(super) value: Option<i64>,
    pub(super) findings: Vec<Finding>,
    pub(super) memory: Vec<(String, Option<Vec<u8>>)>,
    pub(super) takes: Duration,
}

const STATUSES: [Status; 6] = [Status::Ok, Status::Ok, Status::Ok, Status::Warning, Status::Critical, Status::Unknown];
const MILLISECOND: Duration = Duration::from_millis(1);

impl Fates {
    pub(super) fn throw(&mut self, key: &Key, timeout: Duration, random: &mut Random) -> Throw {
        let fate = self.by_key.entry(key.clone()).or_insert_with(|| Fate::new(random));
        let takes = match random.below(100) {
            0..95 => random.duration(MILLISECOND / 2, 30 * MILLISECOND),
            95..99 => random.duration(30 * MILLISECOND, timeout.min(500 * MILLISECOND)),
            _ => random.duration(30 * MILLISECOND, timeout),
        };
        let hangs = self.outage && fate.number.is_multiple_of(3);
        if hangs || (self.cut && key.target.is_some()) {
            let takes = if hangs { timeout } else { takes };
            return Throw { code: Some("timeout"), takes, ..Throw::bare(Status::Critical, Blame::Target) };
        }
        match random.below(100) {
            0 if random.once_in(2) => {
                // In its own words.
                return Throw { code: Some("timeout"), takes, ..Throw::bare(Status::Unknown, Blame::Plugin) };
            }
            0 => return Throw::trap(takes),
            1 => {
                return Throw {
                    code: Some("denied"),
                    cut: random.once_in(2),
                    takes,
                    ..Throw::bare(Status::Unknown, Blame::Host)
                };
            }
            _ => {}
        }
        fate.wander(random);
        let memory = if random.once_in(50) { vec![memory(random)] } else { Vec::new() };
        let findings = if fate.lists { findings(random, fate.calm) } else { Vec::new() };
        Throw { value: Some(fate.value), findings, memory, takes, ..Throw::bare(fate.status, Blame::Target) }
    }
}

impl Fate {
    fn new(random: &mut Random) -> Self {
        let calm = *random.pick(&[400, 400, 150, 40, 6, 2]);
        Self { status: Status::Ok, calm, value: 5, lists: random.once_in(12), number: random.next() >> 8 }
    }

    fn wander(&mut self, random: &mut Random) {
        if random.once_in(self.calm) {
            self.status = *random.pick(&STATUSES);
        }
        if random.once_in(self.calm) {
            self.value = random.below(26) as i64;
        }
    }
}

impl Throw {
    pub(super) fn trap(takes: Duration) -> Self {
        Self { code: Some("trap"), cut: true, takes, ..Self::bare(Status::Unknown, Blame::Plugin) }
    }

    fn bare(status: Status, blame: Blame) -> Self {
        let (findings, memory) = (Vec::new(), Vec::new());
        Self { status, blame, code: None, cut: false, value: None, findings, memory, takes: Duration::ZERO }
    }
}

/// Of five things, mostly the same ones, sometimes one of them twice.
fn findings(random: &mut Random, calm: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for n in 0..5 {
        let rare = random.once_in(calm);
        if rare != (n < 3) {
            let status = if random.once_in(calm) { *random.pick(&STATUSES) } else { Status::Ok };
            findings.push(Finding { subject: format!("thing-{n}"), status, summary: "as thrown".to_owned() });
        }
    }
    if random.once_in(calm) && !findings.is_empty() {
        let twin = Finding { status: *random.pick(&STATUSES), ..random.pick(&findings).clone() };
        findings.push(twin);
    }
    findings
}

fn memory(random: &mut Random) -> (String, Option<Vec<u8>>) {
    let value = (!random.once_in(4)).then(|| random.next().to_le_bytes().to_vec());
    (format!("m{}", random.below(3)), value)
}
