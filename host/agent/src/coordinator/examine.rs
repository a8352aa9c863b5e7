//! What only grants, ceilings and its plugin can tell of a check.

use std::sync::Arc;

use roundsman_plugin::load::Plugin;

use crate::checks::Configured;
use crate::prepare::Common;
use crate::problem::Problem;
use crate::shared::{PluginSlot, Shared};
use crate::subject::Prepared;
use crate::trust::ceiling::{self, asked};
use crate::trust::{Origin, Policy};

/// What only grants and the check's plugin can tell of a check; nothing while the plugin is not there, for it may be
/// copied a moment later.
pub(super) async fn examine(
    common: &Common,
    shared: &Shared,
    policy: &Policy,
    configured: &Configured,
) -> Vec<Problem> {
    let check = &configured.check;
    let prepared = match common.prepare(check) {
        Ok(prepared) => prepared,
        Err(wrong) => return vec![configured.problem_at(&wrong.pointer, wrong.message)],
    };
    let plugin = match shared.plugin(&check.plugin) {
        PluginSlot::Ready(plugin) => plugin,
        PluginSlot::BuiltIn | PluginSlot::Compiling | PluginSlot::Unusable { .. } => return Vec::new(),
    };
    let mut problems = match shared.origin(&check.plugin) {
        Some(origin) => ceiling::problems(policy, &origin, configured, &common.node),
        None => Vec::new(),
    };
    problems.extend(complaints(configured, &plugin, &prepared).await);
    problems
}

/// Why a check is not run with a plugin of this origin.
pub(super) fn why_barred(policy: &Policy, origin: &Origin, prepared: &Prepared, common: &Common) -> Option<Arc<str>> {
    let check = &prepared.check;
    let target = check.target(prepared.key().target.as_ref());
    let asked = asked(policy, check, target, &common.node)?;
    let why = ceiling::in_words(&ceiling::beyond(policy, origin, check, target, &asked))?;
    Some(format!("it asks for more than plugin `{}` may be granted: {why}", check.plugin).into())
}

/// What a plugin says of a check's settings, on any of its targets.
pub(crate) async fn complaints(configured: &Configured, plugin: &Plugin, prepared: &[Prepared]) -> Vec<Problem> {
    let mut said: Vec<String> = Vec::new();
    for prepared in prepared {
        let settings = serde_json::from_str(&prepared.assignment.settings).unwrap_or_default();
        for message in plugin.validate(&settings).await {
            if !said.contains(&message) {
                said.push(message);
            }
        }
    }
    said.into_iter().map(|message| configured.problem_at(&settings_pointer(&message), message)).collect()
}

/// Where the plugin's complaint points to: `expect.status.0: …`, or the settings as a whole.
fn settings_pointer(message: &str) -> String {
    let place = message.split_once(": ").map_or("", |(place, _)| place);
    let plain = !place.is_empty() && place.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if plain { format!("/settings/{}", place.replace('.', "/")) } else { "/settings".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_point_to_their_place() {
        for (message, pointer) in [
            ("expect.status.0: 3 is not of type \"string\"", "/settings/expect/status/0"),
            ("Additional properties are not allowed ('x' was unexpected)", "/settings"),
            ("a sentence: with a colon", "/settings"),
        ] {
            assert_eq!(settings_pointer(message), pointer);
        }
    }
}
