//! What operators configure: hundreds of random checks, and how they change them over the day.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Check, Limits, Maintenance, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::target::Target;
use roundsman_model::threshold::{Bound, Threshold};

use super::facts::MEASURED;
use super::random::Random;
use crate::config;
use crate::prepare::Common;
use crate::subject::Prepared;

/// These tell whether the node is cut off; their names are those of the first checks.
pub(super) const ANCHORS: [&str; 2] = ["c0", "c1"];

/// Seconds. Short ones are rare, lest the day be too long.
const INTERVALS: [u64; 10] = [10, 15, 20, 30, 60, 60, 90, 120, 300, 600];
const CRONS: [&str; 7] =
    ["* * * * *", "*/5 * * * *", "*/2 8-18 * * *", "0 * * * *", "*/10 1-3 * * *", "30 2 * * *", "17 */3 * * mon-fri"];
const WINDOWS: [(&str, u64); 4] = [("0 * * * *", 4), ("*/30 2-5 * * *", 10), ("30 2 * * *", 120), ("0 12 * * *", 45)];
const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"];
pub(super) const PLUGINS: [&str; 6] = ["http", "tcp", "dns", "disk", "load", "certificate"];

#[derive(Debug)]
pub(super) struct Scene {
    common: Common,
    /// By number: a check depends on none but those before it.
    pub(super) checks: BTreeMap<u64, Arc<Check>>,
    next: u64,
    prepared: HashMap<CheckName, (Arc<Check>, Vec<Prepared>)>,
}

impl Scene {
    pub(super) fn new(random: &mut Random, checks: u64) -> Self {
        let node = config::Node { name: "node-a".to_owned(), cluster: "test".to_owned(), ..config::Node::default() };
        let common = Common::new(node, vec![9640]);
        let mut scene = Self { common, checks: BTreeMap::new(), next: 0, prepared: HashMap::new() };
        (0..checks).for_each(|_| scene.add(random));
        scene
    }

    /// Everything that is enabled, made ready.
    pub(super) fn prepare(&mut self) -> Vec<Prepared> {
        let mut all = Vec::new();
        for check in self.checks.values().filter(|check| check.enabled) {
            let known = self.prepared.get(&check.name).filter(|(of, _)| Arc::ptr_eq(of, check));
            if known.is_none() {
                let prepared = self.common.prepare(check).unwrap();
                self.prepared.insert(check.name.clone(), (check.clone(), prepared));
            }
            all.extend(self.prepared[&check.name].1.iter().cloned());
        }
        all
    }

    fn add(&mut self, random: &mut Random) {
        let number = self.next;
        self.next += 1;
        let mut check = Check {
            name: CheckName::new(&format!("c{number}")).unwrap(),
            plugin: plugin(random),
            timing: Timing::Interval(Duration::from_secs(10)),
            jitter_percent: 0,
            catch_up: CatchUp::Skip,
            timeout: Duration::from_secs(2),
            initial_delay: Duration::ZERO,
            retry_interval: None,
            success_threshold: 1,
            failure_threshold: 3,
            targets: Vec::new(),
            settings: serde_json::Map::new(),
            thresholds: Vec::new(),
            allow: Allow::default(),
            limits: Limits::default(),
            depends_on: Vec::new(),
            maintenance: Vec::new(),
            negate: random.once_in(20),
            shadow: random.once_in(20),
            labels: BTreeMap::new(),
            owner: None,
            runbook: None,
            enabled: true,
        };
        if number < ANCHORS.len() as u64 {
            check.targets = vec![target(0)];
        } else {
            for aspect in 0..ASPECTS {
                roll(&mut check, aspect, random, number);
            }
        }
        self.insert(number, check);
    }

    /// What belongs to another way of being due is not there, as the reader of files sees to it.
    fn insert(&mut self, number: u64, mut check: Check) {
        if !matches!(check.timing, Timing::Interval(_)) {
            check.jitter_percent = 0;
        }
        if matches!(check.timing, Timing::Ttl(_) | Timing::Start) {
            check.catch_up = CatchUp::Skip;
        }
        if matches!(check.timing, Timing::Ttl(_)) {
            (check.initial_delay, check.retry_interval) = (Duration::ZERO, None);
            check.thresholds.clear();
        }
        self.checks.insert(number, Arc::new(check));
    }

    /// Switches a check off, or on again.
    pub(super) fn switch(&mut self, number: u64, enabled: bool) {
        let check = Check { enabled, ..Check::clone(&self.checks[&number]) };
        self.insert(number, check);
    }

