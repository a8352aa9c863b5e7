//! The published JSON Schema against the parser: editors must not complain about what the agent takes.

use std::path::Path;

use jsonschema::Validator;
use serde_json::Value as Json;

use super::*;
use crate::config::yaml;

const SCHEMA: &str = include_str!("../../../../deploy/schema/checks.schema.json");

fn schema() -> Json {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).expect("the schema is a schema")
}

/// What an editor sees of the text.
fn document(text: &str) -> Json {
    let node = yaml::parse(text.as_bytes(), 0).unwrap();
    json::json(&Value::new(&node, ""), &mut Walk::default()).unwrap()
}

/// Whether the parser takes the text, and whether the schema does.
fn taken(validator: &Validator, text: &str) -> (bool, bool) {
    let node = Node { name: "n".to_owned(), ip: Some("::1".parse().unwrap()), ..Node::default() };
    (parse(Path::new("f"), text.as_bytes(), &node).is_ok(), validator.is_valid(&document(text)))
}

const MINIMAL: &str = "checks: [{name: a, plugin: p, interval: 10s";

/// The keys of a check named `a`, as both take them. Tests of the parser begin with these, too.
pub(super) const VALID: &[&str] = &[
    "plugin: p, interval: 10s, timeout: 1.5s, initialDelay: 0, retryInterval: 1500ms",
    "plugin: p, interval: 10s, successThreshold: 1, failureThreshold: 100",
    "plugin: p, interval: 10s, target: 'https://a.example/x'",
    "plugin: p, interval: 10s, targets: [{name: a, address: '${node.name}:1', labels: {region: eu, rack: 12, on: true}}]",
    "plugin: p, interval: 10s, settings: {a: [1, null, {b: c}]}",
    "plugin: p, interval: 10s, allow: {network: ['tcp://10.0.0.0/8:5432'], files: [/etc], system: [load]}",
    "plugin: p, interval: 10s, allow: {secrets: [], commands: [], kubernetes: []}",
    "plugin: p, interval: 10s, allow: {secrets: [shop, etcd-2, '${node.name}'], commands: [/usr/bin/true, '/opt/${node.name}']}",
    "plugin: p, interval: 10s, limits: {memory: 64Mi, cpu: 1s, points: 0, output: 2048}",
    "plugin: p, interval: 10s, labels: {team: web, where: '${node.name}'}, owner: me, runbook: 'https://w', enabled: false",
    "plugin: p, interval: 10s, jitter: 0%, catchUp: skip, placement: every-node, negate: false, shadow: true",
    "plugin: p, interval: 10s, jitter: 90%, catchUp: once, catchUpDeadline: 5m",
    "plugin: p, interval: 10s, thresholds: [{field: http.total_ms, warning: '> 300', critical: '> 1000'}]",
    "plugin: p, interval: 10s, thresholds: [{field: a.b, warning: 300}, {field: a.c, critical: '@1.5:'}]",
    "plugin: p, interval: 10s, thresholds: [], dependsOn: [], maintenance: []",
    "plugin: p, interval: 10s, dependsOn: [dns, net-2]",
    "plugin: p, interval: 10s, timezone: Asia/Tokyo, maintenance: [{cron: '0 2 * * sun', for: 2h}]",
    "plugin: p, interval: 10s, maintenance: [{cron: '@daily', for: 1h, timezone: UTC}]",
    "plugin: p, cron: '*/5 8-18 * * mon-fri', timezone: Asia/Tokyo, catchUp: once",
    "plugin: p, cron: '@daily', retryInterval: 1m",
    "plugin: p, at: start, retryInterval: 10s, failureThreshold: 2",
    "ttl: 5m",
    "plugin: push, ttl: 31d, targets: [{name: x, address: y}], failureThreshold: 2, dependsOn: [dns], negate: true",
];

#[test]
fn both_take() {
    let validator = validator();
    for text in ["", "checks: []", "defaults: {plugin: p, cron: '@daily', timezone: UTC}\nchecks: [{name: a}]"] {
        assert_eq!(taken(&validator, text), (true, true), "{text}");
    }
    for keys in VALID {
        let text = format!("checks: [{{name: a, {keys}}}]");
        assert_eq!(taken(&validator, &text), (true, true), "{keys}");
    }
    let text =
        "defaults: {timeout: 1s, ttl: 5m, jitter: 5%, catchUpDeadline: 1m, dependsOn: [dns]}\nchecks: [{name: a}]";
    assert_eq!(taken(&validator, text), (true, true));
}

#[test]
fn both_take_what_is_shipped() {
    let validator = validator();
    for text in [
        include_str!("../../../../deploy/local/checks/machine.yaml"),
        include_str!("../../../../deploy/local/checks/agent.yaml"),
    ] {
        assert_eq!(taken(&validator, text), (true, true), "{text}");
    }
}

