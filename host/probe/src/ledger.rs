//! Which lines of a check's grants a run used, and for what: for whoever wants to see it, and nobody else pays for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use roundsman_model::grants::Allow;
use roundsman_model::target::Target;

use crate::pattern::Pattern;

/// Uses of one line that are kept: what more there is looks the same.
const MAX_USES: usize = 16;

/// The lines of a check's grants, and what each of them permitted.
#[derive(Debug, Default)]
pub struct Ledger {
    /// How many of the network's lines are targets.
    targets: usize,
    lines: Vec<Line>,
    uses: Mutex<BTreeMap<(List, usize), BTreeSet<String>>>,
}

/// A list of `allow:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    Network,
    Files,
    System,
    Secrets,
    Commands,
}

#[derive(Debug)]
struct Line {
    list: List,
    index: usize,
    text: String,
}

/// One line and what it permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// `target`, or the line's list in `allow:`.
    pub list: &'static str,
    pub line: String,
    /// Empty: it was never used.
    pub permitted: Vec<String>,
}

impl Ledger {
    /// In the order in which `Grants::compile` takes them.
    pub(crate) fn of(targets: &[Target], allow: &Allow) -> Ledger {
        let targets = targets.iter().map(|target| &*target.address);
        let targets: Vec<String> = targets.filter(|to| Pattern::of_target(to).is_some()).map(str::to_owned).collect();
        let mut lines = Vec::new();
        let mut add = |list: List, texts: &mut dyn Iterator<Item = &String>| {
            lines.extend(texts.enumerate().map(|(index, text)| Line { list, index, text: text.clone() }));
        };
        add(List::Network, &mut targets.iter().chain(&allow.network));
        add(List::Files, &mut allow.files.iter());
        add(List::System, &mut allow.system.iter());
        add(List::Secrets, &mut allow.secrets.iter());
        add(List::Commands, &mut allow.commands.iter());
        Ledger { targets: targets.len(), lines, uses: Mutex::default() }
    }

    /// A line permitted something.
    pub(crate) fn note(&self, list: List, index: usize, what: String) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let of_line = uses.entry((list, index)).or_default();
        if of_line.len() < MAX_USES {
            of_line.insert(what);
        }
    }

    /// All lines in the order of the file, the targets first.
    pub fn used(&self) -> Vec<Used> {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let used = |line: &Line| {
            let found = uses.get(&(line.list, line.index));
            // The first lines of the network are not in `allow:`.
            let is_target = line.list == List::Network && line.index < self.targets;
            let list = if is_target { "target" } else { line.list.as_str() };
            Used { list, line: line.text.clone(), permitted: found.into_iter().flatten().cloned().collect() }
        };
        self.lines.iter().map(used).collect()
    }
}

impl List {
    fn as_str(self) -> &'static str {
        match self {
            List::Network => "network",
            List::Files => "files",
            List::System => "system",
            List::Secrets => "secrets",
            List::Commands => "commands",
        }
    }
}
