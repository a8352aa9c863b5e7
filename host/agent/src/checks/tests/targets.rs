//! Tables: targets that are written, and those that will be found.

use super::*;

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
            "targets: [{name: x, address: 'h:1'}, {name: y, address: 'h:1'}, {name: z, address: 'h:1', labels: {a: b}}]",
            "5:61: warning: targets `x` and `y` have the same address: it is looked at twice",
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
fn targets_that_are_found_are_checked_for_form_and_refused() {
    let yet = |kind: &str| {
        format!(
            "`{kind}` cannot be found yet: only targets with a name and an address are looked at (write {{name: …, address: …}})"
        )
    };
    for (entry, expected) in [
        ("{peers: 10}", format!("5:23: {}", yet("peers"))),
        ("{peers: 0}", format!("5:23: {}\n5:23: `peers` must be from 1 to 100, not 0", yet("peers"))),
        ("{peers: many}", format!("5:23: {}\n5:23: `peers` must be a whole number, not `many`", yet("peers"))),
        ("{services: {namespace: shop, selector: 'app=web,tier in (a, b)'}}", format!("5:26: {}", yet("services"))),
        ("{pods: {}, labels: {a: b}}", format!("5:22: {}", yet("pods"))),
        (
            "{endpoints: {namespace: Shop}}",
            format!(
                "5:27: {}\n5:39: `namespace`: `Shop` must be 1 to 63 characters of a-z, 0-9 and '-', with no '-' at its ends",
                yet("endpoints")
            ),
        ),
        (
            "{ingresses: {selectr: a}}",
            format!("5:27: {}\n5:28: unknown key `selectr` (did you mean `selector`?)", yet("ingresses")),
        ),
        (
            "{nodes: {namespace: x}}",
            format!(
                "5:23: {}\n5:35: `namespace` is no key of `nodes`: they belong to none (leave the key out)",
                yet("nodes")
            ),
        ),
        ("{nodes: all}", format!("5:23: {}\n5:23: `nodes` must be a mapping (key: value), not `all`", yet("nodes"))),
        (
            "{peers: 1, name: x}",
            format!("5:23: {}\n5:32: `name` comes with what is found as `peers` (leave the key out)", yet("peers")),
        ),
        (
            "{peers: 1, pods: {}}",
            format!(
                "5:23: {}\n5:32: {}\n5:32: a target is found as one of `peers` and `pods`: make it two",
                yet("peers"),
                yet("pods")
            ),
        ),
        ("{name: x, address: y}, {pods: {}}", format!("5:45: {}", yet("pods"))),
    ] {
        assert_eq!(told(&with(&format!("targets: [{entry}]"))), expected, "{entry}");
    }
    let told = told(&with("targets: [{pods: {selector: 'app in web'}}]"));
    assert!(told.contains("`selector`: `app in web` selects no labels: write for instance `app=web`"), "{told}");
}
