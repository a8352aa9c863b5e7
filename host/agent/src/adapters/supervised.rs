//! How plugins behave, as the API and `/metrics` show it.

use roundsman_model::name::PluginName;
use roundsman_model::supervision::{Conduct, Phase};
use roundsman_web::instant::Instant;
use roundsman_web::sample::{Family, Kind};
use roundsman_web::view::{Supervised, Supervision};

use crate::adapters::Face;
use crate::clock::system_now;
use crate::shared::Loaded;

/// A number with its labels.
type Value = (Vec<(&'static str, String)>, f64);

impl Face {
    /// None: there is no version of it that could run.
    pub(super) fn supervision(&self, name: &str, loaded: &Loaded) -> Option<Supervision> {
        loaded.plugin.as_ref()?;
        let name = PluginName::new(name).ok()?;
        let (failures, runs) = self.shared.published.watched().get(&name).copied().unwrap_or_default();
        let conduct = self.shared.published.conducts().remove(&name);
        let conduct = conduct.unwrap_or_else(|| Conduct::new("".into(), loaded.loaded.unwrap_or(self.started)));
        Some(Supervision {
            state: state(conduct.phase),
            since: Instant(conduct.since),
            reason: conduct.words(&name),
            failures,
            runs,
            backoffs: conduct.backoffs_at(&self.config.supervision, system_now()),
            next_attempt: match conduct.phase {
                Phase::BackOff { until } => Some(Instant(until)),
                Phase::Running | Phase::Quarantined => None,
            },
        })
    }

    /// For `/metrics`.
    pub(super) fn supervised(&self) -> Vec<Family> {
        let conducts = self.shared.published.conducts();
        let phase = |name: &PluginName| conducts.get(name).map_or(Phase::Running, |conduct| conduct.phase);
        let plugins = self.shared.plugins.load();
        let usable = plugins.iter().filter(|(_, loaded)| loaded.plugin.is_some());
        let states: Vec<Value> =
            usable.map(|(name, _)| (vec![("plugin", name.to_string())], f64::from(state(phase(name)) as u8))).collect();
        let quarantined = conducts.values().filter(|conduct| conduct.phase == Phase::Quarantined).count();
        let failures = self.shared.stats.failures().into_iter();
        let failures = failures.map(|((plugin, code), count)| (vec![("plugin", plugin), ("code", code)], count as f64));
        let family = |name, help, kind, values| Family { name, help, kind, values };
        vec![
            family("roundsman_plugin_state", "0 running, 1 backing off, 2 quarantined.", Kind::Gauge, states),
            family(
                "roundsman_plugins_quarantined",
                "Plugins that are left alone until their file changes or somebody releases them.",
                Kind::Gauge,
                vec![(Vec::new(), quarantined as f64)],
            ),
            family(
                "roundsman_plugin_failures",
                "Runs that trapped or ran out of their limits, by code: what makes a plugin back off.",
                Kind::Counter,
                failures.collect(),
            ),
        ]
    }
}

fn state(phase: Phase) -> Supervised {
    match phase {
        Phase::Running => Supervised::Running,
        Phase::BackOff { .. } => Supervised::BackOff,
        Phase::Quarantined => Supervised::Quarantined,
    }
}
