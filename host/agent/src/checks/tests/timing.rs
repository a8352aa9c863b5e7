//! Tables: when a check is due, and what goes with each way.

use std::time::Duration;

use roundsman_model::check::{CatchUp, Maintenance, Timing};

use super::*;

/// A check on one line, without anything about time.
fn check(keys: &str) -> String {
    format!("checks:\n  - {{name: a, plugin: p, {keys}}}\n")
}

#[test]
fn problems_of_timing() {
    for (keys, expected) in [
        ("interval: 10ms", ""),
        ("interval: 31d", ""),
        ("interval: 9ms", "2:36: `interval` must be from 10ms to 31d, not 9ms"),
        ("interval: 32d", "2:36: `interval` must be from 10ms to 31d, not 32d"),
        ("cron: '*/5 8-18 * * mon-fri', timezone: Asia/Tokyo", ""),
        ("cron: '@daily'", ""),
        ("at: start", ""),
        ("at: start, retryInterval: 1s, failureThreshold: 3", ""),
        ("at: noon", "2:30: `at` cannot be `noon`: write one of start"),
        ("timezone: UTC, interval: 1s", "2:36: `timezone` belongs to `cron` and `maintenance`: here is neither"),
        ("timezone: UTC, interval: 1s, maintenance: [{cron: '@daily', for: 1h}]", ""),
        ("interval: 1s, cron: '@daily'", "2:46: a check has either `interval` or `cron`, not both"),
        (
            "at: start, cron: '@daily', interval: 1s",
            "2:30: a check has either `interval` or `at`, not both\n2:43: a check has either `interval` or `cron`, not both",
        ),
        (
            "cron: '* * * *'",
            "2:32: cron `* * * *` has 4 fields; write five: minute, hour, day of month, month, day of week, for instance `*/5 8-18 * * mon-fri`",
        ),
        (
            "cron: '* * * * *', timezone: Asia/Tokio",
            "2:55: time zone `Asia/Tokio` is not in the IANA database; write for instance `Europe/Berlin` or `UTC`",
        ),
    ] {
        assert_eq!(told(&check(keys)), expected, "{keys}");
    }
    for keys in ["cron: '61 * * * *'", "cron: '0 0 30 2 *'", "cron: 'x'"] {
        assert!(told(&check(keys)).starts_with("2:32: cron `"), "{keys}: {}", told(&check(keys)));
    }
}

#[test]
fn problems_of_jitter() {
    for (jitter, expected) in [
        ("0%", ""),
        ("90%", ""),
        ("91%", "5:13: `jitter` must be from 0% to 90%, not 91%"),
        ("-1%", "5:13: `jitter` must be from 0% to 90%, not -1%"),
        ("10", "5:13: `jitter` must be a whole number of percent, for instance 10%, not `10`"),
        ("1.5%", "5:13: `jitter` must be a whole number of percent, for instance 10%, not `1.5%`"),
        ("[10%]", "5:13: `jitter` must be a whole number of percent, for instance 10%, not a list"),
    ] {
        assert_eq!(told(&with(&format!("jitter: {jitter}"))), expected, "{jitter}");
    }
    let reason = "belongs to `interval`: nothing else has ticks that could be moved (leave the key out)";
    for timing in ["cron: '@daily'", "at: start"] {
        assert!(told(&check(&format!("{timing}, jitter: 1%"))).ends_with(reason), "{timing}");
    }
    assert_eq!(only(&with("jitter: 10%")).jitter_percent, 10);
    // A default is meant for the intervals among the checks.
    let text = "defaults: {plugin: p, jitter: 5%}\nchecks: [{name: a, interval: 1s}, {name: b, cron: '@daily'}, {name: c, ttl: 1m}, {name: d, at: start}]\n";
    let percents: Vec<u8> = read(text).unwrap().checks.iter().map(|c| c.check.jitter_percent).collect();
    assert_eq!(percents, [5, 0, 0, 0]);
}

