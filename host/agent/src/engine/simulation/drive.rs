//! A day on a clock that is not real: the driver does what the loop of the engine does, and what happens to an agent.

mod plugins;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use roundsman_model::check::Timing;
use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Status};
use roundsman_model::silence::Until;
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;

use super::facts::Facts;
use super::fate::{Fates, Throw};
use super::random::Random;
use super::scene::Scene;
use super::shelf::Shelf;
use super::world::World;
use crate::engine::command::SilenceDraft;
use crate::engine::core::Away;

/// As in the engine's loop; but it beats half as often, because what it is for is told as of its own instant.
pub(super) const ABSENCE: Duration = Duration::from_secs(2);
const BEAT_NS: i64 = 1_000_000_000;
const AHEAD: Duration = Duration::from_millis(50);
const MARGIN_NS: i64 = 5_000_000;

pub(super) const SECOND_NS: i64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// What happens to an agent, and after how many seconds on average.
const HAPPENINGS: [(Happening, u64); 18] = [
    (Happening::Push, 1),
    (Happening::RunNow, 30),
    (Happening::Silence, 200),
    (Happening::Unsilence, 600),
    (Happening::Edit, 500),
    (Happening::Restart, 9_000),
    (Happening::Kill, 6_000),
    (Happening::Stop, 4_000),
    (Happening::Forward, 12_000),
    (Happening::Back, 9_000),
    (Happening::Correction, 3_000),
    (Happening::Outage, 1_500),
    (Happening::File, 3_000),
    (Happening::Spoil, 1_000),
    (Happening::Mend, 1_000),
    (Happening::Vanish, 8_000),
    (Happening::Release, 300),
    (Happening::Cut, 3_000),
];

#[derive(Debug, Clone, Copy)]
enum Happening {
    Push,
    RunNow,
    Silence,
    Unsilence,
    Edit,
    Restart,
    Kill,
    Stop,
    Forward,
    Back,
    Correction,
    Outage,
    File,
    Spoil,
    Mend,
    Vanish,
    Release,
    Cut,
}

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) world: World,
    random: Random,
    scene: Scene,
    fates: Fates,
    shelf: Shelf,
    /// By the instant at which the loop hears of their end, and a number.
    flights: BTreeMap<(i64, u64), Flight>,
    number: u64,
    happenings: BTreeMap<(i64, usize), Happening>,
    beat: i64,
    slots: usize,
    /// Removed in this life: their series go on should they come back.
    removed: HashSet<Key>,
}

#[derive(Debug)]
struct Flight {
    start: Start,
    generation: u64,
    /// None: it is cut, and dies without a word.
    throw: Option<Throw>,
    began: i64,
    ended: i64,
}

impl Driver {
    pub(super) fn new(seed: u64, checks: u64, begin: Timestamp) -> Self {
        let mut random = Random::new(seed);
        let scene = Scene::new(&mut random, checks);
        let slots = random.between(10, 24) as u32;
        let rules = plugins::rules(&mut random);
        let mut driver = Self {
            world: World::new(slots, rules, begin, seed + 1),
            scene,
            fates: Fates::default(),
            shelf: Shelf::new(),
            flights: BTreeMap::new(),
            number: 0,
            happenings: BTreeMap::new(),
            beat: 0,
            slots: slots as usize,
            removed: HashSet::new(),
            random,
        };
        for (kind, (happening, mean_s)) in HAPPENINGS.into_iter().enumerate() {
            let at = driver.later(mean_s);
            driver.happenings.insert((at, kind), happening);
        }
        driver.world.take_plugins(&driver.shelf.seen(), true);
        let checks = driver.scene.prepare();
        driver.world.take_checks(checks);
        driver
    }

    pub(super) fn run(&mut self, for_ns: i64) {
        let end = self.world.mono + for_ns;
        while self.world.mono < end {
            let wake = self.wake();
            self.world.mono = self.world.mono.max(wake);
            self.look();
            let due = self.happenings.first_key_value().filter(|((at, _), _)| *at <= self.world.mono);
            if let Some((&(at, kind), &happening)) = due {
                self.happenings.remove(&(at, kind));
                self.happen(happening);
                let next = self.later(HAPPENINGS[kind].1);
                self.happenings.insert((next, kind), happening);
            }
        }
        self.world.compare();
    }

