//! `system` and `command`: the kernel that runs the tests, a bus with somebody on it who answers as systemd does, and a
//! shell.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use roundsman_plugin::job::Report;
use roundsman_probe::probe::{Options, Roots};
use roundsman_probe::resolve::Resolver;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Expected, Table, above, bench, is, load, part, peers, says};
use crate::probe_support::systemd::{self, Bus, Manner};
use crate::support::{Run, eventually};

const SHELL: &str = "/bin/sh";
/// One more than the host looks at: of sockets, and of units.
const TOO_MANY: usize = 4097;
/// Processes with 4 KiB of arguments each: more than the 4 MiB that the host keeps of all.
const TOO_MANY_PROCESSES: usize = 1100;

fn options() -> Options {
    Options { resolver: Resolver::fixed(""), roots: Roots::Only(Vec::new()), ..Options::default() }
}

fn asking(what: &str, with: &[&str], words: &[&str]) -> Run {
    let mut run = part(what, with, &[]);
    run.allow.system = words.iter().map(|word| (*word).to_owned()).collect();
    run
}

fn now_ns() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// The text of a file of the kernel, trimmed.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

/// Load, processors, memory and names, as the kernel itself prints them.
fn kernel(table: &mut Table) {
    let bench = bench(options());
    let plugin = load(&bench);
    let loads = || text("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let run = asking("kernel", &[], &["load", "memory", "uname", "sysctl"]);
    // It changes every five seconds: with the same before and after, it was that between them.
    let (report, load) = loop {
        let before = loads();
        let report = bench.run(&plugin, &run);
        if loads() == before {
            break (report, before);
        }
    };
    let processors = text("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
    let memory = text("/proc/meminfo");
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let (release, boot) = (text("/proc/sys/kernel/osrelease"), text("/proc/sys/kernel/random/boot_id"));
    table.take(
        &report,
        &[
            ("system.load-average", is(load)),
            ("system.processors", is(processors)),
            ("system.memory", is(format!("MemTotal {}", total * 1024))),
            ("system.uname", is(format!("Linux {release} {boot}"))),
            ("system.sysctl", is("Linux")),
        ],
    );
    if let Err(error) = fs::File::open("/proc/pressure/cpu") {
        return table.skip(&["system.pressure"], &format!("this kernel tells of no pressure: {error}"));
    }
    let report = bench.run(&plugin, &asking("pressure", &[], &["pressure"]));
    table.take(&report, &[("system.pressure", above(1))]);
}

/// Anybody but root, whose number says nothing.
fn user() -> u32 {
    let own = rustix::process::geteuid();
    if own.is_root() { 65_534 } else { own.as_raw() }
}

/// A program that waits until it is dropped.
struct Waiting(Child);

impl Waiting {
    fn start(command: &mut Command) -> Waiting {
        Waiting(command.stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn processes(table: &mut Table) {
    let begun = now_ns();
    let here = bench(options());
    let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read line";
    let user = user();
    let child = Waiting::start(Command::new(SHELL).args(["-c", script]).uid(user));
    let plugin = load(&here);
    let pid = child.0.id().to_string();
    eventually("it has computed, and waits", || {
        let stat = text(&format!("/proc/{pid}/stat"));
        let words: Vec<_> = stat.split(") ").last().unwrap().split(' ').collect();
        words[0] == "S" && words[11] != "0"
    });
    table.take(
        &here.run(&plugin, &asking("processes", &[&pid], &["processes"])),
        &[
            ("system.processes", above(2)),
            ("system.process-list.pids", is(&pid)),
            ("system.process-list.parents", is(std::process::id())),
            ("system.process-list.names", is("sh")),
            ("system.process-list.command-lines", is(format!("{SHELL} -c {script}"))),
            ("system.process-list.states", is("S")),
            ("system.process-list.user-ids", is(user)),
            ("system.process-list.threads", is(1)),
            ("system.process-list.resident-bytes", Expected::Between(100 << 10, 1 << 30)),
            ("system.process-list.cpu-ns", Expected::Between(10_000_000, 15_000_000_000)),
            ("system.process-list.started-ns", Expected::Between(begun - 1_000_000_000, now_ns())),
        ],
    );
    drop((child, plugin, here));

    // The kernel's own text about one process, as if there were many of them.
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(Options { proc: folder.path().to_owned(), ..options() });
    let large = Waiting::start(Command::new(SHELL).args(["-c", "read line", &"x".repeat(5000)]));
    for number in 1..=TOO_MANY_PROCESSES {
        let of_one = format!("/proc/{}", large.0.id());
        std::os::unix::fs::symlink(of_one, folder.path().join(number.to_string())).unwrap();
    }
    let plugin = load(&bench);
    let report = bench.run(&plugin, &asking("processes-truncated", &[], &["processes"]));
    table.take(&report, &[("system.process-list.truncated", is(true))]);
}

/// Whose a socket is that is not root's: the kernel says what the file's owner is.
fn ports(table: &mut Table) {
    let bench = bench(options());
    let socket = UdpSocket::bind("127.0.0.9:0").unwrap();
    let user = user();
    rustix::fs::fchown(&socket, Some(rustix::fs::Uid::from_raw(user)), None).unwrap();
    let plugin = load(&bench);
    let port = socket.local_addr().unwrap().port();
    table.take(
        &bench.run(&plugin, &asking("ports", &[&port.to_string()], &["ports"])),
        &[
            ("system.listening-ports", above(1)),
            ("system.port-list.protocols", is("udp")),
            ("system.port-list.addresses", is("127.0.0.9")),
            ("system.port-list.ports", is(port)),
            ("system.port-list.user-ids", is(user)),
            ("system.port-list.pids", is(std::process::id())),
        ],
    );

    let skipped = &["system.port-list.truncated"];
    let (limit, wanted) = (getrlimit(Resource::Nofile), Some(2 * TOO_MANY as u64));
    let raised = Rlimit { current: limit.current.max(wanted).min(limit.maximum.or(wanted)), ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        return table.skip(skipped, &format!("this user may open too few files: {error}"));
    }
    let sockets: Result<Vec<_>, _> = (0..TOO_MANY).map(|_| UdpSocket::bind("127.0.0.9:0")).collect();
    let Ok(_sockets) = sockets else { return table.skip(skipped, "this user may open too few files") };
    let plugin = load(&bench);
    let report = bench.run(&plugin, &asking("ports-truncated", &[], &["ports"]));
    table.take(&report, &[("system.port-list.truncated", is(true))]);
}

fn kernel_log(table: &mut Table) {
    let boot = text("/proc/sys/kernel/random/boot_id");
    if let Err(error) = fs::File::open("/dev/kmsg") {
        let why = format!("the kernel's log is not for this user: {error}");
        table.skip(&["system.kernel-log", "system.kernel-lines"], &why);
    } else {
        let bench = bench(options());
        let report = bench.run(&load(&bench), &asking("kernel-log", &[], &["kernel-log"]));
        table.take(
            &report,
            &[
                ("system.kernel-log", is(2)),
                ("system.kernel-lines.lines", says(" bytes")),
                ("system.kernel-lines.cursor", says(format!("{boot}:"))),
                ("system.kernel-lines.more", is(true)),
            ],
        );
        // Priority, facility, sequence, instant and length; the sequence of a second line is above 0.
        let line =
            report.story.log.iter().find_map(|line| line.text.strip_prefix("system.kernel-lines.lines=")).unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<i128>().unwrap();
        assert!(number(0) < 8 && number(2) > 0 && number(4) > 2, "{line}");
        assert!((1_500_000_000_000_000_000..=now_ns()).contains(&number(3)), "{line}");
    }
    // To have lines overwritten, a test would have to fill the log of the machine. A pipe that keeps its packets apart is
    // read like it.
    let folder = tempfile::tempdir().unwrap();
    let kmsg = folder.path().join("kmsg");
    let bench = bench(Options { kmsg: kmsg.clone(), ..options() });
    let (reader, writer) = pipe_with(PipeFlags::DIRECT | PipeFlags::NONBLOCK).unwrap();
    let mut writer = fs::File::from(writer);
    for record in ["6,9,1000,-;a line\n", "6,12,2000,-;another\n"] {
        writer.write_all(record.as_bytes()).unwrap();
    }
    std::os::unix::fs::symlink(format!("/proc/self/fd/{}", reader.as_raw_fd()), kmsg).unwrap();
    let report = bench.run(&load(&bench), &asking("kernel-log-lost", &[&format!("{boot}:6")], &["kernel-log"]));
    // Three before the first, and two between them.
    table.take(&report, &[("system.kernel-lines.lost", is(5))]);
}

const UNITS: &[systemd::Unit] = &[
    ["nginx.service", "A web server", "loaded", "active", "running"],
    ["backup.service", "Backup", "masked", "failed", "exited"],
];
const FAILED: systemd::Unit = ["worker@1.service", "One of many", "loaded", "failed", "failed"];

/// What a run tells where somebody is on the bus who knows these units.
fn asked(run: &Run, units: &'static [systemd::Unit]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(Options { system_bus: folder.path().join("bus"), ..options() });
    let bus = Bus::start_in(folder.path());
    systemd::serve(&bus, Manner::Well { big_endian: false }, units);
    bench.run(&load(&bench), run)
}

fn units(table: &mut Table) {
    if !systemd::may_be_played() {
        let functions = ["system.failed-units", "system.units", "system.unit-list"];
        return table.skip(&functions, "dbus-daemon is not installed");
    }
    table.take(
        &asked(&asking("units", &["nginx.service", "backup.service"], &["units"]), UNITS),
        &[
            ("system.failed-units", is("backup.service")),
            ("system.units", is(2)),
            ("system.unit-list.names", is("nginx.service, backup.service")),
            ("system.unit-list.descriptions", is("A web server, Backup")),
            ("system.unit-list.load-states", is("loaded, masked")),
            ("system.unit-list.active-states", is("active, failed")),
            ("system.unit-list.sub-states", is("running, exited")),
        ],
    );
    let report = asked(&asking("units-truncated", &[], &["units"]), vec![FAILED; TOO_MANY].leak());
    table.take(&report, &[("system.unit-list.truncated", is(true))]);
}

fn command(table: &mut Table) {
    let shop = peers::Shop::new();
    let bench = bench(shop.options());
    let plugin = load(&bench);
    let mut run = part("command", &[SHELL], &[]).secret("login");
    run.allow.commands.push(SHELL.to_owned());
    let argument = "$(reboot) two words";
    // What is started is the file itself, whatever links lead to it.
    let name = fs::canonicalize(SHELL).unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let first: String = format!("name={name}; ").chars().take(7).collect();
    table.take(
        &bench.run(&plugin, &run),
        &[
            ("command.program.set-option", is("unsupported")),
            ("command.program.constructor", is(name)),
            ("command.program.run", above(2)),
            ("command.program.add-argument", is(argument)),
            ("command.program.set-environment", is("hello")),
            ("command.program.set-environment-secret", is(format!("{} bytes", peers::PASSWORD.len()))),
            ("command.program.set-input", is("from the plugin")),
            ("command.program.output", says(format!("argument={argument}; greeting=hello; "))),
            ("command.program.errors", is("to the other output")),
            ("command.program.exit-status", is(3)),
            ("command.program.fact", Expected::Between(10_000, 15_000_000_000)),
            ("command.program.set-max-output", is(format!("{first}, truncated true"))),
            ("command.program.signal", is(15)),
            ("command.program.set-timeout-ns", is("timeout, signal 9")),
        ],
    );
}

pub(super) fn tour(table: &mut Table) {
    kernel(table);
    processes(table);
    ports(table);
    kernel_log(table);
    units(table);
    command(table);
}