#[test]
fn problems_of_catching_up() {
    for (keys, expected) in [
        ("catchUp: skip", ""),
        ("catchUp: once", ""),
        ("catchUp: once\ncatchUpDeadline: 1s", ""),
        ("catchUp: once\ncatchUpDeadline: 31d", ""),
        ("catchUp: all", "5:14: `catchUp` cannot be `all`: write one of skip, once"),
        ("catchUp: once\ncatchUpDeadline: 999ms", "6:22: `catchUpDeadline` must be from 1s to 31d, not 999ms"),
        ("catchUp: once\ncatchUpDeadline: 32d", "6:22: `catchUpDeadline` must be from 1s to 31d, not 32d"),
        (
            "catchUpDeadline: 1m",
            "5:22: `catchUpDeadline` needs `catchUp: once`: otherwise nothing is caught up (write `catchUp: once` beside it, or leave the key out)",
        ),
    ] {
        assert_eq!(told(&with(keys)), expected, "{keys}");
    }
    let reason = "belongs to `interval` and `cron`: a run at the start cannot be missed (leave the key out)";
    assert_eq!(told(&check("at: start, catchUp: once")), format!("2:46: `catchUp` {reason}"));
    let once = |keys: &str| only(&with(keys)).catch_up;
    assert_eq!(once("catchUp: once"), CatchUp::Once { deadline: None });
    assert_eq!(once("catchUp: once\ncatchUpDeadline: 1m"), CatchUp::Once { deadline: Some(Duration::from_mins(1)) });
    // The deadline of the defaults is not meant by who skips.
    let text = "defaults: {plugin: p, interval: 1m, catchUp: once, catchUpDeadline: 5m}\nchecks: [{name: a}, {name: b, catchUp: skip}, {name: c, at: start}]\n";
    let kept: Vec<CatchUp> = read(text).unwrap().checks.iter().map(|c| c.check.catch_up).collect();
    assert_eq!(kept, [CatchUp::Once { deadline: Some(Duration::from_mins(5)) }, CatchUp::Skip, CatchUp::Skip]);
}

#[test]
fn problems_of_maintenance() {
    for (entry, expected) in [
        ("{cron: '0 2 * * sun', for: 2h}", ""),
        ("{cron: '@daily', for: 1m, timezone: Asia/Tokyo}", ""),
        ("{cron: '@daily', for: 31d}", ""),
        ("{cron: '@daily', for: 59s}", "5:41: `for` must be from 1m to 31d, not 59s"),
        ("{cron: '@daily', for: 32d}", "5:41: `for` must be from 1m to 31d, not 32d"),
        ("{cron: '@daily'}", "5:19: `maintenance[0]` needs the key `for`"),
        ("{for: 1h}", "5:19: `maintenance[0]` needs the key `cron`"),
        ("sun", "5:19: `maintenance[0]` must be a mapping (key: value), not `sun`"),
        (
            "{cron: '@daily', for: 1h, timezone: Mars}",
            "5:55: time zone `Mars` is not in the IANA database; write for instance `Europe/Berlin` or `UTC`",
        ),
    ] {
        assert_eq!(told(&with(&format!("maintenance: [{entry}]"))), expected, "{entry}");
    }
    assert!(told(&with("maintenance: [{cron: '0 0 30 2 *', for: 1h}]")).contains("never fires"));
    assert_eq!(told(&with("maintenance: {for: 1h}")), "5:18: `maintenance` must be a list, not a mapping");
    let many = vec!["{cron: '@daily', for: 1h}"; 33].join(", ");
    assert_eq!(told(&with(&format!("maintenance: [{many}]"))), "5:18: 33 entries are more than 32");
    let window = |timezone: &str| Maintenance {
        cron: "@daily".to_owned(),
        timezone: timezone.to_owned(),
        length: Duration::from_hours(1),
    };
    for (keys, zone) in [
        ("interval: 1s, maintenance: [{cron: '@daily', for: 1h}]", "UTC"),
        ("cron: '@hourly', timezone: Asia/Tokyo, maintenance: [{cron: '@daily', for: 1h}]", "Asia/Tokyo"),
        ("ttl: 1m, timezone: Asia/Tokyo, maintenance: [{cron: '@daily', for: 1h, timezone: UTC}]", "UTC"),
    ] {
        let keys = if keys.starts_with("ttl") { keys.to_owned() } else { format!("plugin: p, {keys}") };
        assert_eq!(only(&format!("checks: [{{name: a, {keys}}}]")).maintenance, [window(zone)], "{keys}");
    }
}

