//! When a plugin that breaks is left alone for a while, and when until somebody acts: supervisord's rule, for runs.
//!
//! ```text
//!            failures in the window                    trial fails, ladder left
//!  running ──────────────────────────▶ back-off ◀──────────────────────────────┐
//!     ▲                                   │ its time is over: one trial run ────┤
//!     │ trial goes well                   └─────────────────────────────────────┘
//!     ├───────────────────────────────────────┘            │ trial fails, ladder used up
//!     └──────────── released, or a new file ◀───────── quarantined
//! ```
//!
//! A failure is a run that the sandbox cut for the plugin's sake: a trap, a limit, a deadline that found it computing or
//! asleep. What a plugin says in its own words is none, nor is what its grants or this host are to blame for.
//!
//! At least `failures` of them in the sliding window, **and** half of the plugin's runs there, begin a back-off. Half,
//! because one target whose answer breaks the plugin must not stop its 999 other checks: that one is unknown with each
//! run, and costs what the limits allow. The first back-off lasts `backoff`, each further one twice as long, up to
//! `max_backoff`; at its end one run is let through. Every `max_backoff` of health takes one back-off off the count; when
//! `quarantine_after` of them did not help, the plugin is quarantined.
//!
//! All of this is about one digest: another file begins anew.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::name::PluginName;
use crate::record::Blame;
use crate::time::{Timestamp, nanos};

/// Parts of the window: it slides by one of them at a time. A dozen is exact to 5 s in a minute, in 200 bytes.
const BUCKETS: usize = 12;
/// Bytes that are kept of what the last failure said: a line.
const MAX_LAST: usize = 300;

/// `supervision:` of the agent's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many failures in the window begin a back-off, if they are half of the runs there.
    pub failures: u32,
    pub window: Duration,
    /// The first back-off; each further one is twice as long.
    pub backoff: Duration,
    /// The longest back-off; and how much health makes up for one.
    pub max_backoff: Duration,
    /// After so many back-offs the plugin is quarantined instead.
    pub quarantine_after: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            failures: 5,
            window: Duration::from_mins(1),
            backoff: Duration::from_secs(10),
            max_backoff: Duration::from_mins(5),
            quarantine_after: 3,
        }
    }
}

impl Rules {
    /// How long a back-off lasts that comes after so many.
    fn wait(&self, before: u32) -> Duration {
        let doubled = 2_u32.checked_pow(before).and_then(|times| self.backoff.checked_mul(times));
        doubled.unwrap_or(self.max_backoff).min(self.max_backoff)
    }
}

/// What the end of a run says of its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Failed,
    /// It did as it should, whatever it found out.
    Fine,
    /// It was not the plugin's doing.
    Nothing,
}

impl Verdict {
    /// `cut`: the plugin had no say in how the run ended.
    pub fn of(blame: Blame, cut: bool, code: Option<&str>) -> Self {
        match (blame, code) {
            // There was no plugin that could have been run.
            (_, Some("plugin")) => Self::Nothing,
            (Blame::Plugin, _) if cut => Self::Failed,
            // It got as far as asking for something; what is not cut was not even begun.
            (Blame::Host, Some("denied")) if cut => Self::Fine,
            (Blame::Host, _) => Self::Nothing,
            (Blame::Target | Blame::Plugin, _) => Self::Fine,
        }
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Running,
    /// From `until` on one run is let through, to see.
    BackOff {
        until: Timestamp,
    },
    /// Until its file changes or somebody releases it.
    Quarantined,
}

/// What is known of how a plugin behaved: this outlives the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conduct {
    /// Of the file that this is about.
    pub digest: Arc<str>,
    pub phase: Phase,
    pub since: Timestamp,
    /// Back-offs that count against it, as of `since`: health makes up for them.
    pub backoffs: u32,
    /// What began the last back-off that was not a failed trial's.
    pub failures: u32,
    pub runs: u32,
    /// What the last failure said: code and summary.
    pub last: Arc<str>,
}

