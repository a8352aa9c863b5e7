//! The plugin prometheus against prometheus-node-exporter, and against pages that are none.

use std::io::Write;

use serde_json::json;

use crate::bench::{Server, connects, number, probe, request, serve};
use crate::support::servers::free_address;

#[test]
fn the_page_of_a_real_exporter() {
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    let Some(mut server) = Server::start("prometheus-node-exporter", tempfile::tempdir().unwrap(), &[&listen]) else {
        return;
    };
    server.await_ready(|| connects(address));
    let target = format!("http://{address}/metrics");
    let load: f64 = std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().parse().unwrap();
    let settings = json!({"select": [
        {"metric": "node_load1", "critical": "> 100000"},
        {"metric": "node_memory_MemTotal_bytes"},
        {"metric": "node_cpu_seconds_total", "labels": {"mode": "idle", "cpu": "0"}, "rate": true},
    ]});
    let seen = probe("prometheus", &settings, &["--target", &target]);
    seen.assert("ok", "3 of ");
    let value = |metric: &str| {
        let point = seen.points("prometheus").into_iter().find(|(tags, _)| tags["metric"] == metric);
        number(&point.unwrap_or_else(|| panic!("no {metric}")).1["value"], "Real")
    };
    assert!((value("node_load1") - load).abs() < 20.0);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: f64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((value("node_memory_MemTotal_bytes") - total * 1024.0).abs() < 1.0);
    assert!(number(&seen.point("prometheus_page")["samples"], "Integer") > 100.0);
    let idle = json!({"select": [{"metric": "node_memory_MemTotal_bytes", "warning": "> 1"}]});
    probe("prometheus", &idle, &["--target", &target]).assert("warning", "node_memory_MemTotal_bytes is ");
    let gone = json!({"select": [{"metric": "no_such_metric"}]});
    probe("prometheus", &gone, &["--target", &target])
        .assert("critical", "no_such_metric: 0 series, expected at least 1");
}

#[test]
fn pages_that_are_none() {
    let select = json!({"select": [{"metric": "up"}]});
    let page = |body: String| {
        let url = serve(move |mut stream| {
            request(&mut stream);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all((head + &body).as_bytes()));
        });
        probe("prometheus", &select, &["--target", &format!("http://{url}/")])
    };
    page("<html>".to_owned()).assert("critical", "there is no metric on the page");
    let large: String = (0..100_000).map(|n| format!("filler{{n=\"{n}\"}} 1\n")).collect();
    page(format!("up 1\n{large}")).assert("unknown", "the page is larger than 1024 KiB");
    page("up{a=\"\u{1b}[31m\\n\"} 1\nup 2".to_owned()).assert("ok", "2 of 2 series taken");
}
