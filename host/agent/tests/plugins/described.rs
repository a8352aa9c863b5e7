//! What the shipped plugins say of themselves: by the published schema, with examples that work as they stand.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Place, plugin};

/// Every folder of plugins/.
fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 17, "{names:?}");
    names
}

fn described(name: &str) -> Value {
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    let output = inspect.args(["plugin", "inspect", "--output", "json"]).arg(plugin(name)).output().unwrap();
    let inspected: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}"));
    inspected["describe"].clone()
}

/// All of it in one test: a plugin is compiled once here, and not once for each question.
#[test]
fn descriptions_and_examples() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/describe.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let place = Place::new();
    place.configure("secrets: {etcd: {directory: etcd}}\ntrust: {plugins: {default: {secrets: [etcd], commands: [/usr/lib/nagios/plugins/], files: [/]}}}\n");
    for name in names() {
        let description = described(&name);
        jsonschema::validate(&schema, &description).unwrap_or_else(|error| panic!("{name}: {error}"));
        jsonschema::meta::validate(&description["settings"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let example = description["example"].as_str().unwrap();
        let read: Value = serde_saphyr::from_str(example).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read["checks"][0]["plugin"], name.as_str(), "the example is of another plugin");
        let settings = &read["checks"][0]["settings"];
        jsonschema::validate(&description["settings"], settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        place.add_plugin(&name);
        place.write_checks(&format!("{name}.yaml"), &example.replacen("  - name: ", &format!("  - name: {name}-"), 1));
    }
    std::fs::create_dir_all(place.path().join("etcd")).unwrap();
    let output = place.run(&["validate"]);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
