//! A plugin of somebody else, built outside the workspace from nothing but the SDK.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::{Place, target_folder};
use super::*;

/// Copies a folder with what its links point to, without what was built in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if name == "target" {
            continue;
        }
        if fs::metadata(&path).unwrap().is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).map(drop).unwrap();
        }
    }
}

fn build(example: &Path) -> PathBuf {
    // What is compiled of other crates is used again.
    let target = target_folder().join("third-party");
    let cargo = std::env::var_os("CARGO").expect("the test is run by cargo");
    let attempt = |more: &[&str]| {
        let mut command = Command::new(&cargo);
        command.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2"]).args(more);
        for (name, _) in std::env::vars_os() {
            // What cargo tells the tests of the workspace is not for this one.
            if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
                command.env_remove(name);
            }
        }
        command.env_remove("RUSTFLAGS").env("CARGO_TARGET_DIR", &target).current_dir(example).stdin(Stdio::null());
        command.output().expect("cargo can be started")
    };
    let mut output = attempt(&["--offline"]);
    if !output.status.success() {
        // On a machine that has not built it yet.
        output = attempt(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/release/clock.wasm")
}

#[test]
fn a_plugin_built_from_the_sdk_alone_delivers() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
    let elsewhere = tempfile::tempdir().unwrap();
    copy(&sdk.join("rust"), &elsewhere.path().join("rust"));
    copy(&sdk.join("example"), &elsewhere.path().join("example"));
    let component = build(&elsewhere.path().join("example"));

    let place = Place::with_plugins(&["load"]);
    let agent = place.start();
    place.write_checks("clock.yaml", "checks:\n  - {name: clock, plugin: clock, interval: 500ms}\n");
    fs::copy(component, place.plugins().join("clock.wasm")).unwrap();
    let loaded = eventually_some("it is loaded", || Some(entry(&agent, "clock")).filter(|e| e["state"] == "ready"));
    assert_eq!((&loaded["version"], &loaded["checks"]), (&"0.1.0".into(), &serde_json::json!(["clock"])));
    let record = eventually_some("it delivers", || {
        let records = agent.get("/api/v1/records?check=clock&status=ok");
        records["records"].as_array().unwrap().last().cloned()
    });
    assert_eq!(record["points"][0]["series"], "clock", "{record}");
    assert!(record["points"][0]["fields"]["late_ms"].is_number(), "{record}");
    let (loaded_at, began) = (loaded["loaded"].as_str().unwrap(), record["started"].as_str().unwrap());
    assert!(loaded_at <= began, "{loaded_at} {began}");
    eprintln!("compiled in {} ms, loaded {loaded_at}, first run {began}", loaded["compile_ms"]);
    eprintln!("{} ms later", seconds_between(loaded_at, began) * 1e3);
}

/// Between two instants of one day, of the form `2026-01-01T00:00:00.123456789Z`.
fn seconds_between(from: &str, to: &str) -> f64 {
    let seconds = |text: &str| {
        let time = text.split_once('T').unwrap().1.trim_end_matches('Z');
        time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
    };
    (seconds(to) - seconds(from)).rem_euclid(86_400.0)
}
