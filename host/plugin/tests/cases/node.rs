//! The interfaces `system` and `command` through a guest: each function with an answer that nobody gives by default.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use roundsman_model::record::{Blame, Status};
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;
use roundsman_probe::probe::{Options, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};

use crate::probe_support::systemd::{self, Bus, Manner};
use crate::support::{Bench, Run, eventually, guest, skipped};
use crate::{assert_outcome, assert_unknown, bench, compiler};

const LIMITS: EngineLimits = EngineLimits { runs: 64, memory: 512 << 20 };
const SHELL: &str = "/bin/sh";

fn bench_with(options: Options) -> Bench {
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    Bench::with_options(compiler(), LIMITS, Options { resolver, roots, ..options })
}

fn asking(what: &str, with: impl ToString, word: &str) -> Run {
    let mut run = Run::what(what, with);
    run.allow.system.push(word.to_owned());
    run
}

fn running(what: &str, path: &str) -> Run {
    let mut run = Run::what(what, path);
    run.allow.commands.push(path.to_owned());
    run
}

/// What the guest logged, in order: `name=value`.
fn told(report: &Report) -> Vec<(&str, &str)> {
    report.story.log.iter().filter_map(|line| line.text.split_once('=')).collect()
}

fn of<'a>(told: &[(&str, &'a str)], name: &str) -> &'a str {
    told.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not in {told:?}")).1
}

fn number(told: &[(&str, &str)], name: &str) -> i128 {
    of(told, name).parse().unwrap_or_else(|_| panic!("{name} is no number in {told:?}"))
}

#[test]
fn every_function_of_processes_and_ports() {
    let bench = bench();
    let socket = UdpSocket::bind("127.0.0.9:0").unwrap();
    let mut child = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let plugin = bench.load(&guest("node")).unwrap();
    let (user, pid) = (rustix::process::geteuid().as_raw().to_string(), std::process::id().to_string());
    eventually("the child runs its own program", || {
        fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|stat| stat.contains("(sleep) S"))
    });
    let report = bench.run(&plugin, &asking("processes", child.id(), "processes"));
    assert_outcome(&report, Status::Ok, "told");
    let found = told(&report);
    for (name, expected) in [
        ("pid", child.id().to_string().as_str()),
        ("parent", &pid),
        ("name", "\"sleep\""),
        ("command-line", "\"/bin/sleep 1000\""),
        ("state", "\"S\""),
        ("user-id", &user),
        ("threads", "1"),
        ("truncated", "false"),
    ] {
        assert_eq!(of(&found, name), expected, "{name}");
    }
    assert!(number(&found, "resident") > 100_000 && number(&found, "started") > 1_700_000_000_000_000_000);
    child.kill().unwrap();
    child.wait().unwrap();
    let report = bench.run(&plugin, &asking("processes", &pid, "processes"));
    assert!(number(&told(&report), "cpu") > 0, "{report:?}");

    let report = bench.run(&plugin, &asking("ports", socket.local_addr().unwrap().port(), "ports"));
    let found = told(&report);
    for (name, expected) in [
        ("protocol", "\"udp\""),
        ("address", "\"127.0.0.9\""),
        ("port", &socket.local_addr().unwrap().port().to_string()),
        ("user-id", &user),
        ("pid", &pid),
        ("truncated", "false"),
    ] {
        assert_eq!(of(&found, name), expected, "{name}");
    }
}

#[test]
fn a_parameter_and_the_log_of_the_kernel() {
    let bench = bench();
    let plugin = bench.load(&guest("node")).unwrap();
    let report = bench.run(&plugin, &asking("sysctl", "kernel.ostype", "sysctl"));
    assert_eq!(told(&report), [("sysctl", "\"Linux\"")]);
    let report = bench.run(&plugin, &asking("sysctl", "kernel.no_such_parameter", "sysctl"));
    assert_outcome(&report, Status::Critical, "not-found: this kernel has no parameter ");

    if let Err(error) = fs::File::open("/dev/kmsg") {
        return skipped(&format!("the kernel's log is not for this user: {error}"));
    }
    let report = bench.run(&plugin, &asking("kernel-log", "start", "kernel-log"));
    let found = told(&report);
    assert_eq!((found.len(), of(&found, "lost"), of(&found, "more")), (5, "0", "true"), "{found:?}");
    let first: Vec<&str> = of(&found, "line").trim_matches(['(', ')']).splitn(5, ", ").collect();
    assert!(first[0].parse::<u8>().is_ok_and(|priority| priority < 8) && first[4].len() > 2, "{first:?}");
    let cursor = of(&found, "cursor").trim_matches('"').to_owned();
    let report = bench.run(&plugin, &asking("kernel-log", cursor, "kernel-log"));
    let next: Vec<&str> = of(&told(&report), "line").trim_matches(['(', ')']).splitn(5, ", ").collect();
    assert!(next[2].parse::<u64>().unwrap() > first[2].parse::<u64>().unwrap(), "{first:?} {next:?}");
    let report = bench.run(&plugin, &asking("kernel-log", "", "kernel-log"));
    let found = told(&report);
    assert_eq!((found.len(), of(&found, "more")), (3, "false"), "{found:?}");
}

const UNITS: &[systemd::Unit] = &[
    ["nginx.service", "A web server", "loaded", "active", "running"],
    ["backup.service", "Backup", "masked", "failed", "exited"],
];

