//! What checks depend on: the graph of `dependsOn`, which must not lead back to where it began.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::CheckName;

/// Names that depend on each other in a circle, each on the next and the last on the first, beginning with the smallest:
/// always the same circle for the same graph. None: there is none. Names that are not keys depend on nothing.
pub fn cycle(graph: &BTreeMap<CheckName, Vec<CheckName>>) -> Option<Vec<CheckName>> {
    let mut done: BTreeSet<&CheckName> = BTreeSet::new();
    for start in graph.keys() {
        // The way from `start` to where we are, with what is still to be looked at on each step. It is a list and no
        // recursion, because a chain may be as long as there are checks.
        let mut way: Vec<(&CheckName, std::slice::Iter<'_, CheckName>)> = Vec::new();
        let mut on_way: BTreeSet<&CheckName> = BTreeSet::new();
        let mut step = Some(start);
        loop {
            if let Some(name) = step.take()
                && !done.contains(name)
                && let Some((name, next)) = graph.get_key_value(name)
            {
                if on_way.contains(name) {
                    return Some(circle(&way, name));
                }
                on_way.insert(name);
                way.push((name, next.iter()));
            }
            let Some((name, rest)) = way.last_mut() else { break };
            step = rest.next();
            if step.is_none() {
                on_way.remove(*name);
                done.insert(*name);
                way.pop();
            }
        }
    }
    None
}

/// The part of a way from `first` on, turned so that its smallest name stands first.
fn circle<T>(way: &[(&CheckName, T)], first: &CheckName) -> Vec<CheckName> {
    let mut names: Vec<CheckName> =
        way.iter().map(|(name, _)| *name).skip_while(|name| *name != first).cloned().collect();
    let smallest = names.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(n, _)| n);
    names.rotate_left(smallest);
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> CheckName {
        CheckName::new(text).unwrap()
    }

    /// From `a>b,c b>a`.
    fn graph(text: &str) -> BTreeMap<CheckName, Vec<CheckName>> {
        let line = |line: &str| {
            let (from, to) = line.split_once('>').unwrap();
            (name(from), to.split(',').filter(|to| !to.is_empty()).map(name).collect())
        };
        text.split_whitespace().map(line).collect()
    }

    #[test]
    fn circles() {
        for (text, expected) in [
            ("", None),
            ("a>", None),
            ("a>b b>c c>", None),
            ("a>b,c b>d c>d d>", None),
            ("a>unknown,unknown", None),
            ("a>a", Some("a")),
            ("a>b b>a", Some("a b")),
            ("c>a a>b b>c", Some("a b c")),
            ("c>b b>a a>c", Some("a c b")),
            ("a>z z>y y>x x>z", Some("x z y")),
            ("a>b b>c c>b,a", Some("b c")),
            ("b>b a>d d>c c>d", Some("c d")),
        ] {
            let found =
                cycle(&graph(text)).map(|names| names.iter().map(CheckName::as_str).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let step = |n: u32| name(&format!("c{n}"));
        let mut graph: BTreeMap<_, _> = (0..100_000).map(|n| (step(n), vec![step(n + 1)])).collect();
        assert_eq!(cycle(&graph), None);
        graph.insert(step(100_000), vec![step(0)]);
        assert_eq!(cycle(&graph).unwrap().len(), 100_001);
    }

    proptest! {
        #[test]
        fn as_the_obvious_model(edges in prop::collection::vec((0_usize..9, 0_usize..9), 0..14)) {
            let names: Vec<CheckName> = (0..9).map(|n| name(&format!("c{n}"))).collect();
            let mut graph: BTreeMap<CheckName, Vec<CheckName>> = BTreeMap::new();
            let mut reaches = [[false; 9]; 9];
            for (from, to) in edges {
                graph.entry(names[from].clone()).or_default().push(names[to].clone());
                reaches[from][to] = true;
            }
            // Who reaches whom, by Warshall: there is a circle where somebody reaches himself.
            for (via, from, to) in (0..9).flat_map(|v| (0..9).flat_map(move |f| (0..9).map(move |t| (v, f, t)))) {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
            let found = cycle(&graph);
            prop_assert_eq!(found.is_some(), (0..9).any(|n| reaches[n][n]));
            if let Some(found) = found {
                let next = found.iter().cycle().skip(1);
                prop_assert!(found.iter().zip(next).all(|(name, next)| graph[name].contains(next)), "{:?}", found);
                prop_assert_eq!(found.iter().min(), found.first());
                prop_assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
            }
        }
    }
}