#[test]
fn pushed_results() {
    let ttl = |keys: &str| format!("checks:\n  - {{name: a, ttl: 5m{keys}}}\n");
    for (keys, expected) in [
        ("ttl: 1s", ""),
        ("ttl: 31d", ""),
        ("ttl: 999ms", "2:20: `ttl` must be from 1s to 31d, not 999ms"),
        ("ttl: 32d", "2:20: `ttl` must be from 1s to 31d, not 32d"),
        ("ttl: 5m, interval: 10s", "2:34: a check has either `interval` or `ttl`, not both"),
        ("ttl: 5m, at: start", "2:28: a check has either `ttl` or `at`, not both"),
    ] {
        let told = told(&format!("checks:\n  - {{name: a, {keys}}}\n"));
        let (a, b) = (told.replace("2:34:", "2:20:"), expected.replace("2:34:", "2:20:"));
        assert_eq!(a, b, "{keys}");
    }
    for (key, value) in [
        ("timeout", "1s"),
        ("initialDelay", "1s"),
        ("retryInterval", "1s"),
        ("jitter", "1%"),
        ("catchUp", "skip"),
        ("catchUpDeadline", "1m"),
        ("settings", "{}"),
        ("thresholds", "[]"),
        ("allow", "{}"),
        ("limits", "{}"),
    ] {
        let why = "makes no sense beside `ttl`: nothing is run, results are pushed (leave the key out)";
        let column = "  - {name: a, ttl: 5m, : ".len() + key.len() + 1;
        assert_eq!(told(&ttl(&format!(", {key}: {value}"))), format!("2:{column}: `{key}` {why}"));
    }
    let check = only(&ttl(", target: db, dependsOn: [dns], negate: true, shadow: true, labels: {team: web}"));
    assert_eq!((&check.timing, check.plugin.as_str()), (&Timing::Ttl(Duration::from_mins(5)), "push"));
    assert_eq!((check.failure_threshold, check.targets.len(), check.negate, check.shadow), (1, 1, true, true));
    assert_eq!(only(&ttl(", failureThreshold: 2")).failure_threshold, 2);
    // What the defaults say of runs is not meant.
    let text = "defaults: {plugin: http, interval: 1s, timeout: 1s, settings: {a: '${target.name}'}, limits: {points: 1}, thresholds: [{field: a.b, warning: 1}], allow: {system: [load]}}\nchecks: [{name: a, ttl: 1m}]\n";
    let check = only(text);
    assert_eq!((check.plugin.as_str(), &check.timing), ("push", &Timing::Ttl(Duration::from_mins(1))));
    assert!(check.settings.is_empty() && check.thresholds.is_empty() && check.allow.system.is_empty());
    // And the other way round: the one that is run among pushed ones.
    let text = "defaults: {ttl: 1m}\nchecks: [{name: a, plugin: http, interval: 5s, timeout: 1s}, {name: b}]\n";
    let file = read(text).unwrap();
    assert_eq!(file.checks[0].check.timing, Timing::Interval(Duration::from_secs(5)));
    assert_eq!(file.checks[1].check.timing, Timing::Ttl(Duration::from_mins(1)));
}

#[test]
fn runs_at_the_start() {
    let start = only(&check("at: start"));
    assert_eq!((&start.timing, start.failure_threshold, start.timeout), (&Timing::Start, 1, Duration::from_secs(10)));
    assert_eq!(only(&check("at: start, retryInterval: 5s")).failure_threshold, 3);
    for (keys, column, key) in
        [("failureThreshold: 3", 55, "failureThreshold"), ("successThreshold: 2", 55, "successThreshold")]
    {
        let why = "can never be reached: `at: start` is one run as long as there is no `retryInterval`";
        assert_eq!(told(&check(&format!("at: start, {keys}"))), format!("2:{column}: warning: `{key}` {why}"));
    }
}
