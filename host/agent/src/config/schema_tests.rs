//! The published JSON Schema of roundsman.yaml against the parser: editors must not complain about what the agent takes.

use jsonschema::Validator;
use serde_json::Value as Json;

use super::*;
use crate::checks::json::json;

const SCHEMA: &str = include_str!("../../../../deploy/schema/roundsman.schema.json");

fn validator() -> Validator {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

/// Whether the parser takes the text, and whether the schema does.
fn taken(validator: &Validator, text: &str) -> (bool, bool) {
    let none: [(OsString, OsString); 0] = [];
    let loaded = Config::load(Some((Path::new("/f"), text.as_bytes())), none, &[] as &[&str], "box");
    let node = yaml::parse(text.as_bytes(), 0).unwrap();
    let document = json(&Value::new(&node, ""), &mut Walk::default()).unwrap();
    (loaded.is_ok(), validator.is_valid(&document))
}

#[test]
fn both_take() {
    let validator = validator();
    for text in [
        "",
        "{}",
        include_str!("../../../../deploy/local/roundsman.yaml"),
        "node: {name: node-a, cluster: prod, zone: eu-1a, ip: 10.0.0.7, labels: {disk: ssd, rack: 12, a.b/c: ''}}",
        "node: {zone: ''}",
        "paths: {plugins: p, checks: ./c, state: /s}",
        "http: {listen: '[::]:9640', public: [livez, metrics], hosts: [health.example], tokenFile: ''}",
        "influx: [{name: main, url: 'http://127.0.0.1:8086', api: v2, org: ops, bucket: health, tokenFile: /t}]",
        "influx: [{name: main, url: 'https://h', org: ops, bucket: health, database: '', flushInterval: 1s}]",
        "influx: [{name: old, url: 'http://h:1/x', api: v1, database: d, retentionPolicy: '', username: u, passwordFile: /p}]",
        "store: {maxSize: 512Mi, maxAge: 7d, transitionsMaxAge: 90d}",
        "store: {maxSize: 33554432}",
        "secrets: {etcd: {directory: /run/secrets/etcd}, shop: {file: token}}",
        "limits: {runs: 256, memory: 512Mi}",
        "trust: {require: none}",
        "log: {level: debug, format: json}",
        "shutdown: {grace: 20s}",
        "uplink: {anchors: [dns, gateway]}",
        "uplink: {anchors: []}",
    ] {
        assert_eq!(taken(&validator, text), (true, true), "{text}");
    }
}

#[test]
fn both_refuse() {
    let validator = validator();
    for text in [
        "[]",
        "nodes: {}",
        "node: {name: 'a b'}",
        "node: {name: ''}",
        "node: {labels: {'a b': c}}",
        "paths: {state: ''}",
        "paths: []",
        "http: {listen: localhost}",
        "http: {public: [readz]}",
        "http: {tokenfile: x}",
        "influx: {}",
        "influx: [{}]",
        "influx: [{name: A, url: 'http://h', org: o, bucket: b}]",
        "influx: [{name: a, url: 'ftp://h', org: o, bucket: b}]",
        "influx: [{name: a, url: 'http://u:p@h', org: o, bucket: b}]",
        "influx: [{name: a, url: 'http://h', api: v3, org: o, bucket: b}]",
        "influx: [{name: a, url: 'http://h', api: v1}]",
        "influx: [{name: a, url: 'http://h', api: v1, database: d, bucket: b}]",
        "influx: [{name: a, url: 'http://h', api: v1, database: d, passwordFile: /p}]",
        "influx: [{name: a, url: 'http://h', org: o, bucket: ''}]",
        "influx: [{name: a, url: 'http://h', org: o, bucket: b, batch: 1}]",
        "store: {maxSize: lots}",
        "store: {maxAge: 7}",
        "secrets: {A: {file: x}}",
        "secrets: {b: {}}",
        "secrets: {c: {file: x, directory: y}}",
        "limits: {runs: 0}",
        "limits: {runs: 100001}",
        "trust: {require: signature}",
        "trust: {plugins: {}}",
        "log: {level: verbose}",
        "shutdown: {grace: soon}",
        "uplink: {anchors: dns}",
        "uplink: {anchors: [Dns]}",
        "uplink: {anchors: [dns, dns]}",
        "peers: {}",
        "kubernetes: {}",
    ] {
        assert_eq!(taken(&validator, text), (false, false), "{text}");
    }
}

#[test]
fn only_the_parser_refuses_what_a_schema_cannot_say() {
    let validator = validator();
    for text in [
        "node: {ip: ten}",
        "http: {listen: 'localhost:9640'}",
        "store: {maxSize: 1Mi}",
        "store: {maxAge: 1s}",
        "shutdown: {grace: 1ms}",
        "influx: [{name: a, url: 'http://h/x', org: o, bucket: b}]",
        "influx: [{name: a, url: 'http://h', org: o, bucket: b}, {name: a, url: 'http://h', org: o, bucket: c}]",
    ] {
        assert_eq!(taken(&validator, text), (false, true), "{text}");
    }
}

#[test]
fn it_lists_the_keys_that_the_parser_knows() {
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let keys = |at: &Json| -> Vec<String> {
        let keys = at.get("properties").and_then(Json::as_object);
        let mut keys: Vec<String> = keys.into_iter().flat_map(|keys| keys.keys().cloned()).collect();
        keys.sort();
        keys
    };
    let refused = ["peers", "kubernetes", "plugins"];
    for (section, mut of_parser) in overlay::every_key() {
        if refused.contains(&section) {
            continue;
        }
        let at = schema.pointer(&format!("/properties/{section}")).unwrap_or_else(|| panic!("no {section}"));
        of_parser.sort_unstable();
        of_parser.retain(|key| section != "trust" || !refused.contains(key));
        assert_eq!(keys(at), of_parser, "{section}");
    }
    let known: usize = overlay::every_key().iter().filter(|(section, _)| !refused.contains(section)).count();
    assert_eq!(keys(&schema).len(), known);
}