    fn later(&mut self, mean_s: u64) -> i64 {
        self.world.mono + self.random.between(1, 2 * mean_s * SECOND_NS as u64) as i64
    }

    fn wake(&self) -> i64 {
        let world = &self.world;
        let early = if self.may_go_ahead() { MARGIN_NS } else { 0 };
        let event = world.core.next_event().map(|at| at.0 - world.offset - early);
        let heard = self.flights.first_key_value().map(|((heard, _), _)| *heard);
        let happening = self.happenings.first_key_value().map(|((at, _), _)| *at);
        [Some(self.beat), event, heard, happening].into_iter().flatten().min().unwrap()
    }

    fn may_go_ahead(&self) -> bool {
        self.world.core.in_flight() < self.slots / 2
    }

    /// One turn of the loop.
    fn look(&mut self) {
        if self.world.mono >= self.beat {
            self.beat = self.world.mono + BEAT_NS;
            self.world.pass_time();
            if self.random.once_in(20) && self.shelf.compiled() {
                self.look_at_shelf();
            }
        }
        self.finish_ended();
        self.start_due();
        if self.random.once_in(2_000) {
            self.world.compare();
        }
    }

    fn finish_ended(&mut self) {
        while let Some(((heard, _), _)) = self.flights.first_key_value()
            && *heard <= self.world.mono
        {
            let (_, flight) = self.flights.pop_first().unwrap();
            self.finish(&flight);
        }
    }

    fn finish(&mut self, flight: &Flight) {
        let wall = |mono: i64| Timestamp(mono + self.world.offset);
        let facts = match &flight.throw {
            None => Facts::bare(Status::Unknown, Blame::Host, Some("internal"), self.world.now()),
            Some(throw) => Facts {
                status: throw.status,
                blame: throw.blame,
                code: throw.code,
                cut: throw.cut,
                started: wall(flight.began),
                ended: wall(flight.ended),
                value: throw.value,
                findings: throw.findings.clone(),
                memory: throw.memory.clone(),
            },
        };
        self.world.finish(&flight.start, flight.generation, &facts);
    }

    fn start_due(&mut self) {
        let now = self.world.now();
        while let Some(due) = self.world.core.next_event() {
            let horizon = if self.may_go_ahead() { now + AHEAD } else { now };
            if due > horizon {
                break;
            }
            if let Some(start) = self.world.pop(due.max(now)) {
                self.begin(start);
            }
        }
    }

    fn begin(&mut self, start: Start) {
        let subject = self.world.core.subject(&start.key).unwrap();
        let (generation, timeout) = (subject.generation, subject.prepared.check.timeout);
        let plugin = subject.prepared.plugin().clone();
        if self.shelf.is_compiling(&plugin) || self.random.once_in(300) {
            return self.world.skip(&start.key);
        }
        if self.shelf.is_gone(&plugin) || self.random.once_in(300) {
            let at = self.world.now().max(start.due);
            let facts = Facts::bare(Status::Unknown, Blame::Plugin, Some("plugin"), at);
            return self.world.finish(&start, generation, &facts);
        }
        assert!(self.flights.values().all(|flight| flight.start.key != start.key), "{} runs twice", start.key);
        let mut throw = self.fates.throw(&start.key, timeout, &mut self.random);
        if self.shelf.fails(&plugin, &mut self.random) {
            throw = Throw::trap(throw.takes);
        }
        let began = self.world.mono.max(start.due.0 - self.world.offset) + self.random.between(1_000, 900_000) as i64;
        let ended = began + throw.takes.as_nanos() as i64;
        // The loop hears of it a little later, or when it looks the next time.
        let late = if self.random.once_in(4) { self.random.between(0, 50_000_000) as i64 } else { 0 };
        let key = start.key.clone();
        self.fly(ended + late, Flight { start, generation, throw: Some(throw), began, ended });
        self.meddle(&key, &plugin);
    }

