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
    check::json(&Value::new(&node, ""), &mut Walk::default()).unwrap()
}

/// Whether the parser takes the text, and whether the schema does.
fn taken(validator: &Validator, text: &str) -> (bool, bool) {
    let node = Node { name: "n".to_owned(), ip: Some("::1".parse().unwrap()), ..Node::default() };
    (parse(Path::new("f"), text.as_bytes(), &node).is_ok(), validator.is_valid(&document(text)))
}

const MINIMAL: &str = "checks: [{name: a, plugin: p, interval: 10s";

#[test]
fn both_take() {
    let validator = validator();
    for text in ["", "checks: []", "defaults: {plugin: p, cron: '@daily', timezone: UTC}\nchecks: [{name: a}]"] {
        assert_eq!(taken(&validator, text), (true, true), "{text}");
    }
    for keys in [
        "timeout: 1.5s, initialDelay: 0, retryInterval: 1m30s",
        "successThreshold: 1, failureThreshold: 100",
        "target: 'https://a.example/x'",
        "targets: [{name: a, address: '${node.name}:1', labels: {region: eu, rack: 12, on: true}}]",
        "settings: {a: [1, null, {b: c}]}",
        "allow: {network: ['tcp://10.0.0.0/8:5432'], files: [/etc], system: [load], secrets: [], commands: [], kubernetes: []}",
        "limits: {memory: 64Mi, cpu: 1s, points: 0, output: 2048}",
        "labels: {team: web}, owner: me, runbook: 'https://w', enabled: false",
        "catchUp: skip, thresholds: [], placement: every-node, dependsOn: [], maintenance: [], negate: false, shadow: false",
    ] {
        let text = format!("{MINIMAL}, {keys}}}]");
        assert_eq!(taken(&validator, &text), (true, true), "{keys}");
    }
}

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
    ] {
        assert_eq!(taken(&validator, text), (false, false), "{text}");
    }
    for keys in [
        "intervall: 1s",
        "cron: '@daily'",
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
        "settings: [1]",
        "settings:",
        "allow: {net: []}",
        "allow: {network: 'x'}",
        "allow: {secrets: [x]}",
        "allow: {commands: [x]}",
        "allow: {kubernetes: [x]}",
        "limits: {memory: 64MB}",
        "limits: {points: 10001}",
        "limits: {disk: 1}",
        "labels: {host: x}",
        "labels: {Team: x}",
        "labels: {team: ''}",
        "labels: {team: [x]}",
        "owner: [x]",
        "enabled: yes",
        "jitter: 10%",
        "ttl: 5m",
        "catchUp: once",
        "thresholds: [{field: a.b, warning: '> 1'}]",
        "placement: once",
        "dependsOn: [dns]",
        "maintenance: [{cron: '0 2 * * sun', for: 2h}]",
        "negate: true",
        "shadow: true",
    ] {
        let text = format!("{MINIMAL}, {keys}}}]");
        assert_eq!(taken(&validator, &text), (false, false), "{keys}");
    }
}

#[test]
fn only_the_parser_refuses_what_a_schema_cannot_say() {
    let validator = validator();
    for keys in ["timeout: 10m", "limits: {memory: 1Gi}", "settings: {a: '${node.nam}'}", "timezone: UTC"] {
        let text = format!("{MINIMAL}, {keys}}}]");
        assert_eq!(taken(&validator, &text), (false, true), "{keys}");
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
    // Refused whatever their value.
    let refused = ["name", "ttl", "jitter", "catchUpDeadline"];
    let mut of_parser = known("checks: [{name: a, plugin: p, interval: 1s, qqqqqqqqqqqqqqqqqq: 1}]");
    of_parser.retain(|key| !refused.contains(&key.as_str()));
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
}
