//! Tests of supervision: tables of what ends mean, stories run by run, and a slow model of the window.

use proptest::prelude::*;

use super::*;
use crate::name::CheckName;

const SECOND: Duration = Duration::from_secs(1);
const SAID: Said<'_> = Said { code: Some("trap"), summary: "broke off" };

fn rules() -> Rules {
    Rules::default()
}

fn key(name: &str) -> Key {
    Key::new(CheckName::new(name).unwrap(), None)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_795_172_400_000_000_000) + Duration::from_secs(seconds)
}

fn plugin() -> Supervision {
    Supervision::new(Conduct::new("d1".into(), at(0)))
}

/// Lets a run in and ends it at once; whether the phase changed. None: it was held back.
fn run(plugin: &mut Supervision, name: &str, verdict: Verdict, seconds: u64) -> Option<bool> {
    let key = key(name);
    plugin.let_in(&key, false, &rules(), at(seconds)).then(|| plugin.ended(&key, verdict, SAID, &rules(), at(seconds)))
}

/// Five failures in a row.
fn trip(plugin: &mut Supervision, seconds: u64) {
    let changes = (0..5).filter(|_| run(plugin, "a", Verdict::Failed, seconds) == Some(true)).count();
    assert_eq!(changes, 1);
}

fn until(plugin: &Supervision) -> Option<Timestamp> {
    match plugin.conduct().phase {
        Phase::BackOff { until } => Some(until),
        Phase::Running | Phase::Quarantined => None,
    }
}

#[test]
fn what_an_end_says_of_the_plugin() {
    for (blame, cut, code, expected) in [
        (Blame::Target, false, None, Verdict::Fine),
        (Blame::Target, true, Some("timeout"), Verdict::Fine),
        (Blame::Target, false, Some("threshold"), Verdict::Fine),
        (Blame::Plugin, true, Some("trap"), Verdict::Failed),
        (Blame::Plugin, true, Some("cpu"), Verdict::Failed),
        (Blame::Plugin, true, Some("memory"), Verdict::Failed),
        (Blame::Plugin, true, Some("stack"), Verdict::Failed),
        (Blame::Plugin, true, Some("limit"), Verdict::Failed),
        (Blame::Plugin, true, Some("timeout"), Verdict::Failed),
        // Its own words, whatever they are.
        (Blame::Plugin, false, Some("timeout"), Verdict::Fine),
        (Blame::Plugin, false, Some("trap"), Verdict::Fine),
        (Blame::Plugin, false, Some("settings"), Verdict::Fine),
        (Blame::Plugin, false, Some("plugin"), Verdict::Nothing),
        (Blame::Host, true, Some("denied"), Verdict::Fine),
        (Blame::Host, false, Some("denied"), Verdict::Nothing),
        (Blame::Host, true, Some("memory"), Verdict::Nothing),
        (Blame::Host, true, Some("limit"), Verdict::Nothing),
        (Blame::Host, true, Some("hung"), Verdict::Nothing),
        (Blame::Host, false, Some("internal"), Verdict::Nothing),
        (Blame::Host, false, Some("plugin"), Verdict::Nothing),
    ] {
        assert_eq!(Verdict::of(blame, cut, code), expected, "{blame:?} {cut} {code:?}");
    }
}

#[test]
fn five_failures_that_are_half_of_the_runs() {
    use Verdict::{Failed, Fine, Nothing};
    for (runs, trips) in [
        (vec![Failed; 4], false),
        (vec![Failed; 5], true),
        ([vec![Fine; 5], vec![Failed; 5]].concat(), true),
        ([vec![Fine; 6], vec![Failed; 5]].concat(), false),
        ([vec![Fine; 6], vec![Failed; 6]].concat(), true),
        // A run that goes well trips nothing.
        ([vec![Failed; 4], vec![Fine; 3]].concat(), false),
        ([vec![Nothing; 99], vec![Failed; 5]].concat(), true),
    ] {
        let mut plugin = plugin();
        let tripped = runs.iter().filter(|verdict| run(&mut plugin, "a", **verdict, 1) == Some(true)).count();
        assert_eq!((tripped > 0, plugin.conduct().is_running()), (trips, !trips), "{runs:?}");
    }
}

