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
        "secrets: {shop: {file: token, destinations: ['https://shop.example', 'tls://*.db.example:5432']}}",
        "limits: {runs: 256, memory: 512Mi}",
        "trust: {require: none}",
        "trust: {require: none, keys: {}, digests: {}, plugins: {}}",
        "trust: {require: signature, keys: {ops: {publicKey: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3}}}",
        "trust: {require: digest, keys: {ops: {publicKeyFile: ops.pub, plugins: ['*', http, shop-*, '*-x']}}}",
        "trust: {require: digest, digests: {http: ['sha256:0000000000000000000000000000000000000000000000000000000000000000', '0000000000000000000000000000000000000000000000000000000000000000']}}",
        "trust: {plugins: {http: {}, default: {network: ['tcp://*:*'], system: [], files: [/etc], secrets: [a], commands: [/usr/bin/, /bin/x], kubernetes: [get pods]}}}",
        "trust: {keys: {ops: {publicKeyFile: o}}, plugins: {'key:ops': {}, 'sha256:0000000000000000000000000000000000000000000000000000000000000000': {}}}",
        "log: {level: debug, format: json}",
        "shutdown: {grace: 20s}",
        "uplink: {anchors: [dns, gateway]}",
        "uplink: {anchors: []}",
        "supervision: {failures: 5, window: 1m, backoff: 10s, maxBackoff: 5m, quarantineAfter: 3}",
        "supervision: {backoff: 1h}",
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
        "secrets: {d: {file: x, destinations: 'https://h'}}",
        "limits: {runs: 0}",
        "limits: {runs: 100001}",
        "trust: {require: yes}",
        "trust: {require: signature}",
        "trust: {require: signature, keys: {}}",
        "trust: {require: digest}",
        "trust: {require: digest, keys: {}, digests: {}}",
        "trust: {keys: {ops: {}}}",
        "trust: {keys: {ops: {publicKey: RWQ}}}",
        "trust: {keys: {Ops: {publicKeyFile: o}}}",
        "trust: {keys: {ops: {publicKey: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3, publicKeyFile: o}}}",
        "trust: {keys: {ops: {publicKeyFile: o, plugins: []}}}",
        "trust: {keys: {ops: {publicKeyFile: o, plugins: [a*b*]}}}",
        "trust: {keys: {ops: {publicKeyFile: o, plugins: [A]}}}",
        "trust: {keys: {ops: {publicKeyFile: o, may: []}}}",
        "trust: {digests: {http: [abc]}}",
        "trust: {digests: {Http: []}}",
        "trust: {digests: {http: abc}}",
        "trust: {plugins: {Http: {}}}",
        "trust: {plugins: {'sha256:abc': {}}}",
        "trust: {plugins: {http: {net: []}}}",
        "trust: {plugins: {http: {network: tcp}}}",
        "trust: {plugins: {http: []}}",
        "log: {level: verbose}",
        "shutdown: {grace: soon}",
        "uplink: {anchors: dns}",
        "uplink: {anchors: [Dns]}",
        "uplink: {anchors: [dns, dns]}",
        "supervision: {failures: 0}",
        "supervision: {quarantineAfter: 0}",
        "supervision: {window: soon}",
        "supervision: {attempts: 3}",
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
        "trust: {plugins: {'key:ops': {}}}",
        "trust: {plugins: {http: {network: ['nothing']}}}",
        "trust: {plugins: {http: {files: [relative]}}}",
        "http: {listen: 'localhost:9640'}",
        "store: {maxSize: 1Mi}",
        "store: {maxAge: 1s}",
        "shutdown: {grace: 1ms}",
        "supervision: {window: 1ms}",
        "supervision: {backoff: 1m, maxBackoff: 30s}",
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
    let refused = ["peers", "kubernetes"];
    for (section, mut of_parser) in overlay::every_key() {
        if refused.contains(&section) {
            continue;
        }
        let at = schema.pointer(&format!("/properties/{section}")).unwrap_or_else(|| panic!("no {section}"));
        of_parser.sort_unstable();
        assert_eq!(keys(at), of_parser, "{section}");
    }
    let known: usize = overlay::every_key().iter().filter(|(section, _)| !refused.contains(section)).count();
    assert_eq!(keys(&schema).len(), known);
}
