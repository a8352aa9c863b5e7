//! Tables: the text of a checks file, and what is told about it or made of it.

mod fuzz;
mod keys;
mod targets;
mod timing;
mod variables;
mod whole;

use super::*;

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
        ("checks:\n  - ttl: 5m\n", "2:5: a check needs the key `name`"),
        (
            "checks: [{name: roundsman, plugin: http, interval: 10s}]",
            "1:17: the name `roundsman` is taken by the check that the agent makes of itself (choose another name)",
        ),
        (
            "checks:\n  - {name: a, plugin: http}\n",
            "2:5: check `a` needs `interval` (or `cron`, `at: start`, or `ttl` for results that are pushed)",
        ),
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
fn all_problems_at_once_and_those_of_defaults_only_once() {
    let text = "defaults:\n  timeout: 1h\n  name: x\n  colour: red\nchecks:\n  - {name: a, plugin: p, interval: 1s}\n  - {name: B, plugin: p, interval: 1s, timeout: 1s, owner: []}\n  - {plugin: p, interval: 1}\n";
    assert_eq!(
        told(text),
        "2:12: `timeout` must be from 10ms to 5m, not 1h\n\
         3:9: `name` has no default: every check has its own\n\
         4:3: unknown key `colour` (known here: name, interval, cron, ttl, at, timezone, maintenance, jitter, catchUp, \
         catchUpDeadline, plugin, timeout, initialDelay, retryInterval, successThreshold, failureThreshold, target, targets, \
         settings, thresholds, allow, limits, labels, owner, runbook, dependsOn, negate, shadow, enabled, placement)\n\
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
fn too_many_pairs_in_one_file() {
    let targets: Vec<String> = (0..MAX_PAIRS).map(|i| format!("{{name: t{i}, address: x{i}}}")).collect();
    let text = with(&format!("targets: [{}]", targets.join(", ")));
    assert_eq!(told(&text), "");
    let text = format!("{text}  - {{name: b, plugin: p, interval: 1s}}\n");
    assert_eq!(told(&text), "1:1: 10001 pairs of check and target are more than the 10000 of one node");
}

#[test]
fn circles_within_a_file() {
    let check = |name: &str, on: &str| format!("  - {{name: {name}, plugin: p, interval: 1s, dependsOn: [{on}]}}\n");
    let text = format!("checks:\n{}{}{}", check("a", "x, b"), check("b", "c"), check("c", "y, a"));
    let message =
        "these checks wait for each other in a circle: a -> b -> c -> a (take one of them out of `dependsOn`)";
    assert_eq!(told(&text), format!("4:55: {message}"));
    assert_eq!(told(&format!("checks:\n{}{}", check("a", "b"), check("b", "c"))), "");
    // The default that names the check itself counts for its neighbours.
    let text = "defaults: {plugin: p, interval: 1s, dependsOn: [dns]}\nchecks: [{name: dns}, {name: web}]\n";
    let file = read(text).unwrap();
    assert_eq!(file.checks[0].check.depends_on, []);
    assert_eq!(file.checks[1].check.depends_on, [CheckName::new("dns").unwrap()]);
}
