//! What may be silenced, what a silence covers and when it ends.

use proptest::prelude::*;

use super::*;

fn key(check: &str, target: Option<&str>) -> Key {
    Key::new(CheckName::new(check).unwrap(), target)
}

fn silence(id: u64, check: Option<&str>, target: Option<&str>, until: Option<i64>) -> Silence {
    let until = until.map_or(Until::Recovery, |until| Until::Instant(Timestamp(until)));
    Silence::new(id, check, target, "ada", "known", Timestamp(0), until).unwrap()
}

#[test]
fn what_somebody_wrote() {
    let (end, long) = (Until::Instant(Timestamp(9)), "x".repeat(2_000));
    let none: Option<&str> = None;
    let (all, shop, eu) = (none, Some("shop"), Some("eu"));
    let itself = Some("");
    for (check, target, author, reason, until, expected) in [
        (all, all, "ada", "moving house", end, Ok(())),
        (shop, all, "ada", "r", end, Ok(())),
        (all, eu, "ada", "r", end, Ok(())),
        (shop, eu, " ada ", "\tr\n", Until::Recovery, Ok(())),
        (shop, itself, "ada", "r", Until::Recovery, Ok(())),
        (shop, all, "ada", "r", Until::Recovery, Err("an acknowledgement is about one thing")),
        (all, eu, "ada", "r", Until::Recovery, Err("an acknowledgement is about one thing")),
        (shop, eu, "", "r", end, Err("the author is empty: say who")),
        (shop, eu, "ada", " \n", end, Err("the reason is empty: say why")),
        (shop, eu, &long[..128], &long[..1024], end, Ok(())),
        (shop, eu, &long[..129], "r", end, Err("the author has 129 bytes: shorten it to 128")),
        (shop, eu, "ada", &long[..1025], end, Err("the reason has 1025 bytes: shorten it to 1024")),
        (shop, Some(&long[..254]), "ada", "r", end, Err("the target has 254 bytes: shorten it to 253")),
        (shop, Some("e\0u"), "ada", "r", end, Err("the target holds a line break")),
        (shop, eu, "a\u{1b}[31mda", "r", end, Err("the author holds a line break")),
        (shop, eu, "ada", "one\ntwo", end, Err("the reason holds a line break")),
        (shop, eu, "ada", "one\u{2028}two", end, Err("the reason holds a line break")),
        (Some("Shop"), eu, "ada", "r", end, Err("check name `Shop` must be")),
        (itself, eu, "ada", "r", end, Err("check name `` must be")),
        (shop, eu, "ada", "r", Until::Instant(Timestamp(1)), Err("it would end at 1970-01-01T00:00:00.000Z")),
        (shop, eu, "ada", "r", Until::Instant(Timestamp(2)), Ok(())),
    ] {
        match (Silence::new(7, check, target, author, reason, Timestamp(1), until), expected) {
            (Ok(silence), Ok(())) => {
                assert_eq!((&*silence.author, &*silence.reason), (author.trim(), reason.trim()));
                assert_eq!((silence.check.as_deref(), silence.target.as_deref()), (check, target));
            }
            (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
            (given, expected) => panic!("{given:?}, not {expected:?}"),
        }
    }
}

#[test]
fn covers() {
    let (eu, node) = (key("shop", Some("eu")), key("shop", None));
    for (check, target, covers_eu, covers_node) in [
        (None, None, true, true),
        (Some("shop"), None, true, true),
        (Some("shop"), Some("eu"), true, false),
        (Some("shop"), Some(""), false, true),
        (Some("shop"), Some("us"), false, false),
        (Some("dns"), None, false, false),
        (None, Some("eu"), true, false),
        (None, Some(""), false, true),
    ] {
        let silence = silence(1, check, target, Some(9));
        assert_eq!((silence.covers(&eu), silence.covers(&node)), (covers_eu, covers_node), "{check:?} {target:?}");
        assert!(!silence.is_over(Timestamp(8)) && silence.is_over(Timestamp(9)));
    }
}

#[test]
fn a_node_keeps_so_many() {
    let mut silences = Silences::default();
    let at = |id: u64, until: i64| Arc::new(silence(id, None, None, Some(until)));
    for id in 0..MAX_SILENCES as u64 {
        assert_eq!(silences.insert(at(id, 10)), Ok(None));
    }
    assert_eq!(silences.insert(at(5_000, 10)), Err(SilenceError::Full));
    assert_eq!(silences.insert(at(3, 20)), Ok(Some(at(3, 10))), "one that is there can be replaced");
    assert_eq!(silences.remove(0), Some(at(0, 10)));
    assert_eq!(silences.remove(0), None);
    assert_eq!(silences.insert(at(5_000, 10)), Ok(None));
    assert_eq!(silences.len(), MAX_SILENCES);
    assert_eq!(silences.expire(Timestamp(10)).len(), MAX_SILENCES - 1);
    assert_eq!(silences.iter().map(|silence| silence.id).collect::<Vec<_>>(), [3]);
    assert_eq!(silences.expire(Timestamp(20)), [3]);
    assert!(silences.is_empty());
}

#[test]
fn the_longest_and_acknowledgements() {
    let mut silences = Silences::default();
    let (eu, us, node) = (key("shop", Some("eu")), key("shop", Some("us")), key("shop", None));
    for silence in [
        silence(1, Some("shop"), None, Some(10)),
        silence(2, None, None, Some(30)),
        silence(3, Some("shop"), Some("us"), Some(30)),
        silence(4, Some("shop"), Some("eu"), None),
        silence(5, Some("shop"), Some(""), None),
        silence(6, Some("shop"), Some("eu"), None),
        silence(7, Some("dns"), Some("eu"), None),
    ] {
        silences.insert(silence.into()).unwrap();
    }
    let covering =
        |silences: &Silences, key: &Key, now: i64| silences.covering(key, Timestamp(now)).map(|silence| silence.id);
    assert_eq!(covering(&silences, &eu, 0), Some(4));
    assert_eq!(covering(&silences, &us, 0), Some(2));
    assert_eq!(covering(&silences, &us, 30), None);
    assert_eq!(silences.recovered(&eu), [4, 6]);
    assert!(silences.recovered(&eu).is_empty());
    assert_eq!(covering(&silences, &eu, 0), Some(2));
    assert_eq!(covering(&silences, &node, 99), Some(5));
    assert_eq!(silences.expire(Timestamp(10)), [1]);
    assert_eq!(silences.recovered(&node), [5]);
    assert_eq!(covering(&silences, &node, 29), Some(2));
}

#[test]
fn as_json() {
    let acknowledged = silence(7, Some("shop"), Some("eu"), None);
    let json = serde_json::to_value(&acknowledged).unwrap();
    assert_eq!((&json["until"], &json["check"], &json["id"]), (&"recovery".into(), &"shop".into(), &7.into()));
    assert_eq!(serde_json::from_value::<Silence>(json).unwrap(), acknowledged);
    let json = serde_json::to_value(silence(8, None, None, Some(9))).unwrap();
    assert_eq!(json["until"]["instant"], 9);
}

proptest! {
    /// Against a list that is looked through from its beginning.
    #[test]
    fn as_the_obvious_model(
        steps in prop::collection::vec((0_u64..12, 0_usize..4, 0_usize..4, prop::option::of(1_i64..40), 0_u8..8), 0..60)
    ) {
        let checks = [None, Some("a"), Some("b"), Some("c")];
        let targets = [None, Some(""), Some("x"), Some("y")];
        let keys: Vec<Key> = ["a", "b", "c"]
            .iter()
            .flat_map(|check| [None, Some("x"), Some("y")].map(|target| key(check, target)))
            .collect();
        let (mut silences, mut list) = (Silences::default(), Vec::<Silence>::new());
        for (n, (id, check, target, until, what)) in steps.into_iter().enumerate() {
            let now = Timestamp(n as i64);
            let mut ids: Vec<u64> = Vec::new();
            let mut keep = |silence: &Silence, keep: bool| {
                ids.extend((!keep).then_some(silence.id));
                keep
            };
            match what {
                0 => {
                    list.retain(|silence| keep(silence, !silence.is_over(now)));
                    ids.sort_unstable();
                    prop_assert_eq!(silences.expire(now), ids);
                }
                1 => {
                    let key = &keys[id as usize % keys.len()];
                    list.retain(|silence| keep(silence, silence.until != Until::Recovery || !silence.covers(key)));
                    ids.sort_unstable();
                    prop_assert_eq!(silences.recovered(key), ids);
                }
                2 => {
                    let there = list.iter().any(|silence| silence.id == id);
                    list.retain(|silence| silence.id != id);
                    prop_assert_eq!(silences.remove(id).is_some(), there);
                }
                _ => {
                    let (check, target) = if until.is_none() { (check.max(1), target.max(1)) } else { (check, target) };
                    let silence = silence(id, checks[check], targets[target], until);
                    list.retain(|silence| silence.id != id);
                    list.push(silence.clone());
                    silences.insert(silence.into()).unwrap();
                }
            }
            for key in &keys {
                let mut covering: Vec<&Silence> =
                    list.iter().filter(|silence| silence.covers(key) && !silence.is_over(now)).collect();
                let last = |silence: &Silence| match silence.until {
                    Until::Instant(until) => until.0,
                    Until::Recovery => i64::MAX,
                };
                covering.sort_by_key(|silence| (std::cmp::Reverse(last(silence)), silence.id));
                prop_assert_eq!(silences.covering(key, now).map(|silence| &**silence), covering.first().copied());
            }
        }
    }
}
