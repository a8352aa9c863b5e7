//! The plugins' own cases (`plugins/*/tests/cases.yaml`) in the real sandbox, and what a case says that is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::plugin;

fn test(name: &str, cases: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    command.args(["plugin", "test"]).arg(plugin(name)).arg("--cases").arg(cases).args(more);
    command.stdin(Stdio::null()).output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every plugin that has cases, by name.
fn with_cases() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let plugins = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let cases = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        Some((name, folder.join("tests/cases.yaml"))).filter(|(_, cases)| cases.is_file())
    };
    plugins.filter_map(cases).collect()
}

#[test]
fn the_plugins_pass_their_own_cases() {
    let all = with_cases();
    assert!(all.len() >= 4, "only {} plugins with cases found: the search is broken", all.len());
    let mut failed = String::new();
    for (name, cases) in all {
        let output = test(&name, &cases, &[]);
        if !output.status.success() {
            failed += &format!("{name}:\n{}{}\n", text(&output.stdout), text(&output.stderr));
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn what_differs_is_told_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let cases = directory.path().join("cases.yaml");
    std::fs::write(
        &cases,
        r#"cases:
  - name: right
    target: https://shop.example
    answers: {http: [{request: "GET https://shop.example/", status: 200}]}
    expect: {status: ok}
  - name: wrong in every way
    target: https://shop.example
    answers:
      http:
        - {request: "GET https://shop.example/", status: 503, timings: {connect: 3ms}}
        - {request: "GET https://shop.example/never", status: 200}
    expect:
      status: ok
      summary: {matches: "^status 2"}
      points: [{series: http, fields: {connect_ms: 4, status_code: 503}, tags: {zone: a}}, {series: page}]
      findings: [{subject: x}]
      state: {last: "6"}
      log: [{contains: hello}]
  - name: not answered
    target: https://shop.example
    expect: {status: ok}
"#,
    )
    .unwrap();
    let output = test("http", &cases, &[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}{}", text(&output.stderr));
    for line in [
        "ok     right (",
        "FAILED wrong in every way (",
        "cases.yaml:6\n",
        "- expected ok, found critical: status 503",
        "- summary: expected something like /^status 2/, found `status 503",
        "- point http: connect_ms: expected 4, found 3.0; tag zone: expected `a`, found nothing",
        "- point page: there is none; found http ",
        "- finding x: there is none; found nothing",
        "- state last: expected `6`, found nothing",
        "- log: no line is something with `hello`",
        "- never asked for: http GET https://shop.example/never",
        "- the plugin asked for GET https://shop.example/, which the case does not answer",
        "http: 1 passed, 2 failed",
    ] {
        assert!(said.contains(line), "`{line}` is not said:\n{said}");
    }
    let json: Value = serde_json::from_slice(&test("http", &cases, &["--output", "json"]).stdout).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &2.into()), "{json}");
    assert_eq!((&json["cases"][2]["passed"], &json["cases"][2]["line"]), (&false.into(), &19.into()), "{json}");
    let one = test("http", &cases, &["--only", "right"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stdout));
}

#[test]
fn what_is_wrong_in_the_file_has_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let cases = directory.path().join("cases.yaml");
    for (file, says) in [
        (
            "cases:\n  - name: a\n    anwers: {}\n    expect: {status: ok}\n",
            "cases.yaml:3:5: unknown key `anwers` (did you mean `answers`?)",
        ),
        ("cases:\n  - name: a\n    expect: {}\n", "either `status: critical` or `fault: settings`"),
        (
            "cases:\n  - name: a\n    answers: {http: [{request: nonsense, status: 200}]}\n    expect: {status: ok}\n",
            "cases.yaml:3:32: `request`: write method and URL",
        ),
        (
            "cases:\n  - name: a\n    answers: {tcp: [{connect: \"h:1\", dialogue: [{say: x}]}]}\n    expect: {status: ok}\n",
            "unknown key `say`",
        ),
        (
            "cases:\n  - name: a\n    answers: {http: [{request: GET http://h/, failure: {code: dead}}]}\n    expect: {status: ok}\n",
            "`dead` is no code of a failure: write one of timeout, refused",
        ),
        ("[]", "must be a mapping"),
    ] {
        std::fs::write(&cases, file).unwrap();
        let output = test("http", &cases, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "`{says}` is not said: {said}");
    }
    let absent = test("http", &directory.path().join("none.yaml"), &[]);
    assert!(text(&absent.stderr).contains("name another file by --cases"), "{}", text(&absent.stderr));
}
