//! What `std::net` and the interface `http` come to: grants, refusals, and peers that do not answer.

use std::time::Duration;

use roundsman_model::record::{Blame, Status};
use roundsman_plugin::job::Report;

use crate::support::{Run, guest, peers};
use crate::{assert_outcome, assert_unknown, bench};

const SHORT: Duration = Duration::from_millis(400);

#[test]
fn what_is_not_granted() {
    let bench = bench();
    let echo = peers::echo();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let (tcp, udp) = (format!("tcp://{echo}"), format!("udp://{echo}"));
    let fetched = format!("http://{echo}/");
    for (what, with, line) in [
        ("connect", echo.to_string(), tcp.as_str()),
        ("echo", echo.to_string(), &tcp),
        // Without a fault of its own, or with one: it was the grants.
        ("connect-and-sleep", echo.to_string(), &tcp),
        ("ask-udp", echo.to_string(), &udp),
        ("fetch", fetched.clone(), &format!("http://{echo}")),
        ("look-up", "here.example".to_owned(), "tcp://here.example:*"),
        ("look-up", "data.exfiltrated.example".to_owned(), "tcp://data.exfiltrated.example:*"),
    ] {
        let report = bench.run(&plugin, &Run::what(what, with).within(SHORT));
        assert_unknown(&report, Blame::Host, "denied", &format!("add to the check: allow: {{network: [\"{line}\"]}}"));
    }
    let report = bench.run(&plugin, &Run::what("fetch-swallow", fetched));
    assert_outcome(&report, Status::Ok, "whatever");
    let report = bench.run(&plugin, &Run::what("mounts", ""));
    assert_unknown(&report, Blame::Host, "denied", "add to the check: allow: {system: [filesystems]}");
    assert_eq!(bench.engine.probe().stats().socket.refusals(), 4);
    assert_eq!(bench.engine.probe().stats().lookup.refusals(), 2);
}

#[test]
fn what_is_granted() {
    let bench = bench();
    let (echo, http) = (peers::echo(), peers::http());
    let plugin = bench.load(&guest("hostile")).unwrap();
    let line = format!("tcp://{echo}");
    let report = bench.run(&plugin, &Run::what("echo", echo).network(&line));
    assert_outcome(&report, Status::Ok, "hello");
    let as_target = Run { target: Some(echo.to_string()), ..Run::what("echo", echo) };
    assert_outcome(&bench.run(&plugin, &as_target), Status::Ok, "hello");
    let by_name = format!("here.example:{}", echo.port());
    let report = bench.run(&plugin, &Run::what("echo", &by_name).network(format!("tcp://{by_name}")));
    assert_outcome(&report, Status::Ok, "hello");
    let report = bench.run(&plugin, &Run::what("look-up", "here.example").network("tcp://here.example:80"));
    assert_outcome(&report, Status::Ok, "1 addresses");
    let report = bench.run(&plugin, &Run::what("fetch", format!("http://{http}/")).network(format!("http://{http}")));
    assert_outcome(&report, Status::Ok, "status 200");
    let closed = peers::closed();
    let report = bench.run(&plugin, &Run::what("connect", closed).network(format!("tcp://{closed}")));
    assert_outcome(&report, Status::Critical, "ConnectionRefused");
    assert_eq!(bench.engine.probe().stats().socket.refusals(), 0);
}

/// A server is nothing that a check can be, whatever is granted.
#[test]
fn nobody_listens() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let report = bench.run(&plugin, &Run::what("listen", "").network("tcp://0.0.0.0/0:*"));
    assert_ne!(report.status, Status::Ok, "{report:?}");
}

#[track_caller]
fn assert_no_answer(report: &Report, peer: &str) {
    assert_eq!(
        (report.status, report.blame, report.code.as_deref()),
        (Status::Critical, Blame::Target, Some("timeout")),
        "{report:?}"
    );
    assert_eq!(report.summary, format!("no answer from {peer} within 400ms"));
    let took = report.ended.duration_since(report.began.unwrap());
    assert!(took >= SHORT - Duration::from_millis(100), "cut before its deadline: {took:?}");
}

#[test]
fn peers_that_do_not_answer() {
    let bench = bench();
    let (silent, udp) = (peers::silent(), peers::silent_udp());
    let plugin = bench.load(&guest("hostile")).unwrap();
    let granted = |what: &str| Run::what(what, silent).network(format!("tcp://{silent}")).within(SHORT);
    assert_no_answer(&bench.run(&plugin, &granted("read")), &format!("tcp://{silent}"));
    assert_no_answer(&bench.run(&plugin, &granted("echo")), &format!("tcp://{silent}"));
    let udp = udp.local_addr().unwrap();
    let asked = Run::what("ask-udp", udp).network(format!("udp://{udp}")).within(SHORT);
    assert_no_answer(&bench.run(&plugin, &asked), &format!("udp://{udp}"));

    // Calls of our own end earlier, so that the plugin itself can say what hung.
    let url = format!("http://{silent}/");
    let fetch = |what: &str| Run::what(what, &url).network(format!("http://{silent}")).within(SHORT);
    let report = bench.run(&plugin, &fetch("fetch"));
    assert_outcome(&report, Status::Critical, "timeout");
    assert!(report.summary.contains("first-byte"), "{}", report.summary);
    let took = report.ended.duration_since(report.began.unwrap());
    assert!(took >= SHORT - Duration::from_millis(150), "{took:?}");
}

