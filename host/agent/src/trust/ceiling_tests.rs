//! What a check that goes beyond the ceiling is told: the line, and the way out.

use std::path::Path;

use super::*;
use crate::checks;
use crate::config::Config;
use crate::trust::Beside;

fn config(yaml: &str) -> (Policy, Node) {
    let none: [(std::ffi::OsString, std::ffi::OsString); 0] = [];
    let loaded = Config::load(Some((Path::new("/f"), yaml.as_bytes())), none, &[] as &[&str], "box").unwrap();
    (Policy::open(&loaded.config.trust).unwrap(), loaded.config.node)
}

/// The problems of the checks of a file, in lines.
fn told(yaml: &str, checks: &str) -> Vec<String> {
    let (policy, node) = config(yaml);
    let file = checks::parse(Path::new("c.yaml"), checks.as_bytes(), &node).unwrap();
    let of = |configured: &std::sync::Arc<Configured>| {
        let origin = policy.judge(&configured.check.plugin, b"bytes", &Beside::Nothing).unwrap();
        problems(&policy, &origin, configured, &node)
    };
    file.checks.iter().flat_map(of).map(|problem| problem.to_string()).collect()
}

fn check(keys: &str) -> String {
    format!("checks:\n  - name: a\n    plugin: disk\n    interval: 10s\n    {keys}\n")
}

#[test]
fn the_line_and_the_way_out() {
    let long = format!("/srv/{}", "x".repeat(100));
    for (yaml, keys, expected) in [
        ("", "settings: {}", String::new()),
        ("", "allow: {network: ['tcp://*:*'], system: [load]}", String::new()),
        (
            "",
            "allow: {files: [/etc/hosts]}",
            "c.yaml:5:21: `/etc/hosts` lies beyond the plugin's ceiling `trust.plugins.disk.files` of roundsman.yaml (add to roundsman.yaml: trust: {plugins: {disk: {files: [\"/etc/hosts\"]}}})".to_owned(),
        ),
        ("trust: {plugins: {disk: {files: [/etc]}}}", "allow: {files: [/etc/hosts]}", String::new()),
        (
            "trust: {plugins: {disk: {files: [/var]}}}",
            "allow: {files: [/var/a, /etc/hosts]}",
            "c.yaml:5:29: `/etc/hosts` lies beyond the plugin's ceiling `trust.plugins.disk.files` of roundsman.yaml (add \"/etc/hosts\" to `trust.plugins.disk.files` of roundsman.yaml)".to_owned(),
        ),
        (
            "trust: {plugins: {default: {network: ['tcp://*:1']}}}",
            "allow: {network: ['tcp://*:2']}",
            "c.yaml:5:23: `tcp://*:2` lies beyond the plugin's ceiling `trust.plugins.default.network` of roundsman.yaml (add to roundsman.yaml: trust: {plugins: {disk: {network: [\"tcp://*:2\"]}}}; beside it `default` does not hold, so write there all that it may)".to_owned(),
        ),
        (
            "trust: {plugins: {disk: {network: ['tcp://*:1']}}}",
            "target: https://shop.example/path",
            "c.yaml:5:13: `https://shop.example/path` lies beyond the plugin's ceiling `trust.plugins.disk.network` of roundsman.yaml (add \"https://shop.example\" to `trust.plugins.disk.network` of roundsman.yaml)".to_owned(),
        ),
        (
            "trust: {plugins: {disk: {system: []}}}",
            "allow: {system: [load]}",
            "c.yaml:5:22: `load` lies beyond the plugin's ceiling `trust.plugins.disk.system` of roundsman.yaml (add \"load\" to `trust.plugins.disk.system` of roundsman.yaml)".to_owned(),
        ),
    ] {
        assert_eq!(told(yaml, &check(keys)).join("\n"), expected, "{yaml}: {keys}");
    }
    // However long a line is, what is to be written is the whole of it.
    let lines = told("", &check(&format!("allow: {{files: [{long}]}}")));
    assert!(lines[0].contains(&format!("files: [\"{long}\"]")), "{lines:?}");
}

#[test]
fn every_target_is_looked_at_and_told_once() {
    let yaml = "trust: {plugins: {disk: {network: ['tcp://a:1'], files: []}}}";
    let targets = "targets: [{name: one, address: 'tcp://a:1'}, {name: two, address: 'tcp://b:1'}]";
    let lines = told(yaml, &check(&format!("{targets}\n    allow: {{files: ['/x/${{target.name}}', /y]}}")));
    let starts: Vec<&str> = lines.iter().map(|line| line.split(" lies").next().unwrap()).collect();
    assert_eq!(
        starts,
        ["c.yaml:6:21: `/x/one`", "c.yaml:6:42: `/y`", "c.yaml:6:21: `/x/two`", "c.yaml:5:71: `tcp://b:1`"],
        "{lines:?}"
    );
}

#[test]
fn a_record_says_the_first_and_how_many_more() {
    let beyond = |n: usize| {
        let one = Beyond { pointer: String::new(), message: "`x` lies beyond".to_owned(), hint: "add it".to_owned() };
        vec![one; n]
    };
    assert_eq!(in_words(&beyond(0)), None);
    assert_eq!(in_words(&beyond(1)).as_deref(), Some("`x` lies beyond; add it"));
    assert_eq!(in_words(&beyond(3)).as_deref(), Some("`x` lies beyond; add it, and 2 more"));
}
