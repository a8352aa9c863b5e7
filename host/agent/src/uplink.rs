//! Whether this node's own way out is down, told from the anchors: checks of what is always there.
//!
//! When every anchor fails at once, the node is cut off, and what else fails over the network says little of its target.
//! No threshold is waited for: the failures that are to be doubted come at the same moment as those of the anchors.

use std::collections::BTreeMap;

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::{Blame, Status};

/// What the anchors said last.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    anchors: Vec<CheckName>,
    /// Whether its last result is a failure, for each (check, target) of an anchor.
    fails: BTreeMap<Key, bool>,
}

impl Uplink {
    /// Without anchors nothing is ever doubted.
    pub(crate) fn new(anchors: Vec<CheckName>) -> Self {
        Self { anchors, fails: BTreeMap::new() }
    }

    /// Whether a check is one of those that tell of the uplink.
    pub(crate) fn is_anchor(&self, check: &CheckName) -> bool {
        self.anchors.contains(check)
    }

    /// A key is on the schedule: until an anchor was heard of it is not down, so that the first one that fails after the
    /// start does not speak for all.
    pub(crate) fn expect(&mut self, key: &Key) {
        if self.is_anchor(&key.check) {
            self.fails.entry(key.clone()).or_insert(false);
        }
    }

    /// A run ended. One whose plugin or host is to blame says nothing of the way out, so its anchor is not down.
    pub(crate) fn heard(&mut self, key: &Key, status: Status, blame: Blame) {
        if self.is_anchor(&key.check) {
            self.fails.insert(key.clone(), status != Status::Ok && blame == Blame::Target);
        }
    }

    /// A key is no longer run: removed, disabled or skipped. Otherwise its last failure would be doubted for ever.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.fails.remove(key);
    }

    /// Whether there are anchors, and the last result of each of them is a failure.
    pub(crate) fn is_down(&self) -> bool {
        !self.fails.is_empty() && self.fails.values().all(|fails| *fails)
    }

    /// Whether a result is to be marked as suspect. `network`: the check reaches its target over the network. Anchors are
    /// never suspect: theirs is the alarm that is to be raised.
    pub(crate) fn suspects(&self, key: &Key, status: Status, blame: Blame, network: bool) -> bool {
        let fails = matches!(status, Status::Warning | Status::Critical) && blame == Blame::Target;
        network && fails && !self.is_anchor(&key.check) && self.is_down()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let (check, target) = text.split_once('/').map_or((text, None), |(check, target)| (check, Some(target)));
        Key::new(CheckName::new(check).unwrap(), target)
    }

    fn uplink() -> Uplink {
        Uplink::new(["gateway", "dns"].map(|name| CheckName::new(name).unwrap()).to_vec())
    }

    /// `?key` is expected, `-key` is forgotten, `o`, `w`, `c`, `u` are statuses, `x` is unknown by the plugin's fault.
    fn walk(script: &str) -> Uplink {
        let mut uplink = uplink();
        for word in script.split_whitespace() {
            let (what, key) = (word.chars().next().unwrap(), key(&word[1..]));
            let (status, blame) = match what {
                '?' => {
                    uplink.expect(&key);
                    continue;
                }
                '-' => {
                    uplink.forget(&key);
                    continue;
                }
                'o' => (Status::Ok, Blame::Target),
                'w' => (Status::Warning, Blame::Target),
                'c' => (Status::Critical, Blame::Target),
                'u' => (Status::Unknown, Blame::Target),
                _ => (Status::Unknown, Blame::Plugin),
            };
            uplink.heard(&key, status, blame);
        }
        uplink
    }

    #[test]
    fn down_when_every_anchor_fails() {
        for (script, down) in [
            ("", false),
            ("ogateway", false),
            ("cgateway", true),
            ("wgateway", true),
            ("ugateway", true),
            ("xgateway", false),
            ("cshop", false),
            ("cgateway cshop", true),
            ("cgateway odns/a", false),
            ("cgateway cdns/a odns/b", false),
            ("cgateway cdns/a cdns/b", true),
            ("cgateway cdns/a xdns/b", false),
            ("cgateway cdns/a odns/a", false),
            ("odns/a cgateway cdns/a", true),
            // One that is not heard of yet is not down.
            ("?gateway ?dns/a cgateway", false),
            ("?gateway ?dns/a cgateway cdns/a", true),
            ("cgateway ?gateway", true),
            // Who is gone has no say.
            ("cgateway odns/a -dns/a", true),
            ("cgateway -gateway", false),
            ("?shop", false),
        ] {
            assert_eq!(walk(script).is_down(), down, "{script:?}");
        }
    }

    #[test]
    fn who_is_suspect() {
        for (down, who, status, blame, network, suspect) in [
            (true, "shop/eu", Status::Critical, Blame::Target, true, true),
            (true, "shop/eu", Status::Warning, Blame::Target, true, true),
            (true, "shop/eu", Status::Ok, Blame::Target, true, false),
            (true, "shop/eu", Status::Unknown, Blame::Target, true, false),
            (true, "shop/eu", Status::Critical, Blame::Plugin, true, false),
            (true, "shop/eu", Status::Critical, Blame::Host, true, false),
            (true, "disk", Status::Critical, Blame::Target, false, false),
            (true, "gateway", Status::Critical, Blame::Target, true, false),
            (true, "dns/a", Status::Critical, Blame::Target, true, false),
            (false, "shop/eu", Status::Critical, Blame::Target, true, false),
        ] {
            let uplink = walk(if down { "cgateway" } else { "ogateway" });
            let found = uplink.suspects(&key(who), status, blame, network);
            assert_eq!(found, suspect, "{who} {status:?} {blame:?} {network} {down}");
        }
        assert!(!Uplink::default().suspects(&key("shop"), Status::Critical, Blame::Target, true));
    }
}
