//! From a configured check to what the engine runs: one assignment for each target, with `${…}` filled in and the
//! grants compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Check, Limits, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{BUILT_IN, CheckName, PluginName, excerpt};
use roundsman_plugin::describe::HOST_TAGS;
use roundsman_plugin::job::{Assignment, Node};
use roundsman_probe::grants::Grants;
use roundsman_schedule::grid::Grid;
use roundsman_schedule::window::Window;
use roundsman_store::TagSet;

use crate::checks::fill;
use crate::config;
use crate::config::nearest::nearest;
use crate::subject::Prepared;

/// What all checks of a node have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) node: config::Node,
    pub(crate) facts: Arc<Node>,
    /// Ports on which the agent itself listens: they are refused unless a grant names them exactly.
    pub(crate) own_ports: Vec<u16>,
    /// Names of `secrets:`; none where nobody knows them, as in a simulation.
    secrets: Option<BTreeSet<String>>,
}

/// How often the agent looks at itself.
const OWN_INTERVAL: Duration = Duration::from_secs(10);

/// The check by which the agent looks at itself; a checks file cannot take its name.
pub(crate) fn built_in() -> Arc<Check> {
    Arc::new(Check {
        name: CheckName::new(BUILT_IN).expect("a name by the rules"),
        plugin: PluginName::new(BUILT_IN).expect("a name by the rules"),
        timing: Timing::Interval(OWN_INTERVAL),
        jitter_percent: 0,
        catch_up: CatchUp::Skip,
        timeout: OWN_INTERVAL,
        initial_delay: Duration::ZERO,
        retry_interval: None,
        success_threshold: 1,
        failure_threshold: 3,
        targets: Vec::new(),
        settings: serde_json::Map::new(),
        thresholds: Vec::new(),
        allow: Allow::default(),
        limits: Limits::default(),
        depends_on: Vec::new(),
        maintenance: Vec::new(),
        negate: false,
        shadow: false,
        labels: BTreeMap::new(),
        owner: None,
        runbook: None,
        enabled: true,
    })
}

/// What is wrong with a check, and where in it: a JSON pointer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl Common {
    pub(crate) fn new(node: config::Node, own_ports: Vec<u16>) -> Self {
        let facts = Arc::new(Node { name: node.name.clone(), labels: node.labels.clone() });
        Self { node, facts, own_ports, secrets: None }
    }

    /// With the secrets that the agent's configuration knows: a check that names another one is wrong.
    #[must_use]
    pub(crate) fn with_secrets<'a>(self, names: impl IntoIterator<Item = &'a String>) -> Self {
        Self { secrets: Some(names.into_iter().cloned().collect()), ..self }
    }

    /// Everything that the engine needs to run a check on each of its targets.
    pub(crate) fn prepare(&self, check: &Arc<Check>) -> Result<Vec<Prepared>, Wrong> {
        let windows = check.maintenance.iter().enumerate().map(|(n, maintenance)| {
            Window::new(&maintenance.cron, &maintenance.timezone, maintenance.length)
                .map_err(|error| Wrong { pointer: format!("/maintenance/{n}/cron"), message: error.to_string() })
        });
        let windows: Arc<[Window]> = windows.collect::<Result<_, _>>()?;
        check.keys().into_iter().map(|key| self.prepare_key(check, key, windows.clone())).collect()
    }

    fn prepare_key(&self, check: &Arc<Check>, key: Key, windows: Arc<[Window]>) -> Result<Prepared, Wrong> {
        let target = check.target(key.target.as_ref());
        let filled = fill::fill_check(check, target, &self.node)
            .map_err(|error| Wrong { pointer: String::new(), message: error.to_string() })?;
        let grants = Grants::compile(filled.target.as_slice(), &filled.allow, &self.own_ports)
            .map_err(|error| Wrong { pointer: format!("/allow/{}", error.list), message: error.to_string() })?;
        self.look_for_secrets(&filled.allow.secrets)?;
        let grid = match &check.timing {
            Timing::Interval(period) => Grid::interval(*period, check.jitter_percent, &key, &self.node.name),
            // Begun by the engine, or by somebody else.
            Timing::Start | Timing::Ttl(_) => Grid::Never,
            Timing::Cron { expression, timezone } => Grid::cron(expression, timezone)
                .map_err(|error| Wrong { pointer: "/cron".to_owned(), message: error.to_string() })?,
        };
        Ok(Prepared {
            windows,
            tags: self.tags(check, &key),
            assignment: Arc::new(Assignment {
                settings: serde_json::Value::Object(filled.settings).to_string(),
                target: filled.target,
                node: self.facts.clone(),
                grants: Arc::new(grants),
                limits: check.limits,
                key,
            }),
            check: check.clone(),
            grid,
            barred: None,
        })
    }

    fn look_for_secrets(&self, names: &[String]) -> Result<(), Wrong> {
        let Some(known) = &self.secrets else { return Ok(()) };
        let unknown = names.iter().enumerate().find(|(_, name)| !known.contains(*name));
        let Some((number, name)) = unknown.map(|(number, name)| (number, excerpt(name))) else { return Ok(()) };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let way_out = match nearest(&name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it there, for instance secrets: {{{name}: {{file: /run/secrets/{name}}}}}"),
        };
        let message = format!("there is no secret `{name}` in `secrets:` of roundsman.yaml: {way_out}");
        Err(Wrong { pointer: format!("/allow/secrets/{number}"), message })
    }

    fn tags(&self, check: &Check, key: &Key) -> TagSet {
        let values =
            [check.name.as_str(), &self.node.cluster, &self.node.name, check.plugin.as_str(), key.target_or_empty()];
        let own = HOST_TAGS.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        TagSet::new(own.chain(check.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_nobody_knows() {
        let node = config::Node {
            name: "n".to_owned(),
            cluster: "c".to_owned(),
            zone: None,
            ip: None,
            labels: BTreeMap::from([("name".to_owned(), "etcd".to_owned())]),
        };
        let common = Common::new(node.clone(), Vec::new()).with_secrets(&["shop".to_owned(), "etcd".to_owned()]);
        let prepare = |common: &Common, names: &[&str]| {
            let secrets = names.iter().map(|name| (*name).to_owned()).collect();
            let allow = Allow { secrets, ..Allow::default() };
            let check = Arc::new(Check { allow, ..(*built_in()).clone() });
            common.prepare(&check).map(|prepared| prepared[0].assignment.grants.secrets().to_vec())
        };
        assert_eq!(prepare(&common, &["shop", "${node.labels.name}"]), Ok(vec!["shop".to_owned(), "etcd".to_owned()]));
        for (names, pointer, message) in [
            (
                &["shop", "shp"][..],
                "/allow/secrets/1",
                "there is no secret `shp` in `secrets:` of roundsman.yaml: did you mean `shop`?",
            ),
            (
                &["database"],
                "/allow/secrets/0",
                "there is no secret `database` in `secrets:` of roundsman.yaml: add it there, for instance secrets: \
                 {database: {file: /run/secrets/database}}",
            ),
        ] {
            let wrong = Wrong { pointer: pointer.to_owned(), message: message.to_owned() };
            assert_eq!(prepare(&common, names), Err(wrong));
        }
        assert!(prepare(&Common::new(node, Vec::new()), &["database"]).is_ok(), "nobody knows the names");
    }
}