/// Further keys of a check that is good without them.
const REFUSED: &[&str] = &[
    "intervall: 1s",
    "cron: '@daily'",
    "ttl: 5m",
    "at: start",
    "timeout: 10",
    "timeout: fast",
    "successThreshold: 0",
    "failureThreshold: 101",
    "failureThreshold: two",
    "target: a, targets: [{name: a, address: b}]",
    "target: ''",
    "target: 'a b'",
    "targets: []",
    "targets: [a]",
    "targets: [{name: a}]",
    "targets: [{name: 'a b', address: c}]",
    "targets: [{peers: 10}]",
    "targets: [{services: {namespace: shop}}]",
    "settings: [1]",
    "settings:",
    "allow: {net: []}",
    "allow: {network: 'x'}",
    "allow: {secrets: [X]}",
    "allow: {secrets: ['']}",
    "allow: {commands: [x]}",
    "allow: {kubernetes: ['get pods']}",
    "limits: {memory: 64MB}",
    "limits: {points: 10001}",
    "limits: {disk: 1}",
    "labels: {host: x}",
    "labels: {Team: x}",
    "labels: {team: ''}",
    "labels: {team: [x]}",
    "owner: [x]",
    "enabled: yes",
    "jitter: 91%",
    "jitter: 10",
    "jitter: 1.5%",
    "catchUp: all",
    "catchUp: skip, catchUpDeadline: 1m",
    "thresholds: [{field: a, warning: 1}]",
    "thresholds: [{field: a.b}]",
    "thresholds: [{field: a.b, warning: '> x'}]",
    "thresholds: [{field: a.b, warning: 300ms}]",
    "thresholds: [{field: a.b, warning: 1, info: 2}]",
    "placement: once",
    "placement: {nodes: 3}",
    "dependsOn: dns",
    "dependsOn: [Dns]",
    "dependsOn: [dns, dns]",
    "maintenance: [{cron: '0 2 * * sun'}]",
    "maintenance: [{for: 2h}]",
    "maintenance: [{cron: '@daily', for: long}]",
    "negate: 1",
    "shadow: yes",
];

#[test]
fn both_refuse() {
    let validator = validator();
    for text in [
        "[]",
        "a",
        "defaults: {}",
        "checks: []\nmore: 1",
        "checks: {}",
        "checks: [a]",
        "checks: [{plugin: p, interval: 1s}]",
        "defaults: {name: x}\nchecks: []",
        "defaults: {intervall: 1s}\nchecks: []",
        "defaults: {plugin: roundsman}\nchecks: []",
        "checks: [{name: roundsman, plugin: p, interval: 1s}]",
        "checks: [{name: a, plugin: p, ttl: 5m}]",
        "checks: [{name: a, plugin: push, interval: 5m}]",
        "checks: [{name: a, ttl: 5m, timeout: 1s}]",
        "checks: [{name: a, ttl: 5m, settings: {}}]",
        "checks: [{name: a, ttl: 5m, at: start}]",
        "checks: [{name: a, plugin: p, at: start, jitter: 1%}]",
        "checks: [{name: a, plugin: p, at: start, catchUp: skip}]",
        "checks: [{name: a, plugin: p, at: noon}]",
        "checks: [{name: a, plugin: p, cron: '@daily', jitter: 1%}]",
        "checks: [{name: a, plugin: p, cron: '@daily', interval: 1s}]",
    ] {
        assert_eq!(taken(&validator, text), (false, false), "{text}");
    }
    for keys in REFUSED {
        let text = format!("{MINIMAL}, {keys}}}]");
        assert_eq!(taken(&validator, &text), (false, false), "{keys}");
    }
}

/// Only the parser sees these: what they say depends on numbers with units, on other keys of the file, or on the node.
#[test]
fn only_the_parser_refuses_what_a_schema_cannot_say() {
    let validator = validator();
    for keys in [
        "timeout: 10m",
        "limits: {memory: 1Gi}",
        "settings: {a: '${node.nam}'}",
        "timezone: UTC",
        "catchUpDeadline: 1m",
        "catchUp: once, catchUpDeadline: 1ms",
        "thresholds: [{field: a.b, warning: '20:10'}]",
        "thresholds: [{field: a.b, warning: 1}, {field: a.b, critical: 1}]",
        "dependsOn: [a]",
        "maintenance: [{cron: 'x', for: 1h}]",
        "maintenance: [{cron: '@daily', for: 1s}]",
        "targets: [{name: a, address: b}, {name: a, address: c}]",
    ] {
        let text = format!("{MINIMAL}, {keys}}}]");
        assert_eq!(taken(&validator, &text), (false, true), "{keys}");
    }
    for text in [
        "checks: [{name: a, plugin: p}]",
        "checks: [{name: a, interval: 1s}]",
        "checks: [{name: a, plugin: p, interval: 1s}, {name: a, plugin: p, interval: 1s}]",
        "checks: [{name: a, ttl: 1ms}]",
    ] {
        assert_eq!(taken(&validator, text), (false, true), "{text}");
    }
}

#[test]
fn it_lists_the_keys_that_the_parser_knows() {
    let known = |text: &str| {
        let problems = parse(Path::new("f"), text.as_bytes(), &Node::default()).unwrap_err();
        let hints = problems.into_iter().filter_map(|problem| problem.hint);
        let list = hints.filter_map(|hint| hint.strip_prefix("known here: ").map(str::to_owned)).next_back().unwrap();
        let mut keys: Vec<String> = list.split(", ").map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let mut of_parser = known("checks: [{name: a, plugin: p, interval: 1s, qqqqqqqqqqqqqqqqqq: 1}]");
    of_parser.retain(|key| key != "name");
    let of_schema = |pointer: &str| {
        let schema = schema();
        let mut keys: Vec<String> = schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(of_schema("/$defs/keys/properties"), of_parser);
    for (key, pointer) in
        [("allow", "/$defs/keys/properties/allow/properties"), ("limits", "/$defs/keys/properties/limits/properties")]
    {
        let text = format!("{MINIMAL}, {key}: {{qqqqqqqqqqqqqqqq: 1}}}}]");
        assert_eq!(of_schema(pointer), known(&text), "{key}");
    }
    for (key, pointer) in
        [("thresholds", "/$defs/threshold/properties"), ("maintenance", "/$defs/maintenance/properties")]
    {
        let text = format!("{MINIMAL}, {key}: [{{qqqqqqqqqqqqqqqq: 1}}]}}]");
        assert_eq!(of_schema(pointer), known(&text), "{key}");
    }
}
