//! What everybody else sees, and only once it is committed: the board, and events for whoever listens.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use roundsman_model::board::{Board, Configured, Entry as Line, Last};
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Origin, Record};
use roundsman_model::silence::{Silence, Silences};
use roundsman_model::state::State;
use roundsman_model::supervision::Conduct;
use roundsman_model::time::Timestamp;
use roundsman_store::Entry;
use roundsman_web::view;
use tokio::sync::{broadcast, oneshot, watch};

use crate::subject::Prepared;

/// Events that a slow listener may lag behind before it loses the oldest.
const EVENTS: usize = 1024;
/// Callers that wait for one run of one key.
const MAX_WAITERS: usize = 64;

/// Somebody who asked for a run.
#[derive(Debug)]
struct Waiter {
    asked: Timestamp,
    tell: oneshot::Sender<Record>,
}

/// Made before the store, because the store's writer publishes.
#[derive(Debug)]
pub(crate) struct Published {
    board: RwLock<Board>,
    events: broadcast::Sender<view::Event>,
    /// Rows committed since the start: forwarders wait for it to grow.
    rows: watch::Sender<u64>,
    /// How each line of the board becomes stale.
    prepared: Mutex<HashMap<Key, Prepared>>,
    waiters: Mutex<HashMap<Key, Vec<Waiter>>>,
    /// Last records of an earlier life, of keys that are not on the board yet.
    recalled: Mutex<HashMap<Key, Last>>,
    silences: Mutex<Silences>,
    /// Of plugins that backed off once.
    conducts: Mutex<BTreeMap<PluginName, Conduct>>,
    /// Failures and runs that count at present, of plugins that had any; as of a second ago at most.
    watched: Mutex<BTreeMap<PluginName, (u32, u32)>>,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            board: RwLock::default(),
            events: broadcast::Sender::new(EVENTS),
            rows: watch::Sender::new(0),
            prepared: Mutex::default(),
            recalled: Mutex::default(),
            waiters: Mutex::default(),
            silences: Mutex::default(),
            conducts: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    pub(crate) fn board(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn board_mut(&self) -> RwLockWriteGuard<'_, Board> {
        self.board.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<Key, Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recalled(&self) -> MutexGuard<'_, HashMap<Key, Last>> {
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_silences(&self) -> MutexGuard<'_, Silences> {
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_conducts(&self) -> MutexGuard<'_, BTreeMap<PluginName, Conduct>> {
        self.conducts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How plugins behaved that backed off once.
    pub(crate) fn conducts(&self) -> BTreeMap<PluginName, Conduct> {
        self.known_conducts().clone()
    }

    /// Failures and runs that count at present.
    pub(crate) fn watched(&self) -> BTreeMap<PluginName, (u32, u32)> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn watch(&self, watched: BTreeMap<PluginName, (u32, u32)>) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
    }