impl Conduct {
    /// Of a file that is new here.
    pub fn new(digest: Arc<str>, now: Timestamp) -> Self {
        Self { digest, phase: Phase::Running, since: now, backoffs: 0, failures: 0, runs: 0, last: "".into() }
    }

    /// Whether it runs at its checks' ticks.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether there is nothing to be remembered.
    pub fn is_spotless(&self) -> bool {
        self.is_running() && self.backoffs == 0
    }

    /// Back-offs that count against it by now.
    pub fn backoffs_at(&self, rules: &Rules, now: Timestamp) -> u32 {
        if !self.is_running() {
            return self.backoffs;
        }
        let healthy = now.since(self.since).as_nanos() / rules.max_backoff.as_nanos().max(1);
        self.backoffs.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX))
    }

    /// Why it is not running, in words with the way out. None: it is.
    pub fn words(&self, plugin: &PluginName) -> Option<String> {
        match self.phase {
            Phase::Running => None,
            Phase::BackOff { until } => Some(format!("plugin {plugin} rests until {until}: {}", Reason(self))),
            Phase::Quarantined => Some(format!(
                "plugin {plugin} is quarantined since {}: {}; `roundsman plugin release {plugin}` or a new file ends it",
                self.since,
                Reason(self)
            )),
        }
    }

    /// What it did, in words. Empty: nothing.
    pub fn reason(&self) -> String {
        if self.backoffs == 0 { String::new() } else { Reason(self).to_string() }
    }
}

struct Reason<'a>(&'a Conduct);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conduct { phase, backoffs, failures, runs, last, .. } = self.0;
        write!(f, "{failures} of {runs} runs failed")?;
        match (phase, backoffs) {
            (Phase::Quarantined, 1) => write!(f, ", and a back-off did not help")?,
            (Phase::Quarantined, backoffs) => write!(f, ", and {backoffs} back-offs did not help")?,
            (Phase::BackOff { .. }, 2..) => write!(f, ", back-off {backoffs}")?,
            _ => {}
        }
        write!(f, "; last: {last}")
    }
}

/// One version of a plugin under supervision.
#[derive(Debug, Clone)]
pub struct Supervision {
    conduct: Conduct,
    window: Window,
    /// Whose run was let through at the end of a back-off; nobody else's is before it ends.
    trial: Option<Key>,
}

impl Supervision {
    /// What was running goes on with an empty window; a trial that was under way is forgotten, and the next one is it.
    pub fn new(conduct: Conduct) -> Self {
        Self { conduct, window: Window::default(), trial: None }
    }

    /// How it behaved.
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    /// Whether a run may begin. One that somebody asked for may in any case, and is the trial if there is none.
    pub fn let_in(&mut self, key: &Key, asked_for: bool, rules: &Rules, now: Timestamp) -> bool {
        match self.conduct.phase {
            Phase::Running => true,
            Phase::Quarantined => asked_for,
            Phase::BackOff { .. } if self.trial.is_some() => asked_for,
            Phase::BackOff { until } => {
                // One that lies further ahead than any can is from before the clock was set back.
                let over = until <= now || until.since(now) > rules.max_backoff;
                if over || asked_for {
                    self.trial = Some(key.clone());
                }
                over || asked_for
            }
        }
    }

