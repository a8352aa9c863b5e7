//! Which (check, target) something is about.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::CheckName;

/// One target of one check; everything that has a state has such a key. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub check: CheckName,
    /// None: the check looks at the node itself.
    pub target: Option<Arc<str>>,
}

impl Key {
    /// The key of a check and the name of one of its targets.
    pub fn new(check: CheckName, target: Option<&str>) -> Self {
        Self { check, target: target.map(Arc::from) }
    }

    /// The target's name, empty for the node itself: how InfluxDB groups a missing tag.
    pub fn target_or_empty(&self) -> &str {
        self.target.as_deref().unwrap_or("")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            None => write!(f, "{}", self.check),
            Some(target) => write!(f, "{}/{target}", self.check),
        }
    }
}