    /// What an earlier life of the agent left.
    pub(crate) fn begin_with(&self, silences: &[Silence], conducts: &HashMap<PluginName, Conduct>) {
        self.known_conducts().extend(conducts.iter().map(|(plugin, conduct)| (plugin.clone(), conduct.clone())));
        // There never were more than may be.
        silences.iter().for_each(|silence| drop(self.known_silences().insert(Arc::new(silence.clone()))));
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<Key, Vec<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<view::Event> {
        self.events.subscribe()
    }

    pub(crate) fn rows(&self) -> watch::Receiver<u64> {
        self.rows.subscribe()
    }

    pub(crate) fn say(&self, event: view::Event) {
        // Nobody may be listening.
        drop(self.events.send(event));
    }

    /// Resolves with the next record of a run of this key that began after it was asked for: the run that was asked
    /// for, or one by a tick that came first. With an error when there will be no run.
    pub(crate) fn await_run(&self, key: &Key, asked: Timestamp) -> Option<oneshot::Receiver<Record>> {
        let mut waiters = self.waiters();
        let list = waiters.entry(key.clone()).or_default();
        list.retain(|waiter| !waiter.tell.is_closed());
        if list.len() >= MAX_WAITERS {
            return None;
        }
        let (tell, told) = oneshot::channel();
        list.push(Waiter { asked, tell });
        Some(told)
    }

    /// Called by the store's writer with what it has just committed.
    pub(crate) fn publish(&self, entries: &[Entry]) {
        let mut board = self.board_mut();
        let prepared = self.prepared();
        for entry in entries {
            match entry {
                Entry::Record(recorded) => {
                    let record = &recorded.record;
                    let stale_at = prepared.get(&record.key).and_then(|p| p.stale_at(record.time.min(record.started)));
                    board.apply(record, recorded.counts, stale_at);
                    if recorded.conduct.is_some() {
                        self.heed(&mut board, &record.plugin, recorded.conduct.as_deref());
                    }
                }
                Entry::Turned(turned) => {
                    let stale_at = prepared.get(&turned.key).and_then(|p| p.stale_at(turned.last_tick));
                    board.turn(&turned.key, turned.standing, turned.counts, stale_at);
                    if let Some(line) = board.get_mut(&turned.key) {
                        let held = matches!(turned.standing.state, State::Skipped | State::Unknown);
                        line.skipped = held.then(|| turned.summary.clone());
                    }
                }
                Entry::Counted { key, counts, last_tick } => {
                    let stale_at = prepared.get(key).and_then(|p| p.stale_at(*last_tick));
                    if let Some(line) = board.get_mut(key) {
                        line.counts = *counts;
                        if line.standing.state == State::Unknown && line.skipped.is_none() {
                            // No record tells why it is not run.
                            let held =
                                || self.known_conducts().get(&line.configured.plugin)?.words(&line.configured.plugin);
                            line.skipped = held().map(Arc::from);
                        }
                        if line.standing.state == State::Skipped || line.skipped.is_some() {
                            line.stale_at = stale_at;
                        }
                    }
                }
                Entry::Forget { key } => {
                    if !prepared.contains_key(key) {
                        board.remove(key);
                    }
                }
                Entry::Silenced(silence) => {
                    // There are never more than the engine keeps.
                    self.known_silences().insert(silence.clone()).ok();
                }
                Entry::Unsilenced { id } => drop(self.known_silences().remove(*id)),
                Entry::Supervised { plugin, conduct } => self.heed(&mut board, plugin, conduct.as_deref()),
            }
        }
        if entries.iter().any(|entry| matches!(entry, Entry::Silenced(_) | Entry::Unsilenced { .. })) {
            let silences = self.known_silences();
            let forever = Timestamp(i64::MIN);
            each_line(&mut board, |line| line.silence = silences.covering(&line.key, forever).cloned());
        }
        drop((board, prepared));
        self.tell(entries);
        self.rows.send_modify(|rows| *rows += entries.len() as u64);
    }

    /// A plugin is held back from now on, for another reason than before, or no more.
    fn heed(&self, board: &mut Board, plugin: &PluginName, conduct: Option<&Conduct>) {
        match conduct {
            Some(conduct) => drop(self.known_conducts().insert(plugin.clone(), conduct.clone())),
            None => drop(self.known_conducts().remove(plugin)),
        }
        let why: Option<Arc<str>> = conduct.and_then(|conduct| conduct.words(plugin)).map(Arc::from);
        each_line(board, |line| {
            if line.configured.plugin == *plugin && line.standing.state == State::Unknown && line.skipped.is_some() {
                line.skipped.clone_from(&why);
            }
        });
    }

    fn tell(&self, entries: &[Entry]) {
        let listening = self.events.receiver_count() > 0;
        for entry in entries {
            if let Entry::Turned(turned) = entry
                && listening
            {
                let (change, summary) = (turned.change, turned.summary.clone());
                self.say(view::Event::Transition(view::Transition::of(&turned.key, change, summary, None)));
            }
            let Entry::Record(recorded) = entry else { continue };
            let record = &recorded.record;
            if record.origin != Origin::Expired {
                self.answer(record);
            }
            if listening {
                self.say(view::Event::Record(view::Ran::of(record)));
                if let Some(change) = recorded.change {
                    let summary = record.summary.clone();
                    self.say(view::Event::Transition(view::Transition::of(&record.key, change, summary, None)));
                }
                for finding in &recorded.findings {
                    let Some(change) = finding.change else { continue };
                    let transition = view::Transition::of(&record.key, change, finding.summary.clone(), None);
                    let finding = Some(finding.subject.clone());
                    self.say(view::Event::Transition(view::Transition { finding, ..transition }));
                }
            }
        }
    }

    fn answer(&self, record: &Record) {
        let mut waiters = self.waiters();
        let Some(list) = waiters.get_mut(&record.key) else { return };
        let (answered, left) = list.drain(..).partition(|waiter| record.started >= waiter.asked);
        *list = left;
        if list.is_empty() {
            waiters.remove(&record.key);
        }
        // Who waits may have gone.
        Vec::into_iter(answered).for_each(|waiter: Waiter| drop(waiter.tell.send(record.clone())));
    }

    /// A check appeared or changed; with what an earlier life of the agent left, if it did.
    pub(crate) fn configure(&self, prepared: &Prepared, past: Option<&roundsman_store::Subject>, now: Timestamp) {
        let (check, key) = (&prepared.check, prepared.key());
        let configured = Configured {
            plugin: check.plugin.clone(),
            labels: check.labels.clone().into(),
            owner: check.owner.as_deref().map(Into::into),
            runbook: check.runbook.as_deref().map(Into::into),
            enabled: check.enabled,
            shadow: check.shadow,
        };
        let mut board = self.board_mut();
        let seen = board.get(key).and_then(|line| line.last.as_ref()).map(|last| last.time);
        // A new check has its first ticks before it; one from before the restart had its last record then.
        let last = seen.or(past.map(|past| past.high_water)).unwrap_or(now + check.initial_delay);
        let stale_at = prepared.stale_at(last);
        let line = board.configure(key.clone(), configured, now, stale_at);
        line.silence = self.known_silences().covering(key, now).cloned();
        if let Some(past) = past {
            line.standing = past.standing.unwrap_or(line.standing);
            line.counts = past.counts;
            line.last = line.last.take().or_else(|| self.recalled().remove(key));
        }
        drop(board);
        self.prepared().insert(key.clone(), prepared.clone());
    }

    /// Shows the last record of an earlier life, unless there is a newer one by now.
    pub(crate) fn recall(&self, record: &Record) {
        let mut board = self.board_mut();
        match board.get_mut(&record.key) {
            Some(line) if line.last.is_none() => line.last = Some(Last::of(record)),
            Some(_) => {}
            None => {
                self.recalled().insert(record.key.clone(), Last::of(record));
            }
        }
    }

    /// Lends a function that tells when a key is due next.
    pub(crate) fn next_runs(&self, now: Timestamp, mut with: impl FnMut(&dyn Fn(&Key) -> Option<Timestamp>)) {
        let prepared = self.prepared();
        with(&|key| prepared.get(key)?.grid.next_after(now));
    }

    /// A key is no longer configured: it is shown until that is committed.
    pub(crate) fn leave(&self, key: &Key) {
        self.prepared().remove(key);
        self.disappoint(key);
    }

    /// The clock was set forward: nobody was silent for so much longer.
    pub(crate) fn put_off(&self, by: Duration) {
        each_line(&mut self.board_mut(), |line| line.stale_at = line.stale_at.map(|at| at + by));
    }

    /// It is still not run, for this reason.
    pub(crate) fn skipped(&self, key: &Key, why: Arc<str>) {
        if let Some(line) = self.board_mut().get_mut(key).filter(|line| line.standing.state == State::Skipped) {
            line.skipped = Some(why);
        }
    }

    /// It is not shown any more.
    pub(crate) fn forgotten(&self, key: &Key) {
        self.board_mut().remove(key);
    }

    /// What operators have silenced.
    pub(crate) fn silences(&self) -> Vec<Silence> {
        self.known_silences().iter().map(|silence| Silence::clone(silence)).collect()
    }

    /// The run that callers wait for will not take place.
    pub(crate) fn disappoint(&self, key: &Key) {
        self.waiters().remove(key);
    }

    /// Says beside a state why it is as it is.
    pub(crate) fn note(&self, mut note: impl FnMut(&Line) -> Option<String>) {
        each_line(&mut self.board_mut(), |line| line.note = note(line));
    }
}

fn each_line(board: &mut Board, mut change: impl FnMut(&mut Line)) {
    let keys: Vec<Key> = board.iter().map(|line| line.key.clone()).collect();
    for key in keys {
        if let Some(line) = board.get_mut(&key) {
            change(line);
        }
    }
}
