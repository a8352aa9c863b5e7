//! Tables: the text of a checks file, and what is told about it or made of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use roundsman_model::check::{Limits, Timing};

use super::*;
use crate::config::Node;

fn node() -> Node {
    let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    Node { name: "node-a".to_owned(), ip: Some("10.0.0.7".parse().unwrap()), labels, ..Node::default() }
}

fn read(text: &str) -> Result<ChecksFile, Vec<Problem>> {
    parse(Path::new("f"), text.as_bytes(), &node())
}

/// Everything that is told about a file, one line each, without the file's name.
fn told(text: &str) -> String {
    let problems = match read(text) {
        Ok(file) => file.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(|p| p.to_string()["f:".len()..].to_owned()).collect::<Vec<_>>().join("\n")
}

/// A check `a` of plugin `http` at 10 s with more keys, each line indented as it has to be.
fn with(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("checks:\n  - name: a\n    plugin: http\n    interval: 10s\n{keys}")
}

fn only(text: &str) -> Arc<Check> {
    read(text).unwrap_or_else(|problems| panic!("{problems:#?}")).checks[0].check.clone()
}

#[test]
fn problems_of_documents() {
    for (text, expected) in [
        ("", ""),
        ("# nothing yet\n", ""),
        ("checks: []\n", ""),
        ("[]\n", "1:1: the file must be a mapping (key: value), not a list"),
        ("shop\n", "1:1: the file must be a mapping (key: value), not `shop`"),
        ("defaults: {interval: 10s}\n", "1:1: the file needs the key `checks`"),
        ("checks:\n", "1:7: `checks` has no value (write one, or leave the key out)"),
        ("check: []\n", "1:1: the file needs the key `checks`\n1:1: unknown key `check` (did you mean `checks`?)"),
        ("checks:\n  a: b\n", "2:3: `checks` must be a list, not a mapping"),
        ("checks: [a]\n", "1:10: `checks[0]` must be a mapping (key: value), not `a`"),
        ("checks:\n  - interval: 10s\n", "2:5: a check needs the key `name`\n2:5: a check needs the key `plugin`"),
        ("checks:\n  - {name: a, plugin: http}\n", "2:5: check `a` needs `interval` or `cron`"),
        (
            "checks:\n  - name: a\n    plugin: http\n    interval: 5s\n  - name: b\n    plugin: http\n    interval: 5s\n  - plugin: http\n    interval: 5s\n    name: a\n",
            "10:11: two checks are named `a`: the first is in line 2",
        ),
        ("a: [\n", "1:4: not YAML: unclosed bracket '['"),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
}

#[test]
fn problems_of_keys() {
    for (keys, expected) in [
        ("enabled: true", ""),
        ("intervall: 5s", "5:5: unknown key `intervall` (did you mean `interval`?)"),
        ("failure_threshold: 3", "5:5: unknown key `failure_threshold` (did you mean `failureThreshold`?)"),
        (
            "timeout: 10",
            "5:14: `timeout`: `10` is not a duration: write a number and a unit, for instance 250ms, 10s, 5m, 2h or 7d",
        ),
        ("timeout: 10m", "5:14: `timeout` must be from 10ms to 5m, not 10m"),
        ("timeout:", "5:12: `timeout` has no value (write one, or leave the key out)"),
        (
            "timeout: 20s",
            "5:14: warning: `timeout` is longer than the interval of 10s: a slow run costs the next ticks",
        ),
        ("retryInterval: 1ms", "5:20: `retryInterval` must be from 10ms to 31d, not 1ms"),
        ("initialDelay: 2d", "5:19: `initialDelay` must be from 0s to 1d, not 2d"),
        ("successThreshold: 0", "5:23: `successThreshold` must be from 1 to 100, not 0"),
        ("failureThreshold: 101", "5:23: `failureThreshold` must be from 1 to 100, not 101"),
        ("failureThreshold: -1", "5:23: `failureThreshold` must be from 1 to 100, not -1"),
        ("failureThreshold: three", "5:23: `failureThreshold` must be a whole number, not `three`"),
        ("enabled: yes", "5:14: `enabled` must be true or false, not `yes`"),
        ("owner: [a]", "5:12: `owner` must be text, not a list"),
        ("owner: \"a\\nb\"", "5:12: `owner` must be one line without control characters"),
        ("limits: {memory: 512Ki}", "5:22: `memory` must be from 1Mi to 256Mi, not 512Ki"),
        ("limits: {memory: 257Mi}", "5:22: `memory` must be from 1Mi to 256Mi, not 257Mi"),
        (
            "limits: {memory: lots}",
            "5:22: `memory`: `lots` is not a size: write a number of bytes, or one with Ki, Mi or Gi, for instance 64Mi",
        ),
        (
            "limits: {cpu: 11s, points: 10001, output: 2Mi, disk: 1}",
            "5:19: `cpu` must be from 1ms to 10s, not 11s\n5:32: `points` must be from 0 to 10000, not 10001\n5:47: `output` must be from 1Ki to 1Mi, not 2Mi\n5:52: unknown key `disk` (known here: memory, cpu, points, output)",
        ),
        ("timezone: Asia/Tokyo", "5:15: `timezone` belongs to `cron`; an interval has none"),
        ("cron: \"* * * * *\"", "5:11: a check has either `interval` or `cron`, not both"),
        ("settings: [a]", "5:15: `settings` must be a mapping (key: value), not a list"),
        ("settings: {a: .inf}", "5:19: `a` is a number that JSON cannot hold (quote it if it is meant as text)"),
        (
            "labels: {team: web, host: b, Team: c, e: ''}",
            "5:25: the tag `host` is set by the agent: choose another label\n5:34: `Team` cannot be a label: a-z, 0-9 and '_' only, beginning with a letter\n5:46: `e` is empty: leave the label out",
        ),
        (
            "labels: {zone: '${node.name}'}",
            "5:20: `${…}` is not filled in here: only in settings, addresses of targets and `allow`",
        ),
        ("allow: {network: https://a}", "5:22: `network` must be a list, not `https://a`"),
        (
            "allow: {net: []}",
            "5:13: unknown key `net` (known here: network, files, system, secrets, commands, kubernetes)",
        ),
        ("allow: {network: ['']}", "5:23: `network[0]` is empty"),
    ] {
        assert_eq!(told(&with(keys)), expected, "{keys}");
    }
}

#[test]
fn long_values_are_refused() {
    let labels: Vec<String> = (0..17).map(|i| format!("l{i}: x")).collect();
    let of = |keys: &str| told(&with(keys));
    assert_eq!(of(&format!("labels: {{{}}}", labels.join(", "))), "5:13: 17 labels are more than 16");
    assert_eq!(of(&format!("labels: {{a: {}}}", "x".repeat(257))), "5:17: `a` is longer than 256 bytes");
    let (first, second) = labels.split_at(9);
    let text = format!(
        "defaults: {{labels: {{{}}}}}\nchecks:\n  - {{name: a, plugin: p, interval: 1s, labels: {{{}}}}}\n",
        first.join(", "),
        second.join(", ")
    );
    assert_eq!(told(&text), "3:48: with those of `defaults:` these are more than 16 labels");
    let huge = " ".repeat(1 << 20) + "\n";
    assert_eq!(told(&huge), " the file is larger than 1Mi (spread the checks over several files)");
}

#[test]
fn what_is_not_built_yet_is_refused_unless_it_changes_nothing() {
    let harmless = "negate: false\nshadow: false\nplacement: every-node\ncatchUp: skip\ndependsOn: []\nmaintenance: []\nthresholds: []\nallow: {secrets: [], commands: [], kubernetes: []}";
    assert_eq!(told(&with(harmless)), "");
    for (keys, place, key) in [
        ("jitter: 10%", "5:13", "jitter"),
        ("catchUp: once", "5:14", "catchUp"),
        ("catchUpDeadline: 1m", "5:22", "catchUpDeadline"),
        ("thresholds: [{field: http.total_ms, warning: \"> 300\"}]", "5:17", "thresholds"),
        ("placement: once", "5:16", "placement"),
        ("placement: {nodes: 3}", "5:16", "placement"),
        ("dependsOn: [dns]", "5:16", "dependsOn"),
        ("maintenance: [{cron: \"0 2 * * sun\", for: 2h}]", "5:18", "maintenance"),
        ("negate: true", "5:13", "negate"),
        ("shadow: true", "5:13", "shadow"),
        ("targets: [{peers: 10}]", "5:23", "peers"),
        ("targets: [{services: {namespace: shop}}]", "5:26", "services"),
        ("targets: [{name: x, address: y}, {pods: {}}]", "5:45", "pods"),
        ("allow: {secrets: [shop]}", "5:22", "secrets"),
        ("allow: {commands: [/bin/true]}", "5:23", "commands"),
        ("allow: {kubernetes: [\"get pods\"]}", "5:25", "kubernetes"),
    ] {
        let told = told(&with(keys));
        let clean =
            told.starts_with(&format!("{place}: `{key}` ")) && told.contains(" yet: ") && told.lines().count() == 1;
        assert!(clean, "{keys}: {told}");
    }
    let ttl = told("checks:\n  - {name: a, plugin: http, ttl: 5m}\n");
    assert_eq!(ttl, "2:34: `ttl` is not built yet: results cannot be pushed (write `interval` or `cron`)");
}

#[test]
fn problems_of_timing() {
    let check = |keys: &str| format!("checks:\n  - {{name: a, plugin: p, {keys}}}\n");
    for (keys, expected) in [
        ("interval: 10ms", ""),
        ("interval: 31d", ""),
        ("interval: 9ms", "2:36: `interval` must be from 10ms to 31d, not 9ms"),
        ("interval: 32d", "2:36: `interval` must be from 10ms to 31d, not 32d"),
        ("cron: '*/5 8-18 * * mon-fri', timezone: Asia/Tokyo", ""),
        ("cron: '@daily'", ""),
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
fn problems_of_targets() {
    for (keys, expected) in [
        ("targets: []", "5:14: `targets` lists nothing: leave the key out to check the node itself"),
        ("targets: [x]", "5:15: `targets[0]` must be a mapping (key: value), not `x`"),
        ("targets: [{name: x}]", "5:15: `targets[0]` needs the key `address`"),
        ("targets: [{name: x, address: ''}]", "5:34: `address` must be an address without spaces"),
        (
            "targets: [{name: 'a b', address: y}]",
            "5:22: `name`: `a b` must be 1 to 253 bytes without spaces, quotes and any of \\ , = $",
        ),
        (
            "targets: [{name: x, adress: y}]",
            "5:15: `targets[0]` needs the key `address`\n5:25: unknown key `adress` (did you mean `address`?)",
        ),
        (
            "targets:\n  - {name: x, address: y}\n  - {name: x, address: z}",
            "7:16: two targets are named `x`: the first is in line 6",
        ),
        ("target: a\ntargets: [{name: x, address: y}]", "6:14: a check has either `target` or `targets`, not both"),
        (
            "target: '${node.ip}:80'",
            "5:13: `target` with `${…}` has no name of its own (write targets: [{name: …, address: …}])",
        ),
        (
            "target: 'https:///x'",
            "5:13: `target` gives no name: `` must be 1 to 253 bytes without spaces, quotes and any of \\ , = $ (write targets: [{name: …, address: …}])",
        ),
    ] {
        assert_eq!(told(&with(keys)), expected, "{keys}");
    }
}

#[test]
fn short_targets_have_names_without_secrets() {
    for (address, name) in [
        ("https://eu.shop.example", "eu.shop.example"),
        ("https://eu.shop.example:8443/path?token=x#y", "eu.shop.example:8443"),
        ("https://user:secret@eu.shop.example/", "eu.shop.example"),
        ("10.0.0.7:5432", "10.0.0.7:5432"),
        ("'[::1]:80'", "[::1]:80"),
        ("db", "db"),
        ("/var/lib", "/var/lib"),
    ] {
        let check = only(&with(&format!("target: {address}")));
        assert_eq!(&*check.targets[0].name, name);
        assert_eq!(&*check.targets[0].address, address.trim_matches('\''));
    }
}

#[test]
fn problems_of_variables() {
    let target = "targets: [{name: x, address: y, labels: {region: eu}}, {name: z, address: w}]\n";
    let known = "known: node.name, node.ip, node.labels.disk";
    for (keys, expected) in [
        ("settings: {a: '${node.name}', b: ['${node.labels.disk}', '$${x}', '$5']}".to_owned(), String::new()),
        (
            "settings:\n  a:\n    - b: x ${node.nam}".to_owned(),
            format!("7:14: `${{node.nam}}` is not known here; {known} (did you mean `${{node.name}}`?)"),
        ),
        ("settings: {a: '${env.HOME}'}".to_owned(), format!("5:19: `${{env.HOME}}` is not known here; {known}")),
        (
            "settings: {a: '${node.name'}".to_owned(),
            "5:19: `${` is never closed by a `}`; write `$${` for the characters themselves".to_owned(),
        ),
        (
            "settings: {a: '${target.name}'}".to_owned(),
            "5:19: `${target.name}` has nothing to stand for: this check looks at the node itself and has no targets"
                .to_owned(),
        ),
        (
            format!("{target}settings: {{a: '${{target.labels.region}}'}}"),
            format!("6:19: `${{target.labels.region}}` is not known here; {known}, target.name, target.address"),
        ),
        (
            "targets: [{name: x, address: '${target.address}'}]".to_owned(),
            format!("5:34: `${{target.address}}` is not known here; {known}, target.name"),
        ),
        (
            "allow: {network: ['https://${node.ipp}:1']}".to_owned(),
            format!("5:23: `${{node.ipp}}` is not known here; {known} (did you mean `${{node.ip}}`?)"),
        ),
    ] {
        assert_eq!(told(&with(&keys)), expected, "{keys}");
    }
}

#[test]
fn all_problems_at_once_and_those_of_defaults_only_once() {
    let text = "defaults:\n  timeout: 1h\n  name: x\n  colour: red\nchecks:\n  - {name: a, plugin: p, interval: 1s}\n  - {name: B, plugin: p, interval: 1s, timeout: 1s, owner: []}\n  - {plugin: p, interval: 1}\n";
    assert_eq!(
        told(text),
        "2:12: `timeout` must be from 10ms to 5m, not 1h\n\
         3:9: `name` has no default: every check has its own\n\
         4:3: unknown key `colour` (known here: name, plugin, interval, cron, ttl, timezone, timeout, initialDelay, \
         retryInterval, successThreshold, failureThreshold, target, targets, settings, allow, limits, labels, owner, \
         runbook, enabled, jitter, catchUp, catchUpDeadline, thresholds, placement, dependsOn, maintenance, negate, shadow)\n\
         7:12: `name`: check name `B` must be 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit\n\
         7:60: `owner` must be text, not a list\n\
         8:5: a check needs the key `name`\n\
         8:27: `interval`: `1` is not a duration: write a number and a unit, for instance 250ms, 10s, 5m, 2h or 7d"
    );
    let flood: String = (0..200).map(|i| format!("  - {{x{i}: 1}}\n")).collect();
    let told = told(&format!("checks:\n{flood}"));
    assert_eq!(told.lines().count(), 101);
    assert!(told.ends_with(" and 700 more"), "{}", told.lines().last().unwrap());
}

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
fn too_many_pairs_in_one_file() {
    let targets: Vec<String> = (0..MAX_PAIRS).map(|i| format!("{{name: t{i}, address: x}}")).collect();
    let text = with(&format!("targets: [{}]", targets.join(", ")));
    assert_eq!(told(&text), "");
    let text = format!("{text}  - {{name: b, plugin: p, interval: 1s}}\n");
    assert_eq!(told(&text), "1:1: 10001 pairs of check and target are more than the 10000 of one node");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _outcome = parse(Path::new("f"), &bytes, &node());
    }

    #[test]
    fn arbitrary_values_of_known_keys_never_panic(
        key in "(name|plugin|interval|cron|timezone|timeout|targets|target|settings|labels|limits|allow|jitter|placement)",
        value in "[-a-z0-9{}\\[\\]:,.*/ \"'$%&é<>~@|]{0,60}",
    ) {
        let text = format!("defaults: {{{key}: 1}}\nchecks:\n  - name: a\n    plugin: p\n    {key}: {value}\n");
        if let Ok(file) = parse(Path::new("f"), text.as_bytes(), &node()) {
            for configured in &file.checks {
                for key in configured.check.keys() {
                    let target = configured.check.target(key.target.as_ref());
                    prop_assert!(fill::fill_check(&configured.check, target, &node()).is_ok());
                }
            }
        }
    }
}