    fn fly(&mut self, heard: i64, flight: Flight) {
        self.number += 1;
        self.flights.insert((heard, self.number), flight);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Push => self.push(),
            Happening::RunNow => {
                if let Some(key) = self.some_key() {
                    self.world.run_now(&key).ok();
                }
            }
            Happening::Silence => self.silence(),
            Happening::Unsilence => {
                let ids: Vec<u64> = self.world.model.silences.keys().copied().collect();
                let id = if ids.is_empty() { 7 } else { *self.random.pick(&ids) };
                self.world.unsilence(id);
            }
            Happening::Edit if self.random.once_in(8) => self.have_pushed(),
            Happening::Edit => self.edit(),
            Happening::Restart => self.restart(false),
            Happening::Kill => self.restart(true),
            Happening::Stop => {
                let away = self.random.duration(Duration::from_secs(1), HOUR / 6);
                self.stop(away);
            }
            Happening::Forward => {
                let by = self.leap();
                self.set(by.as_nanos() as i64);
            }
            Happening::Back => self.back(),
            Happening::Correction => {
                let by = self.random.between(0, 4 * SECOND_NS as u64) as i64 - 2 * SECOND_NS;
                self.set(by);
            }
            Happening::Outage => self.fates.outage = !self.fates.outage && self.random.once_in(2),
            Happening::File => {
                self.shelf.change(&mut self.random);
                self.look_at_shelf();
            }
            Happening::Spoil => self.shelf.spoil(&mut self.random),
            Happening::Mend => self.shelf.mend(&mut self.random),
            Happening::Vanish => {
                self.shelf.toggle(&mut self.random);
                self.look_at_shelf();
            }
            Happening::Release => self.release(),
            Happening::Cut => {
                self.fates.cut = !self.fates.cut && self.random.once_in(4);
                if self.fates.cut {
                    // It is over soon.
                    self.happenings.insert((self.world.mono + 120 * SECOND_NS, HAPPENINGS.len() - 1), Happening::Cut);
                }
            }
        }
    }

    /// The clock is set back, and some checks are gone meanwhile.
    fn back(&mut self) {
        let on = self.scene.checks.iter().filter(|(_, check)| check.enabled);
        let gone: Vec<u64> = on.map(|(number, _)| *number).filter(|_| self.random.once_in(20)).collect();
        gone.iter().for_each(|number| self.scene.switch(*number, false));
        let checks = self.scene.prepare();
        self.take(checks);
        let by = self.leap();
        self.set(-(by.as_nanos() as i64));
        gone.iter().for_each(|number| self.scene.switch(*number, true));
        let checks = self.scene.prepare();
        self.take(checks);
    }

    /// A check that is about to try again becomes one that is pushed.
    fn have_pushed(&mut self) {
        let subjects = self.world.core.subjects.values();
        let trying = subjects.filter(|s| s.standing.soft.is_some() && s.prepared.check.retry_interval.is_some());
        let mut names: Vec<_> = trying.map(|subject| subject.prepared.check.name.clone()).collect();
        names.sort();
        if !names.is_empty() {
            self.scene.have_pushed(self.random.pick(&names));
            let checks = self.scene.prepare();
            self.take(checks);
        }
    }

    fn leap(&mut self) -> Duration {
        let most = *self.random.pick(&[Duration::from_secs(10), Duration::from_secs(120), HOUR]);
        self.random.duration(Duration::from_secs(2), most)
    }

    fn some_key(&mut self) -> Option<Key> {
        let mut keys: Vec<Key> = self.world.core.subjects.keys().cloned().collect();
        keys.sort();
        (!keys.is_empty()).then(|| self.random.pick(&keys).clone())
    }

    fn push(&mut self) {
        let subjects = self.world.core.subjects.iter();
        let pushed = subjects.filter(|(_, subject)| matches!(subject.prepared.check.timing, Timing::Ttl(_)));
        let mut keys: Vec<Key> = pushed.map(|(key, _)| key.clone()).collect();
        keys.sort();
        // Nobody pushes for the last ones, and sometimes somebody for what runs by itself.
        keys.truncate(keys.len() - keys.len() / 4);
        let key = if keys.is_empty() || self.random.once_in(50) {
            self.some_key()
        } else {
            Some(self.random.pick(&keys).clone())
        };
        let Some(key) = key else { return };
        let throw = self.fates.throw(&key, Duration::from_secs(1), &mut self.random);
        let at = self.world.now();
        let findings = throw.findings;
        let facts = Facts { value: throw.value, findings, ..Facts::bare(throw.status, Blame::Target, None, at) };
        self.world.push(&key, &facts);
    }

    fn silence(&mut self) {
        let Some(key) = self.some_key() else { return };
        let acknowledge = self.random.once_in(2);
        let until = self.world.now() + self.random.duration(Duration::from_secs(1), HOUR);
        let all_targets = !acknowledge && self.random.once_in(2);
        self.world.silence(&SilenceDraft {
            check: Some(key.check.as_str().into()),
            target: (!all_targets).then(|| key.target_or_empty().into()),
            author: "somebody".into(),
            reason: "it is known".into(),
            until: if acknowledge { Until::Recovery } else { Until::Instant(until) },
        });
    }

    fn edit(&mut self) {
        let before = self.scene.checks.clone();
        self.scene.edit(&mut self.random);
        let checks = self.scene.prepare();
        // The store refuses what is not later than the end of a series that it has kept from an earlier life, and
        // nobody tells the core where that is: such a check has to wait.
        let late = |key: &Key| self.world.store.kept.get(key).is_some_and(|kept| kept.reaches() >= self.world.now());
        let news = checks.iter().map(|prepared| prepared.key()).filter(|key| self.world.core.subject(key).is_none());
        if news.into_iter().any(|key| late(key) && !self.removed.contains(key)) {
            self.scene.checks = before;
            return;
        }
        self.take(checks);
    }

    fn take(&mut self, checks: Vec<crate::subject::Prepared>) {
        let gone: HashSet<Key> = self.world.take_checks(checks).into_iter().collect();
        // Their runs are cut, which is heard of soon.
        let cut: Vec<(i64, u64)> =
            self.flights.iter().filter(|(_, flight)| gone.contains(&flight.start.key)).map(|(at, _)| *at).collect();
        for at in cut {
            let flight = self.flights.remove(&at).unwrap();
            let heard = self.world.mono + self.random.between(0, 3 * SECOND_NS as u64) as i64;
            self.fly(heard, Flight { throw: None, ..flight });
        }
        self.removed.extend(gone);
        self.world.compare();
    }

    /// The process is stopped, and its runs with it.
    fn stop(&mut self, away: Duration) {
        self.world.mono += away.as_nanos() as i64;
        for ((heard, _), flight) in std::mem::take(&mut self.flights) {
            let ended = flight.ended.max(self.world.mono + self.random.between(0, 20_000_000) as i64);
            self.fly(heard.max(ended), Flight { ended, ..flight });
        }
        self.beat = self.world.mono;
        self.world.come_back(Away { slept: away, ..Away::default() }, Duration::ZERO);
        self.look();
    }

    /// The clock is set by so much.
    fn set(&mut self, by_ns: i64) {
        self.world.offset += by_ns;
        let by = Duration::from_nanos(by_ns.unsigned_abs());
        let (forward, back) = if by_ns > 0 { (by, Duration::ZERO) } else { (Duration::ZERO, by) };
        self.world.come_back(Away { set: forward, ..Away::default() }, back);
        self.look();
    }

    fn restart(&mut self, kill: bool) {
        if !kill {
            // What ends within the grace is still heard of.
            let grace = self.world.mono + 3 * SECOND_NS;
            while let Some(((heard, _), _)) = self.flights.first_key_value()
                && *heard <= grace
            {
                let ((heard, _), flight) = self.flights.pop_first().unwrap();
                self.world.mono = self.world.mono.max(heard);
                self.finish(&flight);
            }
        }
        self.flights.clear();
        self.removed.clear();
        self.world.restart(kill);
        let away = *self.random.pick(&[SECOND_NS, 20 * SECOND_NS, 600 * SECOND_NS]);
        self.world.mono += self.random.between(50_000_000, away as u64) as i64;
        match self.random.below(6) {
            0 => self.world.offset -= self.random.between(0, 90 * SECOND_NS as u64) as i64,
            1 => self.world.offset += self.random.between(0, 3_600 * SECOND_NS as u64) as i64,
            2 => self.world.offset -= self.random.between(0, 3_600 * SECOND_NS as u64) as i64,
            _ => {}
        }
        self.beat = self.world.mono;
        self.shelf.restart(&mut self.random);
        // As the loop does: what it sees at first, and then that this is all.
        self.world.take_plugins(&self.shelf.seen(), false);
        self.world.take_plugins(&self.shelf.seen(), true);
        let checks = self.scene.prepare();
        self.take(checks);
        self.look();
    }
}
