//! Tables: single keys of a check, and what is told about them.

use super::*;

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
        (
            "retryInterval: 10s",
            "5:20: warning: `retryInterval` is not shorter than the interval of 10s: the next tick comes first, so it changes nothing",
        ),
        ("initialDelay: 2d", "5:19: `initialDelay` must be from 0s to 1d, not 2d"),
        ("successThreshold: 0", "5:23: `successThreshold` must be from 1 to 100, not 0"),
        ("failureThreshold: 101", "5:23: `failureThreshold` must be from 1 to 100, not 101"),
        ("failureThreshold: -1", "5:23: `failureThreshold` must be from 1 to 100, not -1"),
        ("failureThreshold: three", "5:23: `failureThreshold` must be a whole number, not `three`"),
        ("enabled: yes", "5:14: `enabled` must be true or false, not `yes`"),
        ("negate: 1", "5:13: `negate` must be true or false, not `1`"),
        ("shadow: no", "5:13: `shadow` must be true or false, not `no`"),
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
        ("settings: [a]", "5:15: `settings` must be a mapping (key: value), not a list"),
        ("settings: {a: .inf}", "5:19: `a` is a number that JSON cannot hold (quote it if it is meant as text)"),
        (
            "labels: {team: web, host: b, Team: c, e: ''}",
            "5:25: the tag `host` is set by the agent: choose another label\n5:34: `Team` cannot be a label: a-z, 0-9 and '_' only, beginning with a letter\n5:46: `e` is empty: leave the label out",
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
fn misspelt_keys_name_the_nearest() {
    for (written, meant) in [
        ("jiter", "jitter"),
        ("catchup", "catchUp"),
        ("catch_up_deadline", "catchUpDeadline"),
        ("treshold", "thresholds"),
        ("dependson", "dependsOn"),
        ("depends_on", "dependsOn"),
        ("maintainance", "maintenance"),
        ("negat", "negate"),
        ("shadows", "shadow"),
        ("placment", "placement"),
        ("time_out", "timeout"),
        ("label", "labels"),
    ] {
        let expected = format!("5:5: unknown key `{written}` (did you mean `{meant}`?)");
        assert_eq!(told(&with(&format!("{written}: 1"))), expected);
    }
    for (keys, column, written, meant) in [
        ("thresholds: [{feild: a.b, warning: 1}]", 19, "feild", "field"),
        ("thresholds: [{field: a.b, warning: 1, crit: 2}]", 43, "crit", ""),
        ("maintenance: [{cron: '@daily', for: 1h, timezon: UTC}]", 45, "timezon", "timezone"),
        ("placement: {node: 3}", 17, "node", "nodes"),
    ] {
        let told = told(&with(keys));
        let hint = if meant.is_empty() { " (known here: ".to_owned() } else { format!(" (did you mean `{meant}`?)") };
        let expected = format!("5:{column}: unknown key `{written}`{hint}");
        assert!(told.contains(&expected), "{keys}: {expected}: {told}");
    }
}

#[test]
fn problems_of_plugins() {
    let check = |keys: &str| format!("checks:\n  - {{name: a, {keys}}}\n");
    for (keys, expected) in [
        ("plugin: push, ttl: 5m", ""),
        ("ttl: 5m", ""),
        ("plugin: http, ttl: 5m", "2:23: `http` is not run beside `ttl`: results are pushed (leave `plugin` out)"),
        (
            "plugin: push, interval: 10s",
            "2:23: `push` stands for results that are pushed: it needs `ttl` (write `ttl: 5m` instead of when it is due, or name another plugin)",
        ),
        ("plugin: roundsman, interval: 10s", "2:23: the plugin name `roundsman` is taken by the agent itself"),
        (
            "plugin: roundsman, ttl: 5m",
            "2:23: `roundsman` is not run beside `ttl`: results are pushed (leave `plugin` out)",
        ),
        (
            "plugin: Http, interval: 10s",
            "2:23: `plugin`: plugin name `Http` must be 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit",
        ),
    ] {
        assert_eq!(told(&check(keys)), expected, "{keys}");
    }
    assert_eq!(only(&check("ttl: 5m")).plugin.as_str(), "push");
}

#[test]
fn problems_of_thresholds() {
    for (list, expected) in [
        ("{field: http.total_ms, warning: \"> 300\", critical: \"> 1000\"}", ""),
        ("{field: a.b, warning: 300}, {field: a.c, critical: \"@5:8\"}", ""),
        ("{field: a.b}", "5:18: `thresholds[0]` has no bound (write `warning`, `critical` or both)"),
        ("{warning: 1}", "5:18: `thresholds[0]` needs the key `field`"),
        ("a", "5:18: `thresholds[0]` must be a mapping (key: value), not `a`"),
        (
            "{field: total_ms, warning: 1}",
            "5:26: `field`: `total_ms` is not for instance `http.total_ms`: series and field are a-z, 0-9 and '_', each beginning with a letter",
        ),
        (
            "{field: a.b, warning: 1}, {field: a.c, warning: 1}, {field: a.b, critical: 2}",
            "5:78: `a.b` has bounds already, in line 5 (write `warning` and `critical` side by side)",
        ),
    ] {
        assert_eq!(told(&with(&format!("thresholds: [{list}]"))), expected, "{list}");
    }
    for bound in ["fast", "\"> x\"", "\"=> 3\"", "\"300ms\"", "\"\""] {
        let told = told(&with(&format!("thresholds: [{{field: a.b, critical: {bound}}}]")));
        assert!(told.starts_with("5:41: `critical`: ") && told.contains("`> 300`"), "{bound}: {told}");
    }
    assert_eq!(told(&with("thresholds: x")), "5:17: `thresholds` must be a list, not `x`");
    let list: Vec<String> = (0..65).map(|i| format!("{{field: a.b{i}, warning: 1}}")).collect();
    assert_eq!(told(&with(&format!("thresholds: [{}]", list.join(", ")))), "5:17: 65 thresholds are more than 64");
    // Without quotes it is a tag.
    let told = told(&with("thresholds: [{field: a.b, warning: != 3}]"));
    assert!(told.contains("means nothing here (what begins with `!` and is meant as text stands in quotes)"), "{told}");
}

#[test]
fn problems_of_dependencies() {
    let many: Vec<String> = (0..65).map(|i| format!("c{i}")).collect();
    for (list, expected) in [
        ("[]", ""),
        ("[dns, net]", ""),
        ("dns", "5:16: `dependsOn` must be a list, not `dns`"),
        ("[dns, a]", "5:22: check `a` cannot depend on itself"),
        ("[dns, net, dns]", "5:27: the check `dns` is here twice"),
        (
            "[Dns]",
            "5:17: `dependsOn[0]`: check name `Dns` must be 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit",
        ),
        (&format!("[{}]", many.join(", ")), "5:16: 65 checks are more than 64"),
    ] {
        assert_eq!(told(&with(&format!("dependsOn: {list}"))), expected, "{list}");
    }
}

#[test]
fn what_cannot_be_granted_or_placed_yet_is_checked_for_form_and_refused() {
    let harmless = "placement: every-node\nallow: {secrets: [], commands: [], kubernetes: []}";
    assert_eq!(told(&with(harmless)), "");
    let granted = |key: &str, why: &str| format!("`{key}` cannot be granted yet: {why} so far (leave the key out)");
    let placed = "`placement` is not built yet: every check runs on every node that has its file (leave the key out, or write `every-node`)";
    let kubernetes = granted("kubernetes", "plugins cannot ask the cluster's API");
    for (keys, expected) in [
        ("placement: once", format!("5:16: {placed}")),
        ("placement: local", format!("5:16: {placed}")),
        ("placement: {nodes: 3}", format!("5:16: {placed}")),
        ("placement: {nodes: 0}", format!("5:16: {placed}\n5:24: `nodes` must be from 1 to 1000, not 0")),
        ("placement: {}", format!("5:16: {placed}\n5:16: `placement` needs the key `nodes`")),
        (
            "placement: one",
            "5:16: `placement` cannot be `one`: write one of every-node, once, local, {nodes: N} (did you mean `once`?)".to_owned(),
        ),
        ("placement: [once]", "5:16: `placement` must be text, not a list".to_owned()),
        ("allow: {secrets: [shop], commands: [/bin/true]}", String::new()),
        (
            "allow: {secrets: [/run/x]}",
            "5:23: `secrets[0]` must be a name from `secrets:` of roundsman.yaml, not `/run/x`".to_owned(),
        ),
        (
            "allow: {commands: [true]}",
            "5:24: `commands[0]` must be the whole path of a program, from / on, not `true`".to_owned(),
        ),
        ("allow: {kubernetes: [\"get pods\"]}", format!("5:25: {kubernetes}")),
        (
            "allow: {kubernetes: [pods]}",
            format!("5:25: {kubernetes}\n5:26: `kubernetes[0]` must be a verb (get, list, logs) and a resource, for instance `get pods`, not `pods`"),
        ),
    ] {
        assert_eq!(told(&with(keys)), expected, "{keys}");
    }
}
