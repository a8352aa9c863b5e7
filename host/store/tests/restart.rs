//! What a restart remembers, after a clean end and after a kill: what an obvious model of the entries says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Killed, entry, eventually, key, open_in, outcome, turned};
use roundsman_model::findings::{FindingChange, Findings};
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Status;
use roundsman_model::silence::{Silence, Until};
use roundsman_model::state::{Change, Soft, Standing, State};
use roundsman_model::supervision::{Conduct, Phase};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Entry, MAX_ROWS, Recorded, Restored, Store, Subject, Turned};
use tokio::sync::Mutex;

/// Set in the process that is to be killed: the directory of the store, the seed, and the step to go on from.
const DIRECTORY: &str = "ROUNDSMAN_TEST_RESTART";
const PUBLISHED: &str = "published";
const ROUNDS: usize = 10;
const SUBJECTS: u64 = 6;

/// Entries in an order that only the seed decides.
struct Script {
    random: u64,
    step: i64,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self { random: seed | 1, step: 0 }
    }

    /// Some linear congruential generator.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn next(&mut self) -> Entry {
        self.step += 1;
        // Now and then earlier than what came before.
        let time = self.step * 10 - (self.below(8) == 0) as i64 * self.below(200) as i64;
        let key = key(self.below(SUBJECTS) as usize);
        match self.below(100) {
            0..60 => entry(self.recorded(&key, time)),
            60..75 => Entry::Turned(Box::new(self.turned(&key, time))),
            75..83 => {
                let mut counts = turned(&key, time).counts;
                counts.due = self.step as u64;
                Entry::Counted { key, counts, last_tick: Timestamp(time) }
            }
            83..88 => Entry::Forget { key },
            88..91 => {
                let conduct = (self.below(3) > 0).then(|| self.conduct());
                Entry::Supervised { plugin: plugin(self.below(3)), conduct }
            }
            91..96 => Entry::Silenced(Arc::new(Silence {
                id: self.below(8),
                check: Some(key.check.as_str().into()),
                target: None,
                author: "ann".into(),
                reason: format!("step {}", self.step).into(),
                created: Timestamp(time),
                until: Until::Recovery,
            })),
            _ => Entry::Unsilenced { id: self.below(8) },
        }
    }

    fn conduct(&mut self) -> Box<Conduct> {
        let phase =
            if self.below(2) == 0 { Phase::Quarantined } else { Phase::BackOff { until: Timestamp(self.step) } };
        Box::new(Conduct { phase, backoffs: self.step as u32, ..Conduct::new("d1".into(), Timestamp(self.step)) })
    }

    fn standing(&mut self, time: i64) -> Standing {
        let state = State::ALL[self.below(7) as usize];
        let soft = (self.below(2) == 0).then_some(Soft { status: Status::Warning, count: self.step as u32 });
        Standing { state, soft, ..Standing::pending(Timestamp(time)) }
    }

    fn change(&mut self, at: i64) -> Option<Change> {
        let change = Change { from: State::Ok, to: State::Stale, since: Timestamp(1), at: Timestamp(at), quiet: None };
        (self.below(3) == 0).then_some(change)
    }

    fn recorded(&mut self, key: &Key, time: i64) -> Recorded {
        let status = if self.below(3) == 0 { Status::Critical } else { Status::Ok };
        let mut recorded = outcome(key, time, status);
        recorded.record.standing = self.standing(time);
        recorded.counts.due = self.step as u64;
        recorded.change = self.change(time);
        recorded.record.plugin = plugin(self.below(3));
        recorded.conduct = (self.below(4) == 0).then(|| self.conduct());
        for _ in 0..self.below(3) {
            let subject: Arc<str> = format!("/{}", self.below(4)).into();
            if recorded.findings.iter().any(|finding| finding.subject == subject) {
                continue;
            }
            let standing = (self.below(3) > 0).then(|| self.standing(time));
            let change = self.change(time);
            recorded.findings.push(FindingChange { subject, standing, change, summary: "full".into() });
        }
        recorded
    }

    fn turned(&mut self, key: &Key, time: i64) -> Turned {
        let mut turned = turned(key, time);
        turned.standing = self.standing(time);
        turned.counts.due = self.step as u64;
        turned
    }
}

