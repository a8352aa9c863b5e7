//! Tables: `${…}`, where it is filled in and where it cannot be.

use super::*;

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
fn what_belongs_to_the_whole_check_is_filled_in_with_the_node() {
    let check = only(&with(
        "labels: {where: '${node.name}-${node.labels.disk}', plain: '$${x}'}\nowner: team-${node.labels.disk}\nrunbook: https://w/${node.name}\ntargets: [{name: x, address: y, labels: {on: '${node.name}'}}]",
    ));
    assert_eq!((check.labels["where"].as_str(), check.labels["plain"].as_str()), ("node-a-ssd", "${x}"));
    assert_eq!((check.owner.as_deref(), check.runbook.as_deref()), (Some("team-ssd"), Some("https://w/node-a")));
    assert_eq!(check.targets[0].labels["on"], "node-a");
    let whole = "differs from target to target, and this belongs to the whole check: only `${node.…}` here";
    for (keys, expected) in [
        ("labels: {a: '${target.name}'}", format!("5:17: `${{target.name}}` {whole}")),
        ("owner: ${target.labels.x}", format!("5:12: `${{target.labels.x}}` {whole}")),
        ("targets: [{name: x, address: y, labels: {a: '${target.name}'}}]", format!("5:49: `${{target.name}}` {whole}")),
        (
            "runbook: '${node.nam}'",
            "5:14: `${node.nam}` is not known here; known: node.name, node.ip, node.labels.disk (did you mean `${node.name}`?)".to_owned(),
        ),
    ] {
        assert_eq!(told(&with(keys)), expected, "{keys}");
    }
    // A label of the node may be empty; a tag may not.
    let mut node = node();
    node.labels.insert("role".to_owned(), String::new());
    let text = with("labels: {role: '${node.labels.role}', team: web}");
    let file = parse(Path::new("f"), text.as_bytes(), &node).unwrap();
    assert_eq!(file.checks[0].check.labels.keys().collect::<Vec<_>>(), ["team"]);
    // And one that is short where it is written may be long where it is filled in.
    node.labels.insert("role".to_owned(), "x".repeat(250));
    let text = with("labels: {role: '${node.labels.role}${node.name}-'}");
    let problems = parse(Path::new("f"), text.as_bytes(), &node).unwrap_err();
    assert_eq!(problems[0].to_string(), "f:5:20: `role` is longer than 256 bytes once it is filled in");
}
