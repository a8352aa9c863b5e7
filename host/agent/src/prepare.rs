//! From a configured check to what the engine runs: one assignment for each target, with `${…}` filled in and the
//! grants compiled.

use std::sync::Arc;

use roundsman_model::check::{Check, Timing};
use roundsman_model::key::Key;
use roundsman_plugin::describe::HOST_TAGS;
use roundsman_plugin::job::{Assignment, Node};
use roundsman_probe::grants::Grants;
use roundsman_schedule::grid::Grid;
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
        check.keys().into_iter().map(|key| self.prepare_key(check, key)).collect()
    }

    fn prepare_key(&self, check: &Arc<Check>, key: Key) -> Result<Prepared, Wrong> {
        let target = check.target(key.target.as_ref());
        let filled = fill::fill_check(check, target, &self.node)
            .map_err(|error| Wrong { pointer: String::new(), message: error.to_string() })?;
        let grants = Grants::compile(filled.target.as_slice(), &filled.allow, &self.own_ports)
            .map_err(|error| Wrong { pointer: format!("/allow/{}", error.list), message: error.to_string() })?;
        let grid = match &check.timing {
            Timing::Interval(period) => Grid::interval(*period, &key, &self.node.name),
            Timing::Cron { expression, timezone } => Grid::cron(expression, timezone)
                .map_err(|error| Wrong { pointer: "/cron".to_owned(), message: error.to_string() })?,
        };
        Ok(Prepared {
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