/// Having talked to its target once does not make a plugin's own failure the target's.
#[test]
fn plugins_that_go_astray_after_they_have_dialled() {
    let bench = bench();
    let (echo, silent) = (peers::echo(), peers::silent());
    let plugin = bench.load(&guest("hostile")).unwrap();
    for (what, peer, says) in [
        ("connect-and-sleep", echo, "it was asleep"),
        ("hold-and-sleep", echo, "it was asleep"),
        ("connect-and-spin", silent, "it was computing"),
    ] {
        let report = bench.run(&plugin, &Run::what(what, peer).network(format!("tcp://{peer}")).within(SHORT));
        assert_unknown(&report, Blame::Plugin, "timeout", says);
    }
    let url = format!("http://{silent}/");
    let for_ever = Run::what("fetch-for-ever", &url).network(format!("http://{silent}")).within(SHORT);
    // Cut within a call or between two: the host cannot tell it from patience, but it ends.
    assert_eq!(bench.run(&plugin, &for_ever).code.as_deref(), Some("timeout"));
}

/// What explains an outage: what was being asked, in which phase, and for how long.
#[test]
fn what_was_called_is_told() {
    let bench = bench();
    let (echo, silent, http, closed) = (peers::echo(), peers::silent(), peers::http(), peers::closed());
    let plugin = bench.load(&guest("hostile")).unwrap();
    let run = |what: &str, with: String, scheme: &str, peer: std::net::SocketAddr| {
        let run = Run::what(what, with).network(format!("{scheme}://{peer}")).within(SHORT);
        bench.run(&plugin, &run).story.calls
    };
    let brief = |calls: &[roundsman_model::record::Call]| -> Vec<(String, String)> {
        calls.iter().map(|call| (call.what.clone(), call.result.clone())).collect()
    };
    let pair = |what: String, result: &str| (what, result.to_owned());

    let calls = run("fetch", format!("http://{http}/a?secret=1#part"), "http", http);
    assert_eq!(brief(&calls), [pair(format!("GET http://{http}/a"), "200")]);
    assert_eq!(phases(&calls[0]), ["connect", "first-byte", "transfer"]);

    let calls = run("fetch", format!("http://{silent}/"), "http", silent);
    assert_eq!(calls.len(), 1, "{calls:?}");
    let says = format!("timeout in first-byte: {silent} took the request and does not answer (after ");
    assert!(calls[0].result.starts_with(&says), "{calls:?}");
    assert_eq!(phases(&calls[0]), ["connect", "first-byte"]);
    let waited = calls[0].phases[1].1;
    assert!(waited > 250_000_000 && waited <= calls[0].duration_ns, "{calls:?}");

    // Cut in the midst of a call, or between two of them, which come quickly once the time for calls is over.
    let calls = run("fetch-for-ever", format!("http://{silent}/"), "http", silent);
    let ends = ["timeout in ", "limit in policy: this run has opened "];
    let ended = |call: &roundsman_model::record::Call| ends.iter().any(|end| call.result.starts_with(end));
    assert!(calls.first().is_some_and(|call| call.result.starts_with(ends[0])) && calls.iter().all(ended), "{calls:?}");

    let calls = run("connect", closed.to_string(), "tcp", closed);
    assert_eq!(brief(&calls), [pair(format!("connect {closed}"), "connection refused")]);
    let calls = run("echo", echo.to_string(), "tcp", echo);
    assert_eq!(brief(&calls), [pair(format!("connect {echo}"), "connected")]);
    let calls = run("read", silent.to_string(), "tcp", silent);
    let waits = pair(format!("wait for tcp://{silent}"), "no answer when the run ended");
    assert_eq!(brief(&calls), [pair(format!("connect {silent}"), "connected"), waits]);
    assert!(calls[1].duration_ns > 250_000_000, "{calls:?}");

    let look_up = Run::what("look-up", "here.example").network("tcp://here.example:80");
    let calls = bench.run(&plugin, &look_up).story.calls;
    assert_eq!(brief(&calls), [pair("look up here.example".to_owned(), "1 addresses")]);
    let denied = bench.run(&plugin, &Run::what("connect", echo)).story.calls;
    assert_eq!(brief(&denied), [pair(format!("connect {echo}"), "access denied")]);
    let computing = Run { limits: roundsman_model::check::Limits::default(), ..Run::what("spin", "") };
    assert_eq!(bench.run(&plugin, &computing).story.calls, []);
}

fn phases(call: &roundsman_model::record::Call) -> Vec<&str> {
    call.phases.iter().map(|(phase, _)| phase.as_str()).collect()
}
