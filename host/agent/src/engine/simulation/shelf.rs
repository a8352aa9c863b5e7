//! Plugin files that come, change, break and go.

use std::collections::BTreeMap;

use roundsman_model::name::PluginName;

use super::random::Random;
use super::scene::PLUGINS;
use crate::engine::supervise::Seen;

/// How many of a hundred runs a broken version fails: some, most, all.
const FAILING: [u64; 4] = [35, 60, 100, 100];

#[derive(Debug)]
pub(super) struct Shelf(BTreeMap<PluginName, File>);

#[derive(Debug, Default)]
struct File {
    version: u64,
    gone: bool,
    /// Its machine code is on its way.
    compiling: bool,
    failing_percent: u64,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self(PLUGINS.iter().map(|name| (PluginName::new(name).unwrap(), File::default())).collect())
    }

    /// What the agent sees of it.
    pub(super) fn seen(&self) -> Seen {
        let there = self.0.iter().filter(|(_, file)| !file.gone);
        let digest = |(name, file): (&PluginName, &File)| {
            let digest = (!file.compiling).then(|| format!("{name}-{}", file.version).into());
            (name.clone(), digest)
        };
        there.map(digest).collect()
    }

    pub(super) fn is_gone(&self, name: &PluginName) -> bool {
        self.0[name].gone
    }

    pub(super) fn is_compiling(&self, name: &PluginName) -> bool {
        self.0[name].compiling
    }

    pub(super) fn fails(&self, name: &PluginName, random: &mut Random) -> bool {
        let percent = self.0[name].failing_percent;
        percent > 0 && random.below(100) < percent
    }

    fn some(&mut self, random: &mut Random) -> &mut File {
        let at = random.below(self.0.len() as u64) as usize;
        self.0.values_mut().nth(at).unwrap()
    }

    /// Another version; mostly one that works.
    pub(super) fn change(&mut self, random: &mut Random) {
        let works = !random.once_in(4);
        let file = self.some(random);
        file.version += 1;
        if works {
            file.failing_percent = 0;
        }
    }

    /// The world became such that a version breaks in it.
    pub(super) fn spoil(&mut self, random: &mut Random) {
        let percent = *random.pick(&FAILING);
        self.some(random).failing_percent = percent;
    }

    pub(super) fn mend(&mut self, random: &mut Random) {
        self.some(random).failing_percent = 0;
    }

    /// A file goes, or comes back.
    pub(super) fn toggle(&mut self, random: &mut Random) {
        let back = random.once_in(4);
        let file = self.some(random);
        file.gone = !file.gone && !back;
    }

    /// A start without machine code for some; what changes while nobody is there.
    pub(super) fn restart(&mut self, random: &mut Random) {
        for file in self.0.values_mut() {
            file.compiling = random.once_in(6);
            file.version += u64::from(random.once_in(10));
            file.gone ^= random.once_in(20);
        }
    }

    /// Every one is compiled. False: it was before.
    pub(super) fn compiled(&mut self) -> bool {
        let compiling = self.0.values().any(|file| file.compiling);
        self.0.values_mut().for_each(|file| file.compiling = false);
        compiling
    }
}
