//! From a configured check to what the engine runs: one assignment for each target, with `${…}` filled in and the
//! grants compiled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Check, Limits, Timing};
use roundsman_model::grants::Allow;
use roundsman_model::key::Key;
use roundsman_model::name::{BUILT_IN, CheckName, PluginName};
use roundsman_plugin::describe::HOST_TAGS;
use roundsman_plugin::job::{Assignment, Node};
use roundsman_probe::grants::Grants;
use roundsman_schedule::grid::Grid;
use roundsman_schedule::window::Window;
use roundsman_store::TagSet;

use crate::checks::fill;
use crate::config;
use crate::subject::Prepared;

/// What all checks of a node have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) node: config::Node,
    pub(crate) facts: Arc<Node>,
    /// Ports on which the agent itself listens: they are refused unless a grant names them exactly.
    pub(crate) own_ports: Vec<u16>,
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
        Self { node, facts, own_ports }
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
        })
    }

    fn tags(&self, check: &Check, key: &Key) -> TagSet {
        let values =
            [check.name.as_str(), &self.node.cluster, &self.node.name, check.plugin.as_str(), key.target_or_empty()];
        let own = HOST_TAGS.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        TagSet::new(own.chain(check.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))))
    }
}
