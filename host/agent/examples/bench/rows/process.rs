//! Rows about the process as a whole: its memory, and how soon it works.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roundsman_model::time::Timestamp;
use roundsman_store::{Config, Cursor, Store};
use rustix::process::{Pid, Signal, kill_process};

use crate::measure::{anonymous_mib, median, now, runtime};
use crate::rig::{Rig, checks};
use crate::servers::{Kind, Server};
use crate::table::{Measured, Setting};

const SHIPPED: [&str; 4] = ["disk", "http", "load", "tcp"];
/// As many as the promise speaks of: everything that is shipped, twice, and one of the benchmark's own.
const MANY: [&str; 35] = [
    "disk",
    "dns",
    "etcd",
    "grpc",
    "http",
    "icmp",
    "kmsg",
    "load",
    "nagios",
    "ntp",
    "ports",
    "processes",
    "prometheus",
    "sysctl",
    "tcp",
    "tls",
    "units",
    "disk-2",
    "dns-2",
    "etcd-2",
    "grpc-2",
    "http-2",
    "icmp-2",
    "kmsg-2",
    "load-2",
    "nagios-2",
    "ntp-2",
    "ports-2",
    "processes-2",
    "prometheus-2",
    "sysctl-2",
    "tcp-2",
    "tls-2",
    "units-2",
    "point",
];
/// For a start from a warm cache and some runs.
const LIFE: Duration = Duration::from_millis(1_500);
/// The first life compiles.
const FIRST_LIFE: Duration = Duration::from_secs(20);

/// Anonymous memory after some minutes.
pub(crate) fn memory(setting: &Setting) -> Result<Measured> {
    let server = Server::start(Kind::Web, &setting.place)?;
    let address = server.address(0)?;
    let checks = checks(100, |number| {
        match number % 8 {
        4 => "plugin: processes, interval: 10s, allow: {system: [processes]}".to_owned(),
        5 => "plugin: ports, interval: 10s, allow: {system: [ports]}".to_owned(),
        6 => "plugin: sysctl, interval: 10s, allow: {system: [sysctl]}, settings: {expect: [{name: kernel.pid_max, min: 1}]}".to_owned(),
        7 => format!("plugin: prometheus, interval: 10s, target: \"http://{address}/\", settings: {{select: [{{metric: up}}]}}"),
        0 => "plugin: disk, interval: 10s, allow: {system: [filesystems]}".to_owned(),
        1 => "plugin: load, interval: 10s, allow: {system: [load, memory, pressure]}".to_owned(),
        2 => format!("plugin: tcp, interval: 10s, target: \"{address}\""),
        _ => format!("plugin: http, interval: 10s, target: \"http://{address}/\""),
    }
    });
    let rig = Rig::new(setting, &MANY, &checks)?;
    runtime()?.block_on(async {
        let length = setting.seconds(600, 60);
        let before = anonymous_mib()?;
        let live = rig.start().await?;
        let begun = anonymous_mib()?;
        let until = Instant::now() + length;
        let mut most = begun;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            most = most.max(anonymous_mib()?);
        }
        let end = anonymous_mib()?;
        live.stop().await?;
        Ok(Measured {
            measured: format!("{end:.1} MiB, at most {most:.1}"),
            control: format!("before the start {before:.1}, after the first runs {begun:.1} MiB"),
            notes: format!("{} plugins, 100 checks at 10 s, {} s; RssAnon", MANY.len(), length.as_secs()),
        })
    })
}

/// From exec to the first run, by the record of that run.
pub(crate) fn start(setting: &Setting) -> Result<Measured> {
    let plugins: Vec<&str> = SHIPPED.into_iter().chain(["point"]).collect();
    let checks = checks(10, |_| "plugin: point, interval: 10ms, settings: {value: 1.5}".to_owned());
    let rig = Rig::new(setting, &plugins, &checks)?;
    let (agent, directory) = (setting.place.agent(), rig.directory.path());
    life(agent, directory, FIRST_LIFE)?;
    let mut delays = Vec::new();
    for _ in 0..if setting.quick { 5 } else { 20 } {
        let spawned = now();
        life(agent, directory, LIFE)?;
        let first = first_after(&directory.join("state"), spawned)?;
        delays.push(first.since(spawned).as_secs_f64() * 1e3);
    }
    let bare = Instant::now();
    ensure!(Command::new(agent).arg("--version").stdout(Stdio::null()).status()?.success(), "no version");
    let bare = bare.elapsed().as_secs_f64() * 1e3;
    Ok(Measured {
        measured: median(delays, "ms"),
        control: format!("`roundsman --version`, exec to exit: {bare:.1} ms"),
        notes: "5 plugins in the cache, 10 checks at 10 ms, after SIGTERM".to_owned(),
    })
}

/// Starts the agent and ends it as a supervisor does.
fn life(agent: &Path, directory: &Path, length: Duration) -> Result<()> {
    let mut command = Command::new(agent);
    command.arg("run").arg("--config").arg(directory.join("roundsman.yaml")).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("starting {}", agent.display()))?;
    thread::sleep(length);
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status = child.wait()?;
    ensure!(status.success(), "the agent ended with {status}");
    Ok(())
}

/// When the first run of the life that began at an instant got under way.
fn first_after(state: &Path, spawned: Timestamp) -> Result<Timestamp> {
    let (store, _) = Store::open(Config::new(state), |_| ())?;
    let mut reader = store.reader()?;
    let (mut cursor, mut first) = (Cursor::default(), None);
    loop {
        let batch = reader.outbox(cursor, roundsman_store::MAX_ROWS)?;
        if batch.next == cursor {
            break;
        }
        cursor = batch.next;
        let later = batch.records.iter().map(|row| row.record.started).filter(|started| *started > spawned);
        first = first.into_iter().chain(later).min();
    }
    runtime()?.block_on(store.close())?;
    first.context("no run took place")
}
