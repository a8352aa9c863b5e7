//! What a run found in the log, and what is remembered of it until it no longer counts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roundsman_sdk::Status;
use roundsman_sdk::system::KernelLine;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;

/// Of a line, as much as a summary can hold beside others.
const MAX_LINE: usize = 200;
/// The priority `error` of the kernel's log.
const ERROR: u8 = 3;

/// What one run found.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) lines: u64,
    pub(crate) errors: u64,
    pub(crate) lost: u64,
    /// For each rule, in their order.
    pub(crate) found: Vec<Found>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) count: u64,
    last: Option<Match>,
    /// A line that ends the trouble came, after whatever matched before.
    cleared: bool,
}

/// What is remembered between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) cursor: Option<String>,
    matches: BTreeMap<String, Match>,
}

/// The last line that a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Match {
    at_s: u64,
    text: String,
}

impl Seen {
    pub(crate) fn new(rules: usize) -> Self {
        Self { lines: 0, errors: 0, lost: 0, found: vec![Found::default(); rules] }
    }

    pub(crate) fn take(&mut self, rules: &[Rule], lines: &[KernelLine], lost: u64) {
        self.lost = self.lost.saturating_add(lost);
        for line in lines {
            self.lines += 1;
            self.errors += u64::from(line.priority <= ERROR);
            for (rule, found) in rules.iter().zip(&mut self.found) {
                if rule.matches(line) {
                    let text = line.text.chars().take(MAX_LINE).collect();
                    *found = Found {
                        count: found.count + 1,
                        last: Some(Match { at_s: seconds(line.at), text }),
                        cleared: false,
                    };
                } else if rule.clears(line) {
                    *found = Found { count: found.count, last: None, cleared: true };
                }
            }
        }
    }
}

impl Memory {
    pub(crate) fn remember(&mut self, rules: &[Rule], seen: &Seen) {
        self.matches.retain(|name, _| rules.iter().any(|rule| rule.rule == *name));
        for (rule, found) in rules.iter().zip(&seen.found) {
            if let Some(last) = &found.last {
                self.matches.insert(rule.rule.clone(), last.clone());
            } else if found.cleared {
                self.matches.remove(&rule.rule);
            }
        }
    }

    /// What a rule's trouble is now.
    pub(crate) fn judge(&self, rule: &Rule, now: SystemTime) -> (Status, String) {
        let name = &rule.rule;
        let Some(last) = self.matches.get(name) else { return (Status::Ok, format!("{name}: nothing")) };
        let age = Duration::from_secs(seconds(now).saturating_sub(last.at_s));
        if age > rule.hold() {
            return (Status::Ok, format!("{name}: nothing for {} s", age.as_secs()));
        }
        (rule.status.into(), format!("{name}, {} s ago: {}", age.as_secs(), last.text))
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::line;

    fn rules() -> Vec<Rule> {
        serde_json::from_str(
            r#"[{"rule": "link", "pattern": "Link is Down", "clear": "Link is Up", "hold": "60s", "status": "warning"},
                {"rule": "oom", "pattern": "Killed process"}]"#,
        )
        .unwrap()
    }

    #[test]
    fn matches_hold_and_clear() {
        let (rules, mut memory) = (rules(), Memory::default());
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut run = |lines: &[KernelLine], now| {
            let mut seen = Seen::new(rules.len());
            seen.take(&rules, lines, 0);
            memory.remember(&rules, &seen);
            // As it is between two runs.
            memory = serde_json::from_slice(&serde_json::to_vec(&memory).unwrap()).unwrap();
            rules.iter().map(|rule| memory.judge(rule, at(now))).collect::<Vec<_>>()
        };
        let nothing = |name: &str| (Status::Ok, format!("{name}: nothing"));
        assert_eq!(run(&[line("all is well", 5)], 10), [nothing("link"), nothing("oom")]);
        let down = line("eth0: Link is Down", 20);
        assert_eq!(
            run(std::slice::from_ref(&down), 30)[0],
            (Status::Warning, "link, 10 s ago: eth0: Link is Down".to_owned())
        );
        assert_eq!(run(&[], 80)[0].0, Status::Warning, "it holds");
        assert_eq!(run(&[], 81)[0], (Status::Ok, "link: nothing for 61 s".to_owned()));
        assert_eq!(run(&[line("eth0: Link is Down", 90), line("eth0: Link is Up", 91)], 92)[0], nothing("link"));
        assert_eq!(run(&[line("eth0: Link is Up", 93), line("eth0: Link is Down", 94)], 95)[0].0, Status::Warning);
        let killed = line("Killed process 7", 96);
        assert_eq!(run(&[killed], 100)[1], (Status::Critical, "oom, 4 s ago: Killed process 7".to_owned()));
    }

    #[test]
    fn what_is_counted() {
        let rules = rules();
        let mut seen = Seen::new(2);
        let error = KernelLine { priority: 3, ..line("Killed process 1", 1) };
        seen.take(&rules, &[error.clone(), line("x", 2)], 5);
        seen.take(&rules, &[error], 1);
        assert_eq!((seen.lines, seen.errors, seen.lost, seen.found[1].count), (3, 2, 6, 2));
    }
}