#[test]
fn every_function_of_units() {
    if !systemd::may_be_played() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Options { system_bus: folder.path().join("bus"), ..Options::default() });
    let bus = Bus::start_in(folder.path());
    systemd::serve(&bus, Manner::Well { big_endian: false }, UNITS);
    let plugin = bench.load(&guest("node")).unwrap();
    for (run, expected) in [
        (asking("failed-units", "", "units"), ["backup.service", "Backup", "masked", "failed", "exited"]),
        (asking("units", "x.service nginx.service", "units"), UNITS[0]),
    ] {
        let report = bench.run(&plugin, &run);
        let names = ["names", "descriptions", "load-states", "active-states", "sub-states"];
        let expected = names.into_iter().zip(expected.map(|text| format!("[{text:?}]")));
        let mut expected: Vec<_> = expected.collect();
        expected.push(("truncated", "false".to_owned()));
        assert_eq!(told(&report), expected.iter().map(|(name, text)| (*name, text.as_str())).collect::<Vec<_>>());
    }
}

fn secrets(folder: &Path) -> Secrets {
    fs::write(folder.join("token"), "s3cret-t0ken\n").unwrap();
    let source = Source { place: Place::Directory(folder.to_owned()), destinations: Vec::new() };
    Secrets::new(BTreeMap::from([("shop".to_owned(), source)]))
}

#[test]
fn every_function_of_command() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench_with(Options { secrets: secrets(folder.path()), ..Options::default() });
    let plugin = bench.load(&guest("node")).unwrap();
    let report = bench.run(&plugin, &running("program", SHELL).secret("shop"));
    assert_outcome(&report, Status::Ok, "told");
    let found = told(&report);
    assert_eq!(of(&found, "option"), "Err(\"unsupported\")");
    let second = found.iter().rposition(|(name, _)| *name == "exit-status").unwrap();
    let (first, second) = found.split_at(second);
    for (name, expected) in [
        ("exit-status", "Some(3)"),
        ("signal", "None"),
        ("output", "\"$(reboot) two words\\n\""),
        ("output-truncated", "Some(\"true\")"),
        ("errors-truncated", "Some(\"false\")"),
        ("weather", "None"),
    ] {
        assert_eq!(of(first, name), expected, "{name}");
    }
    for (name, expected) in [
        ("output", "\"$(reboot) two words\\nfrom the plugin\""),
        ("output-truncated", "Some(\"false\")"),
        ("errors-truncated", "Some(\"false\")"),
        ("killed", "(None, Some(15))"),
    ] {
        assert_eq!(of(second, name), expected, "{name}");
    }
    // What the program got is taken out of what the plugin says of it.
    assert!(of(second, "errors").starts_with("\"hello ") && !of(second, "errors").contains("s3cret"), "{second:?}");
    for name in ["duration-ns", "cpu-ns"] {
        let ns = of(second, name).trim_start_matches("Some(\"").trim_end_matches("\")");
        assert!(ns.parse::<u64>().is_ok_and(|ns| ns > 10_000), "{name} {ns}");
    }
    let calls: Vec<_> = report.story.calls.iter().map(|call| (call.what.as_str(), call.result.as_str())).collect();
    let (ran, killed) = (("run /bin/sh", "exit status 3"), ("run /bin/sh", "ended by signal 15"));
    assert_eq!(calls, [ran, ran, killed]);
    assert_eq!(bench.engine.probe().stats().command.calls(), 3);
}

fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn programs_end_with_their_time_and_with_the_run() {
    let bench = bench();
    let plugin = bench.load(&guest("node")).unwrap();
    let report = bench.run(&plugin, &running("slow-program", SHELL));
    assert_outcome(&report, Status::Critical, "timeout: /bin/sh was killed after ");
    let found = told(&report);
    assert_eq!((of(&found, "exit-status"), of(&found, "signal")), ("None", "Some(9)"));
    let pids: Vec<_> = of(&found, "output").trim_matches('"').split("\\n").filter(|pid| !pid.is_empty()).collect();
    assert_eq!(pids.len(), 2, "{found:?}");
    eventually("both are dead", || !pids.iter().any(|pid| is_alive(pid)));
    let call = report.story.calls.last().unwrap();
    assert!(
        call.what == "run /bin/sh" && call.result.starts_with("timeout in command: /bin/sh was killed"),
        "{call:?}"
    );

    // The host's own deadline comes before the run's, so that a plugin can say what hung.
    let report = bench.run(&plugin, &running("slow-program", SHELL).within(Duration::from_millis(250)));
    assert_outcome(&report, Status::Critical, "timeout: /bin/sh was killed after ");
    let report = bench.run(&plugin, &running("program-and-sleep", SHELL).within(Duration::from_millis(250)));
    assert_unknown(&report, Blame::Plugin, "timeout", "asleep");
    assert_eq!(bench.engine.probe().programs_running(), 0);
    assert_eq!(bench.engine.probe().sockets().open_now(), 0);
}

#[test]
fn nothing_without_a_grant() {
    let bench = bench();
    let plugin = bench.load(&guest("node")).unwrap();
    for (what, word) in [
        ("sysctl", "sysctl"),
        ("processes", "processes"),
        ("ports", "ports"),
        ("kernel-log", "kernel-log"),
        ("failed-units", "units"),
        ("units", "units"),
    ] {
        let report = bench.run(&plugin, &Run::what(what, "kernel.ostype"));
        let line = format!("add to the check: allow: {{system: [{word}]}}");
        assert_unknown(&report, Blame::Host, "denied", &line);
    }
    let report = bench.run(&plugin, &Run::what("program", SHELL));
    assert_unknown(&report, Blame::Host, "denied", "allow: {commands: [\"/bin/sh\"]}");
    let report = bench.run(&plugin, &running("program", SHELL));
    assert_unknown(&report, Blame::Host, "denied", "allow: {secrets: [shop]}");
    // A file that anybody can change is none that an operator meant.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o777)).unwrap();
    let report = bench.run(&plugin, &running("slow-program", file.to_str().unwrap()));
    assert_unknown(&report, Blame::Host, "denied", "everybody may write to it");
}
