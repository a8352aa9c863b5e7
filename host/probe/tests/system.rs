//! Questions to the kernel of the machine that runs the tests, and to one that was written down.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::{Grants, SYSTEM_WORDS};
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::system::{Process, Units};
use support::systemd::{self, Bus, Manner};
use support::{LONG, SHORT, probe};
use tokio::time::Instant;

fn all() -> Grants {
    let system = SYSTEM_WORDS.map(str::to_owned).to_vec();
    Grants::compile(&[], &Allow { system, ..Allow::default() }, &[]).unwrap()
}

#[tokio::test]
async fn this_machine() {
    let (probe, grants, deadline) = (probe(), all(), Instant::now() + LONG);
    let mounts = probe.mounts(&grants, deadline).await.unwrap();
    assert!(mounts.iter().any(|mount| mount.path == "/proc" && mount.kind == "proc"), "{mounts:?}");
    let root = probe.usage(&grants, "/", deadline).await.unwrap();
    assert!(root.total >= root.free && root.free >= root.available, "{root:?}");
    for (path, code) in [
        ("/proc/self", code::NOT_FOUND),
        ("/no/such/place", code::NOT_FOUND),
        ("/proc/../proc", code::NOT_FOUND),
        ("proc", code::NOT_FOUND),
        ("", code::NOT_FOUND),
    ] {
        assert_eq!(probe.usage(&grants, path, deadline).await.unwrap_err().code, code, "{path}");
    }
    let directory = tempfile::tempdir().unwrap();
    let missing = probe.usage(&grants, directory.path().to_str().unwrap(), deadline).await.unwrap_err();
    assert!(missing.message.contains("no filesystem is mounted"), "{missing}");

    assert!(probe.load_average(&grants).unwrap().iter().all(|load| *load >= 0.0));
    assert!(probe.processors(&grants).unwrap() >= 1);
    let memory = probe.memory(&grants).unwrap();
    assert!(memory.iter().any(|(name, bytes)| name == "MemTotal" && *bytes > 1 << 20));
    let uname = probe.uname(&grants).unwrap();
    assert!(uname.contains(&("sysname", "Linux".to_owned())), "{uname:?}");
    assert!(uname.iter().any(|(name, id)| *name == "boot-id" && id.len() == 36), "{uname:?}");
    assert_eq!(probe.stats().system.refusals(), 0);
}

#[tokio::test]
async fn nothing_without_a_grant() {
    let (probe, grants, deadline) = (probe(), Grants::default(), Instant::now() + LONG);
    let refusals = [
        probe.mounts(&grants, deadline).await.unwrap_err(),
        probe.usage(&grants, "/", deadline).await.unwrap_err(),
        probe.load_average(&grants).unwrap_err(),
        probe.processors(&grants).unwrap_err(),
        probe.memory(&grants).unwrap_err(),
        probe.pressure(&grants, "cpu").unwrap_err(),
        probe.uname(&grants).unwrap_err(),
        probe.processes(&grants, deadline).await.unwrap_err(),
        probe.listening_ports(&grants, deadline).await.unwrap_err(),
        probe.sysctl(&grants, "kernel.ostype", deadline).await.unwrap_err(),
        probe.kernel_log(&grants, None, 1, deadline).await.unwrap_err(),
        probe.failed_units(&grants, deadline).await.unwrap_err(),
        probe.units(&grants, &[], deadline).await.unwrap_err(),
    ];
    assert!(refusals.iter().all(|failure| failure.code == code::DENIED), "{refusals:?}");
    assert_eq!((probe.stats().system.calls(), probe.stats().system.refusals()), (13, 13));
}

#[tokio::test]
async fn another_proc() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    place("self/mountinfo", "1 1 0:1 / /data rw - nfs4 server:/x ro\n");
    place("loadavg", "1.5 2.5 3.5 1/2 3\n");
    place("pressure/io", "some avg10=1.00 avg60=0.00 avg300=0.00 total=7\n");
    place("devices/system/cpu/online", "0-63\n");
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    let (proc, sys) = (directory.path().to_owned(), directory.path().to_owned());
    let (probe, grants) = (Probe::new(Options { resolver, roots, proc, sys, ..Options::default() }), all());
    let mounts = probe.mounts(&grants, Instant::now() + LONG).await.unwrap();
    assert!(mounts.len() == 1 && mounts[0].read_only && mounts[0].kind == "nfs4", "{mounts:?}");
    assert_eq!(probe.load_average(&grants).unwrap(), [1.5, 2.5, 3.5]);
    assert_eq!(probe.processors(&grants).unwrap(), 64);
    assert_eq!(probe.pressure(&grants, "io").unwrap()[3], ("some.total".to_owned(), 7.0));
    assert_eq!(probe.pressure(&grants, "cpu").unwrap_err().code, code::UNSUPPORTED);
    assert_eq!(probe.pressure(&grants, "../loadavg").unwrap_err().code, code::UNSUPPORTED);
    assert_eq!(probe.memory(&grants).unwrap_err().code, code::NOT_FOUND);
}