    /// A run that was let in came to its end. True: the phase changed.
    pub fn ended(&mut self, key: &Key, verdict: Verdict, said: Said<'_>, rules: &Rules, at: Timestamp) -> bool {
        let trial = self.trial.take_if(|trial| trial == key).is_some();
        match (self.conduct.phase, verdict) {
            (_, Verdict::Nothing) | (Phase::Quarantined, _) => false,
            (Phase::Running, _) => {
                self.window.add(verdict == Verdict::Failed, rules.window, at);
                let (failures, runs) = self.window.sum(rules.window, at);
                let trips =
                    verdict == Verdict::Failed && failures >= rules.failures && failures.saturating_mul(2) >= runs;
                if trips {
                    (self.conduct.failures, self.conduct.runs) = (failures, runs);
                    self.back_off(said, rules, at);
                }
                trips
            }
            (Phase::BackOff { .. }, _) if !trial => false,
            (Phase::BackOff { .. }, Verdict::Failed) => {
                self.back_off(said, rules, at);
                true
            }
            (Phase::BackOff { .. }, Verdict::Fine) => {
                (self.conduct.phase, self.conduct.since) = (Phase::Running, at);
                true
            }
        }
    }

    fn back_off(&mut self, said: Said<'_>, rules: &Rules, at: Timestamp) {
        self.window = Window::default();
        let before = self.conduct.backoffs_at(rules, at);
        let conduct = &mut self.conduct;
        (conduct.phase, conduct.backoffs) = if before >= rules.quarantine_after {
            (Phase::Quarantined, before)
        } else {
            (Phase::BackOff { until: at + rules.wait(before) }, before + 1)
        };
        (conduct.since, conduct.last) = (at, said.line());
    }

    /// A run that was let in will not be heard of: it does not take place, or its check is gone.
    pub fn abandon(&mut self, key: &Key) {
        self.trial.take_if(|trial| trial == key);
    }

    /// Failures and runs in the window.
    pub fn watched(&self, rules: &Rules, now: Timestamp) -> (u32, u32) {
        self.window.sum(rules.window, now)
    }

    /// The clock was set back: what was counted lies ahead, and is forgotten.
    pub fn set_back(&mut self) {
        self.window = Window::default();
    }
}

/// What a failing run said.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub code: Option<&'a str>,
    pub summary: &'a str,
}

impl Said<'_> {
    fn line(&self) -> Arc<str> {
        let line = format!("{}: {}", self.code.unwrap_or("unknown"), self.summary);
        if line.len() <= MAX_LAST {
            line.into()
        } else {
            format!("{}…", &line[..line.floor_char_boundary(MAX_LAST)]).into()
        }
    }
}

/// Counts of the recent past, in buckets: as large after a million runs as after one.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Each counts the bucket of this number, and stands at the number's place in turn.
    buckets: [Bucket; BUCKETS],
    /// Ends come a little out of order; none is counted before the newest.
    newest: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    number: i64,
    failures: u32,
    runs: u32,
}

impl Default for Window {
    fn default() -> Self {
        let empty = Bucket { number: i64::MIN, failures: 0, runs: 0 };
        Self { buckets: [empty; BUCKETS], newest: Timestamp(i64::MIN) }
    }
}

impl Window {
    fn add(&mut self, failed: bool, window: Duration, at: Timestamp) {
        self.newest = self.newest.max(at);
        let number = number(self.newest, window);
        let place = number.rem_euclid(BUCKETS as i64).unsigned_abs();
        let Some(bucket) = usize::try_from(place).ok().and_then(|place| self.buckets.get_mut(place)) else { return };
        if bucket.number != number {
            *bucket = Bucket { number, failures: 0, runs: 0 };
        }
        bucket.runs = bucket.runs.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
    }

    fn sum(&self, window: Duration, now: Timestamp) -> (u32, u32) {
        let oldest = number(self.newest.max(now), window).saturating_sub(BUCKETS as i64);
        let recent = self.buckets.iter().filter(|bucket| bucket.number > oldest);
        recent.fold((0, 0), |(failures, runs): (u32, u32), bucket| {
            (failures.saturating_add(bucket.failures), runs.saturating_add(bucket.runs))
        })
    }
}

/// Which bucket an instant belongs to.
fn number(at: Timestamp, window: Duration) -> i64 {
    at.0.div_euclid((nanos(window) / BUCKETS as i64).max(1))
}

#[cfg(test)]
mod tests;
