//! Tables: a check and what its plugin says of itself, and what is advised.

use std::path::Path;

use super::*;
use crate::checks::parse;

const DESCRIPTION: &str = r#"{
    "version": "1.0.0", "summary": "s", "example": "",
    "settings": {"type": "object", "properties": {
        "url": {"type": "string", "x-roundsman": {"kind": "destination"}},
        "peer": {"type": "string", "x-roundsman": {"kind": "destination", "scheme": "tcp"}},
        "file": {"type": "string", "x-roundsman": {"kind": "path"}},
        "token": {"type": "string", "x-roundsman": {"kind": "secret"}},
        "program": {"type": "string", "x-roundsman": {"kind": "command"}}
    }},
    "series": [{"name": "web", "tags": [{"name": "code"}], "fields": [
        {"name": "total_ms", "type": "real"}, {"name": "version", "type": "text"}
    ]}]
}"#;

/// 22 November 2026, a Sunday.
const NOW: Timestamp = Timestamp(1_795_305_600_000_000_000);

fn configured(keys: &str) -> Vec<Problem> {
    let text = format!("checks:\n  - {{name: a, {keys}}}\n");
    let file = parse(Path::new("f"), text.as_bytes(), &Node::default()).unwrap();
    let description = Description::parse(DESCRIPTION).unwrap();
    of_check(&file.checks[0], Some(&description), &Node::default(), &[9640], NOW)
}

#[test]
fn advice() {
    for (keys, expected) in [
        ("target: 'http://h:1'", ""),
        ("settings: {url: 'http://h:1/x'}, target: 'http://h:1'", ""),
        ("settings: {url: 'https://h/x'}, allow: {network: ['https://*:443']}", ""),
        ("settings: {peer: '[::1]:5'}, allow: {network: ['tcp://[::1]:5']}", ""),
        ("settings: {file: /etc/ssl/a}, allow: {files: [/etc]}", ""),
        ("settings: {file: relative, url: '', peer: no-port}", ""),
        ("thresholds: [{field: web.total_ms, warning: 1}]", ""),
        (
            "settings: {url: 'https://shop.example/x'}",
            "`https://shop.example/x` is not granted: a run that needs it is refused (add to the check: allow: {network: [\"https://shop.example:443\"]})",
        ),
        (
            "settings: {peer: '10.0.0.1:53'}, target: '10.0.0.1:54'",
            "`10.0.0.1:53` is not granted: a run that needs it is refused (add to the check: allow: {network: [\"tcp://10.0.0.1:53\"]})",
        ),
        (
            "settings: {file: /etc/ssl/a}, allow: {files: [/etc/s]}",
            "`/etc/ssl/a` is not granted: a run that needs it is refused (add to the check: allow: {files: [/etc/ssl/a]})",
        ),
        ("settings: {token: shop, program: /bin/a}, allow: {secrets: [shop], commands: [/bin/a]}", ""),
        ("settings: {token: '', program: ''}", ""),
        (
            "settings: {token: shop}, allow: {secrets: [shop2]}",
            "`shop` is not granted: a run that needs it is refused (add to the check: allow: {secrets: [shop]})",
        ),
        (
            "settings: {program: /bin/a}, allow: {commands: [/bin/ab]}",
            "`/bin/a` is not granted: a run that needs it is refused (add to the check: allow: {commands: [/bin/a]})",
        ),
        (
            "thresholds: [{field: web.totl_ms, warning: 1}]",
            "plugin `p` reports no `web.totl_ms`: the bounds never count (did you mean `web.total_ms`?)",
        ),
        (
            "thresholds: [{field: other.x, warning: 1}]",
            "plugin `p` reports no `other.x`: the bounds never count (it reports web.total_ms, web.version)",
        ),
        ("thresholds: [{field: web.version, warning: 1}]", "`web.version` is text: the bounds never count"),
        ("labels: {code: x}", "`code` is also a tag of the plugin's series `web`, which becomes `tag_code`"),
        (
            "target: 169.254.169.254",
            "169.254.169.254 is a cloud metadata address: it is refused unless address and port are named (write the port, too)",
        ),
        ("target: '169.254.169.254:80'", ""),
        ("target: 'ldap://h:1'", "`ldap://` grants nothing: the schemes are http, https, tcp, tls, udp, dns, icmp"),
        ("maintenance: [{cron: '@daily', for: 23h}]", ""),
        (
            "maintenance: [{cron: '0 0 * * *', for: 12h}, {cron: '0 12 * * *', for: 12h}]",
            "from now on it is in maintenance without a break: it is never run (`enabled: false` says so in one word)",
        ),
    ] {
        let told: Vec<String> = configured(&format!("plugin: p, interval: 1m, {keys}"))
            .into_iter()
            .map(|problem| problem.to_string().split_once(": warning: ").unwrap().1.to_owned())
            .collect();
        assert_eq!(told.join("\n"), expected, "{keys}");
    }
}

#[test]
fn advice_points_to_its_place() {
    for (keys, place) in [
        ("settings: {url: 'https://shop.example/x'}", "f:2:56:"),
        ("targets: [{name: x, address: y}, {name: z, address: 'ldap://h'}]", "f:2:92:"),
        ("target: 'ldap://h'", "f:2:48:"),
    ] {
        let told = configured(&format!("plugin: p, interval: 1m, {keys}"))[0].to_string();
        assert!(told.starts_with(place), "{place}: {told}");
    }
}

#[test]
fn rates() {
    for (keys, expected) in [
        ("plugin: p, interval: 10s", 0.1),
        ("plugin: p, interval: 10s, targets: [{name: a, address: b}, {name: c, address: d}]", 0.2),
        ("plugin: p, cron: '@hourly'", 1.0 / 3_600.0),
        ("plugin: p, at: start", 0.0),
        ("ttl: 100s", 0.01),
    ] {
        let text = format!("checks:\n  - {{name: a, {keys}}}\n");
        let file = parse(Path::new("f"), text.as_bytes(), &Node::default()).unwrap();
        let rate = rate(&file.checks[0].check, NOW);
        assert!((rate - expected).abs() < 1e-9, "{keys}: {rate}");
    }
}
