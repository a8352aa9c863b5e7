//! What happens to plugins and to whoever waits for them: files, releases, and meddling at the worst moment.

use std::sync::Arc;

use roundsman_model::check::Check;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::supervision::Rules;

use super::super::random::Random;
use super::super::scene::PLUGINS;
use super::Driver;

impl Driver {
    pub(super) fn look_at_shelf(&mut self) {
        self.world.take_plugins(&self.shelf.seen(), true);
        self.world.compare();
    }

    /// Whoever is held back, mostly.
    pub(super) fn release(&mut self) {
        let held = self.world.store.conducts.iter().filter(|(_, conduct)| !conduct.is_running());
        let mut names: Vec<PluginName> = held.map(|(name, _)| name.clone()).collect();
        if names.is_empty() || self.random.once_in(8) {
            names = PLUGINS.iter().map(|name| PluginName::new(name).unwrap()).collect();
        }
        let name = self.random.pick(&names).clone();
        self.world.release(&name);
        self.world.compare();
    }

    /// A trial began: now and then its check goes, gets another plugin, or the trial's own plugin changes, before it ends.
    pub(super) fn meddle(&mut self, key: &Key, plugin: &PluginName) {
        let backs_off = self.world.store.conducts.get(plugin).is_some_and(|conduct| !conduct.is_running());
        if !backs_off || !self.random.once_in(4) {
            return;
        }
        let Some((number, check)) = self.scene.checks.iter().find(|(_, check)| check.name == key.check) else { return };
        let (number, check) = (*number, Check::clone(check));
        match self.random.below(3) {
            0 => self.scene.switch(number, false),
            1 => {
                let plugin = PluginName::new(self.random.pick::<&str>(&PLUGINS)).unwrap();
                self.scene.checks.insert(number, Arc::new(Check { plugin, ..check }));
            }
            _ => {
                self.world.release(plugin);
                return;
            }
        }
        let checks = self.scene.prepare();
        self.take(checks);
    }
}

/// What operators configure of supervision.
pub(super) fn rules(random: &mut Random) -> Rules {
    Rules {
        failures: random.between(3, 6) as u32,
        window: random.seconds(30, 90),
        backoff: random.seconds(5, 20),
        max_backoff: random.seconds(60, 300),
        quarantine_after: random.between(2, 4) as u32,
    }
}