#[test]
fn one_bad_target_of_many_stops_nobody() {
    let mut plugin = plugin();
    for second in 0..600 {
        let verdict = if second % 3 == 0 { Verdict::Failed } else { Verdict::Fine };
        assert_eq!(run(&mut plugin, "a", verdict, second), Some(false));
    }
}

#[test]
fn the_window_slides() {
    let mut slow = plugin();
    for n in 0..100 {
        assert_eq!(run(&mut slow, "a", Verdict::Failed, n * 15), Some(false), "four in a minute are too few");
    }
    let mut quick = plugin();
    assert!((0..5).any(|n| run(&mut quick, "a", Verdict::Failed, n * 11) == Some(true)));
}

/// Five failures, and then every trial fails: 10 s, 20 s, 40 s, and no more.
#[test]
fn the_ladder_to_quarantine() {
    let mut plugin = plugin();
    (0..4).for_each(|_| assert_eq!(run(&mut plugin, "a", Verdict::Failed, 100), Some(false)));
    assert_eq!(run(&mut plugin, "a", Verdict::Failed, 100), Some(true));
    let mut now = 100;
    for wait in [10, 20, 40] {
        assert_eq!(until(&plugin), Some(at(now + wait)));
        assert_eq!(run(&mut plugin, "a", Verdict::Fine, now + wait - 1), None);
        now += wait;
        assert_eq!(run(&mut plugin, "b", Verdict::Failed, now), Some(true));
    }
    assert_eq!((plugin.conduct().phase, plugin.conduct().since), (Phase::Quarantined, at(now)));
    assert_eq!(run(&mut plugin, "a", Verdict::Fine, now + 1_000_000), None);
    let words = plugin.conduct().words(&PluginName::new("http").unwrap()).unwrap();
    assert_eq!(
        words,
        format!(
            "plugin http is quarantined since {}: 5 of 5 runs failed, and 3 back-offs did not help; last: trap: broke \
             off; `roundsman plugin release http` or a new file ends it",
            at(now)
        )
    );
    // What somebody asked for before is run, and ends nothing.
    assert!(plugin.let_in(&key("a"), true, &rules(), at(now)));
    assert!(!plugin.ended(&key("a"), Verdict::Fine, SAID, &rules(), at(now)));
}

#[test]
fn one_trial_at_a_time() {
    let mut plugin = plugin();
    trip(&mut plugin, 0);
    let (a, b) = (key("a"), key("b"));
    assert!(plugin.let_in(&a, false, &rules(), at(10)));
    assert!(!plugin.let_in(&b, false, &rules(), at(10)));
    // A run from before the back-off decides nothing.
    assert!(!plugin.ended(&b, Verdict::Fine, SAID, &rules(), at(11)));
    // The check was removed: the next one is the trial; and again when the host was to blame.
    plugin.abandon(&a);
    assert!(plugin.let_in(&b, false, &rules(), at(11)));
    assert!(!plugin.ended(&b, Verdict::Nothing, SAID, &rules(), at(12)));
    assert!(plugin.let_in(&a, false, &rules(), at(12)));
    assert!(plugin.ended(&a, Verdict::Fine, SAID, &rules(), at(13)));
    assert_eq!((plugin.conduct().phase, plugin.conduct().since), (Phase::Running, at(13)));
    assert_eq!(plugin.watched(&rules(), at(13)), (0, 0));
}

#[test]
fn what_somebody_asks_for_is_a_trial() {
    let mut plugin = plugin();
    trip(&mut plugin, 0);
    assert!(plugin.let_in(&key("b"), true, &rules(), at(1)));
    assert!(plugin.let_in(&key("a"), true, &rules(), at(1)), "it is run, and decides nothing");
    assert!(!plugin.ended(&key("a"), Verdict::Fine, SAID, &rules(), at(2)));
    assert!(plugin.ended(&key("b"), Verdict::Fine, SAID, &rules(), at(2)));
}

