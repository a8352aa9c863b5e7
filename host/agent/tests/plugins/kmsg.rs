//! The plugin kmsg against the kernel's own log, into which root may write.

use std::io::Write;

use serde_json::json;

use crate::bench::probe;
use crate::support::servers::skipped;
use crate::support::{Place, eventually};

/// A line of user space; none, and said so, where this user may not.
fn say(line: &str) -> Option<()> {
    let mut log = std::fs::OpenOptions::new().write(true).open("/dev/kmsg").ok()?;
    log.write_all(format!("<3>{line}\n").as_bytes()).ok()
}

fn rule(pattern: &str) -> serde_json::Value {
    json!({"builtIn": false, "rules": [{"rule": "test", "pattern": pattern, "userSpace": true, "hold": "60s"}]})
}

#[test]
fn a_line_of_the_kernels_log() {
    let mark = format!("roundsman-test-{}", std::process::id());
    if std::fs::File::open("/dev/kmsg").is_err() || say(&mark).is_none() {
        skipped("reading and writing /dev/kmsg needs root");
        return;
    }
    let see = ["--allow", "system=kernel-log"];
    let seen = probe("kmsg", &rule(&mark), &see);
    seen.assert("critical", &format!(" s ago: {mark}"));
    let (tags, fields) = seen.points("kmsg_rule").remove(0);
    assert_eq!((tags["rule"].as_str(), &fields["matches"]), ("test", &json!(1)));
    probe("kmsg", &rule("roundsman-never"), &see).assert("ok", "none that means trouble");
    probe("kmsg", &json!({}), &[]).assert("unknown", "add to the check: allow: {system: [kernel-log]}");
}

/// Read once, and not again in the next run.
#[test]
fn the_agent_follows_the_log() {
    let mark = format!("roundsman-follow-{}", std::process::id());
    if std::fs::File::open("/dev/kmsg").is_err() || say("roundsman-begin").is_none() {
        skipped("reading and writing /dev/kmsg needs root");
        return;
    }
    let place = Place::with_plugins(&["kmsg"]);
    place.write_checks(
        "kmsg.yaml",
        &format!(
            "checks:\n  - {{name: log, plugin: kmsg, interval: 200ms, timeout: 150ms, failureThreshold: 1, allow: {{system: [kernel-log]}}, settings: {}}}\n",
            json!({"builtIn": false, "rules": [{"rule": "test", "pattern": mark, "userSpace": true, "hold": "2s"}]})
        ),
    );
    let agent = place.start();
    let state = || agent.get("/api/v1/status?check=log")["status"][0]["state"].clone();
    eventually("it is ok", || state() == "ok");
    say(&mark);
    eventually("the line is seen", || state() == "critical");
    eventually("it no longer holds", || state() == "ok");
    agent.stop();
}
