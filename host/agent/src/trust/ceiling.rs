//! What a check asks for beyond the ceiling of its plugin, in words that lead out.

use roundsman_model::check::Check;
use roundsman_model::grants::Allow;
use roundsman_model::name::excerpt;
use roundsman_model::target::Target;
use roundsman_probe::grants::GrantError;
use roundsman_probe::pattern::Pattern;

use super::{Origin, Policy};
use crate::checks::Configured;
use crate::checks::fill::{Filled, fill_check};
use crate::config::Node;
use crate::config::trust::Whose;
use crate::problem::Problem;

/// One line of a check, or its target, that lies beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// A JSON pointer into the check.
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What a check asks for on one of its targets, filled in. None where no ceiling could be too low for it, and where it
/// cannot be filled in: that is told where it is prepared.
pub(crate) fn asked(policy: &Policy, check: &Check, target: Option<&Target>, node: &Node) -> Option<Filled> {
    let allow = &check.allow;
    let plain = [&allow.files, &allow.secrets, &allow.commands, &allow.kubernetes].into_iter().all(Vec::is_empty);
    if plain && policy.has_no_ceilings() {
        return None;
    }
    fill_check(check, target, node).ok()
}

/// Everything of that which the ceiling of its plugin does not hold. `target` is as it was written.
pub(crate) fn beyond(
    policy: &Policy,
    origin: &Origin,
    check: &Check,
    target: Option<&Target>,
    filled: &Filled,
) -> Vec<Beyond> {
    let (whose, ceiling) = policy.ceiling(&check.plugin, origin);
    match ceiling.check(&filled.allow, filled.target.as_slice()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|error| told(check, target, filled, whose.as_ref(), error)).collect(),
    }
}

/// The same for all targets of a check, as problems at the lines that they are about.
pub(crate) fn problems(policy: &Policy, origin: &Origin, configured: &Configured, node: &Node) -> Vec<Problem> {
    let check = &configured.check;
    let every: Vec<Option<&Target>> =
        if check.targets.is_empty() { vec![None] } else { check.targets.iter().map(Some).collect() };
    let mut problems = Vec::new();
    let of_target = |target: Option<&Target>| match asked(policy, check, target, node) {
        Some(filled) => beyond(policy, origin, check, target, &filled),
        None => Vec::new(),
    };
    for beyond in every.into_iter().flat_map(of_target) {
        let pointer = if beyond.pointer.starts_with("/targets") && !configured.writes("targets") {
            "/target".to_owned()
        } else {
            beyond.pointer
        };
        let problem = configured.problem_at(&pointer, beyond.message).hint(beyond.hint);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// In one line, for the record of a run that does not take place.
pub(crate) fn in_words(beyond: &[Beyond]) -> Option<String> {
    let first = beyond.first()?;
    let more = if beyond.len() > 1 { format!(", and {} more", beyond.len() - 1) } else { String::new() };
    Some(format!("{}; {}{more}", first.message, first.hint))
}

fn told(check: &Check, target: Option<&Target>, filled: &Filled, whose: Option<&Whose>, error: &GrantError) -> Beyond {
    let (list, plugin) = (error.list, &check.plugin);
    // An error shows long lines cut; what is to be written has to be whole.
    let lines = list_of(&filled.allow, list);
    let number = lines.iter().position(|line| excerpt(line) == error.line);
    let (pointer, line) = match (number.and_then(|number| Some((number, lines.get(number)?))), &filled.target) {
        (Some((number, line)), _) => (format!("/allow/{list}/{number}"), line.clone()),
        (None, Some(asked)) => {
            let number = check.targets.iter().position(|own| Some(own) == target).unwrap_or_default();
            (format!("/targets/{number}/address"), line_for(&asked.address))
        }
        (None, None) => (format!("/allow/{list}"), error.line.clone()),
    };
    let quoted = serde_json::Value::from(line);
    let hint = match (&error.way_out, whose) {
        (Some(way_out), _) => way_out.clone(),
        // The default is for whatever has no ceiling of its own: wider for this plugin alone means one of its own.
        (None, None | Some(Whose::Default)) => {
            let others = if whose.is_some() {
                "; beside it `default` does not hold, so write there all that it may"
            } else {
                ""
            };
            format!("add to roundsman.yaml: trust: {{plugins: {{{plugin}: {{{list}: [{quoted}]}}}}}}{others}")
        }
        (None, Some(whose)) => format!("add {quoted} to `trust.plugins.{whose}.{list}` of roundsman.yaml"),
    };
    let what = match &filled.target {
        Some(asked) if number.is_none() => excerpt(&asked.address),
        _ => error.line.clone(),
    };
    Beyond { pointer, message: format!("`{what}` {}", error.reason), hint }
}

/// What a ceiling has to say so that a target may be dialled.
fn line_for(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split(['/', '?', '#']).next().unwrap_or(rest)),
        None if Pattern::parse(&format!("tcp://{address}")).is_ok() => format!("tcp://{address}"),
        None => format!("tcp://{address}:*"),
    }
}

fn list_of<'a>(allow: &'a Allow, list: &str) -> &'a [String] {
    match list {
        "network" => &allow.network,
        "files" => &allow.files,
        "system" => &allow.system,
        "secrets" => &allow.secrets,
        "commands" => &allow.commands,
        "kubernetes" => &allow.kubernetes,
        _ => &[],
    }
}

#[cfg(test)]
#[path = "ceiling_tests.rs"]
mod tests;
