//! The plugin nagios with plugins of monitoring-plugins, and with programs that misbehave.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::bench::{Seen, installed, number, probe, serve};

fn run(command: &Path, arguments: &[&str], more: &[&str]) -> Seen {
    let settings = json!({"command": command, "arguments": arguments});
    let allow = format!("commands={}", command.display());
    probe("nagios", &settings, &[&["--allow", allow.as_str()], more].concat())
}

#[test]
fn plugins_of_monitoring_plugins() {
    let Some(tcp) = installed("check_tcp") else { return };
    let port = serve(|_| {}).port().to_string();
    let seen = run(&tcp, &["-H", "127.0.0.1", "-p", &port, "-w", "5", "-c", "10"], &[]);
    seen.assert("ok", "TCP OK - ");
    let (tags, time) = seen.points("perfdata").remove(0);
    assert_eq!(
        (tags["label"].as_str(), &time["unit"], &time["warning_high"], &time["max"]),
        ("time", &json!("s"), &json!(5.0), &json!(10.0))
    );
    assert!(number(&time["value"], "Real") > 0.0);
    assert_eq!(seen.point("nagios")["exit"], json!(0));
    let closed = crate::bench::closed().port().to_string();
    run(&tcp, &["-H", "127.0.0.1", "-p", &closed], &[]).assert("critical", "onnection refused");
    let dummy = installed("check_dummy").unwrap();
    for (code, status) in [("0", "ok"), ("1", "warning"), ("2", "critical"), ("3", "unknown")] {
        run(&dummy, &[code, "$(reboot); `id`|a=1"], &[]).assert(status, "$(reboot); `id`");
    }
    let denied = probe("nagios", &json!({"command": dummy}), &[]);
    denied.assert("unknown", "commands: [");
}

#[test]
fn programs_that_misbehave() {
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    let hangs = script("hangs", "echo begun; sleep 60");
    run(&hangs, &[], &["--timeout", "1s"]).assert("critical", "it had said: begun");
    let odd = script("odd", "echo what; exit 42");
    let seen = run(&odd, &[], &[]);
    seen.assert("unknown", "ended with 42, which is no status of Nagios: what");
    assert_eq!((seen.report["code"].as_str(), seen.report["blame"].as_str()), (Some("command"), Some("plugin")));
    let silent = script("silent", "echo why >&2; exit 2");
    run(&silent, &[], &[]).assert("critical", "why");
    let environment = script("environment", "env | sort | tr '\\n' ' '; exit 0");
    let allow = format!("commands={}", environment.display());
    let settings = json!({"command": environment, "environment": {"A": "1"}});
    let seen = probe("nagios", &settings, &["--allow", &allow]);
    seen.assert("ok", "A=1 LANG=");
    assert!(!seen.summary().contains("HOME=") && seen.summary().contains("PATH="), "{}", seen.summary());
    let missing = folder.path().join("missing");
    run(&missing, &[], &[]).assert("unknown", "missing");
}
