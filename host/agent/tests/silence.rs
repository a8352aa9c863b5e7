//! What somebody does who is woken at night: look, acknowledge, silence; and results that cron jobs push.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use support::{Agent, Place, eventually};

/// A check with one target that is there and one that is not, and one whose results are pushed.
struct House {
    place: Place,
    agent: Agent,
    closed: u16,
    _open: TcpListener,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl House {
    fn new() -> Self {
        let place = Place::with_plugins(&["tcp"]);
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = open.local_addr().unwrap().port();
        place.write_checks(
            "a.yaml",
            &format!(
                "checks:\n  - name: web\n    plugin: tcp\n    interval: 500ms\n    timeout: 500ms\n    \
                 failureThreshold: 1\n    owner: web-team\n    runbook: https://wiki.example/web\n    \
                 targets: [{{name: here, address: \"127.0.0.1:{port}\"}}, {{name: gone, address: \"127.0.0.1:{closed}\"}}]\n  \
                 - {{name: backup, ttl: 25h}}\n"
            ),
        );
        let agent = place.start();
        eventually("the states are known", || {
            let status = agent.get("/api/v1/status?check=web")["status"].clone();
            let states: Vec<&str> = status.as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
            states == ["critical", "ok"]
        });
        Self { place, agent, closed, _open: open }
    }

    /// What was said, with this exit code and nothing on standard error.
    fn says(&self, arguments: &[&str], code: i32) -> String {
        let output: Output = self.agent.cli(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), err.as_str()), (Some(code), ""), "{arguments:?}: {out}");
        out
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["--output", "json"]].concat(), code)).unwrap()
    }

    fn complains(&self, arguments: &[&str], words: &[&str]) {
        let output = self.agent.cli(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{arguments:?}: {words:?}: {err}");
    }
}

#[test]
fn one_output_tells_what_is_needed_at_night() {
    let house = House::new();
    let shown = house.says(&["check", "show", "web"], 0);
    let address = format!("127.0.0.1:{}", house.closed);
    for word in [
        "check      web\n",
        "owner      web-team\n",
        "runbook    https://wiki.example/web\n",
        "\ngone: critical since 2",
        "last failing runs (",
        &address,
        "\nto silence it for an hour:\n  roundsman silence add web --target gone --for 1h --reason 'looking into it' --addr ",
    ] {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
    let stories = house.says(&["history", "--failures"], 0);
    assert!(stories.contains("web/gone: critical") && stories.contains("  said     "), "{stories}");
    let stories = house.json(&["history", "--failures", "--check", "web", "--limit", "1"], 0);
    assert_eq!(stories["failures"][0]["target"], "gone");
    let none = house.says(&["history", "--failures", "--check", "backup"], 0);
    assert!(none.contains("no failing runs of check `backup`"), "{none}");
    let one = house.json(&["check", "show", "web", "--target", "here"], 0);
    assert_eq!(one["status"].as_array().unwrap().len(), 1);
    house.complains(&["check", "show", "web", "--target", "away"], &["no target `away`", "gone, here"]);
}

fn add<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["silence", "add"], more, &["--for", "1h", "--reason", "r"]].concat()
}

fn push<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["result"], more].concat()
}

