//! The plugins sysctl, processes and ports against this machine.

use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bench::{number, probe};

#[test]
fn kernel_parameters() {
    let see = ["--allow", "system=sysctl"];
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let expect = |list| json!({"expect": list});
    let seen = probe("sysctl", &expect(json!([{"name": "kernel.osrelease", "value": kernel.trim()}])), &see);
    seen.assert("ok", "1 parameters are as expected");
    let (tags, fields) = seen.points("sysctl").remove(0);
    assert_eq!(
        (tags["name"].as_str(), &fields["text"], &fields["as_expected"]),
        ("kernel.osrelease", &json!(kernel.trim()), &json!(true))
    );
    let seen = probe("sysctl", &expect(json!([{"name": "kernel.pid_max", "min": 1e12, "status": "warning"}])), &see);
    seen.assert("warning", "expected at least 1000000000000");
    assert!(number(&seen.points("sysctl")[0].1["value"], "Real") > 100.0);
    let seen = probe("sysctl", &expect(json!([{"name": "no.such.parameter", "value": "1"}])), &see);
    seen.assert("critical", "no.such.parameter does not exist on this kernel");
    for name in ["../../etc/passwd", "kernel/../../self/environ", "/etc/passwd"] {
        let seen = probe("sysctl", &expect(json!([{"name": name, "value": "1"}])), &see);
        assert_ne!(seen.report["status"], "ok", "{seen:?}");
        assert!(!seen.summary().contains("root:"), "{seen:?}");
    }
    let denied = probe("sysctl", &expect(json!([{"name": "kernel.pid_max", "min": 1}])), &[]);
    denied.assert("unknown", "add to the check: allow: {system: [sysctl]}");
}

#[test]
fn processes() {
    let see = ["--allow", "system=processes"];
    // A name that no other process has.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("rounds-sleeper");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("600").stdin(Stdio::null()).spawn().unwrap();
    let groups = |list| json!({"groups": list});
    let one = json!([{"group": "s", "name": "rounds-sleeper", "min": 1, "max": 1}, {"group": "c", "command": "rounds-sleeper 600$"}]);
    let seen = probe("processes", &groups(one.clone()), &see);
    let forbidden = probe("processes", &groups(json!([{"group": "s", "name": "rounds-sleeper", "max": 0}])), &see);
    child.kill().unwrap();
    child.wait().unwrap();
    seen.assert("ok", " processes, ");
    let (_, group) = seen.points("process_group").remove(0);
    assert_eq!((&group["count"], &group["threads"]), (&json!(1), &json!(1)));
    assert!(
        number(&group["resident_bytes"], "Integer") > 10_000.0 && number(&group["youngest_seconds"], "Real") < 600.0,
        "{group:?}"
    );
    let all = seen.point("processes");
    assert!(
        number(&all["total"], "Integer") > 2.0
            && number(&all["threads"], "Integer") >= number(&all["total"], "Integer")
    );
    forbidden.assert("critical", "s: 1 processes, at most 0 may run");
    probe("processes", &groups(one), &see).assert("critical", "s: 0 processes, at least 1 must run");
    probe("processes", &json!({"total": {"warning": 1, "critical": 1000000}}), &see)
        .assert("warning", "processes, limit 1");
    probe("processes", &json!({}), &[]).assert("unknown", "add to the check: allow: {system: [processes]}");
}

#[test]
fn listening_ports() {
    let see = ["--allow", "system=ports"];
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let settings = json!({"expect": [{"port": tcp_port}, {"port": udp_port, "protocol": "udp", "reach": "others"}]});
    let seen = probe("ports", &settings, &see);
    seen.assert("ok", "2 expected ones are open");
    assert!(
        seen.points("ports")
            .iter()
            .any(|(tags, fields)| tags["protocol"] == "tcp" && number(&fields["listening"], "Integer") > 0.0)
    );
    let forbidden = probe("ports", &json!({"forbid": [{"port": tcp_port}]}), &see);
    forbidden.assert(
        "critical",
        &format!("tcp/{tcp_port} must be closed: tcp 127.0.0.1:{tcp_port} (process {})", std::process::id()),
    );
    let others = json!({"expect": [{"port": tcp_port, "reach": "others"}]});
    probe("ports", &others, &see).assert("critical", &format!("nothing listens on tcp/{tcp_port} for other machines"));
    drop(tcp);
    probe("ports", &json!({"expect": [{"port": tcp_port}]}), &see)
        .assert("critical", &format!("nothing listens on tcp/{tcp_port}"));
    probe("ports", &json!({}), &[]).assert("unknown", "add to the check: allow: {system: [ports]}");
}