fn plugin(number: u64) -> PluginName {
    PluginName::new(&format!("plugin-{number}")).unwrap()
}

/// What there is to remember, in the plainest way.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    subjects: BTreeMap<Key, Subject>,
    findings: HashMap<Key, Findings>,
    silences: BTreeMap<u64, Silence>,
    conducts: HashMap<PluginName, Conduct>,
    /// Of every record that there ever was, the newest per key.
    high_water: HashMap<Key, Timestamp>,
    /// The same of changes.
    changed: HashMap<Key, Timestamp>,
    records: u64,
    transitions: u64,
    accepted: u64,
}

impl Model {
    fn apply(&mut self, entry: &Entry) {
        self.accepted += 1;
        match entry {
            Entry::Record(recorded) => self.record(recorded),
            Entry::Turned(turned) => {
                let (counts, last_tick) = (turned.counts, turned.last_tick);
                let subject = self.subject(&turned.key);
                (subject.standing, subject.counts, subject.last_tick) = (Some(turned.standing), counts, last_tick);
                self.change(&turned.key, &[turned.change]);
            }
            Entry::Counted { key, counts, last_tick } => {
                let subject = self.subject(key);
                (subject.counts, subject.last_tick) = (*counts, *last_tick);
            }
            Entry::Forget { key } => {
                self.subjects.remove(key);
                self.findings.remove(key);
            }
            Entry::Silenced(silence) => drop(self.silences.insert(silence.id, (**silence).clone())),
            Entry::Unsilenced { id } => drop(self.silences.remove(id)),
            Entry::Supervised { plugin, conduct: None } => drop(self.conducts.remove(plugin)),
            Entry::Supervised { plugin, conduct: Some(conduct) } => {
                self.conducts.insert(plugin.clone(), (**conduct).clone());
            }
        }
    }

    fn record(&mut self, recorded: &Recorded) {
        let record = &recorded.record;
        if self.high_water.get(&record.key).is_some_and(|newest| record.time <= *newest) {
            self.accepted -= 1;
            return;
        }
        self.high_water.insert(record.key.clone(), record.time);
        if let Some(conduct) = &recorded.conduct {
            self.conducts.insert(record.plugin.clone(), (**conduct).clone());
        }
        self.records += 1;
        let subject = Subject {
            key: record.key.clone(),
            standing: Some(record.standing),
            counts: recorded.counts,
            last_tick: recorded.last_tick,
            high_water: record.time,
            last_status: Some(record.status),
        };
        self.subjects.insert(record.key.clone(), subject);
        let mut findings = self.findings.remove(&record.key).unwrap_or_default();
        for finding in &recorded.findings {
            match finding.standing {
                Some(standing) => drop(findings.insert(finding.subject.clone(), standing)),
                None => drop(findings.remove(&finding.subject)),
            }
        }
        if !findings.is_empty() {
            self.findings.insert(record.key.clone(), findings);
        }
        let own = recorded.change.into_iter();
        let changes: Vec<Change> = own.chain(recorded.findings.iter().filter_map(|finding| finding.change)).collect();
        self.change(&record.key, &changes);
    }

    fn change(&mut self, key: &Key, changes: &[Change]) {
        let Some(at) = changes.first().map(|change| change.at) else { return };
        if self.changed.get(key).is_none_or(|before| at > *before) {
            self.changed.insert(key.clone(), at);
            self.transitions += changes.len() as u64;
        }
    }

    fn subject(&mut self, key: &Key) -> &mut Subject {
        let high_water = self.high_water.get(key).copied().unwrap_or(Timestamp(i64::MIN));
        self.subjects.entry(key.clone()).or_insert_with(|| Subject {
            key: key.clone(),
            standing: None,
            counts: Default::default(),
            last_tick: Timestamp(0),
            high_water,
            last_status: None,
        })
    }

    fn is(&self, restored: &Restored, rows: (u64, u64)) -> bool {
        (self.records, self.transitions) == rows
            && self.subjects.values().eq(&restored.subjects)
            && self.findings == restored.findings
            && self.silences.values().eq(&restored.silences)
            && self.conducts == restored.conducts
    }
}