fn in_folder(proc: &Path) -> Probe {
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    Probe::new(Options { resolver, roots, proc: proc.to_owned(), ..Options::default() })
}

async fn process(probe: &Probe, pid: u32) -> Option<Process> {
    let found = probe.processes(&all(), Instant::now() + LONG).await.unwrap();
    found.list.iter().find(|process| process.pid == pid).cloned()
}

#[tokio::test]
async fn processes_of_this_machine() {
    let probe = probe();
    let mut child = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn();
    let child = child.as_mut().unwrap();
    // A program that is being started may be seen as what started it.
    let seen = loop {
        let seen = process(&probe, child.id()).await.unwrap();
        if seen.name == "sleep" {
            break seen;
        }
    };
    assert_eq!(seen.command_line, "/bin/sleep 1000");
    assert_eq!((seen.parent, seen.threads), (std::process::id(), 1));
    assert_eq!(seen.user_id, rustix::process::geteuid().as_raw());
    assert!(seen.resident_bytes > 100 << 10 && seen.resident_bytes < 1 << 30, "{seen:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let age = i128::try_from(now).unwrap() - i128::from(seen.started_ns);
    assert!((-20_000_000..60_000_000_000).contains(&age), "started {age} ns ago");
    let own = process(&probe, std::process::id()).await.unwrap();
    assert!(own.threads > 1 && own.cpu_ns < 3_600_000_000_000, "{own:?}");
    child.kill().unwrap();
    loop {
        let Some(zombie) = process(&probe, child.id()).await else { panic!("it has not been waited for") };
        if zombie.state == 'Z' {
            assert_eq!(zombie.command_line, "[sleep]");
            break;
        }
    }
    child.wait().unwrap();
    assert_eq!(process(&probe, child.id()).await, None);
}

fn write_process(proc: &Path, pid: u32) {
    let folder = proc.join(pid.to_string());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("stat"), format!("{pid} (p{pid}) D 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 0 0 0\n")).unwrap();
    fs::write(folder.join("status"), "Uid:\t5\t6\t5\t5\n").unwrap();
    fs::write(folder.join("cmdline"), format!("program\0{pid}\0")).unwrap();
}

/// A process whose memory is locked for ever: its arguments are a pipe that nobody writes to.
#[tokio::test]
async fn a_process_that_hangs_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    (1..=3).for_each(|pid| write_process(folder.path(), pid));
    fs::create_dir(folder.path().join("4")).unwrap();
    let arguments = folder.path().join("2/cmdline");
    fs::remove_file(&arguments).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &arguments, rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir_all(folder.path().join("self")).unwrap();
    fs::write(folder.path().join("self/mountinfo"), "1 1 0:1 / /data rw - nfs4 server:/x ro\n").unwrap();
    let (probe, grants) = (in_folder(folder.path()), all());
    let hung = probe.processes(&grants, Instant::now() + SHORT).await.unwrap_err();
    assert_eq!(hung.code, code::HUNG);
    probe.mounts(&grants, Instant::now() + LONG).await.unwrap();
    // Who comes later is told of everything but these arguments.
    let end = Instant::now() + LONG;
    let found = loop {
        match probe.processes(&grants, Instant::now() + SHORT).await {
            Ok(found) => break found,
            Err(failure) => assert!(failure.code == code::HUNG && Instant::now() < end, "{failure}"),
        }
    };
    let lines: Vec<_> = found.list.iter().map(|process| (process.pid, process.command_line.as_str())).collect();
    assert_eq!(lines, [(1, "program 1"), (2, "[p2]"), (3, "program 3")]);
    assert_eq!((found.list[1].state, found.list[1].user_id, found.list[1].cpu_ns), ('D', 6, 30_000_000));
    // Whoever hangs there gets its answer now.
    let mut pipe = OpenOptions::new().write(true).open(&arguments).unwrap();
    std::io::Write::write_all(&mut pipe, b"awake\0").unwrap();
    drop(pipe);
    fs::remove_file(&arguments).unwrap();
    fs::write(&arguments, "awake").unwrap();
    while process(&probe, 2).await.unwrap().command_line != "awake" {
        assert!(Instant::now() < end, "it is passed over for ever");
    }
}

