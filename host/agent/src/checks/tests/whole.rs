//! Whole files: what is made of them, and how defaults come in.

use std::collections::BTreeMap;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Limits, Maintenance, Timing};
use roundsman_model::threshold::Bound;

use super::*;

#[test]
fn everything_is_read() {
    let check = only(
        "checks:
  - name: shop
    plugin: http
    interval: 10s
    timeout: 2s
    initialDelay: 1s
    retryInterval: 2s
    successThreshold: 2
    failureThreshold: 5
    targets:
      - {name: eu, address: \"https://${target.labels.region}.shop.example\", labels: {region: eu}}
    settings: {path: /healthz, expect: {status: [\"200-299\"], max: 5, ratio: 0.5, no: null, yes: true, zip: 0123}}
    allow: {network: [\"https://*.shop.example:443\"], files: [/etc/ssl], system: [load]}
    limits: {memory: 64Mi, cpu: 200ms, points: 10, output: 1Ki}
    labels: {team: web}
    jitter: 10%
    catchUp: once
    catchUpDeadline: 5m
    thresholds: [{field: http.total_ms, warning: \"> 300\", critical: \"> 1000\"}]
    dependsOn: [dns, net]
    maintenance: [{cron: \"0 2 * * sun\", for: 2h, timezone: Asia/Tokyo}]
    negate: true
    shadow: true
    placement: every-node
    owner: shop-team
    runbook: https://wiki.example/shop
    enabled: false
",
    );
    assert_eq!(check.name.as_str(), "shop");
    assert_eq!(check.timing, Timing::Interval(Duration::from_secs(10)));
    assert_eq!(check.timeout, Duration::from_secs(2));
    assert_eq!((check.initial_delay, check.retry_interval), (Duration::from_secs(1), Some(Duration::from_secs(2))));
    assert_eq!((check.success_threshold, check.failure_threshold), (2, 5));
    assert_eq!(&*check.targets[0].address, "https://${target.labels.region}.shop.example");
    let expected =
        r#"{"path":"/healthz","expect":{"status":["200-299"],"max":5,"ratio":0.5,"no":null,"yes":true,"zip":"0123"}}"#;
    assert_eq!(
        serde_json::Value::Object(check.settings.clone()),
        serde_json::from_str::<serde_json::Value>(expected).unwrap()
    );
    assert_eq!(check.allow.network, ["https://*.shop.example:443"]);
    assert_eq!((check.allow.files.len(), check.allow.system.len()), (1, 1));
    let limits = Limits { memory: 64 << 20, cpu: Duration::from_millis(200), points: 10, output: 1 << 10 };
    assert_eq!(check.limits, limits);
    assert_eq!(check.labels["team"], "web");
    assert_eq!((check.owner.as_deref(), check.enabled), (Some("shop-team"), false));
    assert_eq!((check.jitter_percent, check.negate, check.shadow), (10, true, true));
    assert_eq!(check.catch_up, CatchUp::Once { deadline: Some(Duration::from_mins(5)) });
    let [threshold] = &check.thresholds[..] else { panic!("one threshold") };
    assert_eq!((threshold.series.as_str(), threshold.field.as_str()), ("http", "total_ms"));
    assert_eq!(threshold.critical, Bound::parse("> 1000").ok());
    assert_eq!(check.depends_on.iter().map(CheckName::as_str).collect::<Vec<_>>(), ["dns", "net"]);
    let timezone = "Asia/Tokyo".to_owned();
    let length = Duration::from_hours(2);
    assert_eq!(check.maintenance, [Maintenance { cron: "0 2 * * sun".to_owned(), timezone, length }]);
    let filled = fill::fill_check(&check, Some(&check.targets[0]), &node()).unwrap();
    assert_eq!(&*filled.target.unwrap().address, "https://eu.shop.example");
}

#[test]
fn defaults_hold_where_a_check_is_silent() {
    let plain = only("checks: [{name: a, plugin: p, interval: 1s}]");
    assert_eq!((plain.timeout, plain.success_threshold, plain.failure_threshold), (Duration::from_secs(1), 1, 3));
    assert!(plain.enabled && plain.targets.is_empty() && plain.limits == Limits::default());
    assert_eq!(only("checks: [{name: a, plugin: p, interval: 1m}]").timeout, Duration::from_secs(10));

    let file = read(
        "defaults:
  plugin: http
  interval: 30s
  timezone: Asia/Tokyo
  timeout: 3s
  target: https://a.example
  labels: {team: web, tier: one}
  limits: {memory: 8Mi, points: 5}
  settings: {path: /}
checks:
  - name: a
  - name: b
    cron: '@hourly'
    targets: [{name: x, address: y}]
    labels: {team: db}
    limits: {points: 7}
    settings: {other: 1}
",
    )
    .unwrap();
    let [a, b] = &file.checks[..] else { panic!("two checks") };
    assert_eq!(a.check.timing, Timing::Interval(Duration::from_secs(30)));
    assert_eq!(&*a.check.targets[0].name, "a.example");
    assert_eq!(b.check.timing, Timing::Cron { expression: "@hourly".to_owned(), timezone: "Asia/Tokyo".to_owned() });
    assert_eq!(&*b.check.targets[0].name, "x");
    assert_eq!(
        b.check.labels,
        BTreeMap::from([("team", "db"), ("tier", "one")].map(|(k, v)| (k.to_owned(), v.to_owned())))
    );
    assert_eq!((b.check.limits.memory, b.check.limits.points), (8 << 20, 7));
    assert_eq!(serde_json::Value::Object(b.check.settings.clone()).to_string(), r#"{"other":1}"#);
    assert_eq!((a.line, b.line, &*b.file), (11, 12, Path::new("f")));
    assert_eq!(b.problem_at("/settings/other", "no").to_string(), "f:17:23: no");
    assert_eq!(b.problem_at("/settings/missing/deep", "no").to_string(), "f:17:15: no");
    assert_eq!(b.problem_at("/plugin", "no").to_string(), "f:2:11: no");
    assert_eq!(b.problem_at("/plugin", "no").path.as_deref(), Some("checks[1].plugin"));
    assert_eq!(b.problem_at("/timeout/x", "no").to_string(), "f:5:12: no");
    assert_eq!(b.problem_at("", "no").to_string(), "f:12:5: no");
}

#[test]
fn defaults_of_the_later_keys() {
    let file = read(
        "defaults:
  plugin: http
  interval: 30s
  jitter: 10%
  thresholds: [{field: a.b, warning: 1}, {field: a.c, warning: 1}]
  dependsOn: [dns, net]
  maintenance: [{cron: '@daily', for: 1h}]
  negate: true
  shadow: true
  allow: {system: [load], files: [/etc]}
checks:
  - name: a
  - name: b
    jitter: 0%
    thresholds: []
    dependsOn: [net]
    maintenance: []
    negate: false
    shadow: false
    allow: {system: [memory]}
",
    )
    .unwrap();
    let numbers = |check: &Check| {
        let lists = (check.thresholds.len(), check.depends_on.len(), check.maintenance.len(), check.allow.files.len());
        (check.jitter_percent, lists, check.negate, check.shadow)
    };
    assert_eq!(numbers(&file.checks[0].check), (10, (2, 2, 1, 1), true, true));
    // Lists and grants are replaced whole: what a check may touch stands in one place.
    assert_eq!(numbers(&file.checks[1].check), (0, (0, 1, 0, 0), false, false));
    // What is wrong in the defaults is told once, also where every check says it anew.
    let text = "defaults: {jitter: 99%, negate: 2, dependsOn: [A]}\nchecks: [{name: a, plugin: p, interval: 1s, jitter: 1%, negate: true, dependsOn: []}, {name: b, plugin: p, interval: 1s}]\n";
    let lines: Vec<String> = told(text).lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["1:20", "1:33", "1:48"]);
}
