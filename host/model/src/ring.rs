//! Who looks at whom: the ring of nodes by hash, on which every node looks at the next k, so that exactly k look at every
//! node.

use crate::hash;

/// The next `k` nodes after `own` on the ring, nearest first; all others where there are not more than `k`.
///
/// `own` need not be among the nodes, and a node that is named twice counts once. The order of `nodes` does not matter.
pub fn next<'a>(own: &str, nodes: &[&'a str], k: usize) -> Vec<&'a str> {
    // Nodes of one hash, if there ever are two, stand on the ring in the order of their names.
    let place = |node: &str| hash::stable(&[node]);
    let mut ring: Vec<(u64, &'a str)> =
        nodes.iter().filter(|node| **node != own).map(|node| (place(node), *node)).collect();
    ring.sort_unstable();
    ring.dedup();
    let after = ring.partition_point(|other| *other < (place(own), own));
    ring.rotate_left(after);
    ring.into_iter().take(k).map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_ones() {
        // By hash, which another program computed: e 38…, b 6e…, c 77…, a 82…, d a5….
        let nodes = ["a", "b", "c", "d", "e"];
        for (own, k, next_ones) in [
            ("a", 2, "de"),
            ("c", 2, "ad"),
            ("d", 3, "ebc"),
            ("e", 1, "b"),
            ("b", 0, ""),
            ("b", 4, "cade"),
            ("b", 9, "cade"),
        ] {
            assert_eq!(next(own, &nodes, k).concat(), next_ones, "{own} {k}");
        }
        assert_eq!(next("a", &["c", "a", "c", "d", "d"], 9), ["d", "c"], "nodes that are named twice");
        assert_eq!(next("a", &["d", "c", "b"], 1), ["d"], "own is not among the nodes");
        assert_eq!(next("a", &["a"], 3), [""; 0]);
        assert_eq!(next("a", &[], 3), [""; 0]);
    }

    fn names(ids: &BTreeSet<u32>) -> Vec<String> {
        ids.iter().map(|id| format!("node-{id}")).collect()
    }

    /// What every node looks at.
    fn all<'a>(nodes: &[&'a str], k: usize) -> BTreeMap<&'a str, Vec<&'a str>> {
        nodes.iter().map(|own| (*own, next(own, nodes, k))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn everybody_is_looked_at_by_k(
            ids in prop::collection::btree_set(any::<u32>(), 2..=500),
            k in 1_usize..12,
            turn in any::<prop::sample::Index>(),
        ) {
            let names = names(&ids);
            let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut shuffled = nodes.clone();
            shuffled.reverse();
            shuffled.rotate_left(turn.index(nodes.len()));
            let ring = all(&nodes, k);
            prop_assert_eq!(&ring, &all(&shuffled, k));
            let mut watchers: BTreeMap<&str, usize> = BTreeMap::new();
            for (own, list) in &ring {
                prop_assert!(!list.contains(own));
                list.iter().for_each(|node| *watchers.entry(node).or_default() += 1);
            }
            let expected = k.min(nodes.len() - 1);
            prop_assert!(nodes.iter().all(|node| watchers.get(node) == Some(&expected)), "{:?}", watchers);
        }

        #[test]
        fn one_that_leaves_changes_at_most_k_lists_by_one(
            ids in prop::collection::btree_set(any::<u32>(), 3..200),
            k in 1_usize..12,
            who in any::<prop::sample::Index>(),
        ) {
            let names = names(&ids);
            let before: Vec<&str> = names.iter().map(String::as_str).collect();
            let leaves = before[who.index(before.len())];
            let after: Vec<&str> = before.iter().copied().filter(|node| *node != leaves).collect();
            let (with, without) = (all(&before, k), all(&after, k));
            let mut changed = 0;
            for own in &after {
                let (with, without): (BTreeSet<&str>, BTreeSet<&str>) =
                    (with[own].iter().copied().collect(), without[own].iter().copied().collect());
                changed += usize::from(with != without);
                prop_assert!(with.difference(&without).all(|node| *node == leaves));
                prop_assert!(without.difference(&with).count() <= 1);
            }
            prop_assert!(changed <= k, "{} lists", changed);
        }
    }
}
