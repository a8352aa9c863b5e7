//! An author's way: `plugin new`, a build without a network, `plugin test`, and records in a running agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use support::servers::{DEADLINE, skipped};
use support::{Place, eventually_some, target_folder};

fn roundsman(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("the binary was built")
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").expect("the test is run by cargo");
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        // What cargo tells the tests of the workspace is not for this one.
        if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    // What is compiled of other crates is used again.
    command.env_remove("RUSTFLAGS").env("CARGO_TARGET_DIR", target_folder().join("author"));
    command.args(arguments).arg("--quiet").current_dir(folder).stdin(Stdio::null());
    command.output().expect("cargo can be started")
}

#[track_caller]
fn assert_well(output: &Output) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn from_nothing_to_records() {
    let began = Instant::now();
    let elsewhere = tempfile::tempdir().unwrap();
    let said = assert_well(&roundsman(elsewhere.path(), &["plugin", "new", "page-word"]));
    assert!(said.contains("roundsman plugin test target/wasm32-wasip2/release/page_word.wasm"), "{said}");
    let folder = elsewhere.path().join("page-word");
    let again = roundsman(elsewhere.path(), &["plugin", "new", "page-word"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");

    let built = cargo(&folder, &["build", "--offline", "--release", "--target", "wasm32-wasip2"]);
    let missing = String::from_utf8_lossy(&built.stderr).into_owned();
    if missing.contains("--offline") && std::env::var_os("CI").is_none() {
        skipped("cargo's cache lacks a crate of the SDK: run `cargo fetch`");
        return;
    }
    assert_well(&built);
    eprintln!("built after {:.1} s", began.elapsed().as_secs_f64());
    let component = target_folder().join("author/wasm32-wasip2/release/page_word.wasm");
    let size = fs::metadata(&component).unwrap().len();
    assert!(size < 400 << 10, "the file has {size} bytes");

    passes_and_fails_as_it_should(&folder, &component);
    imports_nothing_that_it_does_not_use(&component);
    delivers(&component);
    eprintln!("records after {:.1} s", began.elapsed().as_secs_f64());
}

fn passes_and_fails_as_it_should(folder: &Path, component: &Path) {
    let component = component.to_str().unwrap();
    let said = assert_well(&roundsman(folder, &["plugin", "test", component]));
    assert!(said.contains("page-word: 4 passed, 0 failed"), "{said}");
    let wrong = fs::read_to_string(folder.join("tests/cases.yaml")).unwrap().replace("count: 2", "count: 3");
    fs::write(folder.join("tests/wrong.yaml"), wrong).unwrap();
    let output = roundsman(folder, &["plugin", "test", component, "--cases", "tests/wrong.yaml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("- point page_word: count: expected 3, found 2\n"), "{said}");
    assert!(said.contains("page-word: 3 passed, 1 failed"), "{said}");
}

fn imports_nothing_that_it_does_not_use(component: &Path) {
    let output = roundsman(Path::new("."), &["plugin", "inspect", "--output", "json", component.to_str().unwrap()]);
    let inspected: Value = serde_json::from_str(&assert_well(&output)).unwrap();
    let imports = inspected["imports"].to_string();
    assert!(imports.contains("roundsman:net/http@"), "{imports}");
    for interface in ["net/tcp", "net/udp", "net/dns", "net/icmp", "host/system", "host/command", "check/state"] {
        assert!(!imports.contains(interface), "{interface} in {imports}");
    }
}

/// A page that is served by nobody: the outcome is critical, and the record is the plugin's own.
fn delivers(component: &Path) {
    let place = Place::new();
    let agent = place.start();
    fs::copy(component, place.plugins().join("page-word.wasm")).unwrap();
    place.write_checks(
        "word.yaml",
        "checks:\n  - {name: word, plugin: page-word, interval: 500ms, timeout: 400ms, target: \"http://127.0.0.1:9/\", \
         settings: {word: basket}}\n",
    );
    let record = eventually_some(&format!("there is a record within {DEADLINE:?}"), || {
        let records = agent.get("/api/v1/records?check=word");
        records["records"].as_array().unwrap().last().cloned()
    });
    assert_eq!((&record["plugin"], &record["blame"]), (&"page-word".into(), &"target".into()), "{record}");
    assert!(record["summary"].as_str().unwrap().contains("connect"), "{record}");
    agent.stop();
}

#[test]
fn files_clocks_and_memory_are_the_case_s_own() {
    let elsewhere = tempfile::tempdir().unwrap();
    assert_well(&roundsman(elsewhere.path(), &["plugin", "new", "reader"]));
    let folder = elsewhere.path().join("reader");
    fs::write(folder.join("src/lib.rs"), include_str!("author/reader.rs")).unwrap();
    let cases = r#"cases:
  - name: what is there
    files: {/etc/app/version: "1.2\n"}
    state: {runs: 5}
    previous: warning
    clock: 2026-02-01T00:00:00Z
    expect: {status: ok, summary: "1.2 false 1769904000 1769904000 Some(Warning)", state: {runs: 6}}
  - name: what is not granted
    expect: {fault: io, state: {runs: null}}
"#;
    fs::write(folder.join("tests/cases.yaml"), cases).unwrap();
    assert_well(&cargo(&folder, &["build", "--offline", "--release", "--target", "wasm32-wasip2"]));
    let component = target_folder().join("author/wasm32-wasip2/release/reader.wasm");
    let said = assert_well(&roundsman(&folder, &["plugin", "test", component.to_str().unwrap()]));
    assert!(said.contains("reader: 2 passed, 0 failed"), "{said}");
}

#[test]
fn a_run_is_explained() {
    let plugin = support::plugin("load");
    let arguments = ["probe", plugin.to_str().unwrap(), "--explain", "--settings", r#"{"parts": ["load"]}"#];
    let more = ["--allow", "system=load", "--allow", "system=uname"];
    let output = roundsman(Path::new("."), &[&arguments[..], &more[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "grants   system load: permitted load\n",
        "         system uname: never used\n",
        "asked    system 2 calls\n",
        "calls    none\n",
        "memory ",
        " of 32Mi (",
        "cpu ",
        " of 100ms (",
        "points 1 of 1000 (0.1 %)",
    ] {
        assert!(said.contains(line), "`{line}` is not said:\n{said}");
    }
    let output = roundsman(Path::new("."), &[&arguments[..], &more[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["explained"]["grants"][0]["permitted"][0], "load", "{report}");
    assert_eq!(report["explained"]["host_calls"][0]["calls"], 2, "{report}");
}

#[test]
fn calls_are_explained_with_their_phases() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    });
    let plugin = support::plugin("http");
    let arguments = ["probe", plugin.to_str().unwrap(), "--explain", "--output", "json", "--target", &url];
    let more = ["--allow", "files=/etc", "--allow", "network=https://never.example:443"];
    let output = roundsman(Path::new("."), &[&arguments[..], &more[..]].concat());
    server.join().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let explained = &report["explained"];
    let grants = explained["grants"].as_array().unwrap();
    let of = |list: &str| grants.iter().find(|grant| grant["list"] == list).unwrap();
    assert_eq!(of("target")["permitted"][0], url.trim_end_matches('/'), "{explained}");
    assert_eq!(
        (&of("network")["permitted"], &of("files")["permitted"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    let call = &explained["calls"][0];
    assert_eq!((&call["what"], &call["result"]), (&format!("GET {url}").into(), &"200".into()), "{explained}");
    let phases: Vec<&str> = call["phases"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert_eq!(phases, ["connect", "first-byte", "transfer"], "{explained}");
}