#[test]
fn a_silence_from_beginning_to_end() {
    let house = House::new();
    let begun = house.says(
        &["silence", "add", "web", "--target", "gone", "--for", "1h", "--reason", "it's known", "--author", "kim"],
        0,
    );
    let id = begun.split("remove ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert!(begun.starts_with("silenced: web/gone; ends in 59m") || begun.contains("in 1h"), "{begun}");
    let listed = house.says(&["silence", "list", "--check", "web"], 0);
    let row = listed.lines().nth(1).unwrap();
    assert!(row.starts_with(&format!("{id}  web    gone")) && row.ends_with("kim  it's known"), "{listed}");
    assert_eq!(house.json(&["silence", "list", "--check", "backup"], 0)["silences"], Value::Array(Vec::new()));
    // Known already: no alarm, in words and in the exit code. Nothing came for the other check yet.
    let status = house.json(&["status"], 3);
    assert_eq!((&status["worst"], &status["status"][0]["silence"]["author"]), (&"pending".into(), &"kim".into()));
    let table = house.says(&["status"], 3);
    assert!(table.contains("1 not ok but quiet") && table.contains(" silenced "), "{table}");
    assert!(house.says(&["check", "list"], 0).contains("silenced (1 of 2)"));
    let shown = house.says(&["check", "show", "web"], 0);
    assert!(shown.contains("by kim: it's known\n") && shown.contains(&format!("`roundsman silence remove {id}`")));
    let command = shown.lines().last().unwrap();
    assert!(command.starts_with("  roundsman silence add web --for 1h"), "the target is silenced already: {command}");

    assert!(house.says(&["silence", "remove", &id], 0).contains("the silence of web/gone by kim"));
    house.complains(&["silence", "remove", &id], &[&format!("there is no silence `{id}`"), "`roundsman silence list`"]);
    assert_eq!(house.says(&["silence", "list"], 0), "nothing is silenced\n");
    assert_eq!(house.json(&["status"], 2)["worst"], "critical");
    house.complains(
        &["silence", "add", "wep", "--for", "1h", "--reason", "r"],
        &["there is no check `wep`", "backup, web"],
    );
    house.complains(&add(&["web", "--target", "away"]), &["no target `away`", "gone, here"]);
    let state = house.place.state().display().to_string();
    assert!(house.says(&add(&["--all", "--state", &state]), 0).starts_with("silenced: every check; "));
}

#[test]
fn an_acknowledgement_ends_with_the_problem() {
    let house = House::new();
    house.complains(&["check", "ack", "wep", "--reason", "r"], &["there is no check `wep`", "check list"]);
    house.complains(&["check", "ack", "web", "--target", "here", "--reason", "r"], &["nothing to acknowledge"]);
    let begun = house.says(&["check", "ack", "web", "--reason", "on it"], 0);
    assert!(begun.starts_with("silenced: web/gone; ends when it is ok; "), "{begun}");
    house.complains(&["check", "ack", "web", "--reason", "r"], &["silenced already", "silence list --check web"]);
    // It comes back: nobody has to think of the silence.
    let _back = TcpListener::bind(("127.0.0.1", house.closed)).unwrap();
    eventually("the silence is over", || house.says(&["silence", "list"], 0) == "nothing is silenced\n");
    eventually("it is ok", || house.agent.get("/api/v1/status?check=web")["status"][0]["state"] == "ok");
}

#[test]
fn results_are_pushed() {
    let house = House::new();
    let taken = house.says(&push(&["backup", "--status", "1", "--summary", "12 files\nlost", "--latency-ms", "5"]), 0);
    assert!(taken.starts_with("taken: backup warning at 2"), "{taken}");
    let record = house.json(&push(&["backup", "--status", "critical", "--summary", "disk full"]), 0)["record"].take();
    assert_eq!((&record["origin"], &record["status"]), (&"pushed".into(), &"critical".into()));
    // What was answered is committed.
    let kept = house.agent.get("/api/v1/records?check=backup")["records"].clone();
    let summaries: Vec<&str> = kept.as_array().unwrap().iter().map(|r| r["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries, ["disk full", "12 files lost"]);
    let shown = house.says(&["check", "show", "backup"], 0);
    assert!(shown.contains("pushed within 1d1h") && shown.contains("said     disk full"), "{shown}");
    house.complains(&push(&["bakcup", "--status", "ok"]), &["no check `bakcup`", "results are taken for: backup"]);
    house.complains(&push(&["web", "--status", "ok"]), &["`web` runs by itself", "results are taken for: backup"]);
    house.complains(&push(&["backup", "--target", "eu", "--status", "ok"]), &["no target `eu`", "leave `target` out"]);
    let refused = house.agent.request("POST", "/api/v1/results?check=backup&status=ok").unwrap();
    assert_eq!(refused.0, 403, "{}", refused.1);
    let run = house.agent.cli(&["check", "run", "backup"]);
    assert!(text(&run.stderr).contains("its results are pushed"), "{}", text(&run.stderr));
}