    /// Nobody runs it any more: results are pushed.
    pub(super) fn have_pushed(&mut self, name: &CheckName) {
        let number = self.checks.iter().find(|(_, check)| check.name == *name).map(|(number, _)| *number);
        if let Some(number) = number {
            let timing = Timing::Ttl(Duration::from_secs(90));
            let check = Check { timing, ..Check::clone(&self.checks[&number]) };
            self.insert(number, check);
        }
    }

    /// An operator is at work.
    pub(super) fn edit(&mut self, random: &mut Random) {
        for _ in 0..random.between(1, 4) {
            let numbers: Vec<u64> = self.checks.keys().copied().collect();
            let number = *random.pick(&numbers);
            let mut check = Check::clone(&self.checks[&number]);
            match random.below(16) {
                0 => drop(self.checks.remove(&number).filter(|_| numbers.len() > 10)),
                1 => self.add(random),
                2 | 3 => {
                    check.enabled = !check.enabled;
                    self.insert(number, check);
                }
                4 => {
                    let n = random.below(6);
                    if check.targets.iter().all(|other| *other.name != *format!("t{n}")) {
                        check.targets.push(target(n));
                    }
                    self.insert(number, check);
                }
                5 => {
                    check.targets.pop();
                    self.insert(number, check);
                }
                aspect => {
                    roll(&mut check, (aspect - 6) % ASPECTS, random, number);
                    self.insert(number, check);
                }
            }
        }
    }
}

const ASPECTS: u64 = 9;

/// Throws the dice for one part of a check.
fn roll(check: &mut Check, aspect: u64, random: &mut Random, number: u64) {
    match aspect {
        0 => check.timing = timing(random),
        1 => {
            let count = [0, 0, 1, 1, 1, 2, 3][random.below(7) as usize];
            check.targets = (0..count).map(target).collect();
            check.allow.network = if random.once_in(3) { vec!["tcp://10.0.0.0/8:5432".to_owned()] } else { Vec::new() };
        }
        2 => (check.success_threshold, check.failure_threshold) = (threshold(random), threshold(random)),
        3 => {
            check.timeout = random.seconds(1, 12);
            check.retry_interval = random.once_in(2).then(|| random.duration(SECOND, 15 * SECOND));
            check.initial_delay = if random.once_in(5) { random.seconds(1, 90) } else { Duration::ZERO };
            check.jitter_percent = if random.once_in(4) { random.between(1, 90) as u8 } else { 0 };
        }
        4 => {
            check.catch_up = match random.below(4) {
                0 => CatchUp::Once { deadline: None },
                1 => CatchUp::Once { deadline: Some(random.seconds(1, 90)) },
                _ => CatchUp::Skip,
            }
        }
        5 => check.maintenance = (0..u64::from(random.once_in(7))).map(|_| maintenance(random)).collect(),
        6 => {
            let some = if random.once_in(5) { random.between(1, 3) } else { 0 };
            let before = |random: &mut Random| CheckName::new(&format!("c{}", random.below(number))).unwrap();
            check.depends_on = (0..some.min(number)).map(|_| before(random)).collect();
        }
        7 => check.thresholds = (0..u64::from(random.once_in(5))).map(|_| bounds()).collect(),
        _ => {
            check.plugin = plugin(random);
            check.shadow ^= random.once_in(10);
            check.negate ^= random.once_in(10);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn timing(random: &mut Random) -> Timing {
    match random.below(20) {
        0 | 1 => {
            Timing::Cron { expression: (*random.pick(&CRONS)).to_owned(), timezone: (*random.pick(&ZONES)).to_owned() }
        }
        2 | 3 => Timing::Ttl(random.duration(30 * SECOND, 600 * SECOND)),
        4 => Timing::Start,
        n => {
            let uneven = if n == 5 { random.below(999) } else { 0 };
            Timing::Interval(Duration::from_secs(*random.pick(&INTERVALS)) + Duration::from_millis(uneven))
        }
    }
}

fn maintenance(random: &mut Random) -> Maintenance {
    let (cron, minutes) = *random.pick(&WINDOWS);
    let (cron, timezone) = (cron.to_owned(), (*random.pick(&ZONES)).to_owned());
    Maintenance { cron, timezone, length: Duration::from_secs(60 * minutes) }
}

fn threshold(random: &mut Random) -> u32 {
    random.between(1, 4) as u32
}

fn plugin(random: &mut Random) -> PluginName {
    PluginName::new(random.pick::<&str>(&PLUGINS)).unwrap()
}

fn target(n: u64) -> Target {
    let (name, address) = (format!("t{n}").into(), format!("https://t{n}.example").into());
    Target { name, address, labels: BTreeMap::new() }
}

fn bounds() -> Threshold {
    let (series, field) = MEASURED;
    let bound = |text: &str| Some(Bound::parse(text).unwrap());
    Threshold { series: series.to_owned(), field: field.to_owned(), warning: bound("> 10"), critical: bound("> 20") }
}