/// How many records and transitions there are; each change has an instant of its own in its series.
fn rows(store: &Store) -> (u64, u64) {
    let mut reader = store.reader().unwrap();
    let (mut cursor, mut records, mut transitions) = (Cursor::default(), 0, 0);
    let mut last: HashMap<Key, Timestamp> = HashMap::new();
    loop {
        let batch = reader.outbox(cursor, MAX_ROWS).unwrap();
        if batch.next == cursor {
            return (records, transitions);
        }
        cursor = batch.next;
        (records, transitions) = (records + batch.records.len() as u64, transitions + batch.transitions.len() as u64);
        for row in batch.transitions {
            let before = last.insert(row.key.clone(), row.time);
            assert!(before.is_none_or(|before| before < row.time) && row.time >= row.change.at, "{row:?}");
        }
    }
}

fn seed() -> u64 {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    u64::from(seed)
}

/// A process that is being made holds the files of its parent for a moment, locks included: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn closed_at_any_step() {
    let _alone = ALONE.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let (mut script, mut model) = (Script::new(seed()), Model::default());
    for _ in 0..60 {
        let (store, restored, _) = open_in(directory.path());
        assert!(model.is(&restored, rows(&store)), "{model:#?}\n{restored:#?}");
        for _ in 0..script.below(80) {
            let entry = script.next();
            model.apply(&entry);
            store.submit(entry).unwrap();
            if script.below(10) == 0 {
                store.flush().await.unwrap();
            }
        }
        store.close().await.unwrap();
    }
}

#[test]
fn killed_at_any_step() {
    if let Ok(arguments) = std::env::var(DIRECTORY) {
        let mut parts = arguments.splitn(3, ':');
        let (seed, step) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
        submit_for_ever(Path::new(parts.next().unwrap()), seed, step);
    }
    let _alone = ALONE.blocking_lock();
    let directory = tempfile::tempdir().unwrap();
    let seed = seed();
    let (mut script, mut model) = (Script::new(seed), Model::default());
    let mut pauses = Script::new(seed ^ 7);
    for round in 0..ROUNDS {
        let published = directory.path().join(PUBLISHED);
        std::fs::write(&published, "").unwrap();
        let arguments = format!("{seed}:{}:{}", script.step, directory.path().display());
        let mut child = Killed(
            Command::new(std::env::current_exe().unwrap())
                .args(["killed_at_any_step", "--exact", "--nocapture"])
                .env(DIRECTORY, arguments)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let length = || std::fs::metadata(&published).unwrap().len();
        eventually("the child publishes", || length() > 0);
        std::thread::sleep(Duration::from_micros(pauses.below(150_000)));
        child.0.kill().unwrap();
        child.0.wait().unwrap();

        // One byte for each entry that was shown. What is remembered is all of them, and perhaps some more.
        let shown = model.accepted + length();
        let (store, restored, _) = open_in(directory.path());
        let stored = rows(&store);
        let mut more = 0;
        while model.accepted < shown || !model.is(&restored, stored) {
            more += u64::from(model.accepted >= shown);
            assert!(more < 20_000, "round {round}: no prefix of the entries makes {restored:#?}");
            model.apply(&script.next());
        }
        eprintln!("round {round}: {shown} shown, {more} more are stored, step {}", script.step);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.close()).unwrap();
    }
}

/// In the child: goes on with the script where the parent says.
fn submit_for_ever(directory: &Path, seed: u64, step: i64) -> ! {
    let mut file = OpenOptions::new().append(true).open(directory.join(PUBLISHED)).unwrap();
    let publish = move |entries: &[Entry]| file.write_all(&vec![b'.'; entries.len()]).unwrap();
    let config = Config { commit_interval: Duration::from_millis(2), ..Config::new(directory) };
    let (store, _) = Store::open(config, publish).unwrap();
    let mut script = Script::new(seed);
    while script.step < step {
        script.next();
    }
    loop {
        let entry = script.next();
        while store.submit(entry.clone()).is_err() {
            std::thread::yield_now();
        }
        if script.step % 10 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}