#[test]
fn health_makes_up_for_back_offs() {
    for (healthy_s, backoffs) in [(0, 2), (299, 2), (300, 1), (599, 1), (600, 1), (6_000, 1)] {
        let mut plugin = plugin();
        trip(&mut plugin, 0);
        assert_eq!(run(&mut plugin, "a", Verdict::Fine, 10), Some(true));
        let later = 10 + healthy_s;
        trip(&mut plugin, later);
        assert_eq!(plugin.conduct().backoffs, backoffs, "{healthy_s}");
        assert_eq!(until(&plugin), Some(at(later + 10 * u64::from(backoffs))), "{healthy_s}");
    }
    // Without any, recoveries do not help for ever.
    let mut plugin = plugin();
    for round in 0..3 {
        trip(&mut plugin, round * 100);
        assert_eq!(run(&mut plugin, "a", Verdict::Fine, round * 100 + 60), Some(true));
    }
    trip(&mut plugin, 300);
    assert_eq!(plugin.conduct().phase, Phase::Quarantined);
}

#[test]
fn waits() {
    let rules = Rules { max_backoff: SECOND * 300, ..rules() };
    for (before, seconds) in [(0, 10), (1, 20), (4, 160), (5, 300), (31, 300), (32, 300), (u32::MAX, 300)] {
        assert_eq!(rules.wait(before), SECOND * seconds);
    }
}

#[test]
fn a_clock_that_is_set_back_waits_no_longer_than_the_longest_back_off() {
    let mut plugin = plugin();
    trip(&mut plugin, 10_000);
    plugin.set_back();
    assert_eq!(run(&mut plugin, "a", Verdict::Fine, 9_800), None);
    assert_eq!(run(&mut plugin, "a", Verdict::Fine, 9_000), Some(true));
}

#[test]
fn words_are_bounded() {
    let mut plugin = plugin();
    let long = Said { code: None, summary: &"ü".repeat(10_000) };
    for _ in 0..5 {
        plugin.ended(&key("a"), Verdict::Failed, long, &rules(), at(0));
    }
    let conduct = plugin.conduct();
    assert!(conduct.last.len() <= MAX_LAST + '…'.len_utf8() && conduct.last.starts_with("unknown: ü"));
    let words = conduct.words(&PluginName::new("http").unwrap()).unwrap();
    assert!(words.starts_with(&format!("plugin http rests until {}: 5 of 5 runs failed; last: ", at(10))), "{words}");
    assert!(Conduct::new("d".into(), at(0)).words(&PluginName::new("http").unwrap()).is_none());
}

proptest! {
    /// The slow and obvious model: keep every instant, and look at those of the last twelve parts of the window.
    #[test]
    fn the_window_as_the_obvious_model(
        steps in prop::collection::vec((0_i64..20_000, any::<bool>()), 1..200),
        window_ms in 12_u64..100_000,
        later_ms in 0_i64..200_000,
    ) {
        let (mut window, length) = (Window::default(), Duration::from_millis(window_ms));
        let mut kept: Vec<(Timestamp, bool)> = Vec::new();
        let mut now = at(0);
        for (ms, failed) in steps {
            now = now + Duration::from_millis(ms.unsigned_abs());
            window.add(failed, length, now);
            kept.push((now, failed));
        }
        for now in [now, now + Duration::from_millis(later_ms.unsigned_abs())] {
            let part = |at: Timestamp| at.0 / (length.as_nanos() as i64 / 12);
            let recent: Vec<bool> =
                kept.iter().filter(|(at, _)| part(*at) > part(now) - 12).map(|(_, failed)| *failed).collect();
            let failures = recent.iter().filter(|failed| **failed).count();
            prop_assert_eq!(window.sum(length, now), (failures as u32, recent.len() as u32));
        }
    }
}
