//! Limits, and what /proc/meminfo says. Nothing here touches the world.

use std::collections::BTreeMap;

use roundsman_sdk::{Fault, Status};
use schemars::JsonSchema;
use serde::Deserialize;

/// From where on something is a warning, and from where on critical.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) warning: f64,
    pub(crate) critical: f64,
}

/// Something that is not as it should be.
pub(crate) type Complaint = (Status, String);

/// In bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
}

impl Limit {
    /// What is wrong with a value that must not reach the limit.
    pub(crate) fn at_most(&self, what: &str, value: f64, unit: &str) -> Option<Complaint> {
        let (status, limit) = match value {
            value if value >= self.critical => (Status::Critical, self.critical),
            value if value >= self.warning => (Status::Warning, self.warning),
            _ => return None,
        };
        Some((status, format!("{what} {value:.1}{unit}, limit {limit}{unit}")))
    }

    /// What is wrong with a value that must not sink to the limit.
    pub(crate) fn at_least(&self, what: &str, value: f64, unit: &str) -> Option<Complaint> {
        let (status, limit) = match value {
            value if value <= self.critical => (Status::Critical, self.critical),
            value if value <= self.warning => (Status::Warning, self.warning),
            _ => return None,
        };
        Some((status, format!("{what} {value:.1}{unit}, limit {limit}{unit}")))
    }
}

impl Memory {
    pub(crate) fn read(meminfo: &BTreeMap<String, u64>) -> Result<Self, Fault> {
        let get = |name: &str| {
            meminfo.get(name).copied().ok_or_else(|| Fault::new("unsupported", format!("the kernel tells no {name}")))
        };
        Ok(Self {
            total: get("MemTotal")?,
            available: get("MemAvailable")?,
            swap_total: get("SwapTotal").unwrap_or(0),
            swap_free: get("SwapFree").unwrap_or(0),
        })
    }

    pub(crate) fn available_percent(&self) -> f64 {
        percent(self.available, self.total)
    }

    /// None without swap.
    pub(crate) fn swap_used_percent(&self) -> Option<f64> {
        (self.swap_total > 0).then(|| percent(self.swap_total.saturating_sub(self.swap_free), self.swap_total))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let up = Limit { warning: 2.0, critical: 5.0 };
        for (value, expected) in [
            (1.9, None),
            (2.0, Some((Status::Warning, "load 2.0, limit 2".to_owned()))),
            (5.0, Some((Status::Critical, "load 5.0, limit 5".to_owned()))),
        ] {
            assert_eq!(up.at_most("load", value, ""), expected);
        }
        let down = Limit { warning: 10.0, critical: 4.0 };
        for (value, expected) in [
            (10.1, None),
            (10.0, Some((Status::Warning, "memory 10.0 %, limit 10 %".to_owned()))),
            (3.25, Some((Status::Critical, "memory 3.2 %, limit 4 %".to_owned()))),
        ] {
            assert_eq!(down.at_least("memory", value, " %"), expected);
        }
    }

    #[test]
    fn meminfo() {
        let of = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let full = of(&[("MemTotal", 1_000), ("MemAvailable", 250), ("SwapTotal", 400), ("SwapFree", 300)]);
        let memory = Memory::read(&full).unwrap();
        assert!((memory.available_percent() - 25.0).abs() < 1e-9);
        assert!((memory.swap_used_percent().unwrap() - 25.0).abs() < 1e-9);
        let bare = Memory::read(&of(&[("MemTotal", 1_000), ("MemAvailable", 250)])).unwrap();
        assert_eq!(bare.swap_used_percent(), None);
        let old = Memory::read(&of(&[("MemTotal", 1_000)])).unwrap_err();
        assert_eq!(old, Fault::new("unsupported", "the kernel tells no MemAvailable"));
    }
}