#[tokio::test]
async fn ports_of_this_machine() {
    let (tcp, tcp6) = (TcpListener::bind("127.0.0.7:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
    let (udp, udp6) = (UdpSocket::bind("127.0.0.8:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
    let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (probe, pid) = (probe(), std::process::id());
    let found = probe.listening_ports(&all(), Instant::now() + LONG).await.unwrap();
    let user = rustix::process::geteuid().as_raw();
    for (protocol, address) in [
        ("tcp", tcp.local_addr().unwrap()),
        ("tcp6", tcp6.local_addr().unwrap()),
        ("udp", udp.local_addr().unwrap()),
        ("udp6", udp6.local_addr().unwrap()),
    ] {
        let here = |port: &&roundsman_probe::system::Port| {
            port.protocol == protocol && port.address == address.ip() && port.port == address.port()
        };
        let found: Vec<_> = found.list.iter().filter(here).collect();
        assert!(found.len() == 1 && found[0].pid == pid && found[0].user_id == user, "{protocol} {address}: {found:?}");
    }
    let client = connected.local_addr().unwrap().port();
    assert!(!found.list.iter().any(|port| port.protocol == "tcp" && port.port == client), "{found:?}");
    assert!(!found.truncated);
}

#[tokio::test]
async fn parameters_of_this_kernel() {
    let (probe, grants) = (probe(), all());
    let of = async |name: &str| probe.sysctl(&grants, name, Instant::now() + LONG).await;
    assert_eq!(of("kernel.ostype").await.unwrap(), "Linux");
    assert!(["0", "1"].contains(&of("net.ipv4.conf.lo.forwarding").await.unwrap().as_str()));
    for (name, expected) in [
        ("kernel.no_such_parameter", code::NOT_FOUND),
        ("../kernel.ostype", code::NOT_FOUND),
        ("net.ipv4.route.flush", code::DENIED),
    ] {
        assert_eq!(of(name).await.unwrap_err().code, expected, "{name}");
    }
}

#[tokio::test]
async fn the_log_of_this_kernel() {
    let (probe, grants) = (probe(), all());
    let log = async |cursor: Option<&str>, most| probe.kernel_log(&grants, cursor, most, Instant::now() + LONG).await;
    if let Err(error) = File::open("/dev/kmsg") {
        let refused = log(None, 10).await.unwrap_err();
        let words = [(code::DENIED, "CAP_SYSLOG"), (code::UNSUPPORTED, "no kernel log")];
        assert!(
            words.iter().any(|(code, says)| refused.code == *code && refused.message.contains(says)),
            "{error} {refused}"
        );
        return;
    }
    let begin = log(None, 10).await.unwrap();
    assert!(begin.lines.is_empty() && !begin.more && begin.lost == 0, "{begin:?}");
    let first = log(Some("start"), 3).await.unwrap();
    assert_eq!(first.lines.len(), 3);
    assert!(first.more && first.lines[0].sequence < first.lines[2].sequence, "{first:?}");
    let next = log(Some(&first.cursor), 1).await.unwrap();
    assert!(next.lines[0].sequence > first.lines[2].sequence, "{next:?}");
    // The kernel has been running for some time, and not since before there were kernels.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(i128::from(next.lines[0].at_ns) <= i128::try_from(now).unwrap() && next.lines[0].at_ns > 0, "{next:?}");
    let of_another_boot = log(Some("11111111-2222-3333-4444-555555555555:99"), 1).await.unwrap();
    assert_eq!(of_another_boot.lines[0].sequence, first.lines[0].sequence);
    // What somebody writes there comes as a line of its own; where nobody may, the log goes on as it is.
    if let Ok(mut device) = OpenOptions::new().write(true).open("/dev/kmsg") {
        std::io::Write::write_all(&mut device, "<13>roundsman: a test w\u{e4}s here\n".as_bytes()).unwrap();
        let mut cursor = begin.cursor.clone();
        let line = loop {
            let part = log(Some(&cursor), 1000).await.unwrap();
            if let Some(line) = part.lines.iter().find(|line| line.text.starts_with("roundsman: ")).cloned() {
                break line;
            }
            assert!(part.more, "the line is not there");
            cursor.clone_from(&part.cursor);
        };
        assert_eq!((line.text.as_str(), line.priority, line.facility), ("roundsman: a test w\u{e4}s here", 5, 1));
        let age = i128::try_from(now).unwrap() - i128::from(line.at_ns);
        assert!(age.abs() < 60_000_000_000, "{age} ns");
    }
    assert_eq!(log(Some("yesterday"), 1).await.unwrap_err().code, code::UNSUPPORTED);
}

const UNITS: &[systemd::Unit] = &[
    ["nginx.service", "A high performance web server", "loaded", "active", "running"],
    ["backup.service", "Backup \u{e4}\u{1b}[31m", "loaded", "failed", "failed"],
    ["backup.timer", "", "loaded", "active", "waiting"],
    ["gone.service", "gone.service", "not-found", "inactive", "dead"],
];

fn on_bus(bus: &Bus) -> Probe {
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    Probe::new(Options { resolver, roots, system_bus: bus.socket.clone(), ..Options::default() })
}

fn states(units: &Units) -> Vec<[&str; 4]> {
    let list = units.list.iter();
    list.map(|unit| [&*unit.name, &*unit.load_state, &*unit.active_state, &*unit.sub_state]).collect()
}

#[tokio::test]
async fn units_on_a_bus() {
    if !systemd::may_be_played() {
        return;
    }
    for big_endian in [false, true] {
        let bus = Bus::start();
        systemd::serve(&bus, Manner::Well { big_endian }, UNITS);
        let (probe, grants) = (on_bus(&bus), all());
        let failed = probe.failed_units(&grants, Instant::now() + LONG).await.unwrap();
        assert_eq!(states(&failed), [["backup.service", "loaded", "failed", "failed"]]);
        assert_eq!((failed.list[0].description.as_str(), failed.truncated), ("Backup \u{e4} [31m", false));
        let names = ["gone.service", "nginx.service"].map(str::to_owned);
        let units = probe.units(&grants, &names, Instant::now() + LONG).await.unwrap();
        let expected =
            [["nginx.service", "loaded", "active", "running"], ["gone.service", "not-found", "inactive", "dead"]];
        assert_eq!(states(&units), expected);
        assert_eq!(probe.units(&grants, &[], Instant::now() + LONG).await.unwrap(), Units::default());
        let none = probe.units(&grants, &["x.service".to_owned()], Instant::now() + LONG).await.unwrap();
        assert_eq!(none, Units::default());
        for (names, expected) in
            [(vec!["nginx".to_owned()], code::NOT_FOUND), (vec!["a.service".to_owned(); 257], code::LIMIT)]
        {
            assert_eq!(probe.units(&grants, &names, Instant::now() + LONG).await.unwrap_err().code, expected);
        }
    }
}

#[tokio::test]
async fn units_that_are_not_told() {
    if !systemd::may_be_played() {
        return;
    }
    let grants = all();
    let refused = async |bus: &Bus, within: Duration| {
        on_bus(bus).failed_units(&grants, Instant::now() + within).await.unwrap_err()
    };
    for (manner, within, expected, says) in [
        (
            Manner::Error("org.freedesktop.DBus.Error.AccessDenied"),
            LONG,
            code::DENIED,
            "AccessDenied: becauseof [31mthat",
        ),
        (Manner::Error("org.freedesktop.DBus.Error.UnknownMethod"), LONG, code::UNSUPPORTED, "UnknownMethod"),
        (Manner::Error("org.example.Other"), LONG, code::IO, "org.example.Other"),
        (Manner::Otherwise, LONG, code::IO, "answers ListUnitsFiltered with `s`"),
        (Manner::Never, SHORT, code::TIMEOUT, "did not answer ListUnitsFiltered in time"),
    ] {
        let bus = Bus::start();
        systemd::serve(&bus, manner, UNITS);
        let failure = refused(&bus, within).await;
        assert_eq!(failure.code, expected, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
    }
    let nobody = refused(&Bus::start(), LONG).await;
    assert_eq!(nobody.code, code::UNSUPPORTED, "{nobody}");
    let forbidden = Bus::that_refuses();
    systemd::serve(&forbidden, Manner::Well { big_endian: false }, UNITS);
    let denied = refused(&forbidden, LONG).await;
    assert_eq!(denied.code, code::DENIED, "{denied}");
    let mut gone = Bus::start();
    gone.socket = gone.socket.with_file_name("elsewhere");
    let none = refused(&gone, LONG).await;
    assert_eq!(none.code, code::UNSUPPORTED);
    assert!(none.message.contains("there is no system bus at "), "{none}");
    // Somebody else's socket: takes connections and says nothing of the kind.
    let other = std::os::unix::net::UnixListener::bind(&gone.socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in other.incoming().flatten() {
            std::io::Write::write_all(&mut stream, b"SSH-2.0-what\r\n").unwrap_or_default();
            let mut sink = [0; 64];
            while std::io::Read::read(&mut stream, &mut sink).is_ok_and(|read| read > 0) {}
        }
    });
    let strange = refused(&gone, LONG).await;
    assert!(strange.code == code::DENIED && strange.message.contains("SSH-2.0-what"), "{strange}");
}
